#include <assert.h>
#include <string.h>

#include "lib/image/decode.h"

typedef kd_status (*decoder)(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);

/* Told apart by content: names lie. */
typedef struct format {
    const char *name; /* for the sentence about one that isn't read */
    const char *magic;
    size_t len, at;
    decoder decode; /* NULL: not read */
    kd_image_format is;
} format;

static const format formats[] = {
    {"a JPEG", "\xff\xd8\xff", 3, 0, image_decode_jpeg, KD_IMAGE_JPEG},
    {"a PNG", "\x89PNG\r\n\x1a\n", 8, 0, image_decode_png, KD_IMAGE_PNG},
    {"a WebP", "WEBP", 4, 8, image_decode_webp, KD_IMAGE_WEBP},
    {"a GIF", "GIF8", 4, 0, NULL, KD_IMAGE_OTHER},
    {"a HEIC or AVIF", "ftyp", 4, 4, NULL, KD_IMAGE_OTHER},
    {"a TIFF", "II*\0", 4, 0, NULL, KD_IMAGE_OTHER},
    {"a TIFF", "MM\0*", 4, 0, NULL, KD_IMAGE_OTHER},
    {"a BMP", "BM", 2, 0, NULL, KD_IMAGE_OTHER},
};

static const format *format_of(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        const format *const f = &formats[i];
        if (len >= f->at + f->len && memcmp(bytes + f->at, f->magic, f->len) == 0)
            return f;
    }
    return NULL;
}

kd_image_format kd_image_format_of(const void *bytes, size_t len)
{
    const format *const f = format_of(bytes, len);
    return f ? f->is : KD_IMAGE_OTHER;
}

kd_status kd_image_decode(kd_image *out, const void *bytes, size_t len, kd_error *err)
{
    return kd_image_decode_scaled(out, bytes, len, 0, err);
}

/* The format of what may be decoded; NULL, and *status says why, for anything else. */
static const format *check(const uint8_t *bytes, size_t len, kd_status *status, kd_error *err)
{
    const format *const f = format_of(bytes, len);
    *status = KD_OK;
    if (len == 0)
        *status = kd_error_set(err, KD_INVALID_ARGUMENT, "the image is empty");
    else if (len > KD_IMAGE_MAX_BYTES)
        *status = kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the image has %zu bytes, the limit is %u", len, KD_IMAGE_MAX_BYTES);
    else if (!f || !f->decode)
        *status = kd_error_set(err, KD_INVALID_ARGUMENT, "not a JPEG, PNG or WebP image%s%s",
            f ? ": it is " : "", f ? f->name : "");
    return *status == KD_OK ? f : NULL;
}

kd_status kd_image_decode_scaled(
    kd_image *out, const void *bytes, size_t len, uint32_t side, kd_error *err)
{
    kd_status status;
    assert(out && (bytes || len == 0));
    *out = (kd_image)KD_IMAGE_INIT;
    const format *const f = check(bytes, len, &status, err);
    if (!f)
        return status;
    status = f->decode(out, bytes, len, side, err);
    if (status == KD_OK)
        status = image_turn_upright(out, image_orientation(bytes, len), err);
    if (status != KD_OK)
        kd_image_free(out);
    return status;
}

kd_status image_read(
    const image_sink *sink, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err)
{
    kd_image image = KD_IMAGE_INIT;
    kd_status status;
    const format *const f = check(bytes, len, &status, err);
    if (!f)
        return status;
    if (f->is == KD_IMAGE_JPEG && image_orientation(bytes, len) == 1)
        return image_read_jpeg(sink, bytes, len, side, err);
    status = kd_image_decode_scaled(&image, bytes, len, side, err);
    if (status == KD_OK)
        status = sink->begin(sink->arg, image.width, image.height, err);
    const size_t stride = (size_t)image.width * 3;
    for (uint32_t y = 0; status == KD_OK && y < image.height; y += IMAGE_STRIP) {
        const uint32_t left = image.height - y;
        memcpy(sink->strip(sink->arg, y), image.pixels + y * stride,
            (left < IMAGE_STRIP ? left : IMAGE_STRIP) * stride);
    }
    kd_image_free(&image);
    return status;
}

/* libjpeg-turbo, libpng and zlib have words for it alone, no code. */
kd_status image_library_fault(
    kd_status otherwise, const char *what, const char *complaint, kd_error *err)
{
    if (strcasestr(complaint, "memory"))
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "no memory for an image: %s", complaint);
    return kd_error_set(err, otherwise, "%s: %s", what, complaint);
}

void image_flatten(kd_image *out, const uint8_t *rgba)
{
    const size_t n = (size_t)out->width * out->height;
    for (size_t i = 0; i < n; i++) {
        const unsigned alpha = rgba[4 * i + 3];
        for (size_t c = 0; c < 3; c++) {
            const unsigned mixed = rgba[4 * i + c] * alpha + 255 * (255 - alpha) + 128;
            out->pixels[3 * i + c] = (uint8_t)(((mixed >> 8) + mixed) >> 8); /* / 255 */
        }
    }
}
