/* WebP, by libwebp. */
#include <stdlib.h>
#include <webp/decode.h>

#include "lib/image/decode.h"

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
    const size_t n = (size_t)out->width * out->height;
    if (features.has_alpha && !(rgba = malloc(4 * n)))
        status = kd_error_memory(err, "an image");
    else if (!(rgba ? WebPDecodeRGBAInto(bytes, len, rgba, 4 * n, 4 * features.width)
                    : WebPDecodeRGBInto(bytes, len, out->pixels, 3 * n, 3 * features.width)))
        status = kd_error_set(err, KD_INVALID_ARGUMENT, "the WebP image is broken");
    else if (rgba)
        image_flatten(out, rgba);
    free(rgba);
    if (status != KD_OK)
        kd_image_free(out);
    return status;
}
