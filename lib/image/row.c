#include <assert.h>
#include <string.h>

#include "lib/image/image.h"

#define FRAME 5u /* pixels */
#define GAP 8u
#define THUMBNAIL_QUALITY 85

typedef struct colour {
    uint8_t rgb[3];
} colour;
static const colour white = {{0xff, 0xff, 0xff}}, blank = {{0xee, 0xee, 0xee}},
                    query_frame = {{0x88, 0x88, 0x88}}, right_frame = {{0x2e, 0x9e, 0x4f}},
                    wrong_frame = {{0xdd, 0x33, 0x33}};

static void fill(kd_image *image, uint32_t x, uint32_t y, uint32_t w, uint32_t h, colour with)
{
    for (uint32_t row = y; row < y + h; row++) {
        uint8_t *const to = image->pixels + ((size_t)row * image->width + x) * 3;
        for (size_t i = 0; i < w; i++)
            memcpy(to + i * 3, with.rgb, 3);
    }
}

static void paste(kd_image *image, uint32_t x, uint32_t y, const kd_image *from)
{
    for (uint32_t row = 0; row < from->height; row++)
        memcpy(image->pixels + ((size_t)(y + row) * image->width + x) * 3,
            from->pixels + (size_t)row * from->width * 3, (size_t)from->width * 3);
}

/* part of whole, both ≤ 16384, scaled to side; at least one pixel. */
static uint32_t scaled(uint32_t part, uint32_t whole, uint32_t side)
{
    const uint32_t length = (part * side + whole / 2) / whole;
    return length ? length : 1;
}

/* A framed cell whose outer corner is x, GAP. */
static kd_status draw_cell(
    kd_image *row, uint32_t x, const kd_image *from, uint32_t cell, colour frame, kd_error *err)
{
    kd_image small = KD_IMAGE_INIT;
    fill(row, x, GAP, cell + 2 * FRAME, cell + 2 * FRAME, frame);
    fill(row, x + FRAME, GAP + FRAME, cell, cell, blank);
    if (!from->pixels)
        return KD_OK;
    const uint32_t longer = from->width > from->height ? from->width : from->height;
    const kd_status status = kd_image_resize(
        &small, from, scaled(from->width, longer, cell), scaled(from->height, longer, cell), err);
    if (status)
        return status;
    paste(
        row, x + FRAME + (cell - small.width) / 2, GAP + FRAME + (cell - small.height) / 2, &small);
    kd_image_free(&small);
    return KD_OK;
}

kd_status kd_image_row(
    kd_image *out, const kd_image *cells, const bool *right, size_t n, uint32_t cell, kd_error *err)
{
    assert(out && cells && right && n > 0);
    *out = (kd_image)KD_IMAGE_INIT;
    if (cell == 0 || cell > KD_IMAGE_MAX_SIDE || n > KD_IMAGE_MAX_SIDE)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "can't draw a row of %zu cells of %u pixels", n, cell);
    const uint32_t step = cell + 2 * FRAME + GAP;
    const uint64_t width = (uint64_t)n * step + GAP;
    if (width > KD_IMAGE_MAX_SIDE)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "a row of %zu cells of %u pixels is wider than %u", n, cell, KD_IMAGE_MAX_SIDE);
    kd_status status = kd_image_new(out, (uint32_t)width, step + GAP, err);
    if (status)
        return status;
    fill(out, 0, 0, out->width, out->height, white);
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        const colour frame = i == 0 ? query_frame : right[i] ? right_frame : wrong_frame;
        status = draw_cell(out, (uint32_t)i * step + GAP, &cells[i], cell, frame, err);
    }
    if (status)
        kd_image_free(out);
    return status;
}

kd_status kd_image_thumbnail(
    const void *bytes, size_t len, uint32_t side, kd_buf *out, kd_error *err)
{
    kd_image image = KD_IMAGE_INIT, small = KD_IMAGE_INIT;

    assert(side > 0 && out);
    kd_status status = kd_image_decode_scaled(&image, bytes, len, side, err);
    if (status)
        return status;
    const uint32_t longer = image.width > image.height ? image.width : image.height;
    const uint32_t to = longer < side ? longer : side;
    status = kd_image_resize(
        &small, &image, scaled(image.width, longer, to), scaled(image.height, longer, to), err);
    if (status == KD_OK)
        status = kd_image_encode_jpeg(&small, THUMBNAIL_QUALITY, out, err);
    kd_image_free(&small);
    kd_image_free(&image);
    return status;
}
