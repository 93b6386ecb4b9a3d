#include "lib/base/buf.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kd_buf_free(kd_buf *buf)
{
    free(buf->data);
    *buf = (kd_buf)KD_BUF_INIT;
}

uint8_t *kd_buf_reserve(kd_buf *buf, size_t len)
{
    if (buf->failed)
        return NULL;
    if (len > SIZE_MAX / 2 - buf->len - 1) {
        buf->failed = true;
        return NULL;
    }
    const size_t need = buf->len + len + 1; /* one for the NUL */
    if (need > buf->cap) {
        size_t cap = buf->cap ? buf->cap : 64;
        while (cap < need)
            cap *= 2;
        uint8_t *const data = realloc(buf->data, cap);
        if (!data) {
            buf->failed = true;
            return NULL;
        }
        buf->data = data;
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

void kd_buf_append(kd_buf *buf, const void *bytes, size_t len)
{
    uint8_t *const to = kd_buf_reserve(buf, len);
    if (!to)
        return;
    if (len > 0)
        memcpy(to, bytes, len);
    buf->len += len;
    buf->data[buf->len] = 0;
}

void kd_buf_puts(kd_buf *buf, const char *text)
{
    kd_buf_append(buf, text, strlen(text));
}

void kd_buf_printf(kd_buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *const to = len < 0 ? NULL : (char *)kd_buf_reserve(buf, (size_t)len);
    if (!to) {
        buf->failed = true;
        return;
    }
    va_start(args, format);
    (void)vsnprintf(to, (size_t)len + 1, format, args);
    va_end(args);
    buf->len += (size_t)len;
}

char *kd_format(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    const int len = vasprintf(&text, format, args);
    va_end(args);
    return len < 0 ? NULL : text;
}

bool kd_copy(char *to, size_t size, const char *from)
{
    const size_t len = strlen(from);
    const size_t take = len < size ? len : size - 1;
    memcpy(to, from, take);
    to[take] = '\0';
    return take == len;
}

bool kd_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    if (text[0] < '0' || text[0] > '9') /* strtoull would take a blank or a sign */
        return false;
    char *end = NULL;
    errno = 0;
    const unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *end != '\0' || value < min || value > max)
        return false;
    *out = value;
    return true;
}

bool kd_parse_double(const char *text, double min, double max, double *out)
{
    if (text[0] == '\0' || strchr(" \t\r\n\v\f", text[0]))
        return false;
    char *end = NULL;
    errno = 0;
    const double value = strtod(text, &end);
    if (errno != 0 || *end != '\0' || !isfinite(value) || value < min || value > max)
        return false;
    *out = value;
    return true;
}

/* Length of the valid sequence at p (1..4), 0 for none: table 3-7 of the Unicode standard. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    const uint8_t c = p[0];
    if (c == 0)
        return 0;
    if (c < 0x80)
        return 1;
    size_t len;
    uint8_t low = 0x80, high = 0xbf;
    if (c >= 0xc2 && c <= 0xdf) {
        len = 2;
    } else if (c >= 0xe0 && c <= 0xef) {
        len = 3;
        low = c == 0xe0 ? 0xa0 : low;
        high = c == 0xed ? 0x9f : high; /* no surrogates */
    } else if (c >= 0xf0 && c <= 0xf4) {
        len = 4;
        low = c == 0xf0 ? 0x90 : low;
        high = c == 0xf4 ? 0x8f : high;
    } else {
        return 0;
    }
    if (len > left || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool kd_utf8_valid(const void *bytes, size_t len)
{
    const uint8_t *const p = bytes;
    for (size_t at = 0; at < len;) {
        const size_t step = utf8_sequence(p + at, len - at);
        if (step == 0)
            return false;
        at += step;
    }
    return true;
}
