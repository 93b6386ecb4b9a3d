#include "lib/nn/loss.h"
#include "tests/nn/loss_support.h"
#include "tests/support/check.h"

static kd_error g_err;

static void test_nn_loss_options__names_come_back(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KD_LOSSES; i++) {
        kd_loss loss = (kd_loss)((i + 1) % KD_LOSSES);
        CHECK(kd_loss_parse(kd_loss_name((kd_loss)i), &loss));
        CHECK_INT(i, loss);
    }
    for (unsigned i = 0; i < KD_MINERS; i++) {
        kd_miner miner = (kd_miner)((i + 1) % KD_MINERS);
        CHECK(kd_miner_parse(kd_miner_name((kd_miner)i), &miner));
        CHECK_INT(i, miner);
    }
    CHECK_STR("proxy-anchor", kd_loss_name(KD_LOSS_PROXY_ANCHOR));
    CHECK_STR("semi-hard", kd_miner_name(KD_MINER_SEMI_HARD));
}

static void test_nn_loss_options__unknown_names_change_nothing(void **state)
{
    (void)state;
    static const char *const names[] = {"", "Triplet", "triplet ", "arc-face", "batch-hard"};
    kd_loss loss = KD_LOSS_COSFACE;
    kd_miner miner = KD_MINER_SEMI_HARD;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK(!kd_loss_parse(names[i], &loss));
    CHECK(!kd_miner_parse("triplet", &miner));
    CHECK_INT(KD_LOSS_COSFACE, loss);
    CHECK_INT(KD_MINER_SEMI_HARD, miner);
}

static void test_nn_loss_options__families(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KD_LOSSES; i++) {
        const kd_loss loss = (kd_loss)i;
        CHECK_INT(loss <= KD_LOSS_PROXY_ANCHOR, kd_loss_has_head(loss));
        CHECK_INT(loss == KD_LOSS_CONTRASTIVE || loss == KD_LOSS_TRIPLET, kd_loss_has_miner(loss));
    }
}

static void test_nn_loss_options__defaults_are_the_headers(void **state)
{
    (void)state;
    static const struct {
        kd_loss loss;
        kd_miner miner;
        double margin, scale, positive_scale;
    } expected[KD_LOSSES] = {
        {KD_LOSS_CROSS_ENTROPY, KD_MINER_ALL, 0, 0, 0},
        {KD_LOSS_NORM_SOFTMAX, KD_MINER_ALL, 0, 20, 0},
        {KD_LOSS_ARCFACE, KD_MINER_ALL, 28.6, 64, 0},
        {KD_LOSS_COSFACE, KD_MINER_ALL, 0.35, 64, 0},
        {KD_LOSS_PROXY_ANCHOR, KD_MINER_ALL, 0.1, 32, 0},
        {KD_LOSS_CONTRASTIVE, KD_MINER_ALL, 0.5, 0, 0},
        {KD_LOSS_TRIPLET, KD_MINER_BATCH_HARD, 0, 0, 0},
        {KD_LOSS_MULTI_SIMILARITY, KD_MINER_ALL, 0.5, 50, 2},
        {KD_LOSS_SUPERVISED_CONTRASTIVE, KD_MINER_ALL, 0, 10, 0},
    };
    for (size_t i = 0; i < KD_LOSSES; i++) {
        kd_loss_options options;
        memset(&options, 0xff, sizeof options);
        kd_loss_defaults(expected[i].loss, &options);
        CHECK_INT(expected[i].loss, options.loss);
        CHECK_INT(expected[i].miner, options.miner);
        CHECK_NEAR(expected[i].margin, (double)options.margin, 1e-5);
        CHECK_NEAR(expected[i].scale, (double)options.scale, 1e-5);
        CHECK_NEAR(expected[i].positive_scale, (double)options.positive_scale, 1e-5);
        CHECK_NEAR(0, (double)options.positive_margin, 0);
        CHECK_INT(KD_DISTANCE_EUCLIDEAN, options.distance);
        CHECK_INT(KD_REDUCTION_MEAN, options.reduction);
        CHECK_INT(0, options.raw);
        CHECK_INT(0, options.classes);
        CHECK_INT(0, options.memory);
        options = loss_default_options(expected[i].loss);
        CHECK_OK(kd_loss_check(&options, &g_err), g_err);
    }
}

/* Checks that the options are refused, with the field in the sentence. */
static void check_refused(const kd_loss_options *options, const char *needle)
{
    memset(&g_err, 0, sizeof g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_loss_check(options, &g_err), g_err);
    CHECK_HAS(needle, g_err.message);
}

#define REFUSED(of_loss, needle, ...)                                                              \
    do {                                                                                           \
        kd_loss_options options_ = loss_default_options(of_loss);                                  \
        kd_loss_options *const o = &options_;                                                      \
        __VA_ARGS__;                                                                               \
        check_refused(o, needle);                                                                  \
    } while (0)

static void test_nn_loss_options__numbers_out_of_range_are_named(void **state)
{
    (void)state;
    REFUSED(KD_LOSS_TRIPLET, "the margin is -1, needed is 0 or more", o->margin = -1);
    REFUSED(KD_LOSS_TRIPLET, "the margin is nan", o->margin = NAN);
    REFUSED(KD_LOSS_CONTRASTIVE, "the margin is inf", o->margin = INFINITY);
    REFUSED(KD_LOSS_ARCFACE, "the margin is 181, allowed is 0..180", o->margin = 181);
    REFUSED(KD_LOSS_COSFACE, "the margin is 2.5, allowed is 0..2", o->margin = 2.5f);
    REFUSED(KD_LOSS_PROXY_ANCHOR, "the margin is -0.1", o->margin = -0.1f);
    REFUSED(KD_LOSS_MULTI_SIMILARITY, "the margin is -2, allowed is -1..1", o->margin = -2);
    REFUSED(KD_LOSS_CONTRASTIVE, "the positive margin is -1", o->positive_margin = -1);
    REFUSED(KD_LOSS_NORM_SOFTMAX, "the scale is 0", o->scale = 0);
    REFUSED(KD_LOSS_ARCFACE, "the scale is -64", o->scale = -64);
    REFUSED(KD_LOSS_SUPERVISED_CONTRASTIVE, "the scale is nan", o->scale = NAN);
    REFUSED(KD_LOSS_MULTI_SIMILARITY, "the positive scale is 0", o->positive_scale = 0);
    REFUSED(KD_LOSS_ARCFACE, "the number of classes is 1", o->classes = 1);
    REFUSED(KD_LOSS_TRIPLET, "the memory is 1048577, allowed is 0..1048576",
        o->memory = KD_LOSS_MAX_MEMORY + 1);
}

static void test_nn_loss_options__what_a_loss_has_not_is_named(void **state)
{
    (void)state;
    REFUSED(KD_LOSS_NORM_SOFTMAX, "the margin is 0.2, but the loss norm-softmax has none",
        o->margin = 0.2f);
    REFUSED(KD_LOSS_TRIPLET, "the positive margin is 0.2, but the loss triplet has none",
        o->positive_margin = 0.2f);
    REFUSED(KD_LOSS_TRIPLET, "the scale is 2, but the loss triplet has none", o->scale = 2);
    REFUSED(KD_LOSS_ARCFACE, "the positive scale is 2, but the loss arcface has none",
        o->positive_scale = 2);
    REFUSED(KD_LOSS_ARCFACE, "the miner is random, but the loss arcface has no choice of miner",
        o->miner = KD_MINER_RANDOM);
    REFUSED(KD_LOSS_MULTI_SIMILARITY, "no choice of miner", o->miner = KD_MINER_BATCH_HARD);
    REFUSED(
        KD_LOSS_SUPERVISED_CONTRASTIVE, "no choice of distance", o->distance = KD_DISTANCE_COSINE);
    REFUSED(KD_LOSS_COSFACE, "no choice of reduction", o->reduction = KD_REDUCTION_SUM);
    REFUSED(KD_LOSS_MULTI_SIMILARITY, "no form on raw embeddings", o->raw = true);
    REFUSED(KD_LOSS_CONTRASTIVE, "the number of classes is 5, but the loss contrastive has no head",
        o->classes = 5);
    REFUSED(KD_LOSS_PROXY_ANCHOR, "the memory is 64, but the loss proxy-anchor", o->memory = 64);
    REFUSED(KD_LOSS_TRIPLET, "raw embeddings need the Euclidean distance", o->raw = true;
        o->distance = KD_DISTANCE_COSINE);
    REFUSED(
        KD_LOSS_TRIPLET, "the margin is 0, but the miner semi-hard", o->miner = KD_MINER_SEMI_HARD);
}

static void test_nn_loss_options__limits_are_allowed(void **state)
{
    (void)state;
    kd_loss_options options = loss_default_options(KD_LOSS_ARCFACE);
    options.margin = 180;
    options.classes = 2;
    CHECK_OK(kd_loss_check(&options, &g_err), g_err);
    options.margin = 0;
    CHECK_OK(kd_loss_check(&options, &g_err), g_err);
    options = loss_default_options(KD_LOSS_CONTRASTIVE);
    options.margin = 2.5f;
    options.raw = true;
    options.reduction = KD_REDUCTION_SUM;
    options.miner = KD_MINER_DISTANCE_WEIGHTED;
    options.memory = KD_LOSS_MAX_MEMORY;
    CHECK_OK(kd_loss_check(&options, &g_err), g_err);
    options = loss_default_options(KD_LOSS_MULTI_SIMILARITY);
    options.margin = -1;
    options.memory = 1;
    CHECK_OK(kd_loss_check(&options, &g_err), g_err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_loss_options__names_come_back),
        cmocka_unit_test(test_nn_loss_options__unknown_names_change_nothing),
        cmocka_unit_test(test_nn_loss_options__families),
        cmocka_unit_test(test_nn_loss_options__defaults_are_the_headers),
        cmocka_unit_test(test_nn_loss_options__numbers_out_of_range_are_named),
        cmocka_unit_test(test_nn_loss_options__what_a_loss_has_not_is_named),
        cmocka_unit_test(test_nn_loss_options__limits_are_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
