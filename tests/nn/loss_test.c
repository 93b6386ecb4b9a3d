/* The losses by themselves: gradients against differences of values, and batches that go to the
 * edges. The values are loss_golden_test.c's. */
#include <stdlib.h>

#include "tests/nn/loss_support.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define VALUES (LOSS_N * LOSS_DIM)
#define WEIGHTS (LOSS_CLASSES * LOSS_DIM)

static kd_error g_err;

static double evaluate(const kd_loss_options *options, const kd_loss_inputs *inputs,
    float *gradient, float *weights_gradient)
{
    double loss = 0;
    CHECK_OK(kd_loss_evaluate(options, inputs, &loss, gradient, weights_gradient, &g_err), g_err);
    return loss;
}

/* ---- Gradients ---- */

/* The slope of the loss along a direction, by values on both sides of the point; at moves. */
static double slope(const kd_loss_options *options, const kd_loss_inputs *inputs, float *at,
    const double *direction, size_t n, double step)
{
    double sides[2];
    float *const start = malloc(n * sizeof(float));
    assert_non_null(start);
    memcpy(start, at, n * sizeof(float));
    for (size_t side = 0; side < 2; side++) {
        for (size_t i = 0; i < n; i++)
            at[i] = (float)((double)start[i] + (side == 0 ? -step : step) * direction[i]);
        sides[side] = evaluate(options, inputs, NULL, NULL);
    }
    memcpy(at, start, n * sizeof(float));
    free(start);
    return (sides[1] - sides[0]) / (2 * step);
}

static double norm(const float *values, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)values[i] * (double)values[i];
    return sqrt(sum);
}

/* Along the gradient itself, which shows its length, and along directions that have nothing to do
 * with it. A float loss of about 1 to 10 is right to 1e-6; with steps of 1e-3 to 1e-2 a slope has
 * errors of 1e-3 from it, and as much from the third derivative: 1e-2 of the gradient is allowed.
 */
static void check_slopes(const kd_loss_options *options, const kd_loss_inputs *inputs, float *at,
    const float *gradient, size_t n)
{
    const double length = norm(gradient, n);
    const double step = options->scale > 10 ? 1e-3 : 4e-3;
    double direction[VALUES];
    CHECK(isfinite(length) && length > 1e-3);
    for (uint32_t trial = 0; trial < 5; trial++) {
        double expected = 0;
        for (uint32_t i = 0; i < n; i++) {
            direction[i] = trial == 0 ? (double)gradient[i] / length
                                      : nn_noise(50 + trial, i) * sqrt(3.0 / (double)n);
            expected += direction[i] * (double)gradient[i];
        }
        const double got = slope(options, inputs, at, direction, n, step);
        if (!(fabs(got - expected) <= 1e-2 * length))
            fail_msg("%s, direction %u: expected %g, got %g", kd_loss_name(options->loss), trial,
                expected, got);
    }
}

static void check_gradient(const kd_loss_options *options)
{
    loss_data data;
    float gradient[VALUES];
    float weights_gradient[WEIGHTS];
    const bool head = kd_loss_has_head(options->loss);
    loss_fill(&data, LOSS_PLAIN);
    kd_loss_inputs inputs = loss_inputs_of(&data, options->loss);
    (void)evaluate(options, &inputs, gradient, head ? weights_gradient : NULL);
    check_slopes(options, &inputs, data.embeddings, gradient, VALUES);
    if (head)
        check_slopes(options, &inputs, data.weights, weights_gradient, WEIGHTS);
}

static void test_nn_loss__gradients_are_the_slopes_of_the_values(void **state)
{
    (void)state;
    for (unsigned i = 0; i < KD_LOSSES; i++) {
        kd_loss_options options = loss_default_options((kd_loss)i);
        if (options.loss == KD_LOSS_CONTRASTIVE)
            options.margin = 1.2f; /* there are negatives within it */
        check_gradient(&options);
    }
}

static void test_nn_loss__gradients_of_the_variants(void **state)
{
    (void)state;
    kd_loss_options options = loss_default_options(KD_LOSS_TRIPLET);
    options.miner = KD_MINER_ALL;
    check_gradient(&options);
    options.distance = KD_DISTANCE_COSINE;
    check_gradient(&options);
    options.distance = KD_DISTANCE_EUCLIDEAN;
    options.raw = true;
    options.reduction = KD_REDUCTION_SUM;
    check_gradient(&options);
    options.margin = 10; /* no term is at its bend */
    options.miner = KD_MINER_RANDOM;
    check_gradient(&options);
    options = loss_default_options(KD_LOSS_ARCFACE);
    options.margin = 120; /* mostly beyond the greatest angle */
    options.scale = 5;
    check_gradient(&options);
}

/* ---- Batches at the edges ---- */

static void check_finite(const kd_loss_options *options, const kd_loss_inputs *inputs)
{
    float gradient[VALUES];
    float weights_gradient[WEIGHTS];
    const bool head = kd_loss_has_head(options->loss);
    const double loss = evaluate(options, inputs, gradient, head ? weights_gradient : NULL);
    if (!isfinite(loss) || !isfinite(norm(gradient, VALUES)))
        fail_msg(
            "%s: loss %g, gradient %g", kd_loss_name(options->loss), loss, norm(gradient, VALUES));
    if (head)
        CHECK(isfinite(norm(weights_gradient, WEIGHTS)));
}

/* Each loss, and where it has a choice each miner and distance. */
static void for_each_form(void (*check)(const kd_loss_options *, loss_data *), loss_batch batch)
{
    for (unsigned i = 0; i < KD_LOSSES; i++) {
        const kd_loss loss = (kd_loss)i;
        const unsigned miners = kd_loss_has_miner(loss) ? KD_MINERS : 1;
        for (unsigned form = 0; form < 2 * miners; form++) {
            loss_data data;
            kd_loss_options options = loss_default_options(loss);
            if (form >= miners && !kd_loss_has_miner(loss))
                continue;
            options.miner = (kd_miner)(form % miners);
            options.distance = form < miners ? KD_DISTANCE_EUCLIDEAN : KD_DISTANCE_COSINE;
            if (options.miner == KD_MINER_SEMI_HARD)
                options.margin = 0.5f;
            loss_fill(&data, batch);
            check(&options, &data);
        }
    }
}

static void check_one_point(const kd_loss_options *options, loss_data *data)
{
    for (size_t i = 1; i < LOSS_N; i++)
        memcpy(&data->embeddings[i * LOSS_DIM], data->embeddings, LOSS_DIM * sizeof(float));
    const kd_loss_inputs inputs = loss_inputs_of(data, options->loss);
    check_finite(options, &inputs);
}

static void test_nn_loss__a_batch_of_one_point_is_finite(void **state)
{
    (void)state;
    for_each_form(check_one_point, LOSS_PLAIN);
}

static void check_zeros(const kd_loss_options *options, loss_data *data)
{
    memset(data->embeddings, 0, 3 * LOSS_DIM * sizeof(float));
    const kd_loss_inputs inputs = loss_inputs_of(data, options->loss);
    check_finite(options, &inputs);
}

static void test_nn_loss__embeddings_of_zeros_are_finite(void **state)
{
    (void)state;
    for_each_form(check_zeros, LOSS_PLAIN);
}

/* Where the arc cosine's slope is without bound. */
static void test_nn_loss__arcface_is_finite_on_and_against_its_weights(void **state)
{
    (void)state;
    loss_data data;
    kd_loss_options options = loss_default_options(KD_LOSS_ARCFACE);
    loss_fill(&data, LOSS_PLAIN);
    for (size_t i = 0; i < LOSS_N; i++)
        for (size_t k = 0; k < LOSS_DIM; k++)
            data.embeddings[i * LOSS_DIM + k] =
                (i % 2 == 0 ? 1.0f : -1.0f) * data.weights[data.labels[i] * LOSS_DIM + k];
    kd_loss_inputs inputs = loss_inputs_of(&data, options.loss);
    check_finite(&options, &inputs);
    options.margin = 0;
    check_finite(&options, &inputs);
    options.margin = 180;
    check_finite(&options, &inputs);
}

/* A NaN must not pass as a term that is not above 0. */
static void check_nan(const kd_loss_options *options, loss_data *data)
{
    float gradient[VALUES];
    data->embeddings[4 * LOSS_DIM] = NAN;
    const kd_loss_inputs inputs = loss_inputs_of(data, options->loss);
    const double loss = evaluate(options, &inputs, gradient, NULL);
    if (isfinite(loss) && isfinite(norm(gradient, VALUES)))
        fail_msg("%s, %s: a NaN went unseen", kd_loss_name(options->loss),
            kd_miner_name(options->miner));
}

static void test_nn_loss__a_nan_shows(void **state)
{
    (void)state;
    for_each_form(check_nan, LOSS_PLAIN);
}

/* Two classes, each a near pair, far apart: no negative within the margin behind a positive. */
static void test_nn_loss__a_miner_that_finds_nothing_gives_zero(void **state)
{
    (void)state;
    static const float embeddings[] = {1, 0, 1, 0.01f, -1, 0, -1, 0.01f};
    static const uint32_t labels[] = {0, 0, 1, 1};
    const kd_loss_inputs inputs = {.embeddings = embeddings, .labels = labels, .n = 4, .dim = 2};
    kd_loss_options options = loss_default_options(KD_LOSS_TRIPLET);
    float gradient[8];
    options.miner = KD_MINER_SEMI_HARD;
    options.margin = 0.2f;
    CHECK_NEAR(0, evaluate(&options, &inputs, gradient, NULL), 0);
    CHECK_NEAR(0, norm(gradient, 8), 0);
    options.margin = 3; /* now there are */
    CHECK(evaluate(&options, &inputs, gradient, NULL) > 0.5);
    CHECK(norm(gradient, 8) > 0.1);
}

/* ---- Batches that are refused ---- */

static void check_refused(
    const kd_loss_options *options, const kd_loss_inputs *inputs, kd_status status)
{
    double loss = 0;
    CHECK_FAILS(status, kd_loss_evaluate(options, inputs, &loss, NULL, NULL, &g_err), g_err);
}

static void test_nn_loss__nothing_to_compare_is_refused(void **state)
{
    (void)state;
    loss_data data;
    loss_fill(&data, LOSS_ONE_LABEL);
    for (unsigned i = 0; i < KD_LOSSES; i++) {
        const kd_loss_options options = loss_default_options((kd_loss)i);
        kd_loss_inputs inputs = loss_inputs_of(&data, options.loss);
        inputs.n = 0;
        check_refused(&options, &inputs, KD_FAILED_PRECONDITION);
        inputs.n = 1;
        if (!kd_loss_has_head(options.loss))
            check_refused(&options, &inputs, KD_FAILED_PRECONDITION);
    }
}

static void test_nn_loss__triplets_need_two_labels_and_a_pair(void **state)
{
    (void)state;
    static const kd_loss losses[] = {KD_LOSS_TRIPLET, KD_LOSS_SUPERVISED_CONTRASTIVE};
    static const uint32_t different[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    loss_data data;
    loss_fill(&data, LOSS_ONE_LABEL);
    for (size_t i = 0; i < 2; i++) {
        const kd_loss_options options = loss_default_options(losses[i]);
        kd_loss_inputs inputs = loss_inputs_of(&data, losses[i]);
        check_refused(&options, &inputs, KD_FAILED_PRECONDITION);
        CHECK_HAS("none of the batch's 10 images has both", g_err.message);
        inputs.labels = different;
        check_refused(&options, &inputs, KD_FAILED_PRECONDITION);
    }
    kd_loss_options mined = loss_default_options(KD_LOSS_CONTRASTIVE);
    const kd_loss_inputs inputs = loss_inputs_of(&data, mined.loss);
    CHECK(evaluate(&mined, &inputs, NULL, NULL) > 0);
    mined.miner = KD_MINER_BATCH_HARD;
    check_refused(&mined, &inputs, KD_FAILED_PRECONDITION);
}

static void test_nn_loss__labels_beyond_the_head_are_refused(void **state)
{
    (void)state;
    loss_data data;
    const kd_loss_options options = loss_default_options(KD_LOSS_COSFACE);
    loss_fill(&data, LOSS_PLAIN);
    const kd_loss_inputs inputs = loss_inputs_of(&data, options.loss);
    data.labels[7] = LOSS_CLASSES - 1;
    (void)evaluate(&options, &inputs, NULL, NULL);
    data.labels[7] = LOSS_CLASSES;
    check_refused(&options, &inputs, KD_INVALID_ARGUMENT);
    CHECK_STR("the label of image 7 is 5, allowed is 0..4", g_err.message);
}

static void test_nn_loss__options_are_checked(void **state)
{
    (void)state;
    loss_data data;
    kd_loss_options options = loss_default_options(KD_LOSS_TRIPLET);
    loss_fill(&data, LOSS_PLAIN);
    const kd_loss_inputs inputs = loss_inputs_of(&data, options.loss);
    options.margin = -1;
    check_refused(&options, &inputs, KD_INVALID_ARGUMENT);
    CHECK_HAS("the margin is -1", g_err.message);
}

/* ---- Memory ---- */

static void test_nn_loss__a_batch_larger_than_the_memory_is_refused(void **state)
{
    (void)state;
    loss_data data;
    kd_loss_options options = loss_default_options(KD_LOSS_TRIPLET);
    loss_fill(&data, LOSS_PLAIN);
    kd_loss_inputs inputs = loss_inputs_of(&data, options.loss);
    options.memory = LOSS_N;
    (void)evaluate(&options, &inputs, NULL, NULL);
    options.memory = LOSS_N - 1;
    check_refused(&options, &inputs, KD_INVALID_ARGUMENT);
    CHECK_HAS("more than the memory of 9", g_err.message);
    inputs.earlier_batches = 1;
    check_refused(&options, &inputs, KD_INVALID_ARGUMENT);
}

/* An image alone is compared with what went before it: three images, of which the memory still
 * holds the last two. */
static void test_nn_loss__memory_drops_the_oldest(void **state)
{
    (void)state;
    static const float earlier[] = {1, 0, 0.6f, 0.8f, 0, 1};
    static const float image[] = {1, 0};
    static const uint32_t earlier_labels[] = {7, 0, 0};
    static const uint32_t label[] = {0};
    const kd_loss_inputs inputs = {.embeddings = image,
        .labels = label,
        .n = 1,
        .dim = 2,
        .earlier = earlier,
        .earlier_labels = earlier_labels,
        .earlier_batches = 3};
    kd_loss_options options = loss_default_options(KD_LOSS_CONTRASTIVE);
    const double first = sqrt(0.16 + 0.64), second = sqrt(2);
    options.reduction = KD_REDUCTION_SUM;
    options.margin = 1;
    options.memory = 4; /* the image itself is the fourth */
    CHECK_NEAR(first + second + 1, evaluate(&options, &inputs, NULL, NULL), 1e-5);
    options.memory = 3;
    CHECK_NEAR(first + second, evaluate(&options, &inputs, NULL, NULL), 1e-5);
    options.memory = 2;
    CHECK_NEAR(second, evaluate(&options, &inputs, NULL, NULL), 1e-5);
    options.memory = 1;
    check_refused(&options, &inputs, KD_FAILED_PRECONDITION);
}

/* An empty memory holds nothing, not zeros. */
static void test_nn_loss__an_empty_memory_changes_no_value(void **state)
{
    (void)state;
    static const kd_loss losses[] = {KD_LOSS_CONTRASTIVE, KD_LOSS_TRIPLET, KD_LOSS_MULTI_SIMILARITY,
        KD_LOSS_SUPERVISED_CONTRASTIVE};
    loss_data data;
    loss_fill(&data, LOSS_PLAIN);
    for (size_t i = 0; i < 4; i++) {
        kd_loss_options options = loss_default_options(losses[i]);
        kd_loss_inputs inputs = loss_inputs_of(&data, losses[i]);
        const double expected = evaluate(&options, &inputs, NULL, NULL);
        options.memory = 1000;
        CHECK_NEAR(expected, evaluate(&options, &inputs, NULL, NULL), 1e-6 * expected);
        inputs.earlier_batches = 2;
        CHECK(fabs(expected - evaluate(&options, &inputs, NULL, NULL)) > 1e-3 * expected);
    }
}

/* ---- First weights ---- */

static void test_nn_loss__first_weights_are_the_seeds(void **state)
{
    (void)state;
    /* The same with LibTorch 1.13.1 and 2.13.0. */
    static const double expected[] = {1.54489446, 6.94919491, 50.6172905, 43.2970047, 28.0731773};
    loss_data data;
    loss_fill(&data, LOSS_PLAIN);
    for (unsigned i = 0; i <= KD_LOSS_PROXY_ANCHOR; i++) {
        const kd_loss_options options = loss_default_options((kd_loss)i);
        kd_loss_inputs inputs = loss_inputs_of(&data, options.loss);
        inputs.weights = NULL;
        inputs.bias = NULL;
        const double loss = evaluate(&options, &inputs, NULL, NULL);
        CHECK_NEAR(expected[i], loss, 1e-5 * expected[i]);
        inputs.seed++;
        CHECK(fabs(loss - evaluate(&options, &inputs, NULL, NULL)) > 1e-3);
    }
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_loss__gradients_are_the_slopes_of_the_values),
        cmocka_unit_test(test_nn_loss__gradients_of_the_variants),
        cmocka_unit_test(test_nn_loss__a_batch_of_one_point_is_finite),
        cmocka_unit_test(test_nn_loss__embeddings_of_zeros_are_finite),
        cmocka_unit_test(test_nn_loss__arcface_is_finite_on_and_against_its_weights),
        cmocka_unit_test(test_nn_loss__a_nan_shows),
        cmocka_unit_test(test_nn_loss__a_miner_that_finds_nothing_gives_zero),
        cmocka_unit_test(test_nn_loss__nothing_to_compare_is_refused),
        cmocka_unit_test(test_nn_loss__triplets_need_two_labels_and_a_pair),
        cmocka_unit_test(test_nn_loss__labels_beyond_the_head_are_refused),
        cmocka_unit_test(test_nn_loss__options_are_checked),
        cmocka_unit_test(test_nn_loss__a_batch_larger_than_the_memory_is_refused),
        cmocka_unit_test(test_nn_loss__memory_drops_the_oldest),
        cmocka_unit_test(test_nn_loss__an_empty_memory_changes_no_value),
        cmocka_unit_test(test_nn_loss__first_weights_are_the_seeds),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
