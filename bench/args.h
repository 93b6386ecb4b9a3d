/* bench/args.h: a benchmark's arguments. */
#ifndef KD_BENCH_ARGS_H
#define KD_BENCH_ARGS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

/* A whole number from 1 to most. */
static inline bool bench_number(const char *text, uint32_t most, uint32_t *out)
{
    char *end = NULL;
    const unsigned long value = strtoul(text, &end, 10);
    *out = (uint32_t)value;
    return end != text && *end == '\0' && value >= 1 && value <= most;
}

#endif
