/* lib/base/log.h: one structured line per event, on standard error.
 *
 *   KD_LOG(KD_LOG_INFO, "job_done", KD_STR("job", id), KD_INT("images", n));
 *
 * prints `time=2026-01-02T03:04:05.678Z level=info service=gateway event=job_done job=… images=12`,
 * or the same as a JSON object. Safe from any thread; a line is one write. */
#ifndef KD_BASE_LOG_H
#define KD_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/status.h"

KD_C_BEGIN

typedef enum kd_log_level {
    KD_LOG_DEBUG, /* for who mends kindred: each batch, each reconnect attempt */
    KD_LOG_INFO,  /* for who runs it: started, job done, model loaded */
    KD_LOG_WARN,  /* went on, but someone should look: image skipped, peer gone */
    KD_LOG_ERROR, /* something asked for was not done */
} kd_log_level;

typedef struct kd_field {
    enum { KD_FIELD_STR, KD_FIELD_INT, KD_FIELD_REAL } type;
    const char *key; /* snake_case */
    union {
        const char *str; /* NULL prints as empty */
        int64_t integer;
        double real;
    };
} kd_field;

#define KD_STR(k, v) ((kd_field){.type = KD_FIELD_STR, .key = (k), .str = (v)})
#define KD_INT(k, v) ((kd_field){.type = KD_FIELD_INT, .key = (k), .integer = (int64_t)(v)})
#define KD_REAL(k, v) ((kd_field){.type = KD_FIELD_REAL, .key = (k), .real = (double)(v)})

/* Once at start, before threads. service is borrowed for good. */
void kd_log_setup(const char *service, kd_log_level least, bool json);
/* At any time, from any thread. */
void kd_log_set_level(kd_log_level least);
const char *kd_log_level_word(void); /* the one in use; static */
/* "debug", "info", "warn", "error"; false for another word. */
bool kd_log_level_parse(const char *word, kd_log_level *out);

void kd_log(kd_log_level level, const char *event, const kd_field *fields, size_t n_fields);
#define KD_LOG(level, event, ...)                                                                  \
    kd_log((level), (event), (kd_field[]){__VA_ARGS__},                                            \
        sizeof((kd_field[]){__VA_ARGS__}) / sizeof(kd_field))

/* `event` with the error's code and sentence. */
void kd_log_error(kd_log_level level, const char *event, const kd_error *err);

KD_C_END
#endif
