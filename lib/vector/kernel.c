/* The reference, in C: what the others must agree with, and what runs where they can't. */
#include "lib/vector/kernel.h"

#include <string.h>

#include "lib/base/half.h"

static float dot(const float *a, const float *b, size_t dim)
{
    float sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += a[i] * b[i];
    return sum;
}

static float dot_half(const float *a, const uint8_t *row, size_t dim)
{
    float sum = 0;
    for (size_t i = 0; i < dim; i++) {
        float value;
        kd_half_unpack(row + 2 * i, 1, &value);
        sum += a[i] * value;
    }
    return sum;
}

static int32_t dot_bytes(const int8_t *a, const uint8_t *row, size_t dim)
{
    int32_t sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += a[i] * row[i];
    return sum;
}

static void tile(kd_tile *t)
{
    for (size_t r = 0; r < KD_TILE_ROWS; r++) {
        float *const scores = t->scores[r];
        memset(scores, 0, t->lanes * sizeof *scores);
        for (size_t d = 0; d < t->dim; d++)
            for (size_t q = 0; q < t->lanes; q++)
                scores[q] += t->rows[r][d] * t->panel[d * t->lanes + q];
        t->reached[r] = 0;
        for (size_t q = 0; q < t->lanes; q++)
            t->reached[r] |= (uint64_t)(scores[q] >= t->floors[q]) << q;
    }
}

const kd_kernels kd_kernels_plain = {"C", dot, dot_half, dot_bytes, tile};

const kd_kernels *kd_kernels_best(void)
{
    const kd_kernels *best = kd_kernels_avx512();
    if (!best)
        best = kd_kernels_avx2();
    return best ? best : &kd_kernels_plain;
}
