/* lib/vector's searches, for run.py to set beside the peers'.
 *
 *   bench_vector_ours draw N QUERIES DIM FILE TRUTH
 *   bench_vector_ours run FILE N QUERIES DIM THREADS TRUTH
 *
 * draw writes N + QUERIES vectors around centres, and the numbers of each query's true neighbours.
 * run says that it is ready, then answers each line of standard input with a line of JSON:
 *
 *   load                       into an exact index
 *   exact SIZE BATCHES         queries a second, SIZE at a time, and the recall
 *   build hnsw|ivf f32|f16|i8  seconds, MiB, the recall that it was tuned to
 *   approximate EFFORT PASSES  queries a second, one by one on each thread, and the recall */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/vector/vector.h"

#define SEED 1u
#define CENTRES 10000u
#define INNER 32u /* dimensions that the vectors are drawn in */
#define SPREAD 0.5
#define K 10u
#define MOST 100000000u
#define TARGET 0.95f

typedef struct bench {
    uint32_t n, n_queries, dim, threads;
    float *vectors; /* owned: those to search, then the queries */
    uint32_t *truth;
    kd_index *index;
    kd_ann *ann;
    kd_pool *pool;
    kd_hit *hits;
    uint32_t *counts;
    uint32_t effort;
} bench;

static const float *queries(const bench *b)
{
    return b->vectors + (size_t)b->n * b->dim;
}

/* ---- Drawing ---- */

/* Box and Muller 1958. */
static void draw_normal(uint64_t *state, float *out, size_t n)
{
    for (size_t i = 0; i < n; i += 2) {
        const double u = ((double)(kd_random_next(state) >> 11) + 1) * 0x1p-53;
        const double v = (double)(kd_random_next(state) >> 11) * 0x1p-53;
        const double radius = sqrt(-2 * log(u)), angle = 2 * 3.14159265358979323846 * v;
        out[i] = (float)(radius * cos(angle));
        if (i + 1 < n)
            out[i + 1] = (float)(radius * sin(angle));
    }
}

static void draw_vector(
    const bench *b, const float *centres, const float *map, uint64_t *state, float *out)
{
    float inner[INNER];
    const float *const centre = centres + kd_random_next(state) % CENTRES * INNER;
    double square = 0;
    draw_normal(state, inner, INNER);
    memset(out, 0, b->dim * sizeof *out);
    for (size_t i = 0; i < INNER; i++) {
        const float value = centre[i] + (float)SPREAD * inner[i];
        for (size_t d = 0; d < b->dim; d++)
            out[d] += value * map[i * b->dim + d];
    }
    for (size_t d = 0; d < b->dim; d++)
        square += (double)out[d] * (double)out[d];
    for (size_t d = 0; d < b->dim; d++)
        out[d] = (float)((double)out[d] / sqrt(square));
}

static kd_status write_file(
    const char *path, const void *bytes, size_t size, size_t n, kd_error *err)
{
    FILE *const file = fopen(path, "wb");
    const bool good = file && fwrite(bytes, size, n, file) == n;
    if (file && fclose(file) == 0 && good)
        return KD_OK;
    return kd_error_set(err, KD_INTERNAL, "cannot write %s", path);
}

static kd_status load(bench *b, kd_error *err)
{
    uint64_t *const ids = malloc(b->n * sizeof *ids);
    uint32_t *const tags = calloc(b->n, sizeof *tags);
    kd_status status = kd_index_new(&b->index, b->dim, err);
    if (!ids || !tags)
        status = kd_error_memory(err, "the vectors");
    for (size_t i = 0; i < b->n && status == KD_OK; i++)
        ids[i] = i;
    if (status == KD_OK)
        status = kd_index_upsert(b->index, b->n, ids, tags, b->vectors, err);
    free(ids);
    free(tags);
    return status;
}

static kd_status draw(bench *b, char **paths, kd_error *err)
{
    const size_t all = (size_t)b->n + b->n_queries;
    float *const centres = malloc(CENTRES * INNER * sizeof *centres);
    float *const map = malloc(INNER * b->dim * sizeof *map);
    uint64_t state = SEED;
    kd_status status = KD_OK;
    if (!centres || !map) {
        status = kd_error_memory(err, "the centres");
        goto out;
    }
    draw_normal(&state, centres, CENTRES * INNER);
    draw_normal(&state, map, INNER * b->dim);
    for (size_t i = 0; i < all; i++)
        draw_vector(b, centres, map, &state, b->vectors + i * b->dim);
    status = write_file(paths[0], b->vectors, b->dim * sizeof(float), all, err);
    if (status == KD_OK)
        status = load(b, err);
    const kd_search search = {.k = K};
    if (status == KD_OK)
        status = kd_index_search_many(
            b->index, queries(b), b->n_queries, &search, b->hits, b->counts, NULL, err);
    for (size_t i = 0; i < b->n_queries * K; i++)
        b->truth[i] = (uint32_t)b->hits[i].id;
    if (status == KD_OK)
        status = write_file(paths[1], b->truth, K * sizeof *b->truth, b->n_queries, err);
out:
    free(centres);
    free(map);
    return status;
}

/* ---- Running ---- */

static kd_status read_file(const char *path, void *bytes, size_t size, size_t n, kd_error *err)
{
    FILE *const file = fopen(path, "rb");
    const bool good = file && fread(bytes, size, n, file) == n;
    if (file)
        (void)fclose(file);
    return good ? KD_OK : kd_error_set(err, KD_NOT_FOUND, "cannot read %s", path);
}

static double recall(const bench *b, size_t n)
{
    size_t right = 0;
    for (size_t q = 0; q < n; q++)
        for (size_t h = 0; h < b->counts[q]; h++)
            for (size_t t = 0; t < K; t++)
                right += b->truth[q * K + t] == b->hits[q * K + h].id;
    return (double)right / (double)(n * K);
}

static kd_status run_exact(bench *b, uint32_t size, uint32_t batches, kd_error *err)
{
    const kd_search search = {.k = K};
    kd_status status = KD_OK;
    const int64_t start_ns = kd_mono_ns();
    for (size_t i = 0; i < batches && status == KD_OK; i++)
        status = kd_index_search_many(b->index, queries(b) + i * size * b->dim, size, &search,
            b->hits + i * size * K, b->counts + i * size, b->pool, err);
    const double seconds = (double)(kd_mono_ns() - start_ns) / 1e9;
    if (status == KD_OK)
        printf("{\"rate\": %.3f, \"recall\": %.6f}\n", size * batches / seconds,
            recall(b, (size_t)size * batches));
    return status;
}

static void run_query(void *arg, size_t i)
{
    bench *const b = arg;
    kd_error err = KD_ERROR_INIT;
    size_t n = 0;
    if (kd_ann_search(b->ann, queries(b) + i * b->dim, &(kd_search){.k = K}, b->effort,
            b->hits + i * K, &n, &err) != KD_OK)
        abort();
    b->counts[i] = (uint32_t)n;
}

static void run_approximate(bench *b, uint32_t effort, uint32_t passes)
{
    b->effort = effort;
    const int64_t start_ns = kd_mono_ns();
    for (uint32_t pass = 0; pass < passes; pass++) {
        if (b->pool)
            kd_pool_for(b->pool, b->n_queries, run_query, b);
        for (size_t i = 0; i < b->n_queries && !b->pool; i++)
            run_query(b, i);
    }
    const double seconds = (double)(kd_mono_ns() - start_ns) / 1e9;
    printf("{\"rate\": %.3f, \"recall\": %.6f}\n", b->n_queries * passes / seconds,
        recall(b, b->n_queries));
}

static kd_status build(bench *b, const char *kind, const char *storage, kd_error *err)
{
    const kd_rows rows = kd_index_rows(b->index);
    const kd_ann_options options = {.kind = strcmp(kind, "ivf") == 0 ? KD_ANN_IVF : KD_ANN_HNSW,
        .storage = strcmp(storage, "i8") == 0    ? KD_ANN_INT8
                   : strcmp(storage, "f16") == 0 ? KD_ANN_FLOAT16
                                                 : KD_ANN_FLOAT32,
        .target_recall = TARGET,
        .seed = SEED,
        .pool = b->pool};
    kd_ann_free(b->ann);
    b->ann = NULL;
    const int64_t start_ns = kd_mono_ns();
    const kd_status status = kd_ann_build(&b->ann, &rows, &options, err);
    const double seconds = (double)(kd_mono_ns() - start_ns) / 1e9;
    if (status == KD_OK) /* the peers' figures are with the vectors */
        printf("{\"seconds\": %.3f, \"mib\": %.1f, \"tuned\": %.4f, \"effort\": %zu}\n", seconds,
            (double)(kd_ann_bytes(b->ann) + rows.n * rows.dim * sizeof(float)) / 1048576,
            (double)kd_ann_recall(b->ann), kd_ann_effort(b->ann));
    return status;
}

static kd_status answer(bench *b, char *line, kd_error *err)
{
    char word[16] = "", first[16] = "", second[16] = "";
    uint32_t x = 0, y = 0;
    (void)sscanf(line, "%15s %15s %15s", word, first, second);
    const bool numbers = bench_number(first, MOST, &x) && bench_number(second, MOST, &y);
    kd_status status = KD_OK;
    if (strcmp(word, "load") == 0) {
        status = load(b, err);
        printf("{}\n");
    } else if (strcmp(word, "build") == 0 && b->index) {
        status = build(b, first, second, err);
    } else if (strcmp(word, "exact") == 0 && numbers && b->index &&
               (uint64_t)x * y <= b->n_queries) {
        status = run_exact(b, x, y, err);
    } else if (strcmp(word, "approximate") == 0 && numbers && b->ann) {
        run_approximate(b, x, y);
    } else {
        status = kd_error_set(err, KD_INVALID_ARGUMENT, "not understood: %s", line);
    }
    (void)fflush(stdout);
    return status;
}

static kd_status run(bench *b, char **paths, kd_error *err)
{
    char line[64];
    const size_t all = (size_t)b->n + b->n_queries;
    kd_status status = read_file(paths[0], b->vectors, b->dim * sizeof(float), all, err);
    if (status == KD_OK)
        status = read_file(paths[1], b->truth, K * sizeof *b->truth, b->n_queries, err);
    if (status == KD_OK) /* the caller works, too */
        status = b->threads > 1 ? kd_pool_new(&b->pool, "search", b->threads - 1, 64, err) : KD_OK;
    if (status != KD_OK)
        return status;
    printf("{\"ready\": \"lib/vector\"}\n");
    (void)fflush(stdout);
    while (status == KD_OK && fgets(line, sizeof line, stdin))
        status = answer(b, line, err);
    return status;
}

int main(int argc, char **argv)
{
    bench b = {.threads = 1};
    kd_error err = KD_ERROR_INIT;
    char *paths[2];
    const bool drawing = argc == 7 && strcmp(argv[1], "draw") == 0;
    const bool good =
        drawing ? bench_number(argv[2], MOST, &b.n) && bench_number(argv[3], MOST, &b.n_queries) &&
                      bench_number(argv[4], KD_VECTOR_MAX_DIM, &b.dim)
                : argc == 8 && strcmp(argv[1], "run") == 0 && bench_number(argv[3], MOST, &b.n) &&
                      bench_number(argv[4], MOST, &b.n_queries) &&
                      bench_number(argv[5], KD_VECTOR_MAX_DIM, &b.dim) &&
                      bench_number(argv[6], 1024, &b.threads);
    if (!good) {
        (void)fprintf(stderr, "usage: bench_vector_ours draw N QUERIES DIM FILE TRUTH\n"
                              "       bench_vector_ours run FILE N QUERIES DIM THREADS TRUTH\n");
        return 2;
    }
    paths[0] = drawing ? argv[5] : argv[2];
    paths[1] = drawing ? argv[6] : argv[7];
    b.vectors = malloc(((size_t)b.n + b.n_queries) * b.dim * sizeof *b.vectors);
    b.truth = calloc(b.n_queries, K * sizeof *b.truth);
    b.hits = calloc(b.n_queries, K * sizeof *b.hits);
    b.counts = calloc(b.n_queries, sizeof *b.counts);
    kd_status status = kd_vector_init(&err);
    if (!b.vectors || !b.truth || !b.hits || !b.counts)
        status = kd_error_memory(&err, "the vectors");
    if (status == KD_OK)
        status = (drawing ? draw : run)(&b, paths, &err);
    if (status != KD_OK)
        (void)fprintf(stderr, "bench_vector_ours: %s\n", err.message);
    kd_ann_free(b.ann);
    kd_index_free(b.index);
    kd_pool_free(b.pool);
    free(b.vectors);
    free(b.truth);
    free(b.hits);
    free(b.counts);
    return status == KD_OK ? 0 : 1;
}
