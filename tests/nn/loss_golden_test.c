/* The losses against pytorch-metric-learning: the numbers in loss_golden.h. */
#include "tests/nn/loss_golden.h"
#include "tests/nn/loss_support.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

/* The difference's length by the expected's. */
static double relative_error(const float *expected, const float *got, size_t n)
{
    double off = 0, all = 0;
    for (size_t i = 0; i < n; i++) {
        const double e = (double)expected[i], difference = (double)got[i] - e;
        off += difference * difference;
        all += e * e;
    }
    return sqrt(off / all);
}

static void check_case(const struct golden_loss *golden)
{
    const kd_loss loss = golden->options.loss;
    const bool head = kd_loss_has_head(loss);
    kd_error err = KD_ERROR_INIT;
    loss_data data;
    double value = 0;
    float gradient[LOSS_N * LOSS_DIM];
    float weights_gradient[LOSS_CLASSES * LOSS_DIM];
    loss_fill(&data, golden->batch);
    kd_loss_inputs inputs = loss_inputs_of(&data, loss);
    inputs.earlier_batches = golden->earlier;
    const kd_status status = kd_loss_evaluate(
        &golden->options, &inputs, &value, gradient, head ? weights_gradient : NULL, &err);
    if (status != KD_OK)
        fail_msg("%s, %s: %s", kd_loss_name(loss), golden->name, err.message);
    if (!(fabs(value - golden->value) <= 1e-5 * golden->value))
        fail_msg("%s, %s: expected %.9g, got %.9g", kd_loss_name(loss), golden->name, golden->value,
            value);
    const double off = relative_error(golden->gradient, gradient, LOSS_N * LOSS_DIM);
    if (!(off <= 1e-4))
        fail_msg("%s, %s: the gradient is off by %g", kd_loss_name(loss), golden->name, off);
    if (!head)
        return;
    const double weights_off =
        relative_error(golden->weights_gradient, weights_gradient, LOSS_CLASSES * LOSS_DIM);
    if (!(weights_off <= 1e-4))
        fail_msg("%s, %s: the weights' gradient is off by %g", kd_loss_name(loss), golden->name,
            weights_off);
}

/* Checks all cases of the losses first..last. */
static void check_losses(kd_loss first, kd_loss last)
{
    size_t cases[KD_LOSSES] = {0};
    for (size_t i = 0; i < sizeof golden_losses / sizeof golden_losses[0]; i++) {
        const kd_loss loss = golden_losses[i].options.loss;
        if (loss < first || loss > last)
            continue;
        check_case(&golden_losses[i]);
        cases[loss]++;
    }
    for (kd_loss loss = first; loss <= last; loss++)
        CHECK(cases[loss] >= 3);
}

static void test_nn_loss_golden__heads_are_pytorch_metric_learnings(void **state)
{
    (void)state;
    check_losses(KD_LOSS_CROSS_ENTROPY, KD_LOSS_PROXY_ANCHOR);
}

static void test_nn_loss_golden__contrastive_is_pytorch_metric_learnings(void **state)
{
    (void)state;
    check_losses(KD_LOSS_CONTRASTIVE, KD_LOSS_CONTRASTIVE);
}

static void test_nn_loss_golden__triplet_is_pytorch_metric_learnings(void **state)
{
    (void)state;
    check_losses(KD_LOSS_TRIPLET, KD_LOSS_TRIPLET);
}

static void test_nn_loss_golden__similarities_are_pytorch_metric_learnings(void **state)
{
    (void)state;
    check_losses(KD_LOSS_MULTI_SIMILARITY, KD_LOSS_SUPERVISED_CONTRASTIVE);
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
        cmocka_unit_test(test_nn_loss_golden__heads_are_pytorch_metric_learnings),
        cmocka_unit_test(test_nn_loss_golden__contrastive_is_pytorch_metric_learnings),
        cmocka_unit_test(test_nn_loss_golden__triplet_is_pytorch_metric_learnings),
        cmocka_unit_test(test_nn_loss_golden__similarities_are_pytorch_metric_learnings),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
