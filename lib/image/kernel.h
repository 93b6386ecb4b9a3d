/* lib/image/kernel.h: the loops of resizing and normalising, in C and for AVX2; for lib/image and
 * its tests alone. */
#ifndef KD_IMAGE_KERNEL_H
#define KD_IMAGE_KERNEL_H

#include "lib/image/image.h"

/* A weight is an integer with 22 bits behind the point: a pixel needs 8 bits of the 31, and a sum
 * of weights is at most 1 and a little. Weights are never negative and the little is far below one
 * half, so no result leaves 0..255 and none is clipped. */
#define IMAGE_WEIGHT_BITS 22
#define IMAGE_LOW_BITS 11 /* of a weight's lower half */
#define IMAGE_GROUP 4u    /* taps that a fast kernel takes at once */

/* Which inputs, and how much of each, make an output along one axis. */
typedef struct image_taps {
    uint32_t *first, *count; /* owned, one per output */
    int32_t *weights;        /* owned, most per output; nothing behind those that count */
    int16_t *pairs;          /* owned, groups × (4 upper halves, 4 lower) per output: the same */
    uint32_t most;           /* that there is room for */
    uint32_t used;           /* the largest count */
    uint32_t groups;         /* of IMAGE_GROUP taps that hold it */
} image_taps;
/* flip: the last output's taps come first. On failure, too, the caller frees. */
KD_MUST_CHECK kd_status image_taps_make(
    image_taps *t, uint32_t from, uint32_t to, bool flip, kd_error *err);
void image_taps_free(image_taps *t);

/* A pixel has 256 values: the divisions are made once for each, in torchvision's order. */
typedef struct image_normaliser {
    float table[3][256];
    float mean[24], std[24], inverse[24]; /* of the values of eight pixels */
    bool by_formula;                      /* a fast kernel's equals the table everywhere */
} image_normaliser;
void image_normaliser_make(image_normaliser *n, const kd_preprocess *preprocess);

/* Numbers that across needs, and bytes that must be readable behind its rows, whatever they are. */
static inline size_t image_across_scratch(const image_taps *t, uint32_t from)
{
    return 8 * ((size_t)from + t->used) + (size_t)from * 3 + 1;
}
static inline size_t image_across_behind(const image_taps *t)
{
    return (size_t)t->groups * IMAGE_GROUP * 3 + 16;
}

typedef struct image_kernels {
    /* Two rows of `from` pixels to two of `width`; the two may be one. */
    void (*across)(const image_taps *t, uint32_t from, const uint8_t *upper, const uint8_t *lower,
        int32_t *scratch, uint32_t width, uint8_t *upper_out, uint8_t *lower_out);
    /* Output y, len bytes, of rows that begin with its first tap's; sums has room for len. */
    void (*down)(const image_taps *t, uint32_t y, const uint8_t *rows, size_t stride, size_t len,
        int32_t *sums, uint8_t *out);
    /* len: whole pixels */
    void (*normalise)(const image_normaliser *n, const uint8_t *row, size_t len, float *out);
} image_kernels;
extern const image_kernels image_kernels_plain;
const image_kernels *image_kernels_fast(void); /* NULL: not on this CPU */
const image_kernels *image_kernels_best(void);

#endif
