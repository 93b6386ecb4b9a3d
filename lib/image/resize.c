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
    uint32_t most;
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
 * green, blue and nothing of the upper row, then of the lower: a vector. */
#define LANES 8
#define LOWER 4
typedef int32_t vector __attribute__((vector_size(LANES * sizeof(int32_t))));

MULTIVERSION static void widen_rows(const uint8_t *restrict upper, const uint8_t *restrict lower,
    uint32_t width, int32_t *restrict pair)
{
    for (size_t x = 0; x < width; x++) {
        for (size_t c = 0; c < 3; c++) {
            pair[x * LANES + c] = upper[x * 3 + c];
            pair[x * LANES + LOWER + c] = lower[x * 3 + c];
        }
    }
}

/* upper and lower are the two rows of the result, or twice the same. */
MULTIVERSION static void resize_rows(const int32_t *restrict pair, const taps *restrict t,
    uint32_t width, uint8_t *upper, uint8_t *lower)
{
    const size_t most = t->most;
    const uint32_t *const firsts = t->first, *const counts = t->count;
    const int32_t *weights = t->weights;
    for (size_t x = 0; x < width; x++) {
        const int32_t *const from = pair + (size_t)firsts[x] * LANES;
        const size_t n = counts[x];
        vector sum = {0};
        for (size_t k = 0; k < n; k++) {
            vector value;
            memcpy(&value, from + k * LANES, sizeof value);
            sum += value * weights[k];
        }
        sum = (sum + ONE_HALF) >> WEIGHT_BITS;
        for (size_t c = 0; c < 3; c++) {
            upper[x * 3 + c] = (uint8_t)sum[c];
            lower[x * 3 + c] = (uint8_t)sum[LOWER + c];
        }
        weights += most;
    }
}

/* out = a weighted sum of count rows, each len bytes long; sums has room for len. */
MULTIVERSION static void blend_rows(const uint8_t *rows, size_t stride, const int32_t *weights,
    uint32_t count, size_t len, int32_t *restrict sums, uint8_t *restrict out)
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

/* The last output's taps come first. */
static void taps_flip(taps *t, uint32_t to)
{
    for (uint32_t i = 0, j = to - 1; i < j; i++, j--) {
        const uint32_t first = t->first[i], count = t->count[i];
        t->first[i] = t->first[j];
        t->count[i] = t->count[j];
        t->first[j] = first;
        t->count[j] = count;
        int32_t *const left = t->weights + (size_t)i * t->most,
                       *const right = t->weights + (size_t)j * t->most;
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
    int32_t *pair = NULL; /* owned */

    kd_status status = kd_image_new(out, width, from->height, err);
    if (status)
        return status;
    status = taps_make(&t, from->width, width, err);
    if (status)
        goto done;
    if (flip)
        taps_flip(&t, width);
    pair = calloc(from->width, LANES * sizeof *pair);
    if (!pair) {
        status = kd_error_memory(err, "resizing an image");
        goto done;
    }
    for (uint32_t y = 0; y < from->height; y += 2) {
        const size_t lower = y + 1 < from->height ? y + 1 : y;
        widen_rows(from->pixels + y * from->stride, from->pixels + lower * from->stride,
            from->width, pair);
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

kd_status image_resize_crop(kd_image *out, const kd_image *from, uint32_t x, uint32_t y,
    uint32_t w, uint32_t h, uint32_t width, uint32_t height, bool flip, kd_error *err)
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
