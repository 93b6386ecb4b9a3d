/* Antialiased bilinear resizing with the arithmetic of Pillow's Image.resize(BILINEAR), so that
 * both give the same bytes: a horizontal pass over 8-bit pixels, rounded to 8 bits, then a vertical
 * one. A pass that changes nothing is left out. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/decode.h"
#include "lib/image/kernel.h"
#include "lib/image/resize.h"

/* Pixels of an image or of a part of one. */
typedef struct view {
    const uint8_t *pixels; /* borrowed */
    size_t stride;         /* bytes from row to row */
    uint32_t width, height;
} view;

static kd_status horizontal(
    kd_image *out, const view *from, uint32_t width, bool flip, kd_error *err)
{
    image_taps t = {0};
    int32_t *scratch = NULL; /* owned */
    uint8_t *rows = NULL;    /* owned: two, each with what the kernel may read behind it */
    const image_kernels *const kernels = image_kernels_best();

    kd_status status = image_make(out, width, from->height, err);
    if (status)
        return status;
    status = image_taps_make(&t, from->width, width, flip, err);
    if (status)
        goto done;
    const size_t len = (size_t)from->width * 3, stride = len + image_across_behind(&t);
    scratch = malloc(image_across_scratch(&t, from->width) * sizeof *scratch);
    rows = calloc(2, stride);
    if (!scratch || !rows) {
        status = kd_error_memory(err, "resizing an image");
        goto done;
    }
    for (uint32_t y = 0; y < from->height; y += 2) {
        const size_t lower = y + 1 < from->height ? y + 1 : y;
        memcpy(rows, from->pixels + y * from->stride, len);
        memcpy(rows + stride, from->pixels + lower * from->stride, len);
        kernels->across(&t, from->width, rows, rows + stride, scratch, width,
            out->pixels + (size_t)y * width * 3, out->pixels + lower * width * 3);
    }
done:
    free(rows);
    free(scratch);
    image_taps_free(&t);
    if (status)
        kd_image_free(out);
    return status;
}

static kd_status vertical(kd_image *out, const view *from, uint32_t height, kd_error *err)
{
    image_taps t = {0};
    int32_t *sums = NULL; /* owned */
    const size_t len = (size_t)from->width * 3;

    kd_status status = image_make(out, from->width, height, err);
    if (status)
        return status;
    status = image_taps_make(&t, from->height, height, false, err);
    if (status)
        goto done;
    sums = malloc(len * sizeof *sums);
    if (!sums) {
        status = kd_error_memory(err, "resizing an image");
        goto done;
    }
    for (uint32_t y = 0; y < height; y++)
        image_kernels_best()->down(&t, y, from->pixels + t.first[y] * from->stride, from->stride,
            len, sums, out->pixels + y * len);
done:
    free(sums);
    image_taps_free(&t);
    if (status)
        kd_image_free(out);
    return status;
}

static kd_status copy(kd_image *out, const view *from, kd_error *err)
{
    const size_t len = (size_t)from->width * 3;
    const kd_status status = image_make(out, from->width, from->height, err);
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
