/* Every metric of a drawn set in which each vector asks for all others.
 *
 *   bench_eval_ours N DIM CLASSES THREADS [FILE]
 *
 * Draws N vectors around CLASSES centres (a super-class is 25 classes), writes them to FILE for a
 * peer (N × DIM floats, then N class numbers of 4 bytes), measures them and prints a line of JSON.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bench/args.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/eval/eval.h"

#define SEED 1u
#define SPREAD 2.2f
#define PER_SUPER 25u
#define MOST_VECTORS 10000000u

typedef struct bench {
    uint32_t n, dim, classes, threads;
    const char *file;
    float *vectors;
    uint64_t *ids;
    uint32_t *labels, *supers;
} bench;

static float draw(uint64_t *state)
{
    return (float)(kd_random_next(state) >> 40) * 0x1p-23f - 1;
}

static kd_status make(bench *b, kd_error *err)
{
    b->vectors = calloc(b->n, b->dim * sizeof *b->vectors);
    b->ids = calloc(b->n, sizeof *b->ids);
    b->labels = calloc(b->n, sizeof *b->labels);
    b->supers = calloc(b->n, sizeof *b->supers);
    if (!b->vectors || !b->ids || !b->labels || !b->supers)
        return kd_error_memory(err, "the vectors");
    uint64_t state = SEED;
    for (size_t i = 0; i < b->n; i++) {
        float *const v = b->vectors + i * b->dim;
        double square = 0;
        b->ids[i] = i + 1;
        b->labels[i] = (uint32_t)(i % b->classes);
        b->supers[i] = b->labels[i] / PER_SUPER;
        uint64_t centre = b->labels[i] + 1000;
        for (size_t d = 0; d < b->dim; d++) {
            v[d] = draw(&centre) + SPREAD * draw(&state);
            square += (double)v[d] * (double)v[d];
        }
        for (size_t d = 0; d < b->dim; d++)
            v[d] = (float)((double)v[d] / sqrt(square));
    }
    return KD_OK;
}

static kd_status save(const bench *b, kd_error *err)
{
    FILE *const file = fopen(b->file, "wb");
    const bool good = file && fwrite(b->vectors, b->dim * sizeof(float), b->n, file) == b->n &&
                      fwrite(b->labels, sizeof *b->labels, b->n, file) == b->n;
    if (file && fclose(file) == 0 && good)
        return KD_OK;
    return kd_error_set(err, KD_INTERNAL, "cannot write %s", b->file);
}

static kd_status measure(const bench *b, kd_error *err)
{
    kd_pool *pool = NULL;
    kd_eval eval;
    kd_metrics_set sets[KD_EVAL_KINDS];
    kd_status status = kd_vector_init(err);
    if (status == KD_OK)
        status = kd_pool_new(&pool, "eval", b->threads - 1, 256, err);
    if (status != KD_OK)
        return status;
    const kd_eval_input input = {.queries = b->vectors,
        .n_queries = b->n,
        .gallery = b->vectors,
        .n_gallery = b->n,
        .dim = b->dim,
        .gallery_ids = b->ids,
        .selves = b->ids,
        .query_labels = {b->labels, b->supers},
        .gallery_labels = {b->labels, b->supers},
        .pool = pool};
    const int64_t start_ms = kd_mono_ms();
    status = kd_eval_run(&input, &eval, err);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS && status == KD_OK; kind++)
        status = kd_eval_metrics(&eval, kind, NULL, &sets[kind], err);
    const double seconds = (double)(kd_mono_ms() - start_ms) / 1e3;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    if (status == KD_OK)
        printf("{\"seconds\": %.3f, \"peak_mib\": %.0f, \"precision_at_1\": %.6f, "
               "\"r_precision\": %.6f, \"mean_average_precision_at_r\": %.6f}\n",
            seconds, (double)usage.ru_maxrss / 1024, sets[0].values[KD_RECALL_AT_1],
            sets[0].values[KD_R_PRECISION], sets[0].values[KD_MAP_AT_R]);
    kd_eval_free(&eval);
    kd_pool_free(pool);
    return status;
}

int main(int argc, char **argv)
{
    bench b = {.file = argc == 6 ? argv[5] : NULL};
    kd_error err = KD_ERROR_INIT;
    if (argc < 5 || argc > 6 || !bench_number(argv[1], MOST_VECTORS, &b.n) ||
        !bench_number(argv[2], KD_VECTOR_MAX_DIM, &b.dim) ||
        !bench_number(argv[3], MOST_VECTORS, &b.classes) ||
        !bench_number(argv[4], 1024, &b.threads)) {
        (void)fprintf(stderr, "usage: bench_eval_ours N DIM CLASSES THREADS [FILE]\n");
        return 2;
    }
    kd_status status = make(&b, &err);
    if (status == KD_OK && b.file)
        status = save(&b, &err);
    if (status == KD_OK)
        status = measure(&b, &err);
    if (status != KD_OK)
        (void)fprintf(stderr, "bench_eval_ours: %s\n", err.message);
    free(b.vectors);
    free(b.ids);
    free(b.labels);
    free(b.supers);
    return status == KD_OK ? 0 : 1;
}
