/* All scores of many queries, a block of whole rows at a time. */
#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/vector/blocks.h"

enum {
    LEAST_BLOCK = 8,
    MOST_BLOCK = 256, /* more would not make the product faster: it copies the gallery each time */
    BLOCK_BYTES = 64 << 20,
    GALLERY_BLOCK = 1024, /* of one product: what it reads stays in the second-level cache */
    MIRROR_BYTES = 256 << 20,
    LEAST_MIRRORED = 64, /* of a block: the table of tiles stays small */
};

/* Where the queries are the gallery's first images, the score of two of them stands in both their
 * rows. A block hands the tiles of its scores against the next `reach` blocks on to those, which
 * turn them round and need not score them: up to half of the product. Nobody waits: who comes
 * before the tile scores it as its giver does, so that no score depends on who was first. */
typedef struct work {
    const kd_scores *scores;
    const kd_blocks *blocks;
    size_t reach;          /* in blocks; 0: all is scored */
    float *_Atomic *tiles; /* owned: for each block, those of the reach blocks before it */
} work;

static float taken; /* in a tile's place: its taker was there already */

static float *_Atomic *tile_of(const work *w, size_t giver, size_t taker)
{
    const size_t block = w->blocks->block;
    return &w->tiles[taker / block * w->reach + (taker - giver) / block - 1];
}

static void score(
    const work *w, size_t first, size_t n, size_t from, size_t to, size_t step, float *rows)
{
    for (; from < to; from += step)
        kd_blocks_score(w->blocks, first, n, from, to - from < step ? to - from : step, rows + from,
            w->scores->n_gallery);
}

/* Scores of queries first..first+n against those from..to, to the blocks whose rows are these. */
static bool give(const work *w, size_t first, size_t n, size_t from, size_t to, const float *rows)
{
    for (; from < to; from += w->blocks->block) {
        const size_t columns = to - from < w->blocks->block ? to - from : w->blocks->block;
        float *empty = NULL, *const tile = malloc(n * columns * sizeof *tile);
        if (!tile)
            return false;
        for (size_t i = 0; i < n; i++)
            memcpy(
                tile + i * columns, rows + i * w->scores->n_gallery + from, columns * sizeof *tile);
        if (!atomic_compare_exchange_strong(tile_of(w, first, from), &empty, tile))
            free(tile);
    }
    return true;
}

/* tile (n_rows × n_columns) into rows as n_columns × n_rows. As many columns at a time as a line of
 * the cache has values: the tile's lines are read whole while they are there. */
static void turn(const float *restrict tile, size_t n_rows, size_t n_columns, float *restrict rows,
    size_t stride)
{
    enum { LINE = 16 };
    for (size_t from = 0; from < n_columns; from += LINE) {
        const size_t to = n_columns - from < LINE ? n_columns : from + LINE;
        for (size_t c = from; c < to; c++)
            for (size_t r = 0; r < n_rows; r++)
                rows[c * stride + r] = tile[r * n_columns + c];
    }
}

/* Scores of queries first..first+n against those from..first. */
static bool take(const work *w, size_t first, size_t n, size_t from, float *rows)
{
    const size_t block = w->blocks->block;
    for (; from < first; from += block) {
        float *tile = atomic_exchange(tile_of(w, from, first), &taken);
        if (!tile) {
            tile = malloc(block * n * sizeof *tile);
            if (!tile)
                return false;
            kd_blocks_score(w->blocks, from, block, first, n, tile, n);
        }
        turn(tile, block, n, rows + from, w->scores->n_gallery);
        free(tile);
    }
    return true;
}

static bool score_mirrored(const work *w, size_t first, size_t n, float *rows)
{
    const size_t block = w->blocks->block, near = w->reach * block;
    const size_t low = first < near ? 0 : first - near, next = first + n;
    const size_t left = w->scores->n_queries - next, high = next + (left < near ? left : near);
    score(w, first, n, first, high, block, rows);
    if (!give(w, first, n, next, high, rows))
        return false;
    score(w, first, n, 0, low, GALLERY_BLOCK, rows);
    score(w, first, n, high, w->scores->n_gallery, GALLERY_BLOCK, rows);
    return take(w, first, n, low, rows);
}

static bool run_block(void *arg, size_t first, size_t n)
{
    const work *const w = arg;
    const size_t columns = w->scores->n_gallery;
    float *const rows = malloc((n * columns + 1) * sizeof *rows);
    bool good = rows != NULL;
    if (good && w->reach)
        good = score_mirrored(w, first, n, rows);
    else if (good)
        score(w, first, n, 0, columns, GALLERY_BLOCK, rows);
    good = good && w->scores->visit(w->scores->visit_arg, first, n, rows);
    free(rows);
    return good;
}

static size_t block_of(size_t n_gallery)
{
    const size_t block = BLOCK_BYTES / sizeof(float) / (n_gallery + 1);
    return block < LEAST_BLOCK ? LEAST_BLOCK : block > MOST_BLOCK ? MOST_BLOCK : block;
}

/* In the middle of the work reach² / 2 tiles wait for their takers. */
static size_t reach_of(const kd_scores *s, size_t n_blocks, size_t block)
{
    const size_t most = MIRROR_BYTES / (block * block * sizeof(float));
    size_t reach = 0;
    if (s->queries != s->gallery || s->n_queries > s->n_gallery || block < LEAST_MIRRORED)
        return 0;
    while (reach + 1 < n_blocks && (reach + 1) * (reach + 1) / 2 <= most)
        reach++;
    return reach;
}

kd_status kd_scores_run(const kd_scores *scores, kd_error *err)
{
    assert(scores && scores->visit && (scores->n_queries == 0 || scores->queries));
    work w = {.scores = scores};
    const kd_blocks blocks = {.queries = scores->queries,
        .n_queries = scores->n_queries,
        .gallery = scores->gallery,
        .n_gallery = scores->n_gallery,
        .dim = scores->dim,
        .block = block_of(scores->n_gallery),
        .pool = scores->pool,
        .progress = scores->progress,
        .progress_arg = scores->progress_arg,
        .run = run_block,
        .run_arg = &w};
    const size_t n_blocks = (scores->n_queries + blocks.block - 1) / blocks.block;
    w.blocks = &blocks;
    w.reach = reach_of(scores, n_blocks, blocks.block);
    w.tiles = calloc(n_blocks * w.reach + 1, sizeof *w.tiles);
    if (!w.tiles)
        return kd_error_memory(err, "the tiles of the scores");
    const kd_status status = kd_blocks_run(&blocks, err);
    for (size_t i = 0; i < n_blocks * w.reach; i++)
        if (w.tiles[i] != &taken)
            free(w.tiles[i]);
    free(w.tiles);
    return status;
}
