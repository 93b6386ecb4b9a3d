/* lib/image/simd.h: loops for vector units; for lib/image alone. */
#ifndef KD_IMAGE_SIMD_H
#define KD_IMAGE_SIMD_H

#include <stdint.h>

#include "lib/base/simd.h"

/* Into a function that is compiled twice, so that this is, too. */
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* The upper half of a product of 16-bit numbers: one instruction for a whole vector. */
static inline int16_t high_half(int16_t a, int16_t b)
{
    return (int16_t)((int32_t)a * b >> 16);
}
static inline uint16_t high_half_unsigned(uint16_t a, uint16_t b)
{
    return (uint16_t)((uint32_t)a * b >> 16);
}

static inline int16_t limit(int16_t value, int16_t low, int16_t high)
{
    const int16_t raised = value < low ? low : value;
    return raised > high ? high : raised;
}

#endif
