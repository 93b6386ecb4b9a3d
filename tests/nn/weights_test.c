/* Real ImageNet weights, where the folder beside the checkout has them. */
#include <stdlib.h>

#include "lib/base/file.h"
#include "tests/nn/golden.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define WEIGHTS KD_SOURCE_DIR "/../shared/models/resnet18-imagenet/resnet18-imagenet.safetensors"

static kd_error g_err;

/* The file that golden.h was made with. */
static void test_nn_weights__real_embeddings_are_torchvisions(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_forward *forward = NULL;
    float embeddings[2 * KD_NN_FEATURES];
    if (!kd_is_file(WEIGHTS))
        skip();
    kd_nn_set_threads(2);
    CHECK_OK(kd_net_load(&net, WEIGHTS, &g_err), g_err);
    CHECK_OK(kd_forward_new(&forward, net, 224, 2, &g_err), g_err);
    float *const pixels = nn_pixels(2, 224, 1000);
    CHECK_OK(kd_forward_run(forward, pixels, 2, embeddings, &g_err), g_err);
    for (size_t i = 0; i < 2; i++)
        nn_check_near_golden(golden_real_embedding[i], &embeddings[i * KD_NN_FEATURES]);
    free(pixels);
    kd_forward_free(forward);
    kd_net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_weights__real_embeddings_are_torchvisions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
