/* tests/fuzz/crc32.h: the checksum of PNG's chunks and zip's entries (ISO 3309). */
#ifndef KD_TESTS_FUZZ_CRC32_H
#define KD_TESTS_FUZZ_CRC32_H

#include <stddef.h>
#include <stdint.h>

static inline uint32_t crc32_of(const uint8_t *bytes, size_t len)
{
    uint32_t crc = UINT32_MAX;
    for (size_t i = 0; i < len; i++) {
        crc ^= bytes[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

#endif
