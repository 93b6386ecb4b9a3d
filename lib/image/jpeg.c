/* JPEG, by libjpeg-turbo. */
#include <stdlib.h>
#include <string.h>
#include <turbojpeg.h>

#include "lib/image/decode.h"

/* CMYK as Adobe's programs write it, inverted: 255 is no ink. Files that don't say so are rare and
 * Pillow reads them the same way. */
static void cmyk_to_rgb(const uint8_t *cmyk, kd_image *out)
{
    const size_t n = (size_t)out->width * out->height;
    for (size_t i = 0; i < n; i++) {
        for (size_t c = 0; c < 3; c++) {
            const unsigned product = (unsigned)cmyk[4 * i + c] * cmyk[4 * i + 3] + 128;
            out->pixels[3 * i + c] = (uint8_t)(((product >> 8) + product) >> 8); /* / 255 */
        }
    }
}

/* A warning (the data ends early, a code is wrong) counts as failure: grey where the photograph
 * should be would make a plausible, wrong embedding. */
static kd_status decode_pixels(
    tjhandle jpeg, const uint8_t *bytes, size_t len, bool cmyk, kd_image *out, kd_error *err)
{
    /* Pillow's defaults: accurate DCT, smooth upsampling. Hundreds of scans are an attack. */
    const int flags = TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS;
    uint8_t *ink = NULL;
    if (cmyk) {
        ink = malloc((size_t)out->width * out->height * 4);
        if (!ink)
            return kd_error_memory(err, "an image");
    }
    kd_status status = KD_OK;
    if (tjDecompress2(jpeg, bytes, (unsigned long)len, cmyk ? ink : out->pixels, (int)out->width, 0,
            (int)out->height, cmyk ? TJPF_CMYK : TJPF_RGB, flags) != 0)
        status = image_library_fault(
            KD_INVALID_ARGUMENT, "the JPEG image is broken", tjGetErrorStr2(jpeg), err);
    else if (cmyk)
        cmyk_to_rgb(ink, out);
    free(ink);
    return status;
}

/* The divisor of the size to decode at. Rounding is up, as the library's. */
static uint32_t scale_for(uint32_t width, uint32_t height, uint32_t side)
{
    uint32_t by = 8;
    while (by > 1 &&
           (side == 0 || (width + by - 1) / by / 2 < side || (height + by - 1) / by / 2 < side))
        by /= 2;
    return by;
}

kd_status image_decode_jpeg(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err)
{
    kd_status status;
    int width = 0, height = 0, subsampling, colours = 0;
    tjhandle jpeg = NULL;

    jpeg = tjInitDecompress();
    if (!jpeg)
        return kd_error_memory(err, "a JPEG decoder");
    if (tjDecompressHeader3(
            jpeg, bytes, (unsigned long)len, &width, &height, &subsampling, &colours) != 0) {
        status = image_library_fault(
            KD_INVALID_ARGUMENT, "the JPEG image's header is broken", tjGetErrorStr2(jpeg), err);
        goto done;
    }
    /* Tables without an image are no error to the library. */
    if (width < 1 || height < 1) {
        status =
            kd_error_set(err, KD_INVALID_ARGUMENT, "the JPEG image is broken: it has no pixel");
        goto done;
    }
    const uint32_t w = (uint32_t)width, h = (uint32_t)height, by = scale_for(w, h, side);
    status = image_check_size(w, h, err);
    if (status == KD_OK)
        status = kd_image_new(out, (w + by - 1) / by, (h + by - 1) / by, err);
    if (status)
        goto done;
    status =
        decode_pixels(jpeg, bytes, len, colours == TJCS_CMYK || colours == TJCS_YCCK, out, err);
    if (status)
        kd_image_free(out);
done:
    tjDestroy(jpeg);
    return status;
}
