/* The reference, in C: what image_kernels_fast must equal, and what runs where that one can't. */
#include <string.h>

#include "lib/image/kernel.h"
#include "lib/image/simd.h"

#define ONE_HALF (1 << (IMAGE_WEIGHT_BITS - 1))

/* The horizontal pass takes two rows at once, whose pixels lie interleaved as eight numbers: red,
 * green, blue and one to ignore of the upper row, then of the lower: a vector. */
#define LANES 8
#define LOWER 4
typedef int32_t vector __attribute__((vector_size(LANES * sizeof(int32_t))));
typedef uint64_t halves __attribute__((vector_size(LANES * sizeof(int32_t))));

/* One of the two rows; pair begins at its own lanes, and wide has room for the row and a number. */
KD_MULTIVERSION static void widen_row(
    const uint8_t *restrict row, uint32_t width, int32_t *restrict wide, int32_t *restrict pair)
{
    const size_t n = (size_t)width * 3;
    for (size_t i = 0; i < n; i++)
        wide[i] = row[i];
    for (size_t x = 0; x < width; x++)
        memcpy(pair + x * LANES, wide + x * 3, LOWER * sizeof *wide);
}

/* n pixels from `from` on, weighed; size bytes are put down: 4, the last of which the next pixel
 * overwrites, or 3 for a row's last. */
static ALWAYS_INLINE void blend_pixels(const int32_t *from, const int32_t *weights, size_t n,
    uint8_t *upper, uint8_t *lower, size_t size)
{
    vector sum = {0};
    for (size_t k = 0; k < n; k++) {
        vector value;
        memcpy(&value, from + k * LANES, sizeof value);
        sum += value * weights[k];
    }
    sum = (sum + ONE_HALF) >> IMAGE_WEIGHT_BITS;
    /* Red and green are in one half of 128 bits, blue is in the other. */
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "red is the first byte");
    const halves apart = (halves)sum, swapped = __builtin_shufflevector(apart, apart, 1, 0, 3, 2);
    const vector pixels = (vector)(apart | apart >> 24 | swapped << 16);
    const int32_t first = pixels[0], second = pixels[LOWER];
    memcpy(upper, &first, size);
    memcpy(lower, &second, size);
}

static ALWAYS_INLINE void resize_rows_by(const int32_t *restrict pair, const image_taps *restrict t,
    uint32_t width, uint8_t *upper, uint8_t *lower, size_t n)
{
    const uint32_t *const firsts = t->first;
    const int32_t *weights = t->weights;
    const size_t last = width - 1, most = t->most;
    for (size_t x = 0; x < last; x++, weights += most)
        blend_pixels(pair + (size_t)firsts[x] * LANES, weights, n, upper + x * 3, lower + x * 3, 4);
    blend_pixels(
        pair + (size_t)firsts[last] * LANES, weights, n, upper + last * 3, lower + last * 3, 3);
}

/* upper and lower are the two rows of the result, or twice the same. Each output takes the same
 * number of taps, so that a compiler can unroll the usual numbers: pair has that many pixels of
 * nothing behind it, and what is too many weighs nothing. */
KD_MULTIVERSION static void resize_rows(const int32_t *restrict pair, const image_taps *restrict t,
    uint32_t width, uint8_t *upper, uint8_t *lower)
{
    switch (t->used) {
    case 2:
        resize_rows_by(pair, t, width, upper, lower, 2);
        break;
    case 3:
        resize_rows_by(pair, t, width, upper, lower, 3);
        break;
    case 4:
        resize_rows_by(pair, t, width, upper, lower, 4);
        break;
    case 5:
        resize_rows_by(pair, t, width, upper, lower, 5);
        break;
    default:
        resize_rows_by(pair, t, width, upper, lower, t->used);
    }
}

static ALWAYS_INLINE void blend_rows_by(const uint8_t *rows, size_t stride, const int32_t *weights,
    size_t len, uint8_t *restrict out, uint32_t count)
{
    for (size_t i = 0; i < len; i++) {
        int32_t sum = ONE_HALF;
        for (uint32_t k = 0; k < count; k++)
            sum += rows[k * stride + i] * weights[k];
        out[i] = (uint8_t)(sum >> IMAGE_WEIGHT_BITS);
    }
}

KD_MULTIVERSION static void blend_many_rows(const uint8_t *rows, size_t stride,
    const int32_t *weights, uint32_t count, size_t len, int32_t *restrict sums,
    uint8_t *restrict out)
{
    for (size_t i = 0; i < len; i++)
        sums[i] = ONE_HALF;
    for (uint32_t k = 0; k < count; k++) {
        const uint8_t *const row = rows + k * stride;
        const int32_t weight = weights[k];
        for (size_t i = 0; i < len; i++)
            sums[i] += row[i] * weight;
    }
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)(sums[i] >> IMAGE_WEIGHT_BITS);
}

/* out = a weighted sum of count rows, each len bytes long; sums has room for len. The usual counts
 * keep their sums in registers. */
KD_MULTIVERSION static void blend_rows(const uint8_t *rows, size_t stride, const int32_t *weights,
    uint32_t count, size_t len, int32_t *restrict sums, uint8_t *restrict out)
{
    switch (count) {
    case 2:
        blend_rows_by(rows, stride, weights, len, out, 2);
        break;
    case 3:
        blend_rows_by(rows, stride, weights, len, out, 3);
        break;
    case 4:
        blend_rows_by(rows, stride, weights, len, out, 4);
        break;
    default:
        blend_many_rows(rows, stride, weights, count, len, sums, out);
    }
}

static void across(const image_taps *t, uint32_t from, const uint8_t *upper, const uint8_t *lower,
    int32_t *scratch, uint32_t width, uint8_t *upper_out, uint8_t *lower_out)
{
    /* Behind the pair's pixels are as many of nothing as an output has taps. */
    const size_t used = LANES * ((size_t)from + t->used);
    int32_t *const wide = scratch + used;
    memset(scratch + (size_t)from * LANES, 0, (size_t)t->used * LANES * sizeof *scratch);
    wide[(size_t)from * 3] = 0; /* stands where the last pixel's lane to ignore is read */
    widen_row(upper, from, wide, scratch);
    widen_row(lower, from, wide, scratch + LOWER);
    resize_rows(scratch, t, width, upper_out, lower_out);
}

static void down(const image_taps *t, uint32_t y, const uint8_t *rows, size_t stride, size_t len,
    int32_t *sums, uint8_t *out)
{
    blend_rows(rows, stride, t->weights + (size_t)y * t->most, t->count[y], len, sums, out);
}

static void normalise(const image_normaliser *n, const uint8_t *row, size_t len, float *out)
{
    for (size_t i = 0; i < len; i += 3) {
        for (size_t c = 0; c < 3; c++)
            out[i + c] = n->table[c][row[i + c]];
    }
}

void image_normaliser_make(image_normaliser *n, const kd_preprocess *preprocess)
{
    for (size_t c = 0; c < 3; c++) {
        for (size_t v = 0; v < 256; v++)
            n->table[c][v] = ((float)v / 255.0f - preprocess->mean[c]) / preprocess->std[c];
    }
    for (size_t i = 0; i < 24; i++) {
        n->mean[i] = preprocess->mean[i % 3];
        n->std[i] = preprocess->std[i % 3];
        n->inverse[i] = 1.0f / preprocess->std[i % 3];
    }
    const image_kernels *const fast = image_kernels_fast();
    uint8_t values[3 * 256];
    float formula[3 * 256], table[3 * 256];
    for (size_t i = 0; i < sizeof values; i++)
        values[i] = (uint8_t)(i / 3);
    n->by_formula = fast != NULL;
    if (!fast)
        return;
    fast->normalise(n, values, sizeof values, formula);
    normalise(n, values, sizeof values, table);
    /* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison): the same bits are asked for */
    n->by_formula = memcmp(formula, table, sizeof table) == 0;
}

const image_kernels image_kernels_plain = {across, down, normalise};

const image_kernels *image_kernels_best(void)
{
    const image_kernels *const fast = image_kernels_fast();
    return fast ? fast : &image_kernels_plain;
}
