#include "lib/vector/codes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/half.h"

enum { CACHE_LINE = 64, OFFSET = 128, MOST = 127 };

kd_status kd_codes_new(kd_codes *codes, const kd_rows *rows, kd_ann_storage storage, kd_error *err)
{
    *codes = (kd_codes){.rows = rows, .storage = storage, .kernels = kd_kernels_best()};
    if (storage == KD_ANN_FLOAT32) {
        codes->bytes = (const uint8_t *)rows->vectors;
        codes->stride = rows->dim * sizeof(float);
        return KD_OK;
    }
    const size_t size =
        storage == KD_ANN_FLOAT16 ? rows->dim * sizeof(uint16_t) : rows->dim + sizeof(float);
    codes->stride = (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    void *memory = NULL;
    if (posix_memalign(&memory, CACHE_LINE, (rows->n + 1) * codes->stride) != 0)
        return kd_error_memory(err, "the vectors of an approximate index");
    codes->bytes = codes->owned = memory;
    return KD_OK;
}

void kd_codes_free(kd_codes *codes)
{
    free(codes->owned);
    *codes = (kd_codes){0};
}

static float step_of(const float *values, size_t dim)
{
    float most = 0;
    for (size_t i = 0; i < dim; i++)
        most = fmaxf(most, fabsf(values[i]));
    return most > 0 ? most / MOST : 1;
}

void kd_codes_make(kd_codes *codes, size_t from, size_t to)
{
    const size_t dim = codes->rows->dim;
    for (size_t row = from; row < to && codes->owned; row++) {
        const float *const values = codes->rows->vectors + row * dim;
        uint8_t *const code = codes->owned + row * codes->stride;
        memset(code, 0, codes->stride);
        if (codes->storage == KD_ANN_FLOAT16) {
            kd_half_pack(values, dim, code);
            continue;
        }
        const float step = step_of(values, dim);
        for (size_t i = 0; i < dim; i++)
            code[i] = (uint8_t)(lrintf(values[i] / step) + OFFSET);
        memcpy(code + dim, &step, sizeof step);
    }
}

static void set_bias(kd_code_query *query, size_t dim)
{
    int32_t sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += query->bytes[i];
    query->bias = OFFSET * sum;
}

void kd_codes_ask(const kd_codes *codes, const float *values, kd_code_query *query)
{
    const size_t dim = codes->rows->dim;
    query->values = values;
    if (codes->storage != KD_ANN_INT8)
        return;
    query->step = step_of(values, dim);
    for (size_t i = 0; i < dim; i++)
        query->bytes[i] = (int8_t)lrintf(values[i] / query->step);
    set_bias(query, dim);
}

void kd_codes_ask_row(const kd_codes *codes, size_t row, kd_code_query *query)
{
    const size_t dim = codes->rows->dim;
    query->values = codes->rows->vectors + row * dim;
    if (codes->storage != KD_ANN_INT8)
        return;
    const uint8_t *const code = codes->bytes + row * codes->stride;
    for (size_t i = 0; i < dim; i++)
        query->bytes[i] = (int8_t)(code[i] - OFFSET);
    memcpy(&query->step, code + dim, sizeof query->step);
    set_bias(query, dim);
}

float kd_codes_score(const kd_codes *codes, const kd_code_query *query, size_t row)
{
    const size_t dim = codes->rows->dim;
    const uint8_t *const code = codes->bytes + row * codes->stride;
    if (codes->storage == KD_ANN_FLOAT32)
        return codes->kernels->dot(query->values, codes->rows->vectors + row * dim, dim);
    if (codes->storage == KD_ANN_FLOAT16)
        return codes->kernels->dot_half(query->values, code, dim);
    float step;
    memcpy(&step, code + dim, sizeof step);
    return (float)(codes->kernels->dot_bytes(query->bytes, code, dim) - query->bias) *
           (query->step * step);
}
