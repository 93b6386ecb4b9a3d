/* lib/nn against PyTorch and torchvision: the numbers in golden.h. */
#include <stdlib.h>

#include "lib/nn/training.h"
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

/* One step; checks its loss. */
static void golden_run_step(kd_training *training, size_t step, float expected)
{
    static const uint32_t labels[] = {0, 0, 1, 1, 2, 2, 3, 3};
    float *const pixels = nn_pixels(8, SIZE, PIXEL_STREAM + 8 * (uint32_t)step);
    kd_step_stats stats;
    CHECK_OK(kd_training_step(training, pixels, labels, 8, SIZE, &stats, &g_err), g_err);
    CHECK_NEAR((double)expected, (double)stats.loss, 1e-4);
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
        (void)snprintf(name, sizeof name, "optimizer.first.%s", golden_gradient[i].tensor);
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
    kd_training_options options;
    kd_training_defaults(&options);
    options.loss.margin = 0.2f;
    options.weight_decay = 5.0f;
    CHECK_OK(kd_training_new(&training, net, &options, &g_err), g_err);
    kd_training_set_rates(training, 2e-5f, 2e-5f);
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
    kd_training_options options;
    kd_training_defaults(&options);
    options.loss.margin = 0.0f;
    options.weight_decay = 5.0f;
    CHECK_OK(kd_training_new(&training, net, &options, &g_err), g_err);
    kd_training_set_rates(training, 2e-5f, 2e-5f);
    for (size_t step = 0; step < 3; step++)
        golden_run_step(training, step, golden_step[1][step]);
    kd_training_free(training);
    kd_net_free(net);
}

/* Three steps of a projection that begins as the identity, on noise. */
static void check_optimiser(kd_optimizer optimizer, float rate, float clip, const float *expected)
{
    static const uint32_t labels[] = {0, 0, 1, 1, 2, 2, 3, 3};
    kd_net *const net = formula_net();
    kd_training *training = NULL;
    kd_training_options options;
    float features[8 * KD_NN_FEATURES];
    size_t n = 0;
    kd_training_defaults(&options);
    options.optimizer = optimizer;
    options.momentum = 0.9f;
    options.weight_decay = 0.1f;
    options.clip_norm = clip;
    options.freeze_backbone = true;
    CHECK_OK(kd_net_project(net, KD_NN_FEATURES, 0, &g_err), g_err);
    CHECK_OK(kd_training_new(&training, net, &options, &g_err), g_err);
    kd_training_set_rates(training, 0, rate);
    for (uint32_t step = 0; step < 3; step++) {
        kd_step_stats stats;
        for (uint32_t i = 0; i < 8; i++)
            for (uint32_t d = 0; d < KD_NN_FEATURES; d++)
                features[i * KD_NN_FEATURES + d] = (float)nn_noise(2000 + 8 * step + i, d);
        CHECK_OK(kd_training_step_features(training, features, labels, 8, &stats, &g_err), g_err);
    }
    CHECK_OK(kd_net_save(net, nn_path("projected"), &g_err), g_err);
    float *const weight = nn_read_tensor(nn_path("projected"), "projection.weight", &n);
    for (size_t i = 0; i < 4; i++) {
        for (size_t j = 0; j < 2; j++)
            CHECK_NEAR((double)*expected++, (double)weight[i * KD_NN_FEATURES + i + j], 2e-5);
    }
    free(weight);
    float *const bias = nn_read_tensor(nn_path("projected"), "projection.bias", &n);
    for (size_t i = 0; i < 4; i++)
        CHECK_NEAR((double)*expected++, (double)bias[i], 2e-5);
    free(bias);
    kd_training_free(training);
    kd_net_free(net);
}

static void test_nn_golden__optimisers_are_pytorchs(void **state)
{
    (void)state;
    for (size_t i = 0; i < 6; i++) {
        const kd_optimizer optimizer = (kd_optimizer)(i % 3);
        check_optimiser(optimizer, optimizer == KD_OPTIMIZER_SGD ? 1.0f : 1e-2f,
            i < 3 ? 0.0f : 0.01f, golden_optimiser[i]);
    }
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
        cmocka_unit_test(test_nn_golden__optimisers_are_pytorchs),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
