/* Real ImageNet weights, where the folder beside the checkout has them. */
#include <stdlib.h>

#include "lib/base/file.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define WEIGHTS KD_SOURCE_DIR "/../shared/models/resnet18-imagenet/resnet18-imagenet.safetensors"

static kd_error g_err;

static void test_nn_weights__real_file_loads_and_freezes(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_forward *forward = NULL;
    float embedding[KD_NN_DIM];
    if (!kd_is_file(WEIGHTS))
        skip();
    kd_nn_set_threads(2);
    CHECK_OK(kd_net_load(&net, WEIGHTS, &g_err), g_err);
    /* The frozen network checks itself against the plain one. */
    CHECK_OK(kd_forward_new(&forward, net, 224, 1, &g_err), g_err);
    float *const pixels = nn_pixels(1, 224, 0);
    CHECK_OK(kd_forward_run(forward, pixels, 1, embedding, &g_err), g_err);
    size_t used = 0;
    for (size_t d = 0; d < KD_NN_DIM; d++) {
        CHECK(embedding[d] >= 0); /* behind a ReLU */
        used += embedding[d] > 1e-4f;
    }
    CHECK(used > 200);
    free(pixels);
    kd_forward_free(forward);
    kd_net_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_weights__real_file_loads_and_freezes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
