/* Networks: fresh ones, and files of whole networks. Malformed files: safetensors_test, pth_test.
 */
#include <stdlib.h>

#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

static nn_tensor g_tensors[NN_TENSORS];
static kd_error g_err;

static void save_new(uint64_t seed, const char *path)
{
    kd_net *net = NULL;
    CHECK_OK(kd_net_new(&net, seed, &g_err), g_err);
    CHECK_OK(kd_net_save(net, path, &g_err), g_err);
    kd_net_free(net);
}

static void test_nn_net__same_seed_gives_the_same_bytes(void **state)
{
    (void)state;
    save_new(7, nn_path("a"));
    save_new(7, nn_path("b"));
    save_new(8, nn_path("c"));
    CHECK(nn_same_file(nn_path("a"), nn_path("b")));
    CHECK(!nn_same_file(nn_path("a"), nn_path("c")));
}

static void test_nn_net__fresh_weights_have_hes_variance(void **state)
{
    (void)state;
    size_t count = 0;
    save_new(1, nn_path("fresh"));
    float *const conv = nn_read_tensor(nn_path("fresh"), "layer3.0.conv1.weight", &count);
    double sum = 0;
    double squares = 0;
    CHECK_INT(256 * 128 * 9, count);
    for (size_t i = 0; i < count; i++) {
        sum += (double)conv[i];
        squares += (double)conv[i] * (double)conv[i];
    }
    CHECK_NEAR(0, sum / (double)count, 1e-3);
    CHECK_NEAR(2.0 / (256 * 9), squares / (double)count, 1e-5);
    free(conv);
    float *const norm = nn_read_tensor(nn_path("fresh"), "layer3.0.bn1.weight", &count);
    CHECK_INT(256, count);
    CHECK_NEAR(1, (double)norm[255], 0);
    free(norm);
}

/* Loads path and saves it again. */
static void resave(const char *path, const char *to)
{
    kd_net *net = NULL;
    CHECK_OK(kd_net_load(&net, path, &g_err), g_err);
    CHECK_OK(kd_net_save(net, to, &g_err), g_err);
    kd_net_free(net);
}

static void check_saved_values(const char *path)
{
    for (size_t t = 0; t < NN_TENSORS; t++) {
        size_t count = 0;
        float *const values = nn_read_tensor(path, g_tensors[t].name, &count);
        CHECK_INT(g_tensors[t].count, count);
        assert_memory_equal(values, g_tensors[t].values, count * sizeof(float));
        free(values);
    }
}

static void test_nn_net__safetensors_round_trip_keeps_every_bit(void **state)
{
    (void)state;
    nn_write_safetensors(nn_path("in"), g_tensors, NN_TENSORS, NN_F32, "");
    resave(nn_path("in"), nn_path("out"));
    check_saved_values(nn_path("out"));
    resave(nn_path("out"), nn_path("again"));
    CHECK(nn_same_file(nn_path("out"), nn_path("again")));
}

static void test_nn_net__pth_round_trip_keeps_every_bit(void **state)
{
    (void)state;
    kd_net *net = NULL;
    nn_write_safetensors(nn_path("in"), g_tensors, NN_TENSORS, NN_F32, "");
    CHECK_OK(kd_net_load(&net, nn_path("in"), &g_err), g_err);
    CHECK_OK(kd_net_save_pth(net, nn_path("one.pth"), &g_err), g_err);
    CHECK_OK(kd_net_save_pth(net, nn_path("two.pth"), &g_err), g_err);
    kd_net_free(net);
    CHECK(nn_same_file(nn_path("one.pth"), nn_path("two.pth")));
    resave(nn_path("one.pth"), nn_path("out"));
    check_saved_values(nn_path("out"));
}

/* Values that both 16-bit types hold exactly. */
static void test_nn_net__sixteen_bit_files_load(void **state)
{
    (void)state;
    nn_tensor coarse[NN_TENSORS];
    nn_tensors_new(coarse);
    for (size_t t = 0; t < NN_TENSORS; t++)
        for (size_t i = 0; i < coarse[t].count; i++)
            coarse[t].values[i] = (float)((int)((t + i) % 33) - 16) / 64;
    nn_write_safetensors(nn_path("f32"), coarse, NN_TENSORS, NN_F32, "");
    nn_write_safetensors(nn_path("f16"), coarse, NN_TENSORS, NN_F16, "");
    nn_write_safetensors(nn_path("bf16"), coarse, NN_TENSORS, NN_BF16, "");
    resave(nn_path("f32"), nn_path("f32.out"));
    resave(nn_path("f16"), nn_path("f16.out"));
    resave(nn_path("bf16"), nn_path("bf16.out"));
    CHECK(nn_same_file(nn_path("f32.out"), nn_path("f16.out")));
    CHECK(nn_same_file(nn_path("f32.out"), nn_path("bf16.out")));
    nn_tensors_free(coarse);
}

static void test_nn_net__head_and_batch_counts_are_passed_over(void **state)
{
    (void)state;
    nn_write_safetensors(nn_path("head"), g_tensors, NN_TENSORS, NN_F32,
        "\"fc.weight\":{\"dtype\":\"F32\",\"shape\":[0,512],\"data_offsets\":[0,0]},"
        "\"bn1.num_batches_tracked\":{\"dtype\":\"I64\",\"shape\":[0],\"data_offsets\":[0,0]}");
    resave(nn_path("head"), nn_path("out"));
    check_saved_values(nn_path("out"));
}

static void check_refused(kd_status expected, const char *path, const char *sentence)
{
    kd_net *net = NULL;
    CHECK_FAILS(expected, kd_net_load(&net, path, &g_err), g_err);
    CHECK_HAS(sentence, g_err.message);
    CHECK_HAS(path, g_err.message);
    assert_null(net);
}

static void test_nn_net__absent_file_is_not_found(void **state)
{
    (void)state;
    check_refused(KD_NOT_FOUND, nn_path("absent"), "absent");
    check_refused(KD_INVALID_ARGUMENT, ".", "not a file");
}

static void test_nn_net__misfits_are_named(void **state)
{
    (void)state;
    const char *const path = nn_path("misfit");
    nn_write_safetensors(path, g_tensors, NN_TENSORS - 1, NN_F32, "");
    check_refused(KD_INVALID_ARGUMENT, path, "has no tensor layer4.1.conv2.weight");

    nn_tensor *const conv = nn_tensor_named(g_tensors, "layer2.0.downsample.0.weight");
    conv->shape[0] = 64;
    conv->shape[1] = 128;
    nn_write_safetensors(path, g_tensors, NN_TENSORS, NN_F32, "");
    check_refused(KD_INVALID_ARGUMENT, path,
        "layer2.0.downsample.0.weight has the shape 64x128x1x1, needed is 128x64x1x1");
    conv->shape[0] = 128;
    conv->shape[1] = 64;

    nn_tensor *const norm = nn_tensor_named(g_tensors, "bn1.running_mean");
    const float was = norm->values[5];
    norm->values[5] = NAN;
    nn_write_safetensors(path, g_tensors, NN_TENSORS, NN_F32, "");
    check_refused(KD_INVALID_ARGUMENT, path, "bn1.running_mean holds a value that is not finite");
    norm->values[5] = was;

    nn_write_safetensors(path, g_tensors, NN_TENSORS, NN_F32,
        "\"layer1.2.conv1.weight\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}");
    check_refused(KD_INVALID_ARGUMENT, path, "layer1.2.conv1.weight, which resnet18 has not");
}

static void test_nn_net__other_types_are_refused(void **state)
{
    (void)state;
    double mean[64] = {0};
    nn_write_raw(nn_path("f64"),
        "{\"bn1.bias\":{\"dtype\":\"F64\",\"shape\":[64],\"data_offsets\":[0,512]}}", mean,
        sizeof mean);
    check_refused(KD_INVALID_ARGUMENT, nn_path("f64"), "bn1.bias has the type F64");
}

static void test_nn_net__saving_into_no_folder_fails(void **state)
{
    (void)state;
    kd_net *net = NULL;
    CHECK_OK(kd_net_new(&net, 1, &g_err), g_err);
    CHECK_FAILS(KD_NOT_FOUND, kd_net_save(net, nn_path("no/where"), &g_err), g_err);
    CHECK_HAS("no/where", g_err.message);
    CHECK_FAILS(KD_NOT_FOUND, kd_net_save_pth(net, nn_path("no/where"), &g_err), g_err);
    kd_net_free(net);
}

static void test_nn_net__describe_names_library_and_threads(void **state)
{
    (void)state;
    CHECK_HAS("LibTorch ", kd_nn_describe());
    CHECK_HAS("2 threads", kd_nn_describe());
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(2);
    nn_tensors_new(g_tensors);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    nn_tensors_free(g_tensors);
    nn_clean();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_net__same_seed_gives_the_same_bytes),
        cmocka_unit_test(test_nn_net__fresh_weights_have_hes_variance),
        cmocka_unit_test(test_nn_net__safetensors_round_trip_keeps_every_bit),
        cmocka_unit_test(test_nn_net__pth_round_trip_keeps_every_bit),
        cmocka_unit_test(test_nn_net__sixteen_bit_files_load),
        cmocka_unit_test(test_nn_net__head_and_batch_counts_are_passed_over),
        cmocka_unit_test(test_nn_net__absent_file_is_not_found),
        cmocka_unit_test(test_nn_net__misfits_are_named),
        cmocka_unit_test(test_nn_net__other_types_are_refused),
        cmocka_unit_test(test_nn_net__saving_into_no_folder_fails),
        cmocka_unit_test(test_nn_net__describe_names_library_and_threads),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
