/* lib/base/random.h: splitmix64 (Steele, Lea, Flood 2014, "Fast Splittable Pseudorandom Number
 * Generators"): a counter and a mixing function. Any state will do as a seed, and neighbouring ones
 * share nothing. */
#ifndef KD_BASE_RANDOM_H
#define KD_BASE_RANDOM_H

#include <stdint.h>

static inline uint64_t kd_random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

#endif
