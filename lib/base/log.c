#include "lib/base/log.h"

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"

/* The process's log: written once by kd_log_setup before threads begin, read by all of them; but
 * for the level. */
static struct {
    const char *service;
    _Atomic(kd_log_level) least;
    bool json;
} setup = {"kindred", KD_LOG_INFO, false};

static const char *const level_words[] = {"debug", "info", "warn", "error"};

void kd_log_setup(const char *service, kd_log_level least, bool json)
{
    setup.service = service;
    kd_log_set_level(least);
    setup.json = json;
}

void kd_log_set_level(kd_log_level least)
{
    atomic_store_explicit(&setup.least, least, memory_order_relaxed);
}

const char *kd_log_level_word(void)
{
    return level_words[atomic_load_explicit(&setup.least, memory_order_relaxed)];
}

bool kd_log_level_parse(const char *word, kd_log_level *out)
{
    for (size_t i = 0; i < sizeof level_words / sizeof level_words[0]; i++) {
        if (strcmp(word, level_words[i]) == 0) {
            *out = (kd_log_level)i;
            return true;
        }
    }
    return false;
}

/* A JSON string; logfmt's quoted values have the same form. Bytes that are no UTF-8 become '?'. */
static void put_quoted(kd_buf *line, const char *text)
{
    const bool valid = kd_utf8_valid(text, strlen(text));
    kd_buf_puts(line, "\"");
    for (const char *p = text; *p; p++) {
        const unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\')
            kd_buf_printf(line, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            kd_buf_printf(line, "\\u%04x", c);
        else if (c >= 0x80 && !valid)
            kd_buf_puts(line, "?");
        else
            kd_buf_append(line, p, 1);
    }
    kd_buf_puts(line, "\"");
}

static bool is_plain(const char *text)
{
    return *text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                 "._-/:+,@%") == strlen(text);
}

static void put_field(kd_buf *line, const kd_field *field)
{
    if (setup.json) {
        kd_buf_puts(line, ",");
        put_quoted(line, field->key);
        kd_buf_puts(line, ":");
    } else {
        kd_buf_printf(line, " %s=", field->key);
    }
    switch (field->type) {
    case KD_FIELD_INT:
        kd_buf_printf(line, "%lld", (long long)field->integer);
        break;
    case KD_FIELD_REAL:
        kd_buf_printf(line, "%.6g", field->real);
        break;
    case KD_FIELD_STR: {
        const char *const text = field->str ? field->str : "";
        if (!setup.json && is_plain(text))
            kd_buf_puts(line, text);
        else
            put_quoted(line, text);
        break;
    }
    }
}

void kd_log(kd_log_level level, const char *event, const kd_field *fields, size_t n_fields)
{
    if (level < atomic_load_explicit(&setup.least, memory_order_relaxed))
        return;
    char now[KD_TIME_TEXT];
    kd_time_text(kd_wall_ms(), now);
    kd_buf line = KD_BUF_INIT;
    kd_buf_printf(&line,
        setup.json ? "{\"time\":\"%s\",\"level\":\"%s\",\"service\":\"%s\",\"event\":\"%s\""
                   : "time=%s level=%s service=%s event=%s",
        now, level_words[level], setup.service, event);
    for (size_t i = 0; i < n_fields; i++)
        put_field(&line, &fields[i]);
    kd_buf_puts(&line, setup.json ? "}\n" : "\n");
    if (kd_buf_ok(&line)) {
        /* One write per line: lines of several threads and processes don't mix. A log that can't be
         * written must not stop the work. */
        const ssize_t written = write(STDERR_FILENO, line.data, line.len);
        (void)written;
    }
    kd_buf_free(&line);
}

void kd_log_error(kd_log_level level, const char *event, const kd_error *err)
{
    KD_LOG(
        level, event, KD_STR("code", kd_status_name(err->status)), KD_STR("error", err->message));
}
