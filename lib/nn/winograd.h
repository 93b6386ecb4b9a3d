/* lib/nn/winograd.h: 3 × 3 convolutions of stride 1 and padding 1 by minimal filtering, for AVX2.
 *
 * F(4 × 4, 3 × 3) of Lavin and Gray 2016, "Fast Algorithms for Convolutional Neural Networks": a
 * tile of 4 × 4 outputs is made of 36 products in each channel instead of 144. oneDNN has minimal
 * filtering with AVX-512 only. It rounds a little more than the plain sums do: about 1e-5 of an
 * output.
 *
 * The output is shared out among threads by tiles; each share is a call of its own. */
#ifndef KD_NN_WINOGRAD_H
#define KD_NN_WINOGRAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

KD_C_BEGIN

#define KD_WINOGRAD_LANES 8

/* Where activations lie, in floats. Channels come in runs of KD_WINOGRAD_LANES, beside one another:
 * so many runs (`runs`) follow each other in a block, at each pixel, and blocks are `block` apart.
 * N×C/8×H×W×8 has 1 run in a block, N×C/16×H×W×16 has 2, N×H×W×C all of them. */
typedef struct kd_winograd_layout {
    int64_t image, row, pixel, block, runs;
} kd_winograd_layout;

typedef struct kd_winograd {
    int64_t in, out;      /* channels */
    int64_t batch, size;  /* images of size × size */
    const float *weights; /* kd_winograd_prepare's, borrowed */
    const float *bias;    /* out, borrowed */
    kd_winograd_layout source, target;
    bool add;  /* the result is added to what the target holds */
    bool relu; /* last */
} kd_winograd;

/* Whether this CPU can do it with so many channels, and it pays for so many images. */
bool kd_winograd_pays(int64_t in, int64_t out, int64_t batch, int64_t size);
/* The weights as they are taken, weight_floats of them, of out × in × 3 × 3. */
size_t kd_winograd_weight_floats(int64_t in, int64_t out);
void kd_winograd_prepare(float *prepared, const float *weights, int64_t in, int64_t out);
/* What one share needs for its own. */
size_t kd_winograd_scratch_floats(const kd_winograd *conv);
/* The share'th of shares; together they make the whole output. */
void kd_winograd_run(const kd_winograd *conv, const float *source, float *target, int64_t share,
    int64_t shares, float *scratch);

KD_C_END
#endif
