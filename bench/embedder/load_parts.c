/* What the load generators share. */
#include "bench/embedder/load.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/image/image.h"

#define MOST_PHOTOS 100000u
#define LENGTH_OFF 1e-3
#define FEW 16u /* answers, to be counted without looking for batches */

void load_die(const char *what)
{
    (void)fprintf(stderr, "%s: %s\n", program_invocation_short_name, what);
    exit(1);
}

/* ---- Photographs ---- */

/* Two bytes of a JPEG's first marker, a comment of 16, the rest: what makes room for a number that
 * no other run has. */
static void read_one(kd_buf *out, const char *path)
{
    static const uint8_t comment[LOAD_COMMENT] = {0xff, 0xfe, 0, LOAD_COMMENT - 2};
    kd_buf file = KD_BUF_INIT;
    kd_error err = KD_ERROR_INIT;
    if (kd_file_read(path, KD_IMAGE_MAX_BYTES, &file, &err) != KD_OK)
        load_die(err.message);
    if (kd_image_format_of(file.data, file.len) != KD_IMAGE_JPEG)
        load_die("the list names a file that is no JPEG");
    kd_buf_append(out, file.data, 2);
    kd_buf_append(out, comment, sizeof comment);
    kd_buf_append(out, file.data + 2, file.len - 2);
    if (!kd_buf_ok(out))
        load_die("no memory");
    kd_buf_free(&file);
}

void load_photos_read(load_photos *photos, const char *list)
{
    char path[4096];
    FILE *const lines = fopen(list, "r");
    photos->files = calloc(MOST_PHOTOS, sizeof *photos->files);
    if (!lines || !photos->files)
        load_die("cannot read the list");
    while (photos->n < MOST_PHOTOS && fgets(path, sizeof path, lines)) {
        path[strcspn(path, "\n")] = '\0';
        read_one(&photos->files[photos->n++], path);
    }
    (void)fclose(lines);
    if (photos->n == 0)
        load_die("the list is empty");
    photos->salt = (uint64_t)kd_wall_ms() << 16 ^ (uint64_t)kd_mono_ns();
}

void load_photos_free(load_photos *photos)
{
    for (size_t i = 0; i < photos->n; i++)
        kd_buf_free(&photos->files[i]);
    free(photos->files);
}

const kd_buf *load_photos_next(load_photos *photos, bool cached)
{
    const uint64_t number = photos->next++;
    const size_t at = (size_t)(cached ? number % LOAD_CACHED : number) % photos->n;
    const uint64_t mark[2] = {cached ? number % LOAD_CACHED : number, cached ? 0 : photos->salt};
    memcpy(photos->files[at].data + 2 + LOAD_COMMENT - sizeof mark, mark, sizeof mark);
    return &photos->files[at];
}

/* ---- Answers ---- */

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void load_begin(load_run *run)
{
    run->n = 0;
    run->cached = 0;
    memset(run->codes, 0, sizeof run->codes);
    run->cpu_seconds = cpu_seconds();
    run->begun_ns = kd_mono_ns();
}

void load_count(load_run *run, unsigned code)
{
    run->codes[code < LOAD_CODES ? code : LOAD_CODES - 1]++;
}

void load_good(load_run *run, int64_t asked_ns)
{
    const int64_t now = kd_mono_ns();
    if (run->n == run->cap) {
        run->cap = run->cap > 0 ? 2 * run->cap : 4096;
        run->samples = realloc(run->samples, run->cap * sizeof *run->samples);
        if (!run->samples)
            load_die("no memory");
    }
    run->samples[run->n++] =
        (struct load_sample){(double)(now - run->begun_ns) / 1e9, (float)(now - asked_ns) / 1e6f};
}

void load_check(const float *values, size_t n)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)values[i] * (double)values[i];
    if (!(fabs(sqrt(squares) - 1) < LENGTH_OFF)) /* also of what is no number */
        load_die("an embedding is not of length 1");
}

/* The sample before the longest silence in [from, to). Answers come a batch at a time: a run is
 * measured from the end of one batch to the end of another, so that no part of one counts. */
static size_t before_silence(const load_run *run, size_t from, size_t to)
{
    size_t best = from;
    double longest = 0;
    for (size_t i = from; i + 1 < to; i++) {
        const double silence = run->samples[i + 1].at - run->samples[i].at;
        if (silence > longest) {
            longest = silence;
            best = i;
        }
    }
    return best;
}

static size_t first_after(const load_run *run, double at)
{
    size_t i = 0;
    while (i < run->n && run->samples[i].at < at)
        i++;
    return i;
}

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double rate_of(const load_run *run, double from, double to)
{
    const double quarter = (to - from) / 4;
    const size_t first = first_after(run, from), last = first_after(run, to);
    if (last - first >= FEW) {
        const size_t begin = before_silence(run, first, first_after(run, from + quarter));
        const size_t end = before_silence(run, first_after(run, to - quarter), last);
        /* Else a quarter of the time is without an answer. */
        const double span = end < last ? run->samples[end].at - run->samples[begin].at : 0;
        if (end > begin && span >= 2 * quarter)
            return (double)(end - begin) / span;
    }
    return (double)(last - first) / (to - from);
}

/* The times of what was asked between the two, sorted; *times is owned by the caller. */
static size_t times_of(const load_run *run, double from, double to, float **times)
{
    size_t n = 0;
    *times = malloc((run->n + 1) * sizeof **times);
    if (!*times)
        load_die("no memory");
    for (size_t i = 0; i < run->n; i++) {
        const double asked = run->samples[i].at - (double)run->samples[i].took_ms / 1e3;
        if (asked >= from && asked < to)
            (*times)[n++] = run->samples[i].took_ms;
    }
    qsort(*times, n, sizeof **times, compare);
    return n;
}

void load_report(load_run *run, double from, double to, const char *const names[LOAD_CODES])
{
    const double used = cpu_seconds() - run->cpu_seconds;
    float *times = NULL; /* owned */
    uint64_t answers = 0;
    const char *comma = "";
    const size_t n = times_of(run, from, to, &times);
    printf("{\"per_second\": %.3f, \"samples\": %zu, \"cached\": %llu, ", rate_of(run, from, to), n,
        (unsigned long long)run->cached);
    if (n > 0)
        printf("\"p50_ms\": %.3f, \"p99_ms\": %.3f, ", (double)times[n / 2],
            (double)times[n * 99 / 100]);
    printf("\"codes\": {");
    for (unsigned i = 0; i < LOAD_CODES; i++) {
        answers += run->codes[i];
        if (run->codes[i] > 0) {
            printf("%s\"%s\": %llu", comma, names[i] ? names[i] : "other",
                (unsigned long long)run->codes[i]);
            comma = ", ";
        }
    }
    printf("}, \"client_cpu_us\": %.1f}\n", answers > 0 ? used * 1e6 / (double)answers : 0);
    (void)fflush(stdout);
    free(times);
}

void load_run_free(load_run *run)
{
    free(run->samples);
}

/* ---- Orders ---- */

bool load_next_order(load_order *order, bool open)
{
    char line[128], kind[16] = "";
    *order = (load_order){0};
    if (!fgets(line, sizeof line, stdin))
        return false;
    if (sscanf(line, "closed %u %lf %lf %15s", &order->in_flight, &order->warm, &order->seconds,
            kind) == 4) {
        order->cached = strcmp(kind, "cached") == 0;
        if (order->in_flight == 0 || order->in_flight > LOAD_MAX_IN_FLIGHT)
            load_die("a number is out of range");
    } else if (open &&
               sscanf(line, "open %lf %lf %lf", &order->rate, &order->warm, &order->seconds) == 3) {
        order->open = true;
        if (!(order->rate > 0))
            load_die("a number is out of range");
    } else {
        load_die("not an order");
    }
    if (!(order->seconds > 0) || !(order->warm >= 0))
        load_die("a number is out of range");
    return true;
}
