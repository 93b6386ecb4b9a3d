/* lib/image/decode.h: the decoders behind kd_image_decode; for lib/image alone. Each gives the
 * pixels as they are stored: kd_image_decode turns them upright. On failure *out is empty. */
#ifndef KD_IMAGE_DECODE_H
#define KD_IMAGE_DECODE_H

#include "lib/image/image.h"

/* side: see kd_image_decode_scaled; 0 decodes the whole. */
KD_MUST_CHECK kd_status image_decode_jpeg(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);
KD_MUST_CHECK kd_status image_decode_png(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);
KD_MUST_CHECK kd_status image_decode_webp(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);

/* KD_IMAGE_MAX_SIDE and KD_IMAGE_MAX_PIXELS. */
KD_MUST_CHECK kd_status image_check_size(uint32_t width, uint32_t height, kd_error *err);

/* What a library complains of: KD_RESOURCE_EXHAUSTED where it found no memory, else the status
 * given. what begins the sentence: "the PNG image is broken". */
kd_status image_library_fault(
    kd_status otherwise, const char *what, const char *complaint, kd_error *err);

/* RGBA over white, as a shop shows a product that was cut out. */
void image_flatten(kd_image *out, const uint8_t *rgba);

/* How the camera was held: EXIF's orientation 1 to 8 of an encoded image; 1, upright, where it has
 * none that can be read. */
unsigned image_orientation(const uint8_t *bytes, size_t len);
KD_MUST_CHECK kd_status image_turn_upright(kd_image *image, unsigned orientation, kd_error *err);

#endif
