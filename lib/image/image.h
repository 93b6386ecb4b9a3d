/* lib/image/image.h: photographs in, model input out, picture rows for people.
 *
 * Preprocessing is one code path for training, serving and evaluation: decode, turn upright, resize
 * (antialiased bilinear, as Pillow's), normalise. It is described by kd_preprocess, whose hash is
 * part of a model. Safe from any thread: nothing is shared. */
#ifndef KD_IMAGE_IMAGE_H
#define KD_IMAGE_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/hash.h"
#include "lib/base/status.h"

#define KD_IMAGE_MAX_BYTES (32u << 20)  /* of an encoded image */
#define KD_IMAGE_MAX_SIDE 16384u        /* pixels */
#define KD_IMAGE_MAX_PIXELS (64u << 20) /* width × height */

/* 8-bit RGB, interleaved, rows without padding. */
typedef struct kd_image {
    uint8_t *pixels; /* owned: width × height × 3 */
    uint32_t width, height;
} kd_image;
#define KD_IMAGE_INIT {NULL, 0, 0}
void kd_image_free(kd_image *image);
KD_MUST_CHECK kd_status kd_image_new(
    kd_image *out, uint32_t width, uint32_t height, kd_error *err); /* black */

/* What an encoded image is, told by its first bytes, as kd_image_decode tells it. */
typedef enum kd_image_format {
    KD_IMAGE_OTHER, /* not read */
    KD_IMAGE_JPEG,
    KD_IMAGE_PNG,
    KD_IMAGE_WEBP,
} kd_image_format;
#define KD_IMAGE_FORMATS 4u
kd_image_format kd_image_format_of(const void *bytes, size_t len);

/* Decodes a JPEG, PNG or WebP, told apart by content, and turns it upright by its EXIF orientation;
 * transparent pixels come over white. Limits are checked from the header, before any pixel is
 * decoded. KD_INVALID_ARGUMENT: not an image kindred reads, or broken: a truncated one is broken,
 * and so is any that its library warns of, as grey where a product should be would give a
 * plausible, wrong embedding. KD_RESOURCE_EXHAUSTED: over a limit, which the sentence names. */
KD_MUST_CHECK kd_status kd_image_decode(
    kd_image *out, const void *bytes, size_t len, kd_error *err);

/* The same for an image that will be shrunk to side × side: a JPEG is decoded at 1/2, 1/4 or 1/8 of
 * its size (a smaller inverse DCT), the least at which both sides are still twice `side`. */
KD_MUST_CHECK kd_status kd_image_decode_scaled(
    kd_image *out, const void *bytes, size_t len, uint32_t side, kd_error *err);

KD_MUST_CHECK kd_status kd_image_encode_jpeg(
    const kd_image *image, int quality /* 1..100 */, kd_buf *out, kd_error *err);
KD_MUST_CHECK kd_status kd_image_encode_png(const kd_image *image, kd_buf *out, kd_error *err);

/* Antialiased bilinear (triangle filter widened by the scale, as Pillow's Image.resize with
 * BILINEAR), aspect not kept. */
KD_MUST_CHECK kd_status kd_image_resize(
    kd_image *out, const kd_image *from, uint32_t width, uint32_t height, kd_error *err);

/* Cuts the rectangle out and resizes it: the random resized crop of training. */
KD_MUST_CHECK kd_status kd_image_resize_crop(kd_image *out, const kd_image *from, uint32_t x,
    uint32_t y, uint32_t w, uint32_t h, uint32_t width, uint32_t height, kd_error *err);

/* ---- Model input ---- */
typedef struct kd_preprocess {
    uint32_t image_size; /* square, pixels */
    float mean[3], std[3];
    bool scaled_dct; /* decode by kd_image_decode_scaled; false in models of before it was there */
} kd_preprocess;
/* ImageNet's mean and deviation, 224 × 224. */
#define KD_PREPROCESS_INIT {224, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}, true}

/* A line of text that names each step with its numbers, and the SHA-256 of that line. */
#define KD_PREPROCESS_TEXT 256
void kd_preprocess_text(const kd_preprocess *preprocess, char text[KD_PREPROCESS_TEXT]);
KD_MUST_CHECK kd_status kd_preprocess_hash(
    const kd_preprocess *preprocess, char hash[KD_SHA256_TEXT], kd_error *err);

/* The first step alone. */
KD_MUST_CHECK kd_status kd_preprocess_decode(
    const kd_preprocess *preprocess, kd_image *out, const void *bytes, size_t len, kd_error *err);
/* Encoded bytes to S × S × 3 floats at input (RGB interleaved, normalised). */
KD_MUST_CHECK kd_status kd_preprocess_run(
    const kd_preprocess *preprocess, const void *bytes, size_t len, float *input, kd_error *err);
/* What follows the first step: an image of any size, at least 1 × 1, to floats. */
KD_MUST_CHECK kd_status kd_preprocess_image(
    const kd_preprocess *preprocess, const kd_image *image, float *input, kd_error *err);
/* The last step alone: an S × S image to floats. */
void kd_preprocess_normalise(const kd_preprocess *preprocess, const kd_image *image, float *input);

/* ---- Augmentation, seeded: the same seed gives the same picture ----
 *
 * Each probability and range is 0..1, and changing one moves no other's draws. All off, each
 * probability 0 and crop_min_scale 1, is a resize. */
typedef struct kd_augment {
    float flip; /* probability of a horizontal flip */
    /* Probability of a change of brightness (a share of white is added) and contrast (every value
     * is multiplied), each within ± light_range. */
    float light, light_range;
    /* Random resized crop (Szegedy and others 2015, "Going deeper with convolutions", section 6):
     * the least share of the area, more than 0; 1 takes it all. */
    float crop_min_scale;
    /* Probability of colour jitter, torchvision's ColorJitter: saturation × 1 ± color_range and
     * hue ± color_range / 4 turns, one to four as in SimCLR (Chen and others 2020, appendix A). */
    float color, color_range;
    float gray; /* probability of greyscale, torchvision's RandomGrayscale (ITU-R 601's luma) */
    /* Probability of Gaussian blur, SimCLR's: sigma even over 0.1..2.0 pixels of a 224 × 224
     * picture, and in proportion at other sizes: 0.05..1.0 at 112. One below 0.25 changes nothing:
     * a thirteenth of them at 224, a fifth at 112. */
    float blur;
    /* Probability of random erasing (Zhong and others 2020, "Random erasing data augmentation"): a
     * box of 2..33 % of the area, 0.3..3.3 times as high as wide (even in the logarithm, as in
     * torchvision's RandomErasing), in ImageNet's mean colour: zero after normalisation. */
    float erase;
} kd_augment;
/* color_range is what MoCo v2 uses (Chen and others 2020, "Improved baselines with momentum
 * contrastive learning"); the new ones are off. */
#define KD_AUGMENT_INIT {0.5f, 0.2f, 0.2f, 1.0f, 0.0f, 0.4f, 0.0f, 0.0f, 0.0f}
/* KD_INVALID_ARGUMENT: a field is not what it may be; the sentence names it. */
KD_MUST_CHECK kd_status kd_augment_check(const kd_augment *augment, kd_error *err);
/* from → out of size × size: crop, resize, flip, light, colour, greyscale, blur, erase. What is set
 * has passed kd_augment_check. */
KD_MUST_CHECK kd_status kd_augment_run(const kd_augment *augment, uint64_t seed,
    const kd_image *from, uint32_t size, kd_image *out, kd_error *err);

/* ---- Picture rows ---- */
/* A row for people: a query and its neighbours in cells of cell × cell, side by side, neighbours
 * framed green (right) or red. cells[0] is the query, framed grey. right[i] belongs to cells[i], i
 * ≥
 * 1. Each picture is as large as its cell lets it be, its aspect kept, on light grey, which is all
 * there is of one without pixels (its file is gone). */
KD_MUST_CHECK kd_status kd_image_row(kd_image *out, const kd_image *cells, const bool *right,
    size_t n, uint32_t cell, kd_error *err);
/* Decode, shrink so that the longer side is at most side, encode as JPEG: a thumbnail. */
KD_MUST_CHECK kd_status kd_image_thumbnail(
    const void *bytes, size_t len, uint32_t side, kd_buf *out, kd_error *err);

#endif
