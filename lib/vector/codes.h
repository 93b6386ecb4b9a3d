/* lib/vector/codes.h: rows as an approximate search looks at them. */
#ifndef KD_VECTOR_CODES_H
#define KD_VECTOR_CODES_H

#include "lib/vector/kernel.h"
#include "lib/vector/vector.h"

/* A row of bytes is the values divided by the largest one's 127th, plus 128; that step, a float,
 * lies behind them. */
typedef struct kd_codes {
    const kd_rows *rows; /* borrowed */
    kd_ann_storage storage;
    size_t stride;        /* bytes of a code, a multiple of a cache line where it is owned */
    const uint8_t *bytes; /* n codes */
    uint8_t *owned;       /* bytes, or NULL: they are the rows themselves */
    const kd_kernels *kernels;
} kd_codes;

/* A query as the kernels want it. */
typedef struct kd_code_query {
    const float *values;             /* borrowed */
    int8_t bytes[KD_VECTOR_MAX_DIM]; /* of KD_ANN_INT8, as step and bias */
    float step;
    int32_t bias; /* what the 128 in each of a row's bytes add */
} kd_code_query;

/* Room for rows->n codes, filled by kd_codes_make. */
KD_MUST_CHECK kd_status kd_codes_new(
    kd_codes *codes, const kd_rows *rows, kd_ann_storage storage, kd_error *err);
void kd_codes_make(kd_codes *codes, size_t from, size_t to);
void kd_codes_free(kd_codes *codes);
static inline size_t kd_codes_bytes(const kd_codes *codes)
{
    return codes->owned ? codes->rows->n * codes->stride : 0;
}

void kd_codes_ask(const kd_codes *codes, const float *values, kd_code_query *query);
/* The row as a query. */
void kd_codes_ask_row(const kd_codes *codes, size_t row, kd_code_query *query);
float kd_codes_score(const kd_codes *codes, const kd_code_query *query, size_t row);

/* Begins to bring the row near. A long one's end comes by itself: the CPU sees where this goes. */
static inline void kd_codes_fetch(const kd_codes *codes, size_t row)
{
    const uint8_t *const code = codes->bytes + row * codes->stride;
    const size_t most = codes->stride < 1024 ? codes->stride : 1024;
    for (size_t at = 0; at < most; at += 64)
        __builtin_prefetch(code + at);
}

#endif
