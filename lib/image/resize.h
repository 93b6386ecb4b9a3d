/* lib/image/resize.h: kd_image_resize_crop that can turn left and right about on the way, at no
 * cost; for lib/image alone. */
#ifndef KD_IMAGE_RESIZE_H
#define KD_IMAGE_RESIZE_H

#include "lib/image/image.h"

KD_MUST_CHECK kd_status image_resize_crop(kd_image *out, const kd_image *from, uint32_t x,
    uint32_t y, uint32_t w, uint32_t h, uint32_t width, uint32_t height, bool flip, kd_error *err);

#endif
