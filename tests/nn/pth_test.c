/* PyTorch's zip form: what torchvision writes loads; what could run code or is damaged does not. */
#include <stdlib.h>

#include <zip.h>

#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

static nn_tensor g_tensors[NN_TENSORS];
static kd_error g_err;

/* ---- Archives of the tests' own making ---- */

static zip_t *start_zip(const char *path)
{
    int code = 0;
    zip_t *const zip = zip_open(path, ZIP_CREATE | ZIP_TRUNCATE, &code);
    assert_non_null(zip);
    return zip;
}

/* bytes must live until the zip is closed. */
static void add_entry(zip_t *zip, const char *name, const void *bytes, size_t len, bool deflate)
{
    zip_source_t *const source = zip_source_buffer(zip, bytes, len, 0);
    assert_non_null(source);
    const zip_int64_t index = zip_file_add(zip, name, source, 0);
    assert_true(index >= 0);
    assert_int_equal(zip_set_file_compression(
                         zip, (zip_uint64_t)index, deflate ? ZIP_CM_DEFLATE : ZIP_CM_STORE, 0),
        0);
}

/* An archive with this pickle and one storage of 16 floats named 0. */
static const char *make_pth(const void *pickle, size_t len)
{
    static const float storage[16] = {1, 2, 3, 4};
    const char *const path = nn_path("made.pth");
    zip_t *const zip = start_zip(path);
    add_entry(zip, "x/data.pkl", pickle, len, false);
    add_entry(zip, "x/data/0", storage, sizeof storage, false);
    assert_int_equal(zip_close(zip), 0);
    return path;
}

static void check_refused(kd_status expected, const char *path, const char *sentence)
{
    kd_net *net = NULL;
    CHECK_FAILS(expected, kd_net_load(&net, path, &g_err), g_err);
    CHECK_HAS(sentence, g_err.message);
    assert_null(net);
}

#define CHECK_PICKLE(expected, pickle, sentence)                                                   \
    check_refused(expected, make_pth(pickle, sizeof(pickle) - 1), sentence)

/* ---- A pickle as PyTorch writes it ---- */

static void put_text(kd_buf *out, const char *text)
{
    const uint32_t len = (uint32_t)strlen(text);
    kd_buf_append(out, "X", 1);
    kd_buf_append(out, &len, sizeof len);
    kd_buf_puts(out, text);
}

static void put_int(kd_buf *out, size_t number)
{
    const int32_t value = (int32_t)number;
    kd_buf_append(out, "J", 1);
    kd_buf_append(out, &value, sizeof value);
}

/* A tensor of channels-last strides where it has four sizes, at offset 1 of its storage; every
 * second one as a Parameter. */
static void put_tensor(kd_buf *out, const nn_tensor *tensor, size_t index)
{
    char key[24];
    const size_t *const s = tensor->shape;
    (void)snprintf(key, sizeof key, "%zu", index);
    put_text(out, tensor->name);
    if (index % 2 == 0)
        kd_buf_puts(out, "ctorch._utils\n_rebuild_parameter\n(");
    kd_buf_puts(out, "ctorch._utils\n_rebuild_tensor_v2\nr\x40\x01");
    kd_buf_append(out, "\0\0((", 4);
    put_text(out, "storage");
    kd_buf_puts(out, "ctorch\nFloatStorage\n");
    put_text(out, key);
    put_text(out, "cpu");
    put_int(out, tensor->count + 1);
    kd_buf_puts(out, "tQK\x01(");
    for (size_t d = 0; d < tensor->dims; d++)
        put_int(out, s[d]);
    kd_buf_puts(out, "t(");
    if (tensor->dims == 4) {
        put_int(out, s[1] * s[2] * s[3]);
        put_int(out, 1);
        put_int(out, s[1] * s[3]);
        put_int(out, s[1]);
    } else {
        put_int(out, 1);
    }
    kd_buf_puts(out, "t\x89"
                     "ccollections\nOrderedDict\n)RtR");
    if (index % 2 == 0)
        kd_buf_puts(out, "\x88"
                         "ccollections\nOrderedDict\n)RtR");
}

/* The tensor's values behind one other, in the order of the strides above. */
static float *permute(const nn_tensor *tensor)
{
    float *const values = malloc((tensor->count + 1) * sizeof(float));
    assert_non_null(values);
    values[0] = NAN;
    const size_t channels = tensor->dims == 4 ? tensor->shape[1] : 1;
    const size_t plane = tensor->dims == 4 ? tensor->shape[2] * tensor->shape[3] : 1;
    for (size_t i = 0; i < tensor->count; i++) {
        const size_t n = i / (channels * plane);
        const size_t c = i / plane % channels;
        values[1 + (n * plane + i % plane) * channels + c] = tensor->values[i];
    }
    return values;
}

static void test_nn_pth__strides_parameters_and_memos_are_understood(void **state)
{
    (void)state;
    kd_buf pickle = KD_BUF_INIT;
    float *storages[NN_TENSORS];
    char name[32];
    kd_net *net = NULL;
    const char *const path = nn_path("whole.pth");
    zip_t *const zip = start_zip(path);
    kd_buf_puts(&pickle, "\x80\x02"
                         "ccollections\nOrderedDict\nq\x01)Rq\x02(");
    for (size_t t = 0; t < NN_TENSORS; t++) {
        put_tensor(&pickle, &g_tensors[t], t);
        storages[t] = permute(&g_tensors[t]);
        (void)snprintf(name, sizeof name, "x/data/%zu", t);
        add_entry(zip, name, storages[t], (g_tensors[t].count + 1) * sizeof(float), false);
    }
    kd_buf_puts(&pickle, "u}");
    put_text(&pickle, "_metadata"); /* as modules write it: attributes of the dict */
    kd_buf_puts(&pickle, "h\x01)Rsb");
    kd_buf_puts(&pickle, ".");
    add_entry(zip, "x/data.pkl", pickle.data, pickle.len, false);
    assert_int_equal(zip_close(zip), 0);
    CHECK_OK(kd_net_load(&net, path, &g_err), g_err);
    CHECK_OK(kd_net_save(net, nn_path("out"), &g_err), g_err);
    for (size_t t = 0; t < NN_TENSORS; t++) {
        size_t count = 0;
        float *const values = nn_read_tensor(nn_path("out"), g_tensors[t].name, &count);
        assert_memory_equal(values, g_tensors[t].values, count * sizeof(float));
        free(values);
        free(storages[t]);
    }
    kd_net_free(net);
    kd_buf_free(&pickle);
}

/* ---- What must not load ---- */

#define DICT                                                                                       \
    "\x80\x02"                                                                                     \
    "ccollections\nOrderedDict\n)R("
#define NAME                                                                                       \
    "X\x08\0\0\0"                                                                                  \
    "bn1.bias"
#define REBUILD "ctorch._utils\n_rebuild_tensor_v2\n("
#define STORAGE(type, key, count)                                                                  \
    "(X\x07\0\0\0storagectorch\n" type "\nX\x01\0\0\0" key "X\x03\0\0\0"                           \
    "cpuK" count "tQ"
#define REST "\x89}tR"

static void test_nn_pth__names_that_could_run_code_are_refused(void **state)
{
    (void)state;
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02"
        "cos\nsystem\nX\x04\0\0\0true\x85R.",
        "refers to os.system");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02"
        "cbuiltins\neval\n.",
        "builtins.eval");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02"
        "(S'true'\nios\nsystem\n.",
        "opcode 0x53");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02"
        "(ios\nsystem\n.",
        "opcode 0x69");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x04\x8c\x02os\x8c\x06system\x93.", "opcode 0x8c");
}

static void test_nn_pth__malformed_pickles(void **state)
{
    (void)state;
    CHECK_PICKLE(KD_DATA_LOSS, "", "cut off");
    CHECK_PICKLE(KD_DATA_LOSS,
        "\x80\x02"
        "ccollections\nOrder",
        "cut off at byte");
    CHECK_PICKLE(KD_DATA_LOSS,
        "\x80\x02X\xff\xff\xff\x7f"
        "abc",
        "cut off at byte");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02.", "empty stack");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02t.", "no mark");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02}(\x85.", "empty stack");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02h\x05.", "recalls a value");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02q\x05.", "remembers a value");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02}(K\x01u.", "a key without a value");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02K\x01K\x01K\x02s.", "puts an item");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02K\x01K\x01"
        "a.",
        "puts an item");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02K\x01K\x01R.", "calls something");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02K\x01Nb.", "puts an item");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02\x8a\x09"
        "123456789.",
        "more than 64 bits");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02"
        "ccollections\nOrderedDict\nN\x85R.",
        "OrderedDict");
}

static void test_nn_pth__pickles_that_are_no_state_dict(void **state)
{
    (void)state;
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02K\x01.", "holds no state dict");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02}K\x01K\x02s.", "a key that is no text");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02}X\x05\0\0\0epochK\x02s.",
        "tensor epoch is no tensor: only a plain state dict");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02}(u.", "has no tensor bn1.bias");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, "\x80\x02}q\x01(" NAME "h\x01u.", "is no tensor");
}

static void test_nn_pth__tensors_stay_inside_their_storage(void **state)
{
    (void)state;
    /* What is right, but small: shape 16 instead of 64. */
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0K\x10\x85K\x01\x85" REST "u.",
        "bn1.bias has the shape 16, needed is 64");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\x01K\x10\x85K\x01\x85" REST "u.",
        "bn1.bias reaches beyond its storage");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0K\x09\x85K\x02\x85" REST "u.",
        "reaches beyond");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, /* 2^62 steps of 2^62 */
        DICT NAME REBUILD STORAGE(
            "FloatStorage", "0", "\x10") "K\0K\x02\x85\x8a\x08\0\0\0\0\0\0\0\x40\x85" REST "u.",
        "reaches beyond");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, /* one element repeated a million times */
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0J\0\0\x10\0\x85K\0\x85" REST
                                                               "u.",
        "reaches beyond");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE(
            "FloatStorage", "0", "\x10") "J\xff\xff\xff\xffK\x10\x85K\x01\x85" REST "u.",
        "do not fit each other");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE(
            "FloatStorage", "0", "\x10") "K\0J\xff\xff\xff\xff\x85K\x01\x85" REST "u.",
        "no count");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0K\x10\x85)" REST "u.",
        "do not fit each other");
}

static void test_nn_pth__storages_are_what_they_claim(void **state)
{
    (void)state;
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x11") "K\0K\x10\x85K\x01\x85" REST "u.",
        "a storage of another length");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("DoubleStorage", "0", "\x10") "K\0K\x10\x85K\x01\x85" REST "u.",
        "a storage of another length");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("FloatStorage", "7", "\x10") "K\0K\x10\x85K\x01\x85" REST "u.",
        "has no entry x/data/7");
    CHECK_PICKLE(KD_INVALID_ARGUMENT, DICT NAME REBUILD "K\x01K\0K\x10\x85K\x01\x85" REST "u.",
        "has no storage");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("LongStorage", "0", "\x08") "K\0K\x08\x85K\x01\x85" REST "u.",
        "bn1.bias has the shape 8");
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0K\x10\x85K\x01\x85" REST NAME
            REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0K\x10\x85K\x01\x85" REST "u.",
        "bn1.bias is there twice");
}

/* A pickle of a million nested tuples and one that holds itself: neither needs a deep stack. */
static void test_nn_pth__deep_nests_do_no_harm(void **state)
{
    (void)state;
    const size_t depth = 1000000;
    const size_t too_large = ((size_t)1 << 20) + 1;
    uint8_t *const nest = malloc(too_large);
    assert_non_null(nest);
    memset(nest, 0x85, too_large);
    memcpy(nest, "\x80\x02)", 3);
    nest[depth + 3] = '.';
    check_refused(KD_INVALID_ARGUMENT, make_pth(nest, depth + 4), "holds no state dict");
    check_refused(KD_INVALID_ARGUMENT, make_pth(nest, too_large), "entry x/data.pkl is too large");
    free(nest);
    CHECK_PICKLE(KD_INVALID_ARGUMENT,
        "\x80\x02]q\x01h\x01"
        "a.",
        "holds no state dict");
}

static void test_nn_pth__old_form_says_how_to_save_anew(void **state)
{
    (void)state;
    nn_write_bytes(nn_path("old.pth"), "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50.", 14);
    check_refused(KD_INVALID_ARGUMENT, nn_path("old.pth"), "torch.save(torch.load(path");
}

static void test_nn_pth__other_and_damaged_archives(void **state)
{
    (void)state;
    kd_net *net = NULL;
    kd_buf file = KD_BUF_INIT;
    const char *const path = nn_path("damaged.pth");
    zip_t *const zip = start_zip(path);
    add_entry(zip, "readme", "hello", 5, false);
    assert_int_equal(zip_close(zip), 0);
    check_refused(KD_INVALID_ARGUMENT, path, "not one that torch.save wrote");

    CHECK_OK(kd_net_new(&net, 1, &g_err), g_err);
    CHECK_OK(kd_net_save_pth(net, path, &g_err), g_err);
    kd_net_free(net);
    nn_read_file(path, &file);
    nn_write_bytes(path, file.data, file.len / 2);
    check_refused(KD_DATA_LOSS, path, "damaged or cut off zip archive");
    file.data[file.len / 2] ^= 1;
    nn_write_bytes(path, file.data, file.len);
    check_refused(KD_DATA_LOSS, path, "is damaged: CRC error");
    kd_buf_free(&file);
}

/* Many storages that each unpack to more than the file holds. */
static void test_nn_pth__packed_archives_can_not_swell(void **state)
{
    (void)state;
    const size_t len = (size_t)1 << 20;
    void *const zeros = calloc(1, len);
    static const char pickle[] =
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0K\x10\x85K\x01\x85" REST "u.";
    assert_non_null(zeros);
    zip_t *const zip = start_zip(nn_path("bomb.pth"));
    add_entry(zip, "x/data.pkl", pickle, sizeof pickle - 1, false);
    add_entry(zip, "x/data/0", zeros, len, true);
    assert_int_equal(zip_close(zip), 0);
    check_refused(KD_INVALID_ARGUMENT, nn_path("bomb.pth"), "entry x/data/0 is too large");
    free(zeros);
}

/* Each byte of a good pickle changed: refused (the sanitizers watch how). */
static void test_nn_pth__changed_pickles(void **state)
{
    (void)state;
    char pickle[] =
        DICT NAME REBUILD STORAGE("FloatStorage", "0", "\x10") "K\0K\x10\x85K\x01\x85" REST "u.";
    for (size_t at = 0; at + 1 < sizeof pickle; at++) {
        kd_net *net = NULL;
        const char was = pickle[at];
        pickle[at] = (char)(was ^ (1 << at % 7));
        const kd_status status = kd_net_load(&net, make_pth(pickle, sizeof pickle - 1), &g_err);
        CHECK(status == KD_DATA_LOSS || status == KD_INVALID_ARGUMENT);
        pickle[at] = was;
    }
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(1);
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
        cmocka_unit_test(test_nn_pth__strides_parameters_and_memos_are_understood),
        cmocka_unit_test(test_nn_pth__names_that_could_run_code_are_refused),
        cmocka_unit_test(test_nn_pth__malformed_pickles),
        cmocka_unit_test(test_nn_pth__pickles_that_are_no_state_dict),
        cmocka_unit_test(test_nn_pth__tensors_stay_inside_their_storage),
        cmocka_unit_test(test_nn_pth__storages_are_what_they_claim),
        cmocka_unit_test(test_nn_pth__deep_nests_do_no_harm),
        cmocka_unit_test(test_nn_pth__old_form_says_how_to_save_anew),
        cmocka_unit_test(test_nn_pth__other_and_damaged_archives),
        cmocka_unit_test(test_nn_pth__packed_archives_can_not_swell),
        cmocka_unit_test(test_nn_pth__changed_pickles),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
