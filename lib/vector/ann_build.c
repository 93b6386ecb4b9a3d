/* Builds an approximate index and finds the least effort that reaches the recall asked for. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/vector/ann.h"
#include "lib/vector/scan.h"

enum { K = 10, SAMPLE = 256 };

/* Rows that ask: neither the graph nor the centres have seen them until all is tuned. */
typedef struct sample {
    kd_ann *ann;
    kd_pool *pool;
    size_t n;
    uint32_t rows[SAMPLE];
    float *queries; /* owned, as these */
    kd_hit *hits;   /* n × (K + 1): the true ones, the row itself among them or not */
    uint32_t *counts, *tags;
    uint8_t *mask; /* the other rows */
} sample;

static void free_sample(sample *s)
{
    free(s->queries);
    free(s->hits);
    free(s->counts);
    free(s->tags);
    free(s->mask);
}

/* Drawn, and different. The mask is left without them. */
static kd_status draw(sample *s, kd_error *err)
{
    const kd_rows *const rows = &s->ann->rows;
    uint64_t state = s->ann->seed ^ 0x5a3d1e;
    s->n = rows->n / 10 < SAMPLE ? rows->n / 10 : SAMPLE;
    s->queries = malloc(s->n * rows->dim * sizeof *s->queries);
    s->hits = malloc(s->n * (K + 1) * sizeof *s->hits);
    s->counts = malloc(s->n * sizeof *s->counts);
    s->tags = malloc(rows->n * sizeof *s->tags);
    s->mask = malloc(rows->n / 8 + 1);
    if (!s->queries || !s->hits || !s->counts || !s->tags || !s->mask)
        return kd_error_memory(err, "the tuning of an approximate index");
    for (size_t row = 0; row < rows->n; row++)
        s->tags[row] = (uint32_t)row;
    memset(s->mask, 0xff, rows->n / 8 + 1);
    for (size_t i = 0; i < s->n;) {
        const size_t row = kd_random_next(&state) % rows->n;
        if (!(s->mask[row / 8] >> (row % 8) & 1))
            continue;
        s->mask[row / 8] &= (uint8_t)~(1u << (row % 8));
        memcpy(s->queries + i * rows->dim, rows->vectors + row * rows->dim,
            rows->dim * sizeof *s->queries);
        s->rows[i++] = (uint32_t)row;
    }
    return KD_OK;
}

static kd_status find_truth(sample *s, bool left_out, kd_error *err)
{
    const kd_rows *const all = &s->ann->rows;
    const kd_rows rows = {all->vectors, all->ids, s->tags, all->n, all->dim};
    const kd_search search = {.k = K + 1, .mask = left_out ? s->mask : NULL, .n_tags = all->n};
    return kd_scan(&rows, &search, s->queries, s->n, s->hits, s->counts, s->pool, err);
}

/* The score that the Kth of the others has. */
static float last_score(const sample *s, size_t i)
{
    const kd_hit *const hits = s->hits + i * (K + 1);
    const uint64_t own = s->ann->rows.ids[s->rows[i]];
    size_t rank = 0;
    for (size_t h = 0; h < s->counts[i]; h++)
        if (hits[h].id != own && ++rank == K)
            return hits[h].score;
    return -2;
}

/* A copy of a true one is as good. */
static kd_status measure(const sample *s, size_t effort, float *recall, kd_error *err)
{
    const kd_rows *const rows = &s->ann->rows;
    size_t right = 0;
    for (size_t i = 0; i < s->n; i++) {
        const kd_search search = {.k = K, .exclude = &rows->ids[s->rows[i]], .n_exclude = 1};
        const float last = last_score(s, i);
        kd_hit hits[K];
        size_t n = 0;
        const kd_status status =
            kd_ann_search(s->ann, s->queries + i * rows->dim, &search, effort, hits, &n, err);
        if (status != KD_OK)
            return status;
        for (size_t h = 0; h < n; h++)
            right += hits[h].score >= last;
    }
    *recall = (float)right / (float)(s->n * K);
    return KD_OK;
}

static kd_status tune(sample *s, float target, kd_error *err)
{
    kd_ann *const ann = s->ann;
    size_t low = ann->kind == KD_ANN_HNSW ? K : 1, high = kd_ann_most(ann);
    kd_status status = KD_OK;
    while (low < high && status == KD_OK) {
        const size_t middle = high > 4 * low ? 2 * low : (low + high) / 2;
        float recall = 0;
        status = measure(s, middle, &recall, err);
        if (recall >= target)
            high = middle;
        else
            low = middle + 1;
    }
    ann->effort = high;
    return status == KD_OK ? measure(s, high, &ann->recall, err) : status;
}

/* Highest levels first: the entry never changes, and what lies above is there when it is used. */
static size_t order_rows(const sample *s, uint32_t *order)
{
    const kd_hnsw *const graph = &s->ann->hnsw;
    size_t n = 0;
    for (size_t level = KD_HNSW_TOP; level-- > 0;)
        for (size_t row = 0; row < graph->n; row++)
            if (graph->levels[row] == level && (s->mask[row / 8] >> (row % 8) & 1))
                order[n++] = (uint32_t)row;
    return n;
}

static kd_status build_graph(sample *s, const kd_ann_options *options, kd_error *err)
{
    kd_ann *const ann = s->ann;
    uint32_t *const order = malloc(ann->rows.n * sizeof *order);
    if (!order)
        return kd_error_memory(err, "the graph of an approximate index");
    kd_hnsw_builder builder = {.graph = &ann->hnsw,
        .codes = &ann->codes,
        .pool = options->pool,
        .progress = options->progress,
        .progress_arg = options->progress_arg,
        .of = ann->rows.n};
    kd_status status = kd_hnsw_add(&builder, order, order_rows(s, order), err);
    if (status == KD_OK)
        status = find_truth(s, true, err);
    if (status == KD_OK)
        status = tune(s, options->target_recall, err);
    if (status == KD_OK)
        status = kd_hnsw_add(&builder, s->rows, s->n, err);
    free(order);
    return status;
}

static kd_status build_lists(sample *s, const kd_ann_options *options, kd_error *err)
{
    kd_ann *const ann = s->ann;
    kd_status status = kd_ivf_fill(&ann->ivf, &ann->rows, s->mask, options, err);
    if (status == KD_OK)
        status = find_truth(s, false, err);
    return status == KD_OK ? tune(s, options->target_recall, err) : status;
}

static kd_status check(const kd_rows *rows, const kd_ann_options *options, kd_error *err)
{
    if (rows->dim == 0 || rows->dim > KD_VECTOR_MAX_DIM)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "an index cannot have %zu dimensions, allowed are 1 to %u", rows->dim,
            KD_VECTOR_MAX_DIM);
    if (rows->n >= UINT32_MAX)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "an index holds at most %u vectors",
            (unsigned)(UINT32_MAX - 1));
    if (!(options->target_recall >= 0.5f && options->target_recall <= 1))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "a recall of %g, allowed are 0.5 to 1",
            (double)options->target_recall);
    return KD_OK;
}

enum { ENCODED = 1024 }; /* rows at a time */

static void encode(void *arg, size_t number)
{
    kd_codes *const codes = arg;
    const size_t from = number * ENCODED, left = codes->rows->n - from;
    kd_codes_make(codes, from, from + (left < ENCODED ? left : ENCODED));
}

kd_status kd_ann_build(
    kd_ann **out, const kd_rows *rows, const kd_ann_options *options, kd_error *err)
{
    assert(out && rows && options);
    *out = NULL;
    kd_ann *ann = NULL;
    kd_status status = check(rows, options, err);
    if (status == KD_OK)
        status = kd_ann_new(&ann, rows, options->kind, options->storage, options->seed, err);
    if (status != KD_OK)
        return status;
    ann->target = options->target_recall;
    if (!ann->exact) {
        const size_t chunks = (rows->n + ENCODED - 1) / ENCODED;
        if (options->pool) {
            kd_pool_for(options->pool, chunks, encode, &ann->codes);
        } else {
            kd_codes_make(&ann->codes, 0, rows->n);
        }
        sample s = {.ann = ann, .pool = options->pool};
        status = draw(&s, err);
        if (status == KD_OK)
            status = options->kind == KD_ANN_HNSW ? build_graph(&s, options, err)
                                                  : build_lists(&s, options, err);
        free_sample(&s);
    }
    if (status != KD_OK) {
        kd_ann_free(ann);
        return status;
    }
    *out = ann;
    return KD_OK;
}
