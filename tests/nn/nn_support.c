#include "tests/nn/nn_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "lib/base/file.h"
#include "tests/support/check.h"

double nn_noise(uint32_t stream, uint32_t element)
{
    uint32_t x = element + stream * 0x9E3779B9u;
    x ^= x >> 16;
    x *= 0x7FEB352Du;
    x ^= x >> 15;
    x *= 0x846CA68Bu;
    x ^= x >> 16;
    return (double)x / 2147483648.0 - 1.0;
}

static void add(nn_tensor *tensors, size_t *n, const char *name, const size_t *shape, size_t dims)
{
    nn_tensor *const tensor = &tensors[(*n)++];
    assert_true(*n <= NN_TENSORS && kd_copy(tensor->name, sizeof tensor->name, name));
    tensor->dims = dims;
    tensor->count = 1;
    for (size_t d = 0; d < dims; d++) {
        tensor->shape[d] = shape[d];
        tensor->count *= shape[d];
    }
}

static void add_conv_norm(nn_tensor *tensors, size_t *n, const char *conv, const char *norm,
    size_t out, size_t in, size_t kernel)
{
    static const char *const parts[] = {"weight", "bias", "running_mean", "running_var"};
    char name[64];
    (void)snprintf(name, sizeof name, "%s.weight", conv);
    add(tensors, n, name, (const size_t[]){out, in, kernel, kernel}, 4);
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "%s.%s", norm, parts[i]);
        add(tensors, n, name, &out, 1);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const nn_tensor *)a)->name, ((const nn_tensor *)b)->name);
}

static double formula(const nn_tensor *tensor, double u)
{
    const size_t *const s = tensor->shape;
    if (tensor->dims == 4)
        return u * sqrt(6.0 / (double)(s[0] * s[2] * s[3]));
    if (strstr(tensor->name, "running_var"))
        return 1.0 + 0.4 * u;
    if (strstr(tensor->name, "weight"))
        return 1.0 + 0.2 * u;
    return 0.1 * u;
}

void nn_tensors_new(nn_tensor tensors[NN_TENSORS])
{
    size_t n = 0;
    char conv[32];
    char norm[32];
    add_conv_norm(tensors, &n, "conv1", "bn1", 64, 3, 7);
    for (size_t layer = 1; layer <= 4; layer++) {
        const size_t width = (size_t)32 << layer;
        for (size_t block = 0; block < 2; block++) {
            const size_t in = block == 0 && layer > 1 ? width / 2 : width;
            for (size_t i = 1; i <= 2; i++) {
                (void)snprintf(conv, sizeof conv, "layer%zu.%zu.conv%zu", layer, block, i);
                (void)snprintf(norm, sizeof norm, "layer%zu.%zu.bn%zu", layer, block, i);
                add_conv_norm(tensors, &n, conv, norm, width, i == 1 ? in : width, 3);
            }
            if (in == width)
                continue;
            (void)snprintf(conv, sizeof conv, "layer%zu.%zu.downsample.0", layer, block);
            (void)snprintf(norm, sizeof norm, "layer%zu.%zu.downsample.1", layer, block);
            add_conv_norm(tensors, &n, conv, norm, width, in, 1);
        }
    }
    assert_int_equal(n, NN_TENSORS);
    qsort(tensors, n, sizeof *tensors, by_name);
    for (size_t t = 0; t < n; t++) {
        tensors[t].values = malloc(tensors[t].count * sizeof(float));
        assert_non_null(tensors[t].values);
        for (size_t i = 0; i < tensors[t].count; i++)
            tensors[t].values[i] = (float)formula(&tensors[t], nn_noise((uint32_t)t, (uint32_t)i));
    }
}

void nn_tensors_free(nn_tensor tensors[NN_TENSORS])
{
    for (size_t t = 0; t < NN_TENSORS; t++)
        free(tensors[t].values);
}

nn_tensor *nn_tensor_named(nn_tensor tensors[NN_TENSORS], const char *name)
{
    for (size_t t = 0; t < NN_TENSORS; t++)
        if (strcmp(tensors[t].name, name) == 0)
            return &tensors[t];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void append_value(kd_buf *data, float value, nn_type type)
{
    if (type == NN_F32) {
        kd_buf_append(data, &value, sizeof value);
    } else if (type == NN_F16) {
        const _Float16 half = (_Float16)value;
        kd_buf_append(data, &half, sizeof half);
    } else {
        uint32_t bits = 0;
        memcpy(&bits, &value, sizeof bits);
        const uint16_t top = (uint16_t)(bits >> 16);
        kd_buf_append(data, &top, sizeof top);
    }
}

void nn_write_safetensors(
    const char *path, const nn_tensor *tensors, size_t n, nn_type type, const char *extra)
{
    static const char *const type_names[] = {"F32", "F16", "BF16"};
    kd_buf header = KD_BUF_INIT;
    kd_buf data = KD_BUF_INIT;
    kd_buf_printf(&header, "{%s", extra);
    for (size_t t = 0; t < n; t++) {
        const size_t begin = data.len;
        for (size_t i = 0; i < tensors[t].count; i++)
            append_value(&data, tensors[t].values[i], type);
        kd_buf_printf(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[",
            t > 0 || extra[0] ? "," : "", tensors[t].name, type_names[type]);
        for (size_t d = 0; d < tensors[t].dims; d++)
            kd_buf_printf(&header, "%s%zu", d > 0 ? "," : "", tensors[t].shape[d]);
        kd_buf_printf(&header, "],\"data_offsets\":[%zu,%zu]}", begin, data.len);
    }
    kd_buf_puts(&header, "}");
    assert_true(kd_buf_ok(&header) && kd_buf_ok(&data));
    nn_write_raw(path, (const char *)header.data, data.data, data.len);
    kd_buf_free(&header);
    kd_buf_free(&data);
}

void nn_write_raw(const char *path, const char *header, const void *data, size_t data_bytes)
{
    const uint64_t length = strlen(header);
    kd_buf file = KD_BUF_INIT;
    kd_buf_append(&file, &length, sizeof length);
    kd_buf_puts(&file, header);
    if (data_bytes > 0)
        kd_buf_append(&file, data, data_bytes);
    assert_true(kd_buf_ok(&file));
    nn_write_bytes(path, file.data, file.len);
    kd_buf_free(&file);
}

void nn_write_bytes(const char *path, const void *bytes, size_t len)
{
    FILE *const file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, len, file), len);
    assert_int_equal(fclose(file), 0);
}

void nn_read_file(const char *path, kd_buf *out)
{
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(kd_file_read(path, (size_t)1 << 30, out, &err), err);
}

bool nn_same_file(const char *a, const char *b)
{
    kd_buf x = KD_BUF_INIT;
    kd_buf y = KD_BUF_INIT;
    nn_read_file(a, &x);
    nn_read_file(b, &y);
    const bool same = x.len == y.len && memcmp(x.data, y.data, x.len) == 0;
    kd_buf_free(&x);
    kd_buf_free(&y);
    return same;
}

float *nn_read_tensor(const char *path, const char *name, size_t *count)
{
    kd_buf file = KD_BUF_INIT;
    uint64_t length = 0;
    nn_read_file(path, &file);
    assert_true(file.len > sizeof length);
    memcpy(&length, file.data, sizeof length);
    json_t *const header = json_loadb((const char *)file.data + sizeof length, length, 0, NULL);
    json_t *const entry = json_object_get(header, name);
    if (!entry)
        fail_msg("%s has no tensor %s", path, name);
    assert_string_equal(json_string_value(json_object_get(entry, "dtype")), "F32");
    json_t *const offsets = json_object_get(entry, "data_offsets");
    const size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    const size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
    float *const values = malloc(end - begin);
    assert_non_null(values);
    assert_true(sizeof length + length + end <= file.len);
    memcpy(values, file.data + sizeof length + length + begin, end - begin);
    *count = (end - begin) / sizeof(float);
    json_decref(header);
    kd_buf_free(&file);
    return values;
}

float *nn_pixels(size_t n, size_t size, uint32_t first)
{
    const size_t per_image = size * size * 3;
    float *const pixels = malloc(n * per_image * sizeof(float));
    assert_non_null(pixels);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < per_image; k++)
            pixels[i * per_image + k] = (float)nn_noise(first + (uint32_t)i, (uint32_t)k);
    return pixels;
}

static char folder[64];

const char *nn_path(const char *name)
{
    static char paths[16][128];
    static size_t next;
    if (folder[0] == '\0') {
        (void)kd_copy(folder, sizeof folder, "kindred-nn-XXXXXX");
        assert_non_null(mkdtemp(folder));
    }
    char *const path = paths[next++ % 16];
    (void)snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

void nn_clean(void)
{
    kd_error err = KD_ERROR_INIT;
    if (folder[0] != '\0')
        CHECK_OK(kd_remove_tree(folder, &err), err);
    folder[0] = '\0';
}

void nn_check_near_golden(const float golden[32], const float *embedding)
{
    double off = 0, all = 0;
    for (size_t k = 0; k < 32; k++) {
        const double expected = (double)golden[k], got = (double)embedding[k * 16];
        off += (got - expected) * (got - expected);
        all += expected * expected;
    }
    CHECK_NEAR(0, sqrt(off / all), 1e-4);
}

float *nn_toy_batch(uint32_t batch)
{
    const size_t image = (size_t)NN_TOY_SIZE * NN_TOY_SIZE * 3;
    float *const pixels = nn_pixels(NN_TOY_IMAGES, NN_TOY_SIZE, 500 + batch * NN_TOY_IMAGES);
    for (size_t i = 0; i < NN_TOY_IMAGES; i++)
        for (size_t k = 0; k < image; k++)
            pixels[i * image + k] = 0.5f * pixels[i * image + k] +
                                    (float)nn_noise((uint32_t)(i / NN_TOY_PER_CLASS), (uint32_t)k);
    return pixels;
}

bool nn_same_tensor(const char *a, const char *b, const char *name)
{
    size_t n = 0, m = 0;
    float *const x = nn_read_tensor(a, name, &n);
    float *const y = nn_read_tensor(b, name, &m);
    const bool same = n == m && memcmp(x, y, n * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}
