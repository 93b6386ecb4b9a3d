/* Exact search. One query costs what reading the rows costs, and each row is read once; for many
 * queries a tile of rows stays in the registers' reach while all of a block look at it (kernel.h).
 * With a pool, blocks of queries are worked on side by side; where there are few, so are parts of
 * the rows, and what each part found is put together. */
#include "lib/vector/scan.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/vector/kernel.h"

enum {
    FEW = 4,           /* queries for which whole rows are scored one by one */
    PARTS = 8,         /* of the work, about: enough for threads that are not equally fast */
    LEAST_PART = 2048, /* rows */
    ROUND = PARTS * (int)KD_TILE_QUERIES, /* queries whose candidates are held at a time */
};

/* A block of queries against a part of the rows. */
typedef struct piece {
    kd_best best[KD_TILE_QUERIES];
    float floors[KD_TILE_QUERIES];
    float *panel;        /* owned: dim × lanes, see kd_tile */
    kd_candidate kept[]; /* of each query, kd_best_room(k) */
} piece;

typedef struct work {
    const kd_rows *rows;
    const kd_search *search;
    const float *queries;
    size_t n, parts;
    const kd_kernels *kernels;
    piece **pieces; /* owned: of each block, its parts */
} work;

void kd_search_start(const kd_search *search, const kd_rows *rows, const float *query,
    kd_candidate *kept, kd_best *best)
{
    kd_best_start(best, query, rows->vectors, rows->dim, search->k, kept);
    best->grouped = search->groups != NULL;
    if (search->min_score)
        kd_best_cut(best, *search->min_score);
}

static size_t lanes_of(size_t n)
{
    return (n + KD_TILE_LANES - 1) / KD_TILE_LANES * KD_TILE_LANES;
}

static size_t block_size(const work *w, size_t block)
{
    const size_t left = w->n - block * KD_TILE_QUERIES;
    return left < KD_TILE_QUERIES ? left : KD_TILE_QUERIES;
}

/* Made by the caller: nothing is allocated on the pool. */
static piece *piece_new(const work *w, size_t block)
{
    const size_t n = block_size(w, block), room = kd_best_room(w->search->k);
    const size_t lanes = n > FEW ? lanes_of(n) : 0, dim = w->rows->dim;
    const float *const queries = w->queries + block * KD_TILE_QUERIES * dim;
    piece *const p = malloc(sizeof *p + n * room * sizeof p->kept[0]);
    if (!p)
        return NULL;
    p->panel = malloc((lanes * dim + 1) * sizeof *p->panel);
    if (!p->panel) {
        free(p);
        return NULL;
    }
    for (size_t q = 0; q < n; q++) {
        kd_search_start(w->search, w->rows, queries + q * dim, p->kept + q * room, &p->best[q]);
        p->floors[q] = p->best[q].floor;
    }
    for (size_t q = n; q < KD_TILE_QUERIES; q++)
        p->floors[q] = INFINITY;
    for (size_t d = 0; d < dim; d++)
        for (size_t q = 0; q < lanes; q++)
            p->panel[d * lanes + q] = q < n ? queries[q * dim + d] : 0;
    return p;
}

static void piece_free(piece *p)
{
    if (p)
        free(p->panel);
    free(p);
}

static void scan_few(const work *w, piece *p, size_t n, size_t from, size_t to)
{
    const kd_rows *const rows = w->rows;
    for (size_t row = from; row < to; row++) {
        if (!kd_search_passes(w->search, rows, row))
            continue;
        const float *const vector = rows->vectors + row * rows->dim;
        for (size_t q = 0; q < n; q++)
            kd_search_offer(w->search, rows, row,
                w->kernels->dot(p->best[q].query, vector, rows->dim), &p->best[q]);
    }
}

static void offer_tile(const work *w, piece *p, const kd_tile *tile, const size_t *at, size_t n)
{
    for (size_t r = 0; r < n; r++) {
        for (uint64_t left = tile->reached[r]; left; left &= left - 1) {
            const size_t q = (size_t)__builtin_ctzll(left);
            kd_search_offer(w->search, w->rows, at[r], tile->scores[r][q], &p->best[q]);
            p->floors[q] = p->best[q].floor;
        }
    }
}

static void scan_many(const work *w, piece *p, size_t n, size_t from, size_t to)
{
    const kd_rows *const rows = w->rows;
    kd_tile tile = {.panel = p->panel, .floors = p->floors, .lanes = lanes_of(n), .dim = rows->dim};
    size_t at[KD_TILE_ROWS], held = 0;
    for (size_t row = from; row < to; row++) {
        if (kd_search_passes(w->search, rows, row))
            at[held++] = row;
        if (held == KD_TILE_ROWS || (held && row + 1 == to)) {
            for (size_t r = 0; r < KD_TILE_ROWS; r++)
                tile.rows[r] = rows->vectors + at[r < held ? r : 0] * rows->dim;
            w->kernels->tile(&tile);
            offer_tile(w, p, &tile, at, held);
            held = 0;
        }
    }
}

static void run_piece(void *arg, size_t number)
{
    const work *const w = arg;
    piece *const p = w->pieces[number];
    const size_t n = block_size(w, number / w->parts), part = number % w->parts;
    const size_t from = w->rows->n * part / w->parts, to = w->rows->n * (part + 1) / w->parts;
    (n > FEW ? scan_many : scan_few)(w, p, n, from, to);
    for (size_t q = 0; q < n; q++)
        kd_best_settle(&p->best[q]);
}

/* The first part's best of each query takes in the others'. */
static void finish_block(const work *w, size_t block, kd_hit *hits, uint32_t *counts)
{
    piece *const *const parts = w->pieces + block * w->parts;
    for (size_t q = 0; q < block_size(w, block); q++) {
        kd_best *const all = &parts[0]->best[q];
        for (size_t part = 1; part < w->parts; part++) {
            const kd_best *const some = &parts[part]->best[q];
            for (size_t i = 0; i < some->n_kept; i++)
                kd_best_offer(all, some->kept[i].score, some->kept[i].row, some->kept[i].id,
                    some->kept[i].group);
        }
        counts[q] = (uint32_t)kd_best_finish(all, hits + q * w->search->k);
    }
}

/* At most ROUND queries. */
static kd_status run(work *w, kd_pool *pool, kd_hit *hits, uint32_t *counts, kd_error *err)
{
    kd_status status = KD_OK;
    const size_t blocks = (w->n + KD_TILE_QUERIES - 1) / KD_TILE_QUERIES;
    const size_t most = pool ? (PARTS + blocks - 1) / blocks : 1;
    w->parts = w->rows->n / LEAST_PART + 1;
    if (w->parts > most)
        w->parts = most;
    const size_t n_pieces = blocks * w->parts;
    w->pieces = calloc(n_pieces, sizeof(piece *));
    if (!w->pieces)
        return kd_error_memory(err, "a search");
    for (size_t i = 0; i < n_pieces && status == KD_OK; i++) {
        w->pieces[i] = piece_new(w, i / w->parts);
        if (!w->pieces[i])
            status = kd_error_memory(err, "a search");
    }
    if (status == KD_OK && pool && n_pieces > 1) {
        kd_pool_for(pool, n_pieces, run_piece, w);
    } else {
        for (size_t i = 0; i < n_pieces && status == KD_OK; i++)
            run_piece(w, i);
    }
    for (size_t b = 0; b < blocks && status == KD_OK; b++)
        finish_block(w, b, hits + b * KD_TILE_QUERIES * w->search->k, counts + b * KD_TILE_QUERIES);
    for (size_t i = 0; i < n_pieces; i++)
        piece_free(w->pieces[i]);
    free(w->pieces);
    return status;
}

kd_status kd_scan(const kd_rows *rows, const kd_search *search, const float *queries, size_t n,
    kd_hit *hits, uint32_t *counts, kd_pool *pool, kd_error *err)
{
    kd_status status = KD_OK;
    work w = {.rows = rows, .search = search, .kernels = kd_kernels_best()};
    for (size_t i = 0; i < n; i++)
        counts[i] = 0;
    if (rows->n == 0)
        return KD_OK;
    for (size_t first = 0; first < n && status == KD_OK; first += ROUND) {
        w.queries = queries + first * rows->dim;
        w.n = n - first < ROUND ? n - first : ROUND;
        status = run(&w, pool, hits + first * search->k, counts + first, err);
    }
    if (status != KD_OK)
        for (size_t i = 0; i < n; i++)
            counts[i] = 0;
    return status;
}
