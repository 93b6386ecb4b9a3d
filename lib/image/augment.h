/* lib/image/augment.h: the steps of kd_augment_run one by one; for lib/image and its tests alone.
 * What is drawn is kept apart from what is done with it. */
#ifndef KD_IMAGE_AUGMENT_H
#define KD_IMAGE_AUGMENT_H

#include "lib/image/image.h"

typedef struct augment_box {
    uint32_t x, y, w, h;
} augment_box;

/* What is done to one picture, in this order. */
typedef struct augment_plan {
    augment_box crop; /* of the image that is given */
    bool flip;
    double gain, offset; /* of the light; 1 and 0 change nothing */
    double saturation;   /* 0 is grey, 1 changes nothing */
    double hue;          /* a turn of the colour circle, -0.5..0.5 */
    bool gray;
    double sigma;      /* of the blur, in pixels; 0 is none */
    augment_box erase; /* of the picture that is made; without width there is none */
} augment_plan;

/* The plan of a width × height image to become size × size. */
void augment_draw(const kd_augment *augment, uint64_t seed, uint32_t width, uint32_t height,
    uint32_t size, augment_plan *plan);

/* value × gain + offset, in grey levels; 0 ≤ gain < 4, |offset| ≤ 512. */
void augment_light(kd_image *image, double gain, double offset);

/* Saturation 0..2 (away from ITU-R 601's luma, as torchvision's adjust_saturation), then a turn of
 * HSV's hue by -0.5..0.5 (as its adjust_hue), then greyscale (that luma). */
void augment_colors(kd_image *image, double saturation, double hue, bool gray);

/* Gaussian blur, reflected at the edges without repeating them, as torchvision's gaussian_blur with
 * a kernel that reaches 3 sigma to each side (at most AUGMENT_BLUR_REACH pixels). Below a sigma of
 * 0.25 no pixel would change by half a level, and none is touched. */
#define AUGMENT_BLUR_REACH 32
KD_MUST_CHECK kd_status augment_blur(kd_image *image, double sigma, kd_error *err);

/* Fills the box with ImageNet's mean colour. */
void augment_erase(kd_image *image, augment_box box);

#endif
