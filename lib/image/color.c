/* Light and colours of 8-bit pixels, in 16-bit integers that a vector unit takes many of at once.
 *
 * A channel is held with 4 bits behind the point, 0..4080: six times the span between two channels,
 * which is the circumference of the colour circle, still fits 16 bits. Whatever is multiplied
 * has 3 bits more. */
#include <assert.h>
#include <math.h>
#include <stddef.h>

#include "lib/image/augment.h"
#include "lib/image/simd.h"

#define MOST (255 << 4)
#define CHUNK 256 /* pixels */

/* ITU-R 601's luma, with 16 bits behind the point, as Pillow rounds it; the sum is one. */
#define LUMA_RED 19595
#define LUMA_GREEN 38470
#define LUMA_BLUE 7471

/* Pixels side by side, channel by channel. */
typedef struct chunk {
    int16_t r[CHUNK], g[CHUNK], b[CHUNK];
} chunk;

static int16_t fixed(double value, int bits)
{
    return (int16_t)lrint(ldexp(value, bits));
}

/* ---- Light ---- */

/* gain has 13 bits behind the point, offset 4. */
KD_MULTIVERSION static void light_bytes(
    uint8_t *restrict bytes, size_t n, uint16_t gain, int16_t offset)
{
    for (size_t i = 0; i < n; i++) {
        const uint16_t value = (uint16_t)(bytes[i] << 7);
        const int16_t lit = (int16_t)(high_half_unsigned(value, gain) + offset);
        bytes[i] = (uint8_t)(limit(lit, 0, MOST + 8) >> 4);
    }
}

void augment_light(kd_image *image, double gain, double offset)
{
    assert(gain >= 0 && gain < 4 && fabs(offset) <= 512);
    const size_t n = (size_t)image->width * image->height * 3;
    /* One half to round, and what the upper half of a product loses. */
    light_bytes(image->pixels, n, (uint16_t)fixed(gain, 13), fixed(offset + 0.5 + 0x1p-5, 4));
}

/* ---- Colours ---- */

KD_MULTIVERSION static void load(chunk *restrict c, const uint8_t *restrict pixels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        c->r[i] = (int16_t)(pixels[3 * i] << 4);
        c->g[i] = (int16_t)(pixels[3 * i + 1] << 4);
        c->b[i] = (int16_t)(pixels[3 * i + 2] << 4);
    }
}

KD_MULTIVERSION static void store(const chunk *restrict c, uint8_t *restrict pixels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        pixels[3 * i] = (uint8_t)((c->r[i] + 8) >> 4);
        pixels[3 * i + 1] = (uint8_t)((c->g[i] + 8) >> 4);
        pixels[3 * i + 2] = (uint8_t)((c->b[i] + 8) >> 4);
    }
}

/* factor has 13 bits behind the point. */
static inline int16_t away_from(int16_t luma, int16_t value, int16_t factor)
{
    const int16_t away = high_half((int16_t)((value - luma) * 8), factor);
    return limit((int16_t)(luma + away), 0, MOST);
}

KD_MULTIVERSION static void saturate(chunk *c, int16_t factor)
{
    for (size_t i = 0; i < CHUNK; i++) {
        const uint16_t sum =
            (uint16_t)(high_half_unsigned((uint16_t)(c->r[i] << 3), LUMA_RED) +
                       high_half_unsigned((uint16_t)(c->g[i] << 3), LUMA_GREEN) +
                       high_half_unsigned((uint16_t)(c->b[i] << 3), LUMA_BLUE) + 5);
        const int16_t luma = (int16_t)(sum >> 3);
        c->r[i] = away_from(luma, c->r[i], factor);
        c->g[i] = away_from(luma, c->g[i], factor);
        c->b[i] = away_from(luma, c->b[i], factor);
    }
}

static inline int16_t distance(int16_t a, int16_t b)
{
    return (int16_t)(a > b ? a - b : b - a);
}

static inline int16_t larger(int16_t a, int16_t b)
{
    return a > b ? a : b;
}

static inline int16_t smaller(int16_t a, int16_t b)
{
    return a < b ? a : b;
}

/* HSV without a division: with `span` the largest channel less the smallest, the hue is an angle of
 * 0..6 × span, pure red at 0, green at 2 and blue at 4 × span. A channel is largest up to one span
 * from its own hue and smallest from two spans on. turn: in sixths of the circle, 13 bits behind
 * the point. */
KD_MULTIVERSION static void turn_hue(chunk *c, int16_t turn)
{
    for (size_t i = 0; i < CHUNK; i++) {
        const int16_t r = c->r[i], g = c->g[i], b = c->b[i];
        const int16_t most = larger(larger(r, g), b), least = smaller(smaller(r, g), b);
        const int16_t span = (int16_t)(most - least), circle = (int16_t)(6 * span);
        const int16_t from_red = (int16_t)(g - b), from_green = (int16_t)(2 * span + b - r),
                      from_blue = (int16_t)(4 * span + r - g);
        int16_t hue = most == r ? from_red : most == g ? from_green : from_blue;
        hue = (int16_t)(hue + high_half((int16_t)(span << 3), turn));
        hue = (int16_t)(hue < 0 ? hue + circle : hue);
        hue = (int16_t)(hue >= circle ? hue - circle : hue);
        const int16_t near_red = distance(hue, (int16_t)(3 * span)); /* 3 spans less the distance */
        const int16_t green = distance(hue, (int16_t)(2 * span)),
                      blue = distance(hue, (int16_t)(4 * span));
        c->r[i] = (int16_t)(most - limit((int16_t)(2 * span - near_red), 0, span));
        c->g[i] = (int16_t)(most - limit((int16_t)(green - span), 0, span));
        c->b[i] = (int16_t)(most - limit((int16_t)(blue - span), 0, span));
    }
}

void augment_colors(kd_image *image, double saturation, double hue, bool gray)
{
    assert(saturation >= 0 && saturation <= 2 && hue >= -0.5 && hue <= 0.5);
    const int16_t factor = fixed(saturation, 13), turn = fixed(6 * hue, 13);
    const size_t n = (size_t)image->width * image->height;
    chunk c = {0}; /* past the end of the picture, what was there before */
    for (size_t at = 0; at < n; at += CHUNK) {
        uint8_t *const pixels = image->pixels + 3 * at;
        const size_t here = n - at < CHUNK ? n - at : CHUNK;
        load(&c, pixels, here);
        if (factor != fixed(1, 13))
            saturate(&c, factor);
        if (turn != 0)
            turn_hue(&c, turn);
        if (gray)
            saturate(&c, 0);
        store(&c, pixels, here);
    }
}
