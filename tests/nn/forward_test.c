/* The frozen network: that it equals the plain one is its own check at start and golden_test's. */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define SIZE 48u
#define MAX 6u
#define SMALL 32u
#define MANY 33u

static kd_net *g_net;
static kd_forward *g_forward;
static float *g_pixels; /* MAX images */
static kd_error g_err;
static atomic_uint g_started; /* threads */

/* In the place of the C library's, for all libraries of this process. */
int pthread_create(
    pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *arg)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = NULL;
    *(void **)&real = dlsym(RTLD_NEXT, "pthread_create");
    atomic_fetch_add(&g_started, 1);
    return real(thread, attributes, start, arg);
}

static void test_nn_forward__embeddings_have_length_one(void **state)
{
    (void)state;
    float embeddings[MAX * KD_NN_FEATURES];
    CHECK_OK(kd_forward_run(g_forward, g_pixels, MAX, embeddings, &g_err), g_err);
    for (size_t i = 0; i < MAX; i++) {
        double squares = 0;
        for (size_t d = 0; d < KD_NN_FEATURES; d++)
            squares += (double)embeddings[i * KD_NN_FEATURES + d] *
                       (double)embeddings[i * KD_NN_FEATURES + d];
        CHECK_NEAR(1, squares, 1e-5);
    }
}

/* 1, 2, 4 and 6 are warmed, 3 is padded, 5 is padded. */
static void test_nn_forward__an_image_does_not_depend_on_its_batch(void **state)
{
    (void)state;
    const size_t image = (size_t)SIZE * SIZE * 3;
    float alone[MAX * KD_NN_FEATURES];
    float together[MAX * KD_NN_FEATURES];
    for (size_t i = 0; i < MAX; i++)
        CHECK_OK(
            kd_forward_run(g_forward, g_pixels + i * image, 1, alone + i * KD_NN_FEATURES, &g_err),
            g_err);
    for (size_t n = 2; n <= MAX; n++) {
        CHECK_OK(kd_forward_run(g_forward, g_pixels, n, together, &g_err), g_err);
        for (size_t k = 0; k < n * KD_NN_FEATURES; k++)
            CHECK_NEAR((double)alone[k], (double)together[k], 1e-5);
    }
    double difference = 0;
    for (size_t d = 0; d < KD_NN_FEATURES; d++)
        difference += fabs((double)alone[d] - (double)alone[KD_NN_FEATURES + d]);
    CHECK(difference > 1e-2); /* different images differ */
}

/* OpenMP starts threads for each layer where its regions are nested. */
static void test_nn_forward__one_image_starts_no_threads(void **state)
{
    (void)state;
    float embedding[KD_NN_FEATURES];
    CHECK_OK(kd_forward_run(g_forward, g_pixels, 1, embedding, &g_err), g_err);
    const unsigned before = atomic_load(&g_started);
    for (int i = 0; i < 3; i++)
        CHECK_OK(kd_forward_run(g_forward, g_pixels, 1, embedding, &g_err), g_err);
    CHECK_INT(before, atomic_load(&g_started));
}

static void test_nn_forward__pixels_are_only_read(void **state)
{
    (void)state;
    float embeddings[MAX * KD_NN_FEATURES];
    float *const same = nn_pixels(MAX, SIZE, 0);
    CHECK_OK(kd_forward_run(g_forward, g_pixels, MAX, embeddings, &g_err), g_err);
    assert_memory_equal(same, g_pixels, MAX * (size_t)SIZE * SIZE * 3 * sizeof(float));
    free(same);
}

static void test_nn_forward__rejects_batches_out_of_range(void **state)
{
    (void)state;
    float embeddings[KD_NN_FEATURES];
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_forward_run(g_forward, g_pixels, 0, embeddings, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_forward_run(g_forward, g_pixels, MAX + 1, embeddings, &g_err), g_err);
    CHECK_STR("the batch has 7 images, allowed 1..6", g_err.message);
}

static void test_nn_forward__rejects_sizes_out_of_range(void **state)
{
    (void)state;
    kd_forward *forward = NULL;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_forward_new(&forward, g_net, 31, 1, &g_err), g_err);
    CHECK_STR("the image size is 31, allowed 32..512", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_forward_new(&forward, g_net, 513, 1, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_forward_new(&forward, g_net, 64, 0, &g_err), g_err);
    assert_null(forward);
}

static void test_nn_forward__nan_pixels_are_refused(void **state)
{
    (void)state;
    float embeddings[2 * KD_NN_FEATURES];
    float *const pixels = nn_pixels(2, SIZE, 0);
    pixels[SIZE * SIZE * 3 + 5] = NAN; /* in the second image */
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_forward_run(g_forward, pixels, 2, embeddings, &g_err), g_err);
    CHECK_HAS("image 1 of the batch has a pixel that is not finite", g_err.message);
    free(pixels);
}

static void test_nn_forward__weights_that_overflow_are_refused(void **state)
{
    (void)state;
    nn_tensor tensors[NN_TENSORS];
    kd_net *net = NULL;
    kd_forward *forward = NULL;
    nn_tensors_new(tensors);
    nn_tensor_named(tensors, "layer1.0.bn1.running_var")->values[0] = -1;
    nn_write_safetensors(nn_path("bad"), tensors, NN_TENSORS, NN_F32, "");
    CHECK_OK(kd_net_load(&net, nn_path("bad"), &g_err), g_err);
    CHECK_FAILS(KD_INTERNAL, kd_forward_new(&forward, net, SIZE, 1, &g_err), g_err);
    CHECK_HAS("not finite", g_err.message);
    kd_net_free(net);
    nn_tensors_free(tensors);
}

/* A frozen copy does not follow the network. */
static void test_nn_forward__outlives_its_network(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_forward *forward = NULL;
    float before[KD_NN_FEATURES];
    float after[KD_NN_FEATURES];
    CHECK_OK(kd_net_new(&net, 5, &g_err), g_err);
    CHECK_OK(kd_forward_new(&forward, net, SIZE, 1, &g_err), g_err);
    CHECK_OK(kd_forward_run(forward, g_pixels, 1, before, &g_err), g_err);
    kd_net_free(net);
    CHECK_OK(kd_forward_run(forward, g_pixels, 1, after, &g_err), g_err);
    assert_memory_equal(before, after, sizeof before);
    kd_forward_free(forward);
}

/* nn.forward_avx2 runs this with oneDNN held to AVX2, which has no instructions for it. */
static void test_nn_forward__bfloat16_is_refused_where_it_is_not_had(void **state)
{
    (void)state;
    const bool gpu = strstr(kd_nn_describe(), "CUDA") != NULL;
    kd_forward *forward = NULL;
    if (getenv("ONEDNN_MAX_CPU_ISA") && !gpu)
        assert_false(kd_nn_has_bfloat16());
    if (kd_nn_has_bfloat16())
        skip();
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        kd_forward_new_in(&forward, g_net, SIZE, MAX, KD_PRECISION_BFLOAT16, &g_err), g_err);
    CHECK_HAS(gpu ? "compute capability 8.0" : "AVX512-BF16", g_err.message);
    assert_null(forward);
}

static double squared_distance(const float *a, const float *b, size_t n)
{
    double squares = 0;
    for (size_t k = 0; k < n; k++)
        squares += pow((double)a[k] - (double)b[k], 2);
    return squares;
}

static void test_nn_forward__bfloat16_is_near_float32(void **state)
{
    (void)state;
    kd_forward *forward = NULL;
    float exact[MAX * KD_NN_FEATURES], near[MAX * KD_NN_FEATURES];
    if (!kd_nn_has_bfloat16())
        skip();
    CHECK_OK(kd_forward_new_in(&forward, g_net, SIZE, MAX, KD_PRECISION_BFLOAT16, &g_err), g_err);
    CHECK_OK(kd_forward_run(g_forward, g_pixels, MAX, exact, &g_err), g_err);
    CHECK_OK(kd_forward_run(forward, g_pixels, MAX, near, &g_err), g_err);
    for (size_t i = 0; i < MAX; i++) {
        const double squares =
            squared_distance(exact + i * KD_NN_FEATURES, near + i * KD_NN_FEATURES, KD_NN_FEATURES);
        CHECK(squares > 0);
        CHECK(squares < 2e-2 * 2e-2);
    }
    kd_forward_free(forward);
}

/* Each batch up to one more than a warmed size, in the order that leaves most of earlier batches
 * behind in the kept buffers. An image may round otherwise in another batch. */
static void check_every_size(kd_precision precision, double bound)
{
    const size_t image = (size_t)SMALL * SMALL * 3;
    kd_forward *forward = NULL;
    float *const pixels = nn_pixels(MANY, SMALL, 0);
    float *const alone = calloc((size_t)MANY * KD_NN_FEATURES, sizeof *alone);
    float *const together = calloc((size_t)MANY * KD_NN_FEATURES, sizeof *together);
    CHECK(pixels && alone && together);
    CHECK_OK(kd_forward_new_in(&forward, g_net, SMALL, MANY, precision, &g_err), g_err);
    for (size_t i = 0; i < MANY; i++)
        CHECK_OK(kd_forward_run(forward, pixels + i * image, 1, alone + i * KD_NN_FEATURES, &g_err),
            g_err);
    for (size_t n = MANY; n > 0; n--) {
        const size_t from = MANY - n; /* another image in each place each time */
        CHECK_OK(kd_forward_run(forward, pixels + from * image, n, together, &g_err), g_err);
        for (size_t i = 0; i < n; i++)
            CHECK(squared_distance(alone + (from + i) * KD_NN_FEATURES,
                      together + i * KD_NN_FEATURES, KD_NN_FEATURES) < bound * bound);
    }
    kd_forward_free(forward);
    free(together);
    free(alone);
    free(pixels);
}

static void test_nn_forward__batches_of_every_size_give_the_same(void **state)
{
    (void)state;
    check_every_size(KD_PRECISION_FLOAT32, 1e-5);
}

static void test_nn_forward__batches_of_every_size_give_the_same_in_bfloat16(void **state)
{
    (void)state;
    if (!kd_nn_has_bfloat16())
        skip();
    check_every_size(KD_PRECISION_BFLOAT16, 2e-2);
}

/* Two that live side by side, of another size and precision, keep nothing in common. */
static void test_nn_forward__two_do_not_disturb_each_other(void **state)
{
    (void)state;
    float before[MAX * KD_NN_FEATURES], after[MAX * KD_NN_FEATURES];
    float other_before[2 * KD_NN_FEATURES], other_after[2 * KD_NN_FEATURES];
    kd_forward *other = NULL;
    float *const pixels = nn_pixels(2, SMALL, 0);
    CHECK_OK(kd_forward_new_in(&other, g_net, SMALL, 2,
                 kd_nn_has_bfloat16() ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32, &g_err),
        g_err);
    CHECK_OK(kd_forward_run(g_forward, g_pixels, MAX, before, &g_err), g_err);
    CHECK_OK(kd_forward_run(other, pixels, 2, other_before, &g_err), g_err);
    CHECK_OK(kd_forward_run(g_forward, g_pixels, MAX, after, &g_err), g_err);
    CHECK_OK(kd_forward_run(other, pixels, 2, other_after, &g_err), g_err);
    assert_memory_equal(before, after, sizeof before);
    assert_memory_equal(other_before, other_after, sizeof other_before);
    kd_forward_free(other);
    free(pixels);
}

static void *run_on_thread(void *embedding)
{
    static kd_error err;
    return kd_forward_run(g_forward, g_pixels, 1, embedding, &err) == KD_OK ? embedding : NULL;
}

static void test_nn_forward__runs_on_any_thread(void **state)
{
    (void)state;
    float here[KD_NN_FEATURES];
    float there[KD_NN_FEATURES];
    pthread_t thread;
    void *result = NULL;
    CHECK_OK(kd_forward_run(g_forward, g_pixels, 1, here, &g_err), g_err);
    assert_int_equal(pthread_create(&thread, NULL, run_on_thread, there), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, there);
    for (size_t d = 0; d < KD_NN_FEATURES; d++)
        CHECK_NEAR((double)here[d], (double)there[d], 1e-6);
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(2);
    g_pixels = nn_pixels(MAX, SIZE, 0);
    CHECK_OK(kd_net_new(&g_net, 3, &g_err), g_err);
    CHECK_OK(kd_forward_new(&g_forward, g_net, SIZE, MAX, &g_err), g_err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kd_forward_free(g_forward);
    kd_net_free(g_net);
    free(g_pixels);
    nn_clean();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_forward__embeddings_have_length_one),
        cmocka_unit_test(test_nn_forward__an_image_does_not_depend_on_its_batch),
        cmocka_unit_test(test_nn_forward__one_image_starts_no_threads),
        cmocka_unit_test(test_nn_forward__pixels_are_only_read),
        cmocka_unit_test(test_nn_forward__rejects_batches_out_of_range),
        cmocka_unit_test(test_nn_forward__rejects_sizes_out_of_range),
        cmocka_unit_test(test_nn_forward__nan_pixels_are_refused),
        cmocka_unit_test(test_nn_forward__weights_that_overflow_are_refused),
        cmocka_unit_test(test_nn_forward__outlives_its_network),
        cmocka_unit_test(test_nn_forward__bfloat16_is_refused_where_it_is_not_had),
        cmocka_unit_test(test_nn_forward__bfloat16_is_near_float32),
        cmocka_unit_test(test_nn_forward__batches_of_every_size_give_the_same),
        cmocka_unit_test(test_nn_forward__batches_of_every_size_give_the_same_in_bfloat16),
        cmocka_unit_test(test_nn_forward__two_do_not_disturb_each_other),
        cmocka_unit_test(test_nn_forward__runs_on_any_thread),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
