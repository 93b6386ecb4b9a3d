/* lib/image/decode.h: the decoders behind kd_image_decode; for lib/image alone. Each gives the
 * pixels as they are stored: kd_image_decode turns them upright. On failure *out is empty. */
#ifndef KD_IMAGE_DECODE_H
#define KD_IMAGE_DECODE_H

#include "lib/image/image.h"

/* Takes an image's rows from the top, so that nobody needs to hold them all. */
#define IMAGE_STRIP 16u /* rows */
typedef struct image_sink {
    void *arg;
    /* How large the image is; once, before any row. */
    kd_status (*begin)(void *arg, uint32_t width, uint32_t height, kd_error *err);
    /* Where the rows from y on go, IMAGE_STRIP of them or what is left, 3 bytes a pixel without
     * padding. Those above y are there, the last ones when the reader returns KD_OK. */
    uint8_t *(*strip)(void *arg, uint32_t y);
} image_sink;

/* A JPEG to a sink, as it is stored; after a failure the sink holds any part. side: see
 * kd_image_decode_scaled; 0 decodes the whole. */
KD_MUST_CHECK kd_status image_read_jpeg(
    const image_sink *sink, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);
/* As kd_image_decode_scaled, into a sink: a JPEG that stands upright is never whole in memory. */
KD_MUST_CHECK kd_status image_read(
    const image_sink *sink, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);

KD_MUST_CHECK kd_status image_decode_jpeg(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);
KD_MUST_CHECK kd_status image_decode_png(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);
KD_MUST_CHECK kd_status image_decode_webp(
    kd_image *out, const uint8_t *bytes, size_t len, uint32_t side, kd_error *err);

/* As kd_image_new, but the pixels are what they are: for who writes them all. */
KD_MUST_CHECK kd_status image_make(kd_image *out, uint32_t width, uint32_t height, kd_error *err);

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
