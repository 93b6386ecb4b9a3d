/* tools/draw/random.h: seeded numbers. A generator is made for each thing that is drawn, from its
 * place in the set, so that one more view or product moves none of the others. */
#ifndef KD_TOOLS_DRAW_RANDOM_H
#define KD_TOOLS_DRAW_RANDOM_H

#include <stdint.h>

#include "lib/base/random.h"

typedef struct dice {
    uint64_t state;
} dice;

static inline uint64_t dice_bits(dice *d)
{
    return kd_random_next(&d->state);
}

static inline dice dice_for(uint64_t seed, uint64_t kind, uint64_t product, uint64_t view)
{
    dice d = {seed};
    d.state = dice_bits(&d) ^ kind;
    d.state = dice_bits(&d) ^ product;
    d.state = dice_bits(&d) ^ view;
    return d;
}

/* Even over low..high. */
static inline double dice_real(dice *d, double low, double high)
{
    return low + (high - low) * ((double)(dice_bits(d) >> 11) * 0x1p-53);
}

/* 0..n-1 */
static inline unsigned dice_below(dice *d, unsigned n)
{
    return (unsigned)(dice_bits(d) % n);
}

#endif
