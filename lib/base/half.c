#include "lib/base/half.h"

#include <string.h>

/* Without the compilers' _Float16, which not every one has for every processor. */

static uint16_t from_float(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) /* not a number: quiet, with what fits of its payload */
        return (uint16_t)(sign | 0x7e00 | (size >> 13 & 0x1ff));
    if (size >= 0x477ff000) /* rounds to 65520 or more */
        return (uint16_t)(sign | 0x7c00);
    if (size < 0x33000000) /* below half of the smallest, 2^-24 */
        return (uint16_t)sign;
    const uint32_t exponent = size >> 23; /* biased by 127; a half's by 15 */
    /* Significand with its leading one, and the bits that fall off its end: 13, and one more for
     * each step below the smallest normal half, 2^-14. */
    const uint32_t whole = (size & 0x7fffff) | 0x800000;
    const uint32_t off = exponent >= 113 ? 13 : 126 - exponent;
    const uint32_t kept = whole >> off, rest = whole & ((1u << off) - 1), tie = 1u << (off - 1);
    const uint32_t rounded = kept + (rest > tie || (rest == tie && (kept & 1)));
    /* The leading one adds one to the exponent, and so does a carry out of the significand. */
    return (uint16_t)(sign | (rounded + (exponent >= 113 ? (exponent - 113) << 10 : 0)));
}

static float to_float(uint16_t half)
{
    const uint32_t sign = (uint32_t)(half & 0x8000) << 16;
    const uint32_t exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
    uint32_t bits;
    float value;
    if (exponent == 0) { /* zero or subnormal: fraction × 2^-24 */
        value = (float)fraction * 0x1p-24f;
        return sign ? -value : value;
    }
    bits = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    memcpy(&value, &bits, sizeof value);
    return value;
}

void kd_half_pack(const float *values, size_t n, uint8_t *bytes)
{
    for (size_t i = 0; i < n; i++) {
        const uint16_t half = from_float(values[i]);
        bytes[2 * i] = (uint8_t)(half & 0xff);
        bytes[2 * i + 1] = (uint8_t)(half >> 8);
    }
}

void kd_half_unpack(const uint8_t *bytes, size_t n, float *values)
{
    for (size_t i = 0; i < n; i++)
        values[i] = to_float((uint16_t)(bytes[2 * i] | bytes[2 * i + 1] << 8));
}
