/* lib/eval/scan.h: loops over a query's scores against the whole gallery. Nobody outside lib/eval
 * includes it. */
#ifndef KD_EVAL_SCAN_H
#define KD_EVAL_SCAN_H

#include "lib/eval/eval.h"

typedef struct kd_ranked {
    float score;
    uint32_t place; /* in the gallery */
} kd_ranked;

/* Of a score of -1 to 1, or a little beyond. */
static inline uint32_t kd_scan_bin(float score)
{
    const int32_t bin = (int32_t)((score + 1.0f) * (KD_EVAL_BINS / 2.0f)), last = KD_EVAL_BINS - 1;
    const int32_t raised = bin < 0 ? 0 : bin; /* as integers: that has an instruction */
    return (uint32_t)(raised > last ? last : raised);
}

/* Adds n scores to the counts of their bins. */
void kd_scan_count(const float *row, size_t n, uint32_t counts[KD_EVAL_BINS]);

/* The images that reach the floor, but for self, in the gallery's order; returns how many they are.
 * found: room for n + 1. */
size_t kd_scan_reach(const float *row, size_t n, float floor, uint32_t self, kd_ranked *found);

#endif
