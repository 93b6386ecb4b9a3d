/* lib/base/half.h: IEEE 754 binary16 ("half", float16) as bytes, little-endian: half the size where
 * 11 significant bits are enough. A value of a vector of length 1 is off by 2^-12 at most. */
#ifndef KD_BASE_HALF_H
#define KD_BASE_HALF_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

KD_C_BEGIN

/* Rounds to the nearest, ties to even; beyond the largest half (65504) to infinity. bytes: 2 * n.
 */
void kd_half_pack(const float *values, size_t n, uint8_t *bytes);
/* Exact. */
void kd_half_unpack(const uint8_t *bytes, size_t n, float *values);

KD_C_END
#endif
