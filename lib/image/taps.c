/* Weights with the arithmetic of Pillow's precompute_coeffs, so that both give the same bytes. */
#include <math.h>
#include <stdlib.h>

#include "lib/image/kernel.h"

void image_taps_free(image_taps *t)
{
    free(t->first);
    free(t->count);
    free(t->weights);
    free(t->pairs);
    *t = (image_taps){0};
}

/* The triangle filter, one output wide and at least one input. */
static void taps_fill(image_taps *t, uint32_t from, uint32_t to, double scale, double *share)
{
    const double widen = scale < 1 ? 1 : scale;
    for (uint32_t i = 0; i < to; i++) {
        const double centre = (i + 0.5) * scale;
        const double low = centre - widen + 0.5, high = centre + widen + 0.5;
        const uint32_t first = low < 0 ? 0 : (uint32_t)low;
        const uint32_t end = high > from ? from : (uint32_t)high;
        double sum = 0;
        for (uint32_t k = first; k < end; k++) {
            const double away = fabs((k - centre + 0.5) * (1 / widen));
            share[k - first] = away < 1 ? 1 - away : 0;
            sum += share[k - first];
        }
        int32_t *const weights = t->weights + (size_t)i * t->most;
        for (uint32_t k = 0; k < end - first; k++)
            weights[k] = (int32_t)(0.5 + share[k] / sum * (1 << IMAGE_WEIGHT_BITS));
        t->first[i] = first;
        t->count[i] = end - first;
        if (t->count[i] > t->used)
            t->used = t->count[i];
    }
}

/* The last output's taps come first. */
static void taps_flip(image_taps *t, uint32_t to)
{
    for (uint32_t i = 0, j = to - 1; i < j; i++, j--) {
        const uint32_t first = t->first[i], count = t->count[i];
        t->first[i] = t->first[j];
        t->count[i] = t->count[j];
        t->first[j] = first;
        t->count[j] = count;
        int32_t *const left = t->weights + (size_t)i * t->most, *const right = t->weights +
                                                                               (size_t)j * t->most;
        for (uint32_t k = 0; k < t->most; k++) {
            const int32_t weight = left[k];
            left[k] = right[k];
            right[k] = weight;
        }
    }
}

/* The weights in halves of 11 bits, two by two, for image_kernels_fast. */
static void taps_pair(image_taps *t, uint32_t to)
{
    int16_t *pair = t->pairs;
    for (size_t i = 0; i < to; i++) {
        for (uint32_t k = 0; k < t->groups * IMAGE_GROUP; k += IMAGE_GROUP, pair += 2 * IMAGE_GROUP)
            for (uint32_t j = 0; j < IMAGE_GROUP; j++) {
                const int32_t weight = k + j < t->count[i] ? t->weights[i * t->most + k + j] : 0;
                pair[j] = (int16_t)(weight >> IMAGE_LOW_BITS);
                pair[IMAGE_GROUP + j] = (int16_t)(weight & ((1 << IMAGE_LOW_BITS) - 1));
            }
    }
}

kd_status image_taps_make(image_taps *t, uint32_t from, uint32_t to, bool flip, kd_error *err)
{
    kd_status status = KD_OK;
    const double scale = (double)from / to;
    *t = (image_taps){.most = (uint32_t)ceil(scale < 1 ? 1 : scale) * 2 + 1};
    t->first = calloc(to, sizeof *t->first);
    t->count = calloc(to, sizeof *t->count);
    t->weights = calloc((size_t)to * t->most, sizeof *t->weights);
    double *const share = calloc(t->most, sizeof *share);
    if (t->first && t->count && t->weights && share)
        taps_fill(t, from, to, scale, share);
    else
        status = kd_error_memory(err, "resizing an image");
    free(share);
    if (status != KD_OK)
        return status;
    if (flip)
        taps_flip(t, to);
    t->groups = (t->used + IMAGE_GROUP - 1) / IMAGE_GROUP;
    t->pairs = calloc((size_t)to * t->groups + 1, 2 * IMAGE_GROUP * sizeof *t->pairs);
    if (!t->pairs)
        return kd_error_memory(err, "resizing an image");
    taps_pair(t, to);
    return KD_OK;
}
