/* Malformed .safetensors files: each is refused with a sentence, none is believed. */
#include <stdlib.h>

#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

static kd_error g_err;

static void check_refused(kd_status expected, const char *path, const char *sentence)
{
    kd_net *net = NULL;
    CHECK_FAILS(expected, kd_net_load(&net, path, &g_err), g_err);
    CHECK_HAS(sentence, g_err.message);
    assert_null(net);
}

/* header before data_bytes zeros. */
static void check_header(
    kd_status expected, const char *header, size_t data_bytes, const char *sentence)
{
    static const char zeros[64];
    const char *const path = nn_path("malformed");
    nn_write_raw(path, header, zeros, data_bytes);
    check_refused(expected, path, sentence);
}

static void test_nn_safetensors__too_short_to_be_one(void **state)
{
    (void)state;
    nn_write_bytes(nn_path("empty"), "", 0);
    check_refused(KD_DATA_LOSS, nn_path("empty"), "is empty");
    nn_write_bytes(nn_path("short"), "\x10\0\0\0\0\0\0\0", 8);
    check_refused(KD_DATA_LOSS, nn_path("short"), "has 8 bytes");
}

static void test_nn_safetensors__other_content(void **state)
{
    (void)state;
    nn_write_bytes(nn_path("text"), "hello, this is no model", 23);
    check_refused(KD_INVALID_ARGUMENT, nn_path("text"), "neither a safetensors file nor");
}

static void test_nn_safetensors__header_length(void **state)
{
    (void)state;
    nn_write_bytes(nn_path("huge"), "\xff\xff\xff\xff\xff\xff\xff\xff{}", 10);
    check_refused(KD_INVALID_ARGUMENT, nn_path("huge"), "claims a header of 18446744073709551615");
    nn_write_bytes(nn_path("cut"), "\x20\0\0\0\0\0\0\0{\"a\":", 13);
    check_refused(KD_DATA_LOSS, nn_path("cut"), "cut off inside its header");
}

static void test_nn_safetensors__header_is_json(void **state)
{
    (void)state;
    check_header(KD_INVALID_ARGUMENT, "{\"a\":", 0, "header, byte");
    check_header(KD_INVALID_ARGUMENT, "{} {}", 0, "header, byte");
    check_header(KD_INVALID_ARGUMENT, "{\"a\":3}", 0, "tensor a has no dtype");
    check_header(KD_INVALID_ARGUMENT, "{\"__metadata__\":{\"a\":1}}", 0, "no text: a");
    check_header(KD_INVALID_ARGUMENT, "{\"__metadata__\":[]}", 0, "__metadata__ is no object");
}

static void test_nn_safetensors__duplicate_names(void **state)
{
    (void)state;
    check_header(KD_INVALID_ARGUMENT,
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
        "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
        8, "duplicate");
}

#define ENTRY(dtype, shape, offsets)                                                               \
    "{\"bn1.bias\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"

static void test_nn_safetensors__entries(void **state)
{
    (void)state;
    check_header(
        KD_INVALID_ARGUMENT, ENTRY("F7", "[1]", "[0,4]"), 4, "bn1.bias has the unknown dtype F7");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "[-1]", "[0,4]"), 4, "no count");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "[1.5]", "[0,4]"), 4, "no count");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "3", "[0,4]"), 4, "no list");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "no list");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "[1]", "[0]"), 4, "no begin and end");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "[1]", "[4,0]"), 4, "no begin and end");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "[2]", "[0,4]"), 4,
        "shape 2 of F32 does not fill its 4 bytes");
    check_header(KD_INVALID_ARGUMENT,
        ENTRY("F32", "[4611686018427387904,4611686018427387904]", "[0,4]"), 4, "does not fill");
    check_header(
        KD_INVALID_ARGUMENT, ENTRY("F32", "[4611686018427387905]", "[0,4]"), 4, "does not fill");
    check_header(KD_INVALID_ARGUMENT,
        ENTRY("F32", "[0,4611686018427387904,4611686018427387904]", "[0,0]"), 0,
        "bn1.bias has the shape 0x4611686018427387904x4611686018427387904");
    check_header(KD_INVALID_ARGUMENT, ENTRY("F32", "[1]", "[0,4]"), 4,
        "bn1.bias has the shape 1, needed is 64");
}

static void test_nn_safetensors__offsets_over_the_file(void **state)
{
    (void)state;
    check_header(KD_DATA_LOSS, ENTRY("F32", "[2]", "[0,8]"), 7,
        "is cut off: tensor bn1.bias ends at byte 8 of the data, 7 are there");
    check_header(KD_DATA_LOSS, ENTRY("F32", "[1]", "[9223372036854775800,9223372036854775804]"), 4,
        "is cut off");
}

static void test_nn_safetensors__layout(void **state)
{
    (void)state;
    check_header(KD_INVALID_ARGUMENT,
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
        12, "tensor b overlaps another");
    check_header(
        KD_INVALID_ARGUMENT, ENTRY("F32", "[1]", "[4,8]"), 8, "4 bytes before tensor bn1.bias");
    check_header(
        KD_INVALID_ARGUMENT, ENTRY("F32", "[1]", "[0,4]"), 8, "the last 4 bytes belong to no");
}

/* A whole file cut at any length, or with a byte of its header changed, never loads by luck and
 * never reads beyond its end (the sanitizers watch). */
static void test_nn_safetensors__cut_and_changed_files(void **state)
{
    (void)state;
    nn_tensor tensors[NN_TENSORS];
    kd_buf file = KD_BUF_INIT;
    uint64_t header = 0;
    const char *const path = nn_path("damaged");
    nn_tensors_new(tensors);
    nn_write_safetensors(path, tensors, 3, NN_F32, ""); /* three tensors: small */
    nn_read_file(path, &file);
    memcpy(&header, file.data, sizeof header);
    for (size_t cut = 0; cut < file.len; cut += cut < header + 8 ? 7 : 97) {
        kd_net *net = NULL;
        nn_write_bytes(path, file.data, cut);
        const kd_status status = kd_net_load(&net, path, &g_err);
        CHECK(status == KD_DATA_LOSS || status == KD_INVALID_ARGUMENT);
    }
    for (size_t at = 0; at < header + 8; at += 3) {
        kd_net *net = NULL;
        const uint8_t was = file.data[at];
        file.data[at] = (uint8_t)(was ^ (1u << at % 8));
        nn_write_bytes(path, file.data, file.len);
        const kd_status status = kd_net_load(&net, path, &g_err);
        CHECK(status == KD_DATA_LOSS || status == KD_INVALID_ARGUMENT);
        file.data[at] = was;
    }
    kd_buf_free(&file);
    nn_tensors_free(tensors);
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(1);
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
        cmocka_unit_test(test_nn_safetensors__too_short_to_be_one),
        cmocka_unit_test(test_nn_safetensors__other_content),
        cmocka_unit_test(test_nn_safetensors__header_length),
        cmocka_unit_test(test_nn_safetensors__header_is_json),
        cmocka_unit_test(test_nn_safetensors__duplicate_names),
        cmocka_unit_test(test_nn_safetensors__entries),
        cmocka_unit_test(test_nn_safetensors__offsets_over_the_file),
        cmocka_unit_test(test_nn_safetensors__layout),
        cmocka_unit_test(test_nn_safetensors__cut_and_changed_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
