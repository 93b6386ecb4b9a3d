/* lib/nn against PyTorch and torchvision: the numbers in golden.h. */
#include <stdlib.h>

#include "tests/nn/golden.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define SIZE 64u
#define PIXEL_STREAM 1000u

static nn_tensor g_start[NN_TENSORS];
static kd_error g_err;

static kd_net *formula_net(void)
{
    kd_net *net = NULL;
    CHECK_OK(kd_net_load(&net, nn_path("formula.safetensors"), &g_err), g_err);
    return net;
}

static void test_nn_golden__embeddings_are_torchvisions(void **state)
{
    (void)state;
    kd_net *const net = formula_net();
    kd_forward *forward = NULL;
    float *const pixels = nn_pixels(2, SIZE, PIXEL_STREAM);
    float embeddings[2 * KD_NN_FEATURES];
    CHECK_OK(kd_forward_new(&forward, net, SIZE, 2, &g_err), g_err);
    CHECK_OK(kd_forward_run(forward, pixels, 2, embeddings, &g_err), g_err);
    for (size_t i = 0; i < 2; i++)
        nn_check_near_golden(golden_embedding[i], &embeddings[i * KD_NN_FEATURES]);
    free(pixels);
    kd_forward_free(forward);
    kd_net_free(net);
}

/* One step; checks loss and distances. */
static void golden_run_step(kd_training *training, size_t step, const float expected[3])
{
    static const uint32_t labels[] = {0, 0, 1, 1, 2, 2, 3, 3};
    float *const pixels = nn_pixels(8, SIZE, PIXEL_STREAM + 8 * (uint32_t)step);
    kd_step_stats stats;
    CHECK_OK(kd_training_step(training, pixels, labels, 8, SIZE, &stats, &g_err), g_err);
    CHECK_NEAR((double)expected[0], (double)stats.loss, 1e-4);
    CHECK_NEAR((double)expected[1], (double)stats.positive_distance, 1e-4);
    CHECK_NEAR((double)expected[2], (double)stats.negative_distance, 1e-4);
    free(pixels);
}

/* Adam's first moment after one step is a tenth of the gradient. */
static void check_gradients(const kd_training *training)
{
    const char *const path = nn_path("step.safetensors");
    CHECK_OK(kd_training_save(training, path, "", &g_err), g_err);
    for (size_t i = 0; i < sizeof golden_gradient / sizeof golden_gradient[0]; i++) {
        char name[80];
        size_t count = 0;
        (void)snprintf(name, sizeof name, "optimizer.exp_avg.%s", golden_gradient[i].tensor);
        float *const moment = nn_read_tensor(path, name, &count);
        const double expected = (double)golden_gradient[i].value;
        CHECK(golden_gradient[i].element < count);
        CHECK_NEAR(
            expected, 10 * (double)moment[golden_gradient[i].element], 1e-3 * fabs(expected));
        free(moment);
    }
}

static void check_moves(const kd_net *net)
{
    const char *const path = nn_path("end.safetensors");
    CHECK_OK(kd_net_save(net, path, &g_err), g_err);
    for (size_t i = 0; i < sizeof golden_move / sizeof golden_move[0]; i++) {
        size_t count = 0;
        float *const end = nn_read_tensor(path, golden_move[i].tensor, &count);
        const size_t k = golden_move[i].element;
        const float start = nn_tensor_named(g_start, golden_move[i].tensor)->values[k];
        const double expected = (double)golden_move[i].value;
        CHECK_NEAR(expected, (double)(end[k] - start), 1e-2 * fabs(expected));
        free(end);
    }
}

static void test_nn_golden__three_steps_are_pytorchs(void **state)
{
    (void)state;
    kd_net *const net = formula_net();
    kd_training *training = NULL;
    const kd_training_options options = {KD_LOSS_TRIPLET, 0.2f, 2e-5f, 5.0f, false};
    CHECK_OK(kd_training_new(&training, net, &options, &g_err), g_err);
    for (size_t step = 0; step < 3; step++) {
        golden_run_step(training, step, golden_step[0][step]);
        if (step == 0)
            check_gradients(training);
    }
    check_moves(net);
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_golden__soft_margin_is_pytorchs(void **state)
{
    (void)state;
    kd_net *const net = formula_net();
    kd_training *training = NULL;
    const kd_training_options options = {KD_LOSS_TRIPLET, 0.0f, 2e-5f, 5.0f, false};
    CHECK_OK(kd_training_new(&training, net, &options, &g_err), g_err);
    for (size_t step = 0; step < 3; step++)
        golden_run_step(training, step, golden_step[1][step]);
    kd_training_free(training);
    kd_net_free(net);
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(2);
    nn_tensors_new(g_start);
    nn_write_safetensors(nn_path("formula.safetensors"), g_start, NN_TENSORS, NN_F32, "");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nn_tensors_free(g_start);
    nn_clean();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_golden__embeddings_are_torchvisions),
        cmocka_unit_test(test_nn_golden__three_steps_are_pytorchs),
        cmocka_unit_test(test_nn_golden__soft_margin_is_pytorchs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
