/* WebP, by libwebp. */
#include <stdlib.h>
#include <webp/decode.h>

#include "lib/image/decode.h"

static kd_status status_of(VP8StatusCode code, kd_error *err)
{
    switch (code) {
    case VP8_STATUS_OK:
        return KD_OK;
    case VP8_STATUS_OUT_OF_MEMORY:
    case VP8_STATUS_INVALID_PARAM: /* ours are valid: it had no memory for a decoder */
    case VP8_STATUS_USER_ABORT:    /* nor did we abort: it had none for its rows */
        return kd_error_memory(err, "an image");
    default:
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the WebP image is broken");
    }
}

/* Into to, which has room for channels bytes a pixel. */
static kd_status decode_pixels(const uint8_t *bytes, size_t len, const kd_image *size,
    size_t channels, uint8_t *to, kd_error *err)
{
    WebPDecoderConfig config;
    if (!WebPInitDecoderConfig(&config))
        return kd_error_set(err, KD_INTERNAL, "libwebp is another one than it was built with");
    config.output.colorspace = channels == 4 ? MODE_RGBA : MODE_RGB;
    config.output.is_external_memory = 1;
    config.output.u.RGBA.rgba = to;
    config.output.u.RGBA.stride = (int)(channels * size->width);
    config.output.u.RGBA.size = channels * size->width * size->height;
    const VP8StatusCode code = WebPDecode(bytes, len, &config);
    WebPFreeDecBuffer(&config.output);
    return status_of(code, err);
}

kd_status image_decode_webp(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err)
{
    WebPBitstreamFeatures features;
    uint8_t *rgba = NULL;
    (void)side;
    if (WebPGetFeatures(bytes, len, &features) != VP8_STATUS_OK)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the WebP image's header is broken");
    if (features.has_animation)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the WebP image is an animation");
    kd_status status = kd_image_new(out, (uint32_t)features.width, (uint32_t)features.height, err);
    if (status != KD_OK)
        return status;
    if (features.has_alpha) {
        rgba = malloc((size_t)out->width * out->height * 4);
        status =
            rgba ? decode_pixels(bytes, len, out, 4, rgba, err) : kd_error_memory(err, "an image");
        if (status == KD_OK)
            image_flatten(out, rgba);
    } else {
        status = decode_pixels(bytes, len, out, 3, out->pixels, err);
    }
    free(rgba);
    if (status != KD_OK)
        kd_image_free(out);
    return status;
}
