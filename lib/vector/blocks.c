#include "lib/vector/blocks.h"

#include <cblas.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

typedef struct run {
    const kd_blocks *blocks;
    pthread_t caller;
    atomic_size_t done;
    atomic_bool cancelled, no_memory;
} run;

static void run_block(void *arg, size_t number)
{
    run *const all = arg;
    const kd_blocks *const b = all->blocks;
    if (atomic_load(&all->cancelled) || atomic_load(&all->no_memory))
        return;
    const size_t first = number * b->block, left = b->n_queries - first;
    const size_t n = left < b->block ? left : b->block;
    if (!b->run(b->run_arg, first, n)) {
        atomic_store(&all->no_memory, true);
        return;
    }
    const size_t done = atomic_fetch_add(&all->done, n) + n;
    if (b->progress && pthread_equal(pthread_self(), all->caller) &&
        !b->progress(b->progress_arg, done))
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

static kd_status check(const kd_blocks *b, kd_error *err)
{
    if (b->dim == 0 || b->dim > KD_VECTOR_MAX_DIM)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "vectors cannot have %zu dimensions, allowed are 1 to %u", b->dim, KD_VECTOR_MAX_DIM);
    if (b->n_gallery > UINT32_MAX)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "a gallery holds at most %u vectors", UINT32_MAX);
    const kd_status status = check_rows("query", b->queries, b->n_queries, b->dim, err);
    if (status != KD_OK)
        return status;
    return check_rows("gallery vector", b->gallery, b->n_gallery, b->dim, err);
}

kd_status kd_blocks_run(const kd_blocks *blocks, kd_error *err)
{
    const kd_status status = check(blocks, err);
    if (status != KD_OK)
        return status;
    run all = {.blocks = blocks, .caller = pthread_self()};
    const size_t n = (blocks->n_queries + blocks->block - 1) / blocks->block;
    if (blocks->pool) {
        kd_pool_for(blocks->pool, n, run_block, &all);
    } else {
        for (size_t i = 0; i < n; i++)
            run_block(&all, i);
    }
    if (atomic_load(&all.no_memory))
        return kd_error_memory(err, "the scores of a block of queries");
    /* The last word is the caller's too: its own blocks may have ended before the others'. */
    if (atomic_load(&all.cancelled) ||
        (blocks->progress && !blocks->progress(blocks->progress_arg, blocks->n_queries)))
        return kd_error_set(err, KD_CANCELLED, "the search was cancelled");
    return KD_OK;
}

void kd_blocks_score(const kd_blocks *b, size_t first_query, size_t n_queries, size_t from,
    size_t n, float *scores, size_t stride)
{
    const int dim = (int)b->dim;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)n_queries, (int)n, dim, 1.0f,
        b->queries + first_query * b->dim, dim, b->gallery + from * b->dim, dim, 0.0f, scores,
        (int)stride);
}
