/* All scores of many queries, a block of whole rows at a time. */
#include <assert.h>
#include <stdlib.h>

#include "lib/vector/blocks.h"

enum {
    LEAST_BLOCK = 8,
    MOST_BLOCK = 256, /* more would not make the product faster: it copies the gallery each time */
    BLOCK_BYTES = 32 << 20,
    GALLERY_BLOCK = 1024, /* of one product: what it reads stays in the second-level cache */
};

typedef struct work {
    const kd_scores *scores;
    const kd_blocks *blocks;
} work;

static bool run_block(void *arg, size_t first, size_t n)
{
    const work *const w = arg;
    const size_t columns = w->scores->n_gallery;
    float *const rows = malloc((n * columns + 1) * sizeof *rows);
    if (!rows)
        return false;
    for (size_t from = 0; from < columns; from += GALLERY_BLOCK)
        kd_blocks_score(w->blocks, first, n, from,
            columns - from < GALLERY_BLOCK ? columns - from : GALLERY_BLOCK, rows + from, columns);
    const bool good = w->scores->visit(w->scores->visit_arg, first, n, rows);
    free(rows);
    return good;
}

kd_status kd_scores_run(const kd_scores *scores, kd_error *err)
{
    assert(scores && scores->visit && (scores->n_queries == 0 || scores->queries));
    work w = {.scores = scores};
    size_t block = BLOCK_BYTES / sizeof(float) / (scores->n_gallery + 1);
    if (block < LEAST_BLOCK)
        block = LEAST_BLOCK;
    if (block > MOST_BLOCK)
        block = MOST_BLOCK;
    const kd_blocks blocks = {.queries = scores->queries,
        .n_queries = scores->n_queries,
        .gallery = scores->gallery,
        .n_gallery = scores->n_gallery,
        .dim = scores->dim,
        .block = block,
        .pool = scores->pool,
        .progress = scores->progress,
        .progress_arg = scores->progress_arg,
        .run = run_block,
        .run_arg = &w};
    w.blocks = &blocks;
    return kd_blocks_run(&blocks, err);
}
