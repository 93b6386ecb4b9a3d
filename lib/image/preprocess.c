#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/decode.h"
#include "lib/image/kernel.h"

/* The shortest text that reads back as the same float: the hash hangs on it. */
static void float_text(float value, char *text, size_t size)
{
    for (int digits = 1; digits <= 9; digits++) {
        (void)snprintf(text, size, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            return;
    }
}

void kd_preprocess_text(const kd_preprocess *preprocess, char text[KD_PREPROCESS_TEXT])
{
    char mean[3][16], std[3][16];

    assert(preprocess && text);
    for (size_t c = 0; c < 3; c++) {
        float_text(preprocess->mean[c], mean[c], sizeof mean[c]);
        float_text(preprocess->std[c], std[c], sizeof std[c]);
    }
    (void)snprintf(text, KD_PREPROCESS_TEXT,
        "rgb8, %supright, over white, resize %ux%u bilinear antialiased rgb8, scale 1/255, mean %s "
        "%s %s, "
        "std %s %s %s",
        preprocess->scaled_dct ? "jpeg at 1/8 1/4 1/2 if twice the size, " : "",
        preprocess->image_size, preprocess->image_size, mean[0], mean[1], mean[2], std[0], std[1],
        std[2]);
}

kd_status kd_preprocess_hash(
    const kd_preprocess *preprocess, char hash[KD_SHA256_TEXT], kd_error *err)
{
    char text[KD_PREPROCESS_TEXT];
    uint8_t digest[KD_SHA256_BYTES];

    kd_preprocess_text(preprocess, text);
    const kd_status status = kd_sha256(text, strlen(text), digest, err);
    if (status)
        return status;
    kd_hex(digest, sizeof digest, hash);
    return KD_OK;
}

void kd_preprocess_normalise(const kd_preprocess *preprocess, const kd_image *image, float *input)
{
    image_normaliser n;

    assert(preprocess && image && image->pixels && input);
    assert(image->width == preprocess->image_size && image->height == preprocess->image_size);
    image_normaliser_make(&n, preprocess);
    image_kernels_best()->normalise(
        &n, image->pixels, (size_t)image->width * image->height * 3, input);
}

kd_status kd_preprocess_decode(
    const kd_preprocess *preprocess, kd_image *out, const void *bytes, size_t len, kd_error *err)
{
    return kd_image_decode_scaled(
        out, bytes, len, preprocess->scaled_dct ? preprocess->image_size : 0, err);
}

kd_status kd_preprocess_image(
    const kd_preprocess *preprocess, const kd_image *image, float *input, kd_error *err)
{
    kd_image square = KD_IMAGE_INIT;

    assert(preprocess && image && input);
    const kd_status status =
        kd_image_resize(&square, image, preprocess->image_size, preprocess->image_size, err);
    if (status == KD_OK)
        kd_preprocess_normalise(preprocess, &square, input);
    kd_image_free(&square);
    return status;
}

/* ---- All steps in one go: rows in from the decoder, rows of floats out ---- */

typedef struct funnel {
    uint32_t side;
    float *input; /* borrowed: where the next row goes */
    const image_kernels *kernels;
    image_normaliser normaliser;
    uint32_t width, height;  /* of what comes in */
    image_taps across, down; /* owned, as what follows */
    uint8_t *strip;          /* IMAGE_STRIP rows as they come */
    uint8_t *narrow;         /* rows of the right width, `room` of them */
    uint8_t *row;            /* one of the result */
    int32_t *scratch;        /* the kernels', for either pass */
    uint32_t room;
    uint32_t taken, dropped; /* rows that have come; those of them that narrow has no more */
    uint32_t made;           /* rows of the result */
} funnel;

static size_t narrow_row(const funnel *f)
{
    return (size_t)f->side * 3;
}

static kd_status funnel_begin(void *arg, uint32_t width, uint32_t height, kd_error *err)
{
    funnel *const f = arg;
    f->width = width;
    f->height = height;
    kd_status status = image_taps_make(&f->across, width, f->side, false, err);
    if (status == KD_OK)
        status = image_taps_make(&f->down, height, f->side, false, err);
    if (status != KD_OK)
        return status;
    /* What an output still needs is less than its taps, and a strip comes on top; with room for
     * some strips more, rows are seldom moved to the front. */
    f->room = f->down.used + 4 * IMAGE_STRIP;
    const size_t across = image_across_scratch(&f->across, width), sums = narrow_row(f);
    f->strip = calloc((size_t)width * 3 * IMAGE_STRIP + image_across_behind(&f->across), 1);
    f->narrow = malloc(f->room * narrow_row(f));
    f->row = malloc(narrow_row(f));
    f->scratch = malloc((across > sums ? across : sums) * sizeof *f->scratch);
    if (!f->strip || !f->narrow || !f->row || !f->scratch)
        return kd_error_memory(err, "resizing an image");
    return KD_OK;
}

/* Makes every row of the result whose taps are there. */
static void make_rows(funnel *f)
{
    const size_t len = narrow_row(f);
    for (; f->made < f->side; f->made++) {
        const uint32_t first = f->down.first[f->made];
        if (first + f->down.count[f->made] > f->taken)
            break;
        f->kernels->down(&f->down, f->made, f->narrow + (first - f->dropped) * len, len, len,
            f->scratch, f->row);
        f->kernels->normalise(&f->normaliser, f->row, len, f->input);
        f->input += len;
    }
}

static void take_strip(funnel *f, uint32_t n)
{
    const size_t len = narrow_row(f), stride = (size_t)f->width * 3;
    if (f->taken - f->dropped + n > f->room) {
        const uint32_t needed = f->made < f->side ? f->down.first[f->made] : f->taken;
        const uint32_t drop = (needed < f->taken ? needed : f->taken) - f->dropped;
        memmove(f->narrow, f->narrow + drop * len, (f->taken - f->dropped - drop) * len);
        f->dropped += drop;
    }
    uint8_t *const to = f->narrow + (f->taken - f->dropped) * len;
    for (size_t y = 0; y < n; y += 2) {
        const size_t lower = y + 1 < n ? y + 1 : y;
        f->kernels->across(&f->across, f->width, f->strip + y * stride, f->strip + lower * stride,
            f->scratch, f->side, to + y * len, to + lower * len);
    }
    f->taken += n;
    make_rows(f);
}

static uint8_t *funnel_strip(void *arg, uint32_t y)
{
    funnel *const f = arg;
    if (y > 0)
        take_strip(f, IMAGE_STRIP);
    return f->strip;
}

kd_status kd_preprocess_run(
    const kd_preprocess *preprocess, const void *bytes, size_t len, float *input, kd_error *err)
{
    assert(preprocess && (bytes || len == 0) && input);
    const uint32_t side = preprocess->image_size;
    if (side == 0 || side > KD_IMAGE_MAX_SIDE)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "can't resize an image to %u x %u pixels", side, side);
    funnel f = {.side = side, .input = input, .kernels = image_kernels_best()};
    kd_status status = image_check_size(side, side, err);
    if (status != KD_OK)
        return status;
    const image_sink sink = {&f, funnel_begin, funnel_strip};
    image_normaliser_make(&f.normaliser, preprocess);
    status = image_read(&sink, bytes, len, preprocess->scaled_dct ? side : 0, err);
    if (status == KD_OK) {
        take_strip(&f, f.height - f.taken);
        assert(f.made == side);
    }
    free(f.strip);
    free(f.narrow);
    free(f.row);
    free(f.scratch);
    image_taps_free(&f.across);
    image_taps_free(&f.down);
    return status;
}
