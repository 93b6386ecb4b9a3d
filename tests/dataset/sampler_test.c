#include <stdbool.h>
#include <stdlib.h>

#include "lib/dataset/dataset.h"
#include "tests/support/check.h"

enum { MOST = 4096 };

static kd_error g_err = KD_ERROR_INIT;

/* A set of classes 10, 11, … with sizes[i] images each, one of each class in turn, as a set whose
 * classes are not in order. Returns the number of images. */
static size_t make_labels(const uint32_t *sizes, size_t n_classes, uint32_t *labels)
{
    size_t n = 0;
    bool more = true;
    for (uint32_t round = 0; more; round++) {
        more = false;
        for (size_t c = 0; c < n_classes; c++) {
            if (round < sizes[c]) {
                labels[n++] = (uint32_t)(10 + c);
                more = true;
            }
        }
    }
    return n;
}

static kd_status make(kd_sampler **out, const uint32_t *labels, size_t n, uint32_t p, uint32_t k,
    uint64_t seed, size_t *lone)
{
    const kd_sampler_options options = {
        .kind = KD_SAMPLER_CLASSES, .labels = labels, .n = n, .p = p, .k = k, .seed = seed};
    return kd_sampler_new(out, &options, lone, &g_err);
}

/* All images of an epoch, batch behind batch; returns how many. */
static size_t draw(kd_sampler *sampler, uint32_t epoch, size_t per_batch, uint32_t *images)
{
    const size_t n_batches = kd_sampler_epoch(sampler, epoch);
    size_t n = 0;
    for (size_t b = 0; b < n_batches; b++) {
        CHECK(n + per_batch <= MOST);
        CHECK_INT(per_batch, kd_sampler_batch(sampler, b, images + n));
        n += per_batch;
    }
    return n;
}

/* Every run of k images is one class; in each pass of n_classes such runs every class is there
 * once; a batch has p classes. */
static void check_shape(
    const uint32_t *labels, const uint32_t *images, size_t n, size_t n_classes, size_t p, size_t k)
{
    size_t seen[64] = {0};
    const size_t n_runs = n / k;
    for (size_t run = 0; run < n_runs; run++) {
        const uint32_t label = labels[images[run * k]];
        for (size_t i = 1; i < k; i++)
            CHECK_INT(label, labels[images[run * k + i]]);
        seen[label - 10]++;
        CHECK_INT(run / n_classes + 1, seen[label - 10]); /* once in this pass */
        for (size_t other = run - run % p; other < run; other++)
            CHECK(labels[images[other * k]] != label);
    }
    CHECK(n_runs >= n_classes); /* at least one whole pass */
}

static void test_dataset_sampler__deals_each_class_once_in_a_pass(void **state)
{
    static const uint32_t sizes[] = {9, 4, 12, 5, 30, 4, 7};
    uint32_t labels[MOST], images[MOST] = {0};
    const size_t n = make_labels(sizes, 7, labels);
    size_t lone = 99;
    (void)state;
    for (uint32_t p = 2; p <= 7; p++) { /* 7 is prime: passes and batches meet at every offset */
        kd_sampler *sampler;
        CHECK_OK(make(&sampler, labels, n, p, 4, p, &lone), g_err);
        CHECK_INT(0, lone);
        CHECK_INT(p * 4, kd_sampler_max_batch(sampler));
        const size_t drawn = draw(sampler, p, (size_t)p * 4, images);
        check_shape(labels, images, drawn, 7, p, 4);
        CHECK(drawn + (size_t)p * 4 >= n && drawn <= n + (size_t)p * 4); /* about the set */
        for (size_t i = 0; i < drawn; i += 4) /* K different images: each class has 4 */
            for (size_t a = 0; a < 4; a++)
                for (size_t b = 0; b < a; b++)
                    CHECK(images[i + a] != images[i + b]);
        kd_sampler_free(sampler);
    }
}

static void test_dataset_sampler__comes_to_every_image_of_a_class_before_one_twice(void **state)
{
    static const uint32_t sizes[] = {10, 10, 10};
    uint32_t labels[MOST], images[MOST] = {0};
    const size_t n = make_labels(sizes, 3, labels);
    size_t lone, times[30] = {0};
    kd_sampler *sampler;
    (void)state;
    CHECK_OK(make(&sampler, labels, n, 3, 3, 1, &lone), g_err);
    const size_t drawn = draw(sampler, 0, 9, images); /* 3 batches: 9 of the 10 images of each */
    CHECK_INT(27, drawn);
    for (size_t i = 0; i < drawn; i++)
        CHECK_INT(1, ++times[images[i]]);
    kd_sampler_free(sampler);
}

static void test_dataset_sampler__repeats_images_of_small_classes(void **state)
{
    static const uint32_t sizes[] = {2, 3, 20};
    uint32_t labels[MOST], images[MOST] = {0};
    const size_t n = make_labels(sizes, 3, labels);
    size_t lone;
    kd_sampler *sampler;
    (void)state;
    CHECK_OK(make(&sampler, labels, n, 3, 5, 1, &lone), g_err);
    const size_t drawn = draw(sampler, 0, 15, images);
    check_shape(labels, images, drawn, 3, 3, 5);
    for (size_t i = 0; i < drawn; i += 5) {
        const uint32_t size = sizes[labels[images[i]] - 10];
        size_t different = 0;
        for (size_t a = 0; a < 5; a++) {
            size_t before = 0;
            for (size_t b = 0; b < a; b++)
                before += images[i + a] == images[i + b];
            different += before == 0;
            CHECK(before <= 4 / size); /* as evenly as can be */
        }
        CHECK_INT(size < 5 ? size : 5, different);
    }
    kd_sampler_free(sampler);
}

static void test_dataset_sampler__leaves_lone_classes_out_and_counts_them(void **state)
{
    static const uint32_t sizes[] = {1, 4, 1, 4, 1};
    uint32_t labels[MOST], images[MOST] = {0};
    const size_t n = make_labels(sizes, 5, labels);
    size_t lone = 0;
    kd_sampler *sampler;
    (void)state;
    CHECK_OK(make(&sampler, labels, n, 8, 2, 1, &lone), g_err);
    CHECK_INT(3, lone);
    const size_t drawn = draw(sampler, 0, 4, images); /* 2 classes are there, not 8 */
    CHECK_INT(8, drawn);
    for (size_t i = 0; i < drawn; i++)
        CHECK(labels[images[i]] == 11 || labels[images[i]] == 13);
    kd_sampler_free(sampler);
}

static void test_dataset_sampler__depends_on_seed_and_epoch_alone(void **state)
{
    static const uint32_t sizes[] = {6, 6, 6, 6, 6, 6};
    uint32_t labels[MOST], first[MOST], other[MOST];
    const size_t n = make_labels(sizes, 6, labels);
    size_t lone;
    kd_sampler *a, *b, *c;
    (void)state;
    CHECK_OK(make(&a, labels, n, 3, 2, 5, &lone), g_err);
    CHECK_OK(make(&b, labels, n, 3, 2, 5, &lone), g_err);
    CHECK_OK(make(&c, labels, n, 3, 2, 6, &lone), g_err);
    const size_t drawn = draw(a, 3, 6, first);
    (void)draw(b, 0, 6, other);
    CHECK(memcmp(first, other, drawn * sizeof *first) != 0); /* another epoch */
    (void)draw(b, 3, 6, other); /* a run that goes on at epoch 3 draws what the first run drew */
    CHECK(memcmp(first, other, drawn * sizeof *first) == 0);
    (void)draw(c, 3, 6, other);
    CHECK(memcmp(first, other, drawn * sizeof *first) != 0); /* another seed */
    kd_sampler_free(a);
    kd_sampler_free(b);
    kd_sampler_free(c);
}

/* Each class of 4 leads a batch equally often: 24,000 first places, 5 standard deviations. */
static void test_dataset_sampler__shuffles_evenly(void **state)
{
    static const uint32_t sizes[] = {4, 4, 4, 4};
    uint32_t labels[MOST], images[MOST] = {0};
    const size_t n = make_labels(sizes, 4, labels);
    size_t lone, leads[4] = {0};
    kd_sampler *sampler;
    (void)state;
    CHECK_OK(make(&sampler, labels, n, 4, 4, 9, &lone), g_err);
    for (uint32_t epoch = 0; epoch < 24000; epoch++) {
        CHECK_INT(16, draw(sampler, epoch, 16, images));
        leads[labels[images[0]] - 10]++;
    }
    for (size_t c = 0; c < 4; c++)
        CHECK_NEAR(6000, (double)leads[c], 5 * 67.1);
    kd_sampler_free(sampler);
}

static void test_dataset_sampler__refuses_what_cannot_be_sampled(void **state)
{
    static const uint32_t labels[] = {1, 1, 1, 2, 3};
    size_t lone = 99;
    kd_sampler *sampler = (kd_sampler *)&lone;
    (void)state;
    CHECK_FAILS(KD_FAILED_PRECONDITION, make(&sampler, labels, 5, 2, 2, 1, &lone), g_err);
    CHECK_STR("training needs 2 classes with 2 images each, and there is 1", g_err.message);
    CHECK(sampler == NULL);
    CHECK_INT(2, lone);
    CHECK_FAILS(KD_FAILED_PRECONDITION, make(&sampler, labels, 0, 2, 2, 1, &lone), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, make(&sampler, labels, 5, 1, 2, 1, &lone), g_err);
    CHECK_STR("a batch can't be 1 classes × 2 images: at least 2 × 2, at most 1048576 images",
        g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, make(&sampler, labels, 5, 65536, 65536, 1, &lone), g_err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset_sampler__deals_each_class_once_in_a_pass),
        cmocka_unit_test(test_dataset_sampler__comes_to_every_image_of_a_class_before_one_twice),
        cmocka_unit_test(test_dataset_sampler__repeats_images_of_small_classes),
        cmocka_unit_test(test_dataset_sampler__leaves_lone_classes_out_and_counts_them),
        cmocka_unit_test(test_dataset_sampler__depends_on_seed_and_epoch_alone),
        cmocka_unit_test(test_dataset_sampler__shuffles_evenly),
        cmocka_unit_test(test_dataset_sampler__refuses_what_cannot_be_sampled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
