#include "lib/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>
#include <xxhash.h>

struct kd_hasher {
    EVP_MD_CTX *context;
};

kd_status kd_sha256(const void *bytes, size_t len, uint8_t digest[KD_SHA256_BYTES], kd_error *err)
{
    if (EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL) != 1)
        return kd_error_memory(err, "a SHA-256 digest");
    return KD_OK;
}

kd_status kd_hasher_new(kd_hasher **out, kd_error *err)
{
    kd_hasher *hasher = calloc(1, sizeof *hasher);
    *out = NULL;
    if (!hasher)
        return kd_error_memory(err, "a SHA-256 digest");
    hasher->context = EVP_MD_CTX_new();
    if (!hasher->context || EVP_DigestInit_ex(hasher->context, EVP_sha256(), NULL) != 1) {
        kd_hasher_finish(hasher, NULL);
        return kd_error_memory(err, "a SHA-256 digest");
    }
    *out = hasher;
    return KD_OK;
}

void kd_hasher_update(kd_hasher *hasher, const void *bytes, size_t len)
{
    (void)EVP_DigestUpdate(hasher->context, bytes, len); /* SHA-256 has no failing update */
}

void kd_hasher_finish(kd_hasher *hasher, uint8_t digest[KD_SHA256_BYTES])
{
    if (!hasher)
        return;
    if (digest)
        (void)EVP_DigestFinal_ex(hasher->context, digest, NULL);
    EVP_MD_CTX_free(hasher->context);
    free(hasher);
}

kd_status kd_hasher_file(kd_hasher *hasher, const char *path, kd_error *err)
{
    const size_t chunk = 1u << 20;
    kd_status status = KD_OK;
    uint8_t *bytes = malloc(chunk);
    if (!bytes)
        return kd_error_memory(err, "reading a file");
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        status = kd_error_errno(err, errno, "cannot open %s", path);
        goto out;
    }
    for (;;) {
        const ssize_t got = read(fd, bytes, chunk);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            status = kd_error_errno(err, errno, "cannot read %s", path);
        if (got <= 0)
            break;
        kd_hasher_update(hasher, bytes, (size_t)got);
    }
    (void)close(fd);
out:
    free(bytes);
    return status;
}

void kd_hex(const uint8_t *bytes, size_t len, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * len] = '\0';
}

uint64_t kd_xxh3(const void *bytes, size_t len)
{
    return XXH3_64bits(bytes, len);
}

/* The reflected polynomial 0x82f63b78 of RFC 3720 over each value of four bits: Debian has no
 * library for it that is there on every architecture, and what is summed here is small. */
uint32_t kd_crc32c(uint32_t crc, const void *bytes, size_t len)
{
    static const uint32_t table[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc,
        0x5125dad3, 0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
        0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const uint8_t *const at = bytes;
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= at[i];
        crc = (crc >> 4) ^ table[crc & 15];
        crc = (crc >> 4) ^ table[crc & 15];
    }
    return ~crc;
}
