/* Antialiased bilinear resizing with the arithmetic of Pillow's Image.resize(BILINEAR), so that
 * both give the same bytes: a horizontal pass over 8-bit pixels, rounded to 8 bits, then a vertical
 * one. A pass that changes nothing is left out.
 *
 * A weight is an integer with 22 bits behind the point: a pixel needs 8 bits of the 31, and a sum
 * of weights is at most 1 and a little. Weights are never negative and the little is far below one
 * half, so no result leaves 0..255 and none is clipped. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/resize.h"
#include "lib/image/simd.h"

#define WEIGHT_BITS 22
#define ONE_HALF (1 << (WEIGHT_BITS - 1))

/* Pixels of an image or of a part of one. */
typedef struct view {
    const uint8_t *pixels; /* borrowed */
    size_t stride;         /* bytes from row to row */
    uint32_t width, height;
} view;

/* Which inputs, and how much of each, make an output along one axis. */
typedef struct taps {
    uint32_t *first, *count; /* owned, one per output */
    int32_t *weights;        /* owned, most per output */
    uint32_t most;           /* that there is room for */
    uint32_t used;           /* the largest count */
} taps;

static void taps_free(taps *t)
{
    free(t->first);
    free(t->count);
    free(t->weights);
}

/* The triangle filter, one output wide and at least one input. */
static void taps_fill(taps *t, uint32_t from, uint32_t to, double scale, double *share)
{
    const double widen = scale < 1 ? 1 : scale;
    for (uint32_t i = 0; i < to; i++) {
        const double centre = (i + 0.5) * scale;
        const double low = centre - widen + 0.5, high = centre + widen + 0.5;
        const uint32_t first = low < 0 ? 0 : (uint32_t)low;
        const uint32_t end = high > from ? from : (uint32_t)high;
        double sum = 0;
        for (uint32_t k = first; k < end; k++) {
            const double away = fabs((k - centre + 0.5) * (1 / widen));
            share[k - first] = away < 1 ? 1 - away : 0;
            sum += share[k - first];
        }
        int32_t *const weights = t->weights + (size_t)i * t->most;
        for (uint32_t k = 0; k < end - first; k++)
            weights[k] = (int32_t)(0.5 + share[k] / sum * (1 << WEIGHT_BITS));
        t->first[i] = first;
        t->count[i] = end - first;
        if (t->count[i] > t->used)
            t->used = t->count[i];
    }
}

static kd_status taps_make(taps *t, uint32_t from, uint32_t to, kd_error *err)
{
    kd_status status = KD_OK;
    const double scale = (double)from / to;
    t->most = (uint32_t)ceil(scale < 1 ? 1 : scale) * 2 + 1;
    t->first = calloc(to, sizeof *t->first);
    t->count = calloc(to, sizeof *t->count);
    t->weights = calloc((size_t)to * t->most, sizeof *t->weights);
    double *const share = calloc(t->most, sizeof *share);
    if (t->first && t->count && t->weights && share)
        taps_fill(t, from, to, scale, share);
    else
        status = kd_error_memory(err, "resizing an image");
    free(share);
    return status;
}

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
    sum = (sum + ONE_HALF) >> WEIGHT_BITS;
    /* Red and green are in one half of 128 bits, blue is in the other. */
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "red is the first byte");
    const halves apart = (halves)sum, swapped = __builtin_shufflevector(apart, apart, 1, 0, 3, 2);
    const vector pixels = (vector)(apart | apart >> 24 | swapped << 16);
    const int32_t first = pixels[0], second = pixels[LOWER];
    memcpy(upper, &first, size);
    memcpy(lower, &second, size);
}

static ALWAYS_INLINE void resize_rows_by(const int32_t *restrict pair, const taps *restrict t,
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
KD_MULTIVERSION static void resize_rows(const int32_t *restrict pair, const taps *restrict t,
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
        out[i] = (uint8_t)(sum >> WEIGHT_BITS);
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
        out[i] = (uint8_t)(sums[i] >> WEIGHT_BITS);
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

/* The last output's taps come first. */
static void taps_flip(taps *t, uint32_t to)
{
    for (uint32_t i = 0, j = to - 1; i < j; i++, j--) {
        const uint32_t first = t->first[i], count = t->count[i];
        t->first[i] = t->first[j];
        t->count[i] = t->count[j];
        t->first[j] = first;
        t->count[j] = count;
        int32_t *const left = t->weights + (size_t)i * t->most, *const right = t->weights +
                                                                               (size_t)j * t->most;
        for (uint32_t k = 0; k < t->most; k++) {
            const int32_t weight = left[k];
            left[k] = right[k];
            right[k] = weight;
        }
    }
}

static kd_status horizontal(
    kd_image *out, const view *from, uint32_t width, bool flip, kd_error *err)
{
    taps t = {0};
    int32_t *pair = NULL; /* owned, and a row's numbers behind */

    kd_status status = kd_image_new(out, width, from->height, err);
    if (status)
        return status;
    status = taps_make(&t, from->width, width, err);
    if (status)
        goto done;
    if (flip)
        taps_flip(&t, width);
    const size_t room = LANES * ((size_t)from->width + t.used);
    pair = calloc(room + (size_t)from->width * 3 + 1, sizeof *pair);
    if (!pair) {
        status = kd_error_memory(err, "resizing an image");
        goto done;
    }
    int32_t *const wide = pair + room;
    for (uint32_t y = 0; y < from->height; y += 2) {
        const size_t lower = y + 1 < from->height ? y + 1 : y;
        widen_row(from->pixels + y * from->stride, from->width, wide, pair);
        widen_row(from->pixels + lower * from->stride, from->width, wide, pair + LOWER);
        resize_rows(
            pair, &t, width, out->pixels + (size_t)y * width * 3, out->pixels + lower * width * 3);
    }
done:
    free(pair);
    taps_free(&t);
    if (status)
        kd_image_free(out);
    return status;
}

static kd_status vertical(kd_image *out, const view *from, uint32_t height, kd_error *err)
{
    taps t = {0};
    int32_t *sums = NULL; /* owned */
    const size_t len = (size_t)from->width * 3;

    kd_status status = kd_image_new(out, from->width, height, err);
    if (status)
        return status;
    status = taps_make(&t, from->height, height, err);
    if (status)
        goto done;
    sums = malloc(len * sizeof *sums);
    if (!sums) {
        status = kd_error_memory(err, "resizing an image");
        goto done;
    }
    for (uint32_t y = 0; y < height; y++)
        blend_rows(from->pixels + t.first[y] * from->stride, from->stride,
            t.weights + (size_t)y * t.most, t.count[y], len, sums, out->pixels + y * len);
done:
    free(sums);
    taps_free(&t);
    if (status)
        kd_image_free(out);
    return status;
}

static kd_status copy(kd_image *out, const view *from, kd_error *err)
{
    const size_t len = (size_t)from->width * 3;
    const kd_status status = kd_image_new(out, from->width, from->height, err);
    if (status)
        return status;
    for (uint32_t y = 0; y < from->height; y++)
        memcpy(out->pixels + y * len, from->pixels + y * from->stride, len);
    return KD_OK;
}

static kd_status resize_view(
    kd_image *out, view from, uint32_t width, uint32_t height, bool flip, kd_error *err)
{
    kd_image wide = KD_IMAGE_INIT;

    if (width == from.width && height == from.height && !flip)
        return copy(out, &from, err);
    if (width != from.width || flip) {
        /* When there is no second pass, the first one's result is the whole. */
        kd_image *const first = height == from.height ? out : &wide;
        const kd_status status = horizontal(first, &from, width, flip, err);
        if (status || first == out)
            return status;
        from = (view){wide.pixels, (size_t)width * 3, width, wide.height};
    }
    const kd_status status = vertical(out, &from, height, err);
    kd_image_free(&wide);
    return status;
}

kd_status image_resize_crop(kd_image *out, const kd_image *from, uint32_t x, uint32_t y, uint32_t w,
    uint32_t h, uint32_t width, uint32_t height, bool flip, kd_error *err)
{
    assert(out && from && from->pixels && out != from);
    assert(w > 0 && h > 0 && x <= from->width && w <= from->width - x);
    assert(y <= from->height && h <= from->height - y);
    *out = (kd_image)KD_IMAGE_INIT;
    if (width == 0 || height == 0)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "can't resize an image to %u x %u pixels", width, height);
    const size_t stride = (size_t)from->width * 3;
    const view part = {from->pixels + y * stride + (size_t)x * 3, stride, w, h};
    return resize_view(out, part, width, height, flip, err);
}

kd_status kd_image_resize_crop(kd_image *out, const kd_image *from, uint32_t x, uint32_t y,
    uint32_t w, uint32_t h, uint32_t width, uint32_t height, kd_error *err)
{
    return image_resize_crop(out, from, x, y, w, h, width, height, false, err);
}

kd_status kd_image_resize(
    kd_image *out, const kd_image *from, uint32_t width, uint32_t height, kd_error *err)
{
    assert(from);
    return kd_image_resize_crop(out, from, 0, 0, from->width, from->height, width, height, err);
}
