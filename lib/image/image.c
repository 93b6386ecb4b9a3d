#include "lib/image/decode.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void kd_image_free(kd_image *image)
{
    free(image->pixels);
    *image = (kd_image)KD_IMAGE_INIT;
}

kd_status image_check_size(uint32_t width, uint32_t height, kd_error *err)
{
    if (width > KD_IMAGE_MAX_SIDE || height > KD_IMAGE_MAX_SIDE)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the image is %u x %u pixels, the limit of a side is %u", width, height,
            KD_IMAGE_MAX_SIDE);
    if ((uint64_t)width * height > KD_IMAGE_MAX_PIXELS)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the image is %u x %u pixels, the limit of the area is %u", width, height,
            KD_IMAGE_MAX_PIXELS);
    return KD_OK;
}

kd_status image_make(kd_image *out, uint32_t width, uint32_t height, kd_error *err)
{
    assert(out);
    *out = (kd_image)KD_IMAGE_INIT;
    if (width == 0 || height == 0)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "an image of %u x %u pixels has no pixel", width, height);
    const kd_status status = image_check_size(width, height, err);
    if (status)
        return status;
    uint8_t *const pixels = malloc((size_t)width * height * 3);
    if (!pixels)
        return kd_error_memory(err, "an image");
    *out = (kd_image){pixels, width, height};
    return KD_OK;
}

kd_status kd_image_new(kd_image *out, uint32_t width, uint32_t height, kd_error *err)
{
    const kd_status status = image_make(out, width, height, err);
    if (status == KD_OK && out->pixels)
        memset(out->pixels, 0, (size_t)width * height * 3);
    return status;
}
