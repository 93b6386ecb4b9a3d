#include "lib/eval/scan.h"

#include <string.h>

#include "lib/base/simd.h"

enum { AT_ONCE = 256, WORD = 8 };

/* Bins first and counts after: the compiler makes vectors of the first loop. */
KD_MULTIVERSION void kd_scan_count(
    const float *restrict row, size_t n, uint32_t counts[restrict KD_EVAL_BINS])
{
    uint32_t bins[AT_ONCE];
    for (size_t from = 0; from < n; from += AT_ONCE) {
        const size_t here = n - from < AT_ONCE ? n - from : AT_ONCE;
        for (size_t i = 0; i < here; i++)
            bins[i] = kd_scan_bin(row[from + i]);
        for (size_t i = 0; i < here; i++)
            counts[bins[i]]++;
    }
}

/* Few reach the floor, so that most words of the flags are 0 and cost one look. */
KD_MULTIVERSION size_t kd_scan_reach(
    const float *restrict row, size_t n, float floor, uint32_t self, kd_ranked *restrict found)
{
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest byte is the first flag");
    uint8_t flags[AT_ONCE] = {0};
    size_t n_found = 0;
    for (size_t from = 0; from < n; from += AT_ONCE) {
        const size_t here = n - from < AT_ONCE ? n - from : AT_ONCE;
        for (size_t i = 0; i < here; i++)
            flags[i] = row[from + i] >= floor;
        memset(flags + here, 0, AT_ONCE - here);
        for (size_t i = 0; i < here; i += WORD) {
            uint64_t word;
            memcpy(&word, flags + i, WORD);
            for (; word; word &= word - 1) {
                const size_t place = from + i + (size_t)__builtin_ctzll(word) / 8;
                found[n_found] = (kd_ranked){row[place], (uint32_t)place};
                n_found += place != self;
            }
        }
    }
    return n_found;
}
