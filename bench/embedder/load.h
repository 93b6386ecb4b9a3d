/* bench/embedder/load.h: what the load generators share (load.c by gRPC, http.c by HTTP): the
 * photographs they send, and what they make of the answers.
 *
 * Both are started with LIST, a file that names a JPEG in each line, say that they are ready, and
 * answer each line of standard input with a line of JSON:
 *
 *   closed IN_FLIGHT WARM SECONDS fresh|cached
 *
 * keeps so many on their way for so long, from one thread; what is answered in the first WARM
 * seconds does not count. Fresh photographs have bytes that were never sent before (a comment
 * behind the first marker; the pixels stay), cached ones are the same LOAD_CACHED all the time. */
#ifndef KD_BENCH_EMBEDDER_LOAD_H
#define KD_BENCH_EMBEDDER_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

#define LOAD_CACHED 64u
#define LOAD_MAX_IN_FLIGHT 1024u
#define LOAD_CODES 20 /* gRPC's, or those of HTTP by their hundreds */

_Noreturn void load_die(const char *what); /* with the program's name */

/* ---- Photographs ---- */
#define LOAD_COMMENT 20u /* bytes that a fresh one has more */
typedef struct load_photos {
    kd_buf *files; /* owned */
    size_t n;
    uint64_t salt, next;
} load_photos;

void load_photos_read(load_photos *photos, const char *list);
void load_photos_free(load_photos *photos);
/* The next one's bytes, borrowed until the next call. */
const kd_buf *load_photos_next(load_photos *photos, bool cached);

/* ---- Answers ---- */
typedef struct load_run {
    struct load_sample {
        double at; /* seconds since the run's begin */
        float took_ms;
    } *samples; /* owned; those that went well, in order of time */
    size_t n, cap;
    uint64_t codes[LOAD_CODES], cached;
    double cpu_seconds;
    int64_t begun_ns;
} load_run;

void load_begin(load_run *run);
void load_count(load_run *run, unsigned code);   /* each answer */
void load_good(load_run *run, int64_t asked_ns); /* one that went well, besides */
/* n values of length 1, or the program ends. */
void load_check(const float *values, size_t n);
/* The line of JSON: rate of what was answered well between two times, p50 and p99 of what was asked
 * between them, codes of all. */
void load_report(load_run *run, double from, double to, const char *const names[LOAD_CODES]);
void load_run_free(load_run *run);

/* ---- Orders ---- */
typedef struct load_order {
    bool open, cached;
    uint32_t in_flight;
    double rate, warm, seconds;
} load_order;

/* The next line of standard input; false at its end. open: whether this program takes
 *   open RATE WARM SECONDS */
bool load_next_order(load_order *order, bool open);

#endif
