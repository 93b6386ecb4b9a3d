/* Trainings with a head, a projection, a memory, a frozen backbone. */
#include <math.h>
#include <stdlib.h>

#include "lib/nn/training.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define SIZE NN_TOY_SIZE
#define CLASSES NN_TOY_CLASSES
#define PER_CLASS NN_TOY_PER_CLASS
#define N NN_TOY_IMAGES

static kd_error g_err;
static uint32_t g_labels[N];

typedef struct run {
    kd_net *net;
    kd_training *training;
} run;

static run start(uint64_t seed, uint32_t dim, const kd_training_options *options)
{
    run r = {NULL, NULL};
    CHECK_OK(kd_net_new(&r.net, seed, &g_err), g_err);
    if (dim > 0)
        CHECK_OK(kd_net_project(r.net, dim, seed, &g_err), g_err);
    CHECK_OK(kd_training_new(&r.training, r.net, options, &g_err), g_err);
    kd_training_set_rates(r.training, 1e-3f, 1e-2f);
    return r;
}

static void end(run *r)
{
    kd_training_free(r->training);
    kd_net_free(r->net);
}

static kd_step_stats step(run *r, uint32_t batch)
{
    kd_step_stats stats;
    float *const pixels = nn_toy_batch(batch);
    CHECK_OK(kd_training_step(r->training, pixels, g_labels, N, SIZE, &stats, &g_err), g_err);
    free(pixels);
    return stats;
}

static kd_training_options options_of(kd_loss loss)
{
    kd_training_options options;
    kd_training_defaults(&options);
    kd_loss_defaults(loss, &options.loss);
    if (kd_loss_has_head(loss))
        options.loss.classes = CLASSES;
    return options;
}

static float *features_of(const kd_net *net, uint32_t batch)
{
    kd_forward *forward = NULL;
    float *const features = calloc(N, KD_NN_FEATURES * sizeof *features);
    float *const pixels = nn_toy_batch(batch);
    CHECK_OK(kd_forward_new(&forward, net, SIZE, N, &g_err), g_err);
    CHECK_OK(kd_forward_features(forward, pixels, N, features, &g_err), g_err);
    kd_forward_free(forward);
    free(pixels);
    return features;
}

static void test_nn_heads__every_loss_falls(void **state)
{
    (void)state;
    for (unsigned l = 0; l < KD_LOSSES; l++) {
        const kd_training_options options = options_of((kd_loss)l);
        run r = start(11, 0, &options);
        const kd_step_stats first = step(&r, 0);
        kd_step_stats last = first;
        for (uint32_t i = 1; i < 5; i++)
            last = step(&r, i);
        if (!(last.loss < first.loss))
            fail_msg(
                "%s: %g, then %g", kd_loss_name((kd_loss)l), (double)first.loss, (double)last.loss);
        CHECK(last.gradient_norm > 0);
        CHECK(kd_loss_has_head((kd_loss)l) ? last.accuracy > first.accuracy || last.accuracy >= 1
                                           : last.accuracy < 0);
        end(&r);
    }
}

static void test_nn_heads__a_classifier_names_what_it_learned(void **state)
{
    (void)state;
    const kd_training_options options = options_of(KD_LOSS_ARCFACE);
    uint32_t said[N];
    run r = start(11, 32, &options);
    for (uint32_t i = 0; i < 12; i++)
        (void)step(&r, i);
    float *const features = features_of(r.net, 50);
    CHECK_OK(kd_training_classify(r.training, features, N, said, &g_err), g_err);
    size_t right = 0;
    for (size_t i = 0; i < N; i++)
        right += said[i] == g_labels[i];
    CHECK(right > N * 2 / 3);
    free(features);
    end(&r);
}

static void test_nn_heads__labels_beyond_the_head_are_refused(void **state)
{
    (void)state;
    const kd_training_options options = options_of(KD_LOSS_CROSS_ENTROPY);
    uint32_t labels[N] = {0};
    kd_step_stats stats;
    float *const pixels = nn_toy_batch(0);
    run r = start(1, 0, &options);
    labels[5] = CLASSES;
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_training_step(r.training, pixels, labels, N, SIZE, &stats, &g_err), g_err);
    CHECK_STR("the label of image 5 is 4, allowed is 0..3", g_err.message);
    free(pixels);
    end(&r);
}

static void check_resumes(const kd_training_options *options, uint32_t dim)
{
    char *meta = NULL;
    run straight = start(11, dim, options);
    (void)step(&straight, 0);
    (void)step(&straight, 1);
    CHECK_OK(kd_training_save(straight.training, nn_path("run"), "m", &g_err), g_err);
    (void)step(&straight, 2);
    (void)step(&straight, 3);
    CHECK_OK(kd_training_save(straight.training, nn_path("straight"), "m", &g_err), g_err);

    run resumed = start(99, dim, options);
    (void)step(&resumed, 7); /* state of its own, which loading must replace */
    CHECK_OK(kd_training_load(resumed.training, nn_path("run"), &meta, &g_err), g_err);
    free(meta);
    (void)step(&resumed, 2);
    (void)step(&resumed, 3);
    CHECK_OK(kd_training_save(resumed.training, nn_path("resumed"), "m", &g_err), g_err);
    CHECK(nn_same_file(nn_path("straight"), nn_path("resumed")));
    end(&straight);
    end(&resumed);
}

static void test_nn_heads__head_projection_and_optimiser_resume_exactly(void **state)
{
    (void)state;
    kd_training_options options = options_of(KD_LOSS_PROXY_ANCHOR);
    options.optimizer = KD_OPTIMIZER_ADAM;
    options.clip_norm = 1;
    check_resumes(&options, 16);
    options = options_of(KD_LOSS_CROSS_ENTROPY);
    options.optimizer = KD_OPTIMIZER_SGD;
    options.momentum = 0.9f;
    check_resumes(&options, 0);
}

static void test_nn_heads__memory_and_draws_resume_exactly(void **state)
{
    (void)state;
    kd_training_options options = options_of(KD_LOSS_TRIPLET);
    options.loss.miner = KD_MINER_DISTANCE_WEIGHTED;
    options.loss.margin = 0.5f;
    options.seed = 3;
    check_resumes(&options, 0);
    options = options_of(KD_LOSS_CONTRASTIVE);
    options.loss.memory = 2 * N;
    check_resumes(&options, 0);
}

static void test_nn_heads__a_checkpoint_of_another_kind_changes_nothing(void **state)
{
    (void)state;
    kd_training_options options = options_of(KD_LOSS_TRIPLET);
    char *meta = NULL;
    run a = start(1, 0, &options);
    (void)step(&a, 0);
    CHECK_OK(kd_training_save(a.training, nn_path("adamw"), "", &g_err), g_err);
    options.optimizer = KD_OPTIMIZER_ADAM;
    run b = start(2, 0, &options);
    CHECK_OK(kd_training_save(b.training, nn_path("before"), "", &g_err), g_err);
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_training_load(b.training, nn_path("adamw"), &meta, &g_err), g_err);
    CHECK_HAS("is a checkpoint of triplet by adamw, not of triplet by adam", g_err.message);
    CHECK_OK(kd_training_save(b.training, nn_path("after"), "", &g_err), g_err);
    CHECK(nn_same_file(nn_path("before"), nn_path("after")));
    end(&a);
    end(&b);
}

static void save(const run *r, const char *name)
{
    CHECK_OK(kd_net_save(r->net, nn_path(name), &g_err), g_err);
}

static void test_nn_heads__a_frozen_backbone_stays_until_it_is_freed(void **state)
{
    (void)state;
    kd_training_options options = options_of(KD_LOSS_TRIPLET);
    options.freeze_backbone = true;
    run r = start(5, 8, &options);
    save(&r, "before");
    (void)step(&r, 0);
    save(&r, "frozen");
    CHECK(nn_same_tensor(nn_path("before"), nn_path("frozen"), "conv1.weight"));
    CHECK(nn_same_tensor(nn_path("before"), nn_path("frozen"), "bn1.running_mean"));
    CHECK(!nn_same_tensor(nn_path("before"), nn_path("frozen"), "projection.weight"));
    kd_training_freeze_backbone(r.training, false);
    (void)step(&r, 1);
    save(&r, "freed");
    CHECK(!nn_same_tensor(nn_path("frozen"), nn_path("freed"), "conv1.weight"));
    CHECK(!nn_same_tensor(nn_path("frozen"), nn_path("freed"), "bn1.running_mean"));
    end(&r);
}

/* Features that were computed once train as the pixels do. */
static void test_nn_heads__features_train_as_pixels_do(void **state)
{
    (void)state;
    kd_training_options options = options_of(KD_LOSS_NORM_SOFTMAX);
    options.freeze_backbone = true;
    run pixels = start(5, 8, &options), cached = start(5, 8, &options);
    float *const features = features_of(cached.net, 0);
    for (uint32_t i = 0; i < 3; i++) {
        kd_step_stats stats;
        const kd_step_stats expected = step(&pixels, 0);
        CHECK_OK(kd_training_step_features(cached.training, features, g_labels, N, &stats, &g_err),
            g_err);
        CHECK_NEAR((double)expected.loss, (double)stats.loss, 1e-3);
    }
    free(features);
    end(&pixels);
    end(&cached);
}

static void test_nn_heads__a_projection_is_kept_in_files_and_served(void **state)
{
    (void)state;
    kd_net *net = NULL, *loaded = NULL, *wide = NULL;
    kd_forward *forward = NULL;
    float whole[N * 8], parts[N * 8];
    float *const pixels = nn_toy_batch(0);
    CHECK_OK(kd_net_new(&net, 3, &g_err), g_err);
    CHECK_INT(KD_NN_FEATURES, kd_net_dim(net));
    CHECK_OK(kd_net_project(net, 8, 1, &g_err), g_err);
    CHECK_INT(8, kd_net_dim(net));
    CHECK_OK(kd_net_save(net, nn_path("projected"), &g_err), g_err);
    CHECK_OK(kd_net_load(&loaded, nn_path("projected"), &g_err), g_err);
    CHECK_INT(8, kd_net_dim(loaded));
    CHECK_OK(kd_net_save(loaded, nn_path("again"), &g_err), g_err);
    CHECK(nn_same_file(nn_path("projected"), nn_path("again")));

    CHECK_OK(kd_forward_new(&forward, loaded, SIZE, N, &g_err), g_err);
    CHECK_OK(kd_forward_run(forward, pixels, N, whole, &g_err), g_err);
    float *const features = features_of(net, 0);
    CHECK_OK(kd_net_embed(net, features, N, parts, &g_err), g_err);
    for (size_t i = 0; i < N * 8; i++)
        CHECK_NEAR((double)whole[i], (double)parts[i], 1e-6);
    CHECK(kd_net_projects(net) && kd_net_projects(loaded));
    kd_forward_free(forward);
    free(features);
    free(pixels);

    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_net_project(net, 1, 0, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_net_project(net, 513, 0, &g_err), g_err);
    CHECK_HAS("allowed are 2 to 512", g_err.message);
    assert_null(wide);
    kd_net_free(net);
    kd_net_free(loaded);
}

static void test_nn_heads__bfloat16_is_near_float32(void **state)
{
    (void)state;
    kd_training_options options = options_of(KD_LOSS_TRIPLET);
    run exact = start(11, 0, &options);
    options.precision = KD_PRECISION_BFLOAT16;
    run rough = start(11, 0, &options);
    const kd_step_stats a = step(&exact, 0), b = step(&rough, 0);
    CHECK_NEAR((double)a.loss, (double)b.loss, 0.02);
    CHECK(a.loss != b.loss); /* it did compute in another precision */
    CHECK_NEAR(1, (double)(b.gradient_norm / a.gradient_norm), 0.25);
    end(&exact);
    end(&rough);
}

static void test_nn_heads__effective_rank_counts_directions(void **state)
{
    (void)state;
    enum { ROWS = 64, DIM = 16 };
    float rows[ROWS * DIM] = {0};
    double rank;
    for (size_t i = 0; i < ROWS; i++)
        rows[i * DIM] = 0.3f;
    CHECK_OK(kd_effective_rank(rows, ROWS, DIM, &rank, &g_err), g_err);
    CHECK_NEAR(0, rank, 0); /* all on one point */
    for (size_t i = 0; i < ROWS; i++)
        rows[i * DIM + 1] = i % 2 ? 1.0f : -1.0f;
    CHECK_OK(kd_effective_rank(rows, ROWS, DIM, &rank, &g_err), g_err);
    CHECK_NEAR(1, rank, 1e-6); /* on a line */
    /* Four directions of equal weight. */
    for (size_t i = 0; i < ROWS; i++)
        for (size_t d = 0; d < DIM; d++)
            rows[i * DIM + d] = d == (i / 2) % 4 ? (i % 2 ? 1.0f : -1.0f) : 0.0f;
    CHECK_OK(kd_effective_rank(rows, ROWS, DIM, &rank, &g_err), g_err);
    CHECK_NEAR(4, rank, 1e-6);
}

static void test_nn_heads__names_round_trip(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KD_OPTIMIZERS; i++) {
        kd_optimizer optimizer;
        CHECK(kd_optimizer_parse(kd_optimizer_name((kd_optimizer)i), &optimizer));
        CHECK_INT(i, optimizer);
    }
    kd_optimizer other;
    CHECK(!kd_optimizer_parse("adagrad", &other));
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
        cmocka_unit_test(test_nn_heads__every_loss_falls),
        cmocka_unit_test(test_nn_heads__a_classifier_names_what_it_learned),
        cmocka_unit_test(test_nn_heads__labels_beyond_the_head_are_refused),
        cmocka_unit_test(test_nn_heads__head_projection_and_optimiser_resume_exactly),
        cmocka_unit_test(test_nn_heads__memory_and_draws_resume_exactly),
        cmocka_unit_test(test_nn_heads__a_checkpoint_of_another_kind_changes_nothing),
        cmocka_unit_test(test_nn_heads__a_frozen_backbone_stays_until_it_is_freed),
        cmocka_unit_test(test_nn_heads__features_train_as_pixels_do),
        cmocka_unit_test(test_nn_heads__a_projection_is_kept_in_files_and_served),
        cmocka_unit_test(test_nn_heads__bfloat16_is_near_float32),
        cmocka_unit_test(test_nn_heads__effective_rank_counts_directions),
        cmocka_unit_test(test_nn_heads__names_round_trip),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
