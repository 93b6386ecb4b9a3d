/* Exact top-k of many queries: the scores of a tile (some queries × some of the gallery) by one
 * sgemm, then each query keeps what can still be among its best. */
#include <assert.h>
#include <stdlib.h>

#include "lib/vector/best.h"
#include "lib/vector/blocks.h"

enum {
    QUERY_BLOCK = 64,
    GALLERY_BLOCK = 1024, /* 64 × 1024 scores: they stay in the second-level cache */
};

typedef struct work {
    const kd_topk *topk;
    const kd_blocks *blocks;
    kd_hit *hits;
    uint32_t *counts;
} work;

typedef struct block {
    kd_best best[QUERY_BLOCK];
    float scores[QUERY_BLOCK * GALLERY_BLOCK];
    kd_candidate kept[]; /* QUERY_BLOCK × kd_best_room(k) */
} block;

/* Scores rows from..from+n of the gallery against the block's queries and keeps the good ones. */
static void run_tile(
    const work *w, block *mine, size_t first_query, size_t n_queries, size_t from, size_t n)
{
    const kd_topk *const topk = w->topk;
    kd_blocks_score(w->blocks, first_query, n_queries, from, n, mine->scores, GALLERY_BLOCK);
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

static bool run_block(void *arg, size_t first, size_t n)
{
    const work *const w = arg;
    const kd_topk *const topk = w->topk;
    const size_t room = kd_best_room(topk->k);
    block *const mine = malloc(sizeof *mine + QUERY_BLOCK * room * sizeof mine->kept[0]);
    if (!mine)
        return false;
    for (size_t q = 0; q < n; q++)
        kd_best_start(&mine->best[q], topk->queries + (first + q) * topk->dim, topk->gallery,
            topk->dim, topk->k, mine->kept + q * room);
    for (size_t from = 0; from < topk->n_gallery; from += GALLERY_BLOCK) {
        const size_t left = topk->n_gallery - from;
        run_tile(w, mine, first, n, from, left < GALLERY_BLOCK ? left : GALLERY_BLOCK);
    }
    for (size_t q = 0; q < n; q++)
        w->counts[first + q] =
            (uint32_t)kd_best_finish(&mine->best[q], w->hits + (first + q) * topk->k);
    free(mine);
    return true;
}

kd_status kd_topk_run(const kd_topk *topk, kd_hit *hits, uint32_t *counts, kd_error *err)
{
    assert(topk && (topk->n_queries == 0 || (topk->queries && hits && counts)));
    assert(topk->n_gallery == 0 || (topk->gallery && topk->ids));
    if (topk->k == 0 || topk->k > KD_VECTOR_MAX_K)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "k is %zu, allowed are 1 to %u", topk->k, KD_VECTOR_MAX_K);
    work w = {.topk = topk, .hits = hits, .counts = counts};
    const kd_blocks blocks = {.queries = topk->queries,
        .n_queries = topk->n_queries,
        .gallery = topk->gallery,
        .n_gallery = topk->n_gallery,
        .dim = topk->dim,
        .block = QUERY_BLOCK,
        .pool = topk->pool,
        .progress = topk->progress,
        .progress_arg = topk->progress_arg,
        .run = run_block,
        .run_arg = &w};
    w.blocks = &blocks;
    return kd_blocks_run(&blocks, err);
}
