/* PNG, by libpng's simplified interface: grey, palette and 16 bits become 8-bit RGB. */
#include <png.h>
#include <stdlib.h>
#include <string.h>

#include "lib/image/decode.h"

static kd_status broken(png_image *png, kd_error *err)
{
    return image_library_fault(KD_INVALID_ARGUMENT, "the PNG image is broken", png->message, err);
}

/* libpng takes memory for a chunk by the length that its head claims, up to 2 GiB, before it looks
 * whether the file goes on for so long. The pixels' chunks, IDAT, it reads piece by piece. */
static bool chunks_fit(const uint8_t *bytes, size_t len)
{
    for (size_t at = 8; at + 8 <= len;) {
        const uint8_t *const b = bytes + at;
        const size_t size = (size_t)b[0] << 24 | (size_t)b[1] << 16 | (size_t)b[2] << 8 | b[3];
        if (memcmp(b + 4, "IDAT", 4) == 0)
            break;
        if (size > len - at - 8)
            return false;
        at += 12 + size;
    }
    return true; /* what else is missing libpng finds */
}

kd_status image_decode_png(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err)
{
    png_image png = {.version = PNG_IMAGE_VERSION};
    uint8_t *rgba = NULL;
    kd_status status = KD_OK;
    (void)side;
    if (!chunks_fit(bytes, len))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the PNG image is broken: a chunk claims to be longer than the file");
    if (!png_image_begin_read_from_memory(&png, bytes, len))
        return broken(&png, err);
    const bool transparent = png.format & PNG_FORMAT_FLAG_ALPHA;
    png.format = transparent ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
    png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB; /* 16 bits are a finer scale, not linear light */
    status = kd_image_new(out, png.width, png.height, err);
    if (status == KD_OK && transparent) {
        rgba = malloc(PNG_IMAGE_SIZE(png));
        if (!rgba)
            status = kd_error_memory(err, "an image");
    }
    if (status == KD_OK &&
        !png_image_finish_read(&png, NULL, transparent ? rgba : out->pixels, 0, NULL))
        status = broken(&png, err);
    else if (status == KD_OK && transparent)
        image_flatten(out, rgba);
    png_image_free(&png);
    free(rgba);
    if (status != KD_OK)
        kd_image_free(out);
    return status;
}
