/* Exact top-k of many queries: the scores of a tile (some queries × some of the gallery) by one
 * sgemm, then each query keeps what can still be among its best. A task is a block of queries
 * against the whole gallery, so tasks share nothing but the counters below. */
#include <assert.h>
#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/vector/best.h"
#include "lib/vector/vector.h"

enum {
    QUERY_BLOCK = 64,
    GALLERY_BLOCK = 1024, /* 64 × 1024 scores: they stay in the second-level cache */
};

typedef struct run {
    const kd_topk *topk;
    kd_hit *hits;
    uint32_t *counts;
    pthread_t caller;
    atomic_size_t done;
    atomic_bool cancelled, no_memory;
} run;

typedef struct block {
    kd_best best[QUERY_BLOCK];
    float scores[QUERY_BLOCK * GALLERY_BLOCK];
    kd_candidate kept[]; /* QUERY_BLOCK × kd_best_room(k) */
} block;

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Scores rows from..from+n of the gallery against the block's queries and keeps the good ones. */
static void run_tile(
    const kd_topk *topk, block *mine, size_t first_query, size_t n_queries, size_t from, size_t n)
{
    const int dim = (int)topk->dim;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n_queries, (int)n, dim, 1.0f,
        topk->queries + first_query * topk->dim, dim, topk->gallery + from * topk->dim, dim, 0.0f,
        mine->scores, GALLERY_BLOCK);
    for (size_t q = 0; q < n_queries; q++) {
        kd_best *const best = &mine->best[q];
        const float *const scores = mine->scores + q * GALLERY_BLOCK;
        const uint64_t skip = topk->skip ? topk->skip[first_query + q] : UINT64_MAX;
        for (size_t g = 0; g < n; g++) {
            if (scores[g] >= best->floor && topk->ids[from + g] != skip)
                kd_best_offer(best, scores[g], (uint32_t)(from + g), topk->ids[from + g]);
        }
    }
}

static void run_block(void *arg, size_t number)
{
    run *const all = arg;
    const kd_topk *const topk = all->topk;
    if (atomic_load(&all->cancelled) || atomic_load(&all->no_memory))
        return;
    const size_t room = kd_best_room(topk->k);
    block *mine = malloc(sizeof *mine + QUERY_BLOCK * room * sizeof mine->kept[0]);
    if (!mine) {
        atomic_store(&all->no_memory, true);
        return;
    }
    const size_t first = number * QUERY_BLOCK;
    const size_t n_queries = smaller(QUERY_BLOCK, topk->n_queries - first);
    for (size_t q = 0; q < n_queries; q++)
        kd_best_start(&mine->best[q], topk->queries + (first + q) * topk->dim, topk->gallery,
            topk->dim, topk->k, mine->kept + q * room);
    for (size_t from = 0; from < topk->n_gallery; from += GALLERY_BLOCK)
        run_tile(
            topk, mine, first, n_queries, from, smaller(GALLERY_BLOCK, topk->n_gallery - from));
    for (size_t q = 0; q < n_queries; q++)
        all->counts[first + q] =
            (uint32_t)kd_best_finish(&mine->best[q], all->hits + (first + q) * topk->k);
    free(mine);

    const size_t done = atomic_fetch_add(&all->done, n_queries) + n_queries;
    if (topk->progress && pthread_equal(pthread_self(), all->caller) &&
        !topk->progress(topk->progress_arg, done))
        atomic_store(&all->cancelled, true);
}

static kd_status check_rows(
    const char *what, const float *rows, size_t n, size_t dim, kd_error *err)
{
    for (size_t i = 0; i < n; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "%s %zu", what, i);
        const kd_status status = kd_vector_check(name, rows + i * dim, dim, err);
        if (status != KD_OK)
            return status;
    }
    return KD_OK;
}

static kd_status check(const kd_topk *topk, kd_error *err)
{
    if (topk->k == 0 || topk->k > KD_VECTOR_MAX_K)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "k is %zu, allowed are 1 to %u", topk->k, KD_VECTOR_MAX_K);
    if (topk->dim == 0 || topk->dim > KD_VECTOR_MAX_DIM)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "vectors cannot have %zu dimensions, allowed are 1 to %u", topk->dim,
            KD_VECTOR_MAX_DIM);
    if (topk->n_gallery > UINT32_MAX)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "a gallery holds at most %u vectors", UINT32_MAX);
    kd_status status = check_rows("query", topk->queries, topk->n_queries, topk->dim, err);
    if (status == KD_OK)
        status = check_rows("gallery vector", topk->gallery, topk->n_gallery, topk->dim, err);
    return status;
}

kd_status kd_topk_run(const kd_topk *topk, kd_hit *hits, uint32_t *counts, kd_error *err)
{
    assert(topk && (topk->n_queries == 0 || (topk->queries && hits && counts)));
    assert(topk->n_gallery == 0 || (topk->gallery && topk->ids));
    const kd_status status = check(topk, err);
    if (status != KD_OK)
        return status;

    run all = {.topk = topk, .hits = hits, .counts = counts, .caller = pthread_self()};
    const size_t blocks = (topk->n_queries + QUERY_BLOCK - 1) / QUERY_BLOCK;
    if (topk->pool) {
        kd_pool_for(topk->pool, blocks, run_block, &all);
    } else {
        for (size_t i = 0; i < blocks; i++)
            run_block(&all, i);
    }
    if (atomic_load(&all.no_memory))
        return kd_error_memory(err, "the scores of a block of queries");
    /* The last word is the caller's too: its own blocks may have ended before the others'. */
    if (atomic_load(&all.cancelled) ||
        (topk->progress && !topk->progress(topk->progress_arg, topk->n_queries)))
        return kd_error_set(err, KD_CANCELLED, "the search was cancelled");
    return KD_OK;
}
