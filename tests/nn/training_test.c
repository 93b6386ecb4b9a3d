#include <stdlib.h>

#include "lib/nn/training.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define SIZE NN_TOY_SIZE
#define CLASSES NN_TOY_CLASSES
#define PER_CLASS NN_TOY_PER_CLASS
#define N NN_TOY_IMAGES

/* Triplets, AdamW. */
static kd_training_options with(float margin, bool freeze_norm)
{
    kd_training_options options;
    kd_training_defaults(&options);
    options.loss.margin = margin;
    options.freeze_norm = freeze_norm;
    return options;
}

static kd_error g_err;
static uint32_t g_labels[N];

static void make(kd_net **net, kd_training **training, const kd_training_options *options)
{
    CHECK_OK(kd_net_new(net, 11, &g_err), g_err);
    CHECK_OK(kd_training_new(training, *net, options, &g_err), g_err);
    kd_training_set_rates(*training, 1e-3f, 1e-3f);
}

static kd_step_stats step(kd_training *training, uint32_t batch)
{
    kd_step_stats stats;
    float *const pixels = nn_toy_batch(batch);
    CHECK_OK(kd_training_step(training, pixels, g_labels, N, SIZE, &stats, &g_err), g_err);
    free(pixels);
    return stats;
}

static void save(const kd_net *net, const char *path)
{
    CHECK_OK(kd_net_save(net, path, &g_err), g_err);
}

static void check_learns(float margin)
{
    kd_net *net = NULL;
    kd_training *training = NULL;
    const kd_training_options options = with(margin, false);
    make(&net, &training, &options);
    const kd_step_stats first = step(training, 0);
    kd_step_stats last = first;
    for (uint32_t i = 1; i < 12; i++)
        last = step(training, i);
    CHECK(last.loss < 0.7f * first.loss);
    CHECK(last.positive_distance < last.negative_distance);
    CHECK(last.active_share >= 0 && last.active_share <= 1);
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_training__margin_loss_falls(void **state)
{
    (void)state;
    check_learns(0.5f);
}

static void test_nn_training__soft_margin_loss_falls(void **state)
{
    (void)state;
    check_learns(0);
}

static void test_nn_training__resumed_run_equals_the_uninterrupted(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_net *other = NULL;
    kd_training *training = NULL;
    kd_training *resumed = NULL;
    char *meta = NULL;
    kd_training_options options = with(0.5f, false);
    make(&net, &training, &options);
    (void)step(training, 0);
    kd_training_set_rates(training, 5e-4f, 5e-4f);
    (void)step(training, 1);
    CHECK_OK(kd_training_save(training, nn_path("run"), "{\"epoch\":3}", &g_err), g_err);
    (void)step(training, 2);
    (void)step(training, 3);
    save(net, nn_path("straight"));

    CHECK_OK(kd_net_new(&other, 99, &g_err), g_err);
    CHECK_OK(kd_training_new(&resumed, other, &options, &g_err), g_err);
    (void)step(resumed, 7); /* state of its own, which loading must replace */
    CHECK_OK(kd_training_load(resumed, nn_path("run"), &meta, &g_err), g_err);
    CHECK_STR("{\"epoch\":3}", meta);
    free(meta);
    CHECK_OK(kd_training_save(resumed, nn_path("run again"), "{\"epoch\":3}", &g_err), g_err);
    CHECK(nn_same_file(nn_path("run"), nn_path("run again")));
    (void)step(resumed, 2);
    (void)step(resumed, 3);
    save(other, nn_path("resumed"));
    CHECK(nn_same_file(nn_path("straight"), nn_path("resumed")));
    kd_training_free(training);
    kd_training_free(resumed);
    kd_net_free(net);
    kd_net_free(other);
}

static void test_nn_training__saved_before_the_first_step(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_training *training = NULL;
    char *meta = NULL;
    kd_training_options options = with(0.2f, false);
    make(&net, &training, &options);
    save(net, nn_path("fresh"));
    CHECK_OK(kd_training_save(training, nn_path("run"), NULL, &g_err), g_err);
    (void)step(training, 0);
    CHECK_OK(kd_training_load(training, nn_path("run"), &meta, &g_err), g_err);
    CHECK_STR("", meta);
    free(meta);
    save(net, nn_path("loaded"));
    CHECK(nn_same_file(nn_path("fresh"), nn_path("loaded")));
    /* A checkpoint is also a file of tensors that ResNet18 has not. */
    kd_net *plain = NULL;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_net_load(&plain, nn_path("run"), &g_err), g_err);
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_training__bad_checkpoints_change_nothing(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_training *training = NULL;
    char *meta = NULL;
    kd_buf file = KD_BUF_INIT;
    kd_training_options options = with(0.2f, false);
    make(&net, &training, &options);
    (void)step(training, 0);
    CHECK_OK(kd_training_save(training, nn_path("before"), "", &g_err), g_err);
    save(net, nn_path("plain"));
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_training_load(training, nn_path("plain"), &meta, &g_err), g_err);
    CHECK_HAS("no checkpoint of such a training", g_err.message);
    nn_read_file(nn_path("before"), &file);
    nn_write_bytes(nn_path("cut"), file.data, file.len - 10);
    kd_buf_free(&file);
    CHECK_FAILS(KD_DATA_LOSS, kd_training_load(training, nn_path("cut"), &meta, &g_err), g_err);
    CHECK_FAILS(KD_NOT_FOUND, kd_training_load(training, nn_path("no"), &meta, &g_err), g_err);
    assert_null(meta);
    CHECK_OK(kd_training_save(training, nn_path("after"), "", &g_err), g_err);
    CHECK(nn_same_file(nn_path("before"), nn_path("after")));
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_training__batches_without_a_triplet_are_refused(void **state)
{
    (void)state;
    static const uint32_t same[N] = {0};
    static const uint32_t different[N] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    kd_net *net = NULL;
    kd_training *training = NULL;
    kd_step_stats stats;
    kd_training_options options = with(0.2f, false);
    float *const pixels = nn_toy_batch(0);
    make(&net, &training, &options);
    save(net, nn_path("before"));
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        kd_training_step(training, pixels, same, N, SIZE, &stats, &g_err), g_err);
    CHECK_HAS("none of the batch's 12 images", g_err.message);
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        kd_training_step(training, pixels, different, N, SIZE, &stats, &g_err), g_err);
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        kd_training_step(training, NULL, NULL, 0, SIZE, &stats, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_training_step(training, pixels, g_labels, N, 16, &stats, &g_err), g_err);
    save(net, nn_path("after"));
    CHECK(nn_same_file(nn_path("before"), nn_path("after")));
    free(pixels);
    kd_training_free(training);
    kd_net_free(net);
}

/* Anchors without a partner are left out, the others train. */
static void test_nn_training__a_lone_image_is_only_a_negative(void **state)
{
    (void)state;
    static const uint32_t labels[] = {0, 0, 1};
    kd_net *net = NULL;
    kd_training *training = NULL;
    kd_step_stats stats;
    const kd_training_options options = with(2.5f, false);
    float *const pixels = nn_toy_batch(0);
    make(&net, &training, &options);
    CHECK_OK(kd_training_step(training, pixels, labels, 3, SIZE, &stats, &g_err), g_err);
    CHECK_NEAR(1, (double)stats.active_share, 0); /* the margin is above any distance */
    CHECK_NEAR((double)(stats.positive_distance - stats.negative_distance + 2.5f),
        (double)stats.loss, 1e-5);
    free(pixels);
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_training__nonfinite_loss_leaves_everything_as_before(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_training *training = NULL;
    kd_step_stats stats;
    kd_training_options options = with(0.2f, false);
    float *const pixels = nn_toy_batch(1);
    make(&net, &training, &options);
    (void)step(training, 0);
    CHECK_OK(kd_training_save(training, nn_path("before"), "", &g_err), g_err);
    pixels[17] = NAN;
    CHECK_FAILS(
        KD_INTERNAL, kd_training_step(training, pixels, g_labels, N, SIZE, &stats, &g_err), g_err);
    CHECK_HAS("not finite", g_err.message);
    pixels[17] = INFINITY;
    CHECK_FAILS(
        KD_INTERNAL, kd_training_step(training, pixels, g_labels, N, SIZE, &stats, &g_err), g_err);
    CHECK_OK(kd_training_save(training, nn_path("after"), "", &g_err), g_err);
    CHECK(nn_same_file(nn_path("before"), nn_path("after")));
    free(pixels);
    kd_training_free(training);
    kd_net_free(net);
}

static void check_statistics(bool freeze)
{
    kd_net *net = NULL;
    kd_training *training = NULL;
    const kd_training_options options = with(0.5f, freeze);
    make(&net, &training, &options);
    save(net, nn_path("before"));
    (void)step(training, 0);
    save(net, nn_path("after"));
    CHECK(freeze == nn_same_tensor(nn_path("before"), nn_path("after"), "bn1.running_mean"));
    CHECK(
        freeze == nn_same_tensor(nn_path("before"), nn_path("after"), "layer4.1.bn2.running_var"));
    CHECK(!nn_same_tensor(nn_path("before"), nn_path("after"), "conv1.weight"));
    CHECK(!nn_same_tensor(nn_path("before"), nn_path("after"), "layer4.1.bn2.weight"));
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_training__freeze_norm_keeps_running_statistics(void **state)
{
    (void)state;
    check_statistics(true);
    check_statistics(false);
}

static void test_nn_training__rate_zero_moves_no_weight(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_training *training = NULL;
    const kd_training_options options = with(0.5f, true);
    make(&net, &training, &options);
    save(net, nn_path("before"));
    kd_training_set_rates(training, 0, 0);
    (void)step(training, 0);
    save(net, nn_path("after"));
    CHECK(nn_same_file(nn_path("before"), nn_path("after")));
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_training__options_are_checked(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_training *training = NULL;
    const kd_training_options margin = with(-1, false);
    kd_training_options momentum = with(1, false), decay = momentum, clip = momentum;
    momentum.momentum = NAN;
    decay.weight_decay = -1;
    clip.clip_norm = INFINITY;
    CHECK_OK(kd_net_new(&net, 1, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_training_new(&training, net, &margin, &g_err), g_err);
    CHECK_HAS("margin is -1", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_training_new(&training, net, &momentum, &g_err), g_err);
    CHECK_HAS("momentum is nan", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_training_new(&training, net, &decay, &g_err), g_err);
    CHECK_STR("weight_decay is -1, allowed are 0 to 100", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_training_new(&training, net, &clip, &g_err), g_err);
    assert_null(training);
    kd_net_free(net);
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(2);
    for (uint32_t i = 0; i < N; i++)
        g_labels[i] = i / PER_CLASS;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nn_clean();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_training__margin_loss_falls),
        cmocka_unit_test(test_nn_training__soft_margin_loss_falls),
        cmocka_unit_test(test_nn_training__resumed_run_equals_the_uninterrupted),
        cmocka_unit_test(test_nn_training__saved_before_the_first_step),
        cmocka_unit_test(test_nn_training__bad_checkpoints_change_nothing),
        cmocka_unit_test(test_nn_training__batches_without_a_triplet_are_refused),
        cmocka_unit_test(test_nn_training__a_lone_image_is_only_a_negative),
        cmocka_unit_test(test_nn_training__nonfinite_loss_leaves_everything_as_before),
        cmocka_unit_test(test_nn_training__freeze_norm_keeps_running_statistics),
        cmocka_unit_test(test_nn_training__rate_zero_moves_no_weight),
        cmocka_unit_test(test_nn_training__options_are_checked),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
