/* lib/base/hash.h: SHA-256 (OpenSSL) names content, XXH3 (libxxhash) guards against damage, CRC-32C
 * is what formats of others ask for. */
#ifndef KD_BASE_HASH_H
#define KD_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

KD_C_BEGIN

#define KD_SHA256_BYTES 32u
#define KD_SHA256_TEXT 65u /* hexadecimal and NUL */

KD_MUST_CHECK kd_status kd_sha256(
    const void *bytes, size_t len, uint8_t digest[KD_SHA256_BYTES], kd_error *err);

/* A digest fed in pieces: new, update…, then finish frees it (NULL digest just frees). */
typedef struct kd_hasher kd_hasher;
KD_MUST_CHECK kd_status kd_hasher_new(kd_hasher **out, kd_error *err);
void kd_hasher_update(kd_hasher *hasher, const void *bytes, size_t len);
void kd_hasher_finish(kd_hasher *hasher, uint8_t digest[KD_SHA256_BYTES]);
/* Reads the file at path into the hasher, a megabyte at a time. */
KD_MUST_CHECK kd_status kd_hasher_file(kd_hasher *hasher, const char *path, kd_error *err);

void kd_hex(const uint8_t *bytes, size_t len, char *text); /* text: 2 * len + 1 bytes */

uint64_t kd_xxh3(const void *bytes, size_t len);

/* CRC-32C (Castagnoli; RFC 3720, section 12.1). crc is what the bytes before gave, 0 at first. */
uint32_t kd_crc32c(uint32_t crc, const void *bytes, size_t len);

KD_C_END
#endif
