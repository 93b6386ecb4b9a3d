/* lib/base/buf.h: a growing byte buffer, and strings made by printf.
 *
 * An append that finds no memory marks the buffer failed and changes nothing; callers check once,
 * at the end, with kd_buf_ok. */
#ifndef KD_BASE_BUF_H
#define KD_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

KD_C_BEGIN

typedef struct kd_buf {
    uint8_t *data; /* owned; NUL behind the last byte once anything was appended */
    size_t len;    /* bytes in use */
    size_t cap;
    bool failed;
} kd_buf;
#define KD_BUF_INIT {NULL, 0, 0, false}

void kd_buf_free(kd_buf *buf); /* frees the bytes and resets to KD_BUF_INIT */
void kd_buf_append(kd_buf *buf, const void *bytes, size_t len);
void kd_buf_puts(kd_buf *buf, const char *text);
void kd_buf_printf(kd_buf *buf, const char *format, ...) KD_PRINTF(2, 3);
/* Room for len more bytes; NULL when there is no memory. The caller adds to len what it used. */
uint8_t *kd_buf_reserve(kd_buf *buf, size_t len);
static inline bool kd_buf_ok(const kd_buf *buf)
{
    return !buf->failed;
}

/* A new string, owned by the caller (free); NULL when there is no memory. */
char *kd_format(const char *format, ...) KD_PRINTF(1, 2);

/* strlcpy's contract: copies with NUL, cuts to size, true when it fitted. */
bool kd_copy(char *to, size_t size, const char *from);

/* Whole-string parsers: no leading blank, no rest. False when text is not a number in min..max. */
bool kd_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out);
bool kd_parse_double(const char *text, double min, double max, double *out);

/* True when the bytes are valid UTF-8 without NUL. */
bool kd_utf8_valid(const void *bytes, size_t len);

KD_C_END
#endif
