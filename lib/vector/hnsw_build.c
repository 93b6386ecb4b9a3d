#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/vector/hnsw.h"

enum { CHUNK = 32 }; /* rows that a thread takes at a time */

typedef struct building {
    kd_hnsw_builder *builder;
    const uint32_t *rows;
    size_t n;
    pthread_t caller;
    pthread_mutex_t locks[KD_HNSW_LOCKS]; /* a list's is its row's; a thread holds one at most */
    atomic_size_t done;
    atomic_bool no_memory, cancelled;
} building;

static int best_first(const void *left, const void *right)
{
    const kd_seen *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

/* Algorithm 4, of rows in order: one that is nearer to a chosen one than to the row they are links
 * of is reached through that. Equal is not nearer: copies keep each other. */
static size_t choose(const kd_codes *codes, kd_seen *all, size_t n, size_t most)
{
    size_t chosen = 0;
    if (n <= most)
        return n;
    for (size_t i = 0; i < n && chosen < most; i++) {
        kd_code_query query;
        bool good = true;
        if (chosen)
            kd_codes_ask_row(codes, all[i].row, &query);
        for (size_t c = 0; c < chosen && good; c++)
            good = kd_codes_score(codes, &query, all[c].row) <= all[i].score;
        if (good)
            all[chosen++] = all[i];
    }
    return chosen;
}

static void shrink(
    const kd_codes *codes, uint32_t row, uint32_t *list, size_t most, kd_seen newcomer)
{
    kd_seen all[KD_HNSW_BASE + 1];
    kd_code_query query;
    kd_codes_ask_row(codes, row, &query);
    for (size_t i = 0; i < most; i++)
        all[i] = (kd_seen){kd_codes_score(codes, &query, list[1 + i]), list[1 + i]};
    all[most] = newcomer;
    qsort(all, most + 1, sizeof all[0], best_first);
    list[0] = (uint32_t)choose(codes, all, most + 1, most);
    for (size_t i = 0; i < list[0]; i++)
        list[1 + i] = all[i].row;
}

static void link_to(building *b, size_t level, uint32_t row, kd_seen other)
{
    const size_t most = level ? KD_HNSW_LINKS : KD_HNSW_BASE;
    uint32_t *const list = kd_hnsw_links(b->builder->graph, row, level);
    (void)pthread_mutex_lock(&b->locks[row % KD_HNSW_LOCKS]);
    bool there = false;
    for (size_t i = 0; i < list[0]; i++)
        there = there || list[1 + i] == other.row;
    if (!there && list[0] < most)
        list[1 + list[0]++] = other.row;
    else if (!there)
        shrink(b->builder->codes, row, list, most, other);
    (void)pthread_mutex_unlock(&b->locks[row % KD_HNSW_LOCKS]);
}

/* Algorithm 1. */
static bool insert(building *b, kd_hnsw_walk *walk, uint32_t row)
{
    const kd_hnsw *const graph = b->builder->graph;
    const size_t top = graph->levels[graph->entry];
    const size_t own = graph->levels[row] < top ? graph->levels[row] : top;
    kd_code_query query;
    kd_codes_ask_row(walk->codes, row, &query);
    kd_seen at = kd_hnsw_descend(walk, &query, own);
    for (size_t level = own + 1; level-- > 0;) {
        if (!kd_hnsw_find(walk, &query, level, at, row))
            return false;
        kd_seen *const all = walk->found.all;
        qsort(all, walk->found.n, sizeof *all, best_first);
        at = all[0];
        const size_t n = choose(walk->codes, all, walk->found.n, KD_HNSW_LINKS);
        for (size_t i = 0; i < n; i++)
            link_to(b, level, row, all[i]);
        for (size_t i = 0; i < n; i++)
            link_to(b, level, all[i].row, (kd_seen){all[i].score, row});
    }
    return true;
}

static void run_chunk(void *arg, size_t number)
{
    building *const b = arg;
    kd_hnsw_builder *const builder = b->builder;
    const size_t first = number * CHUNK, left = b->n - first, n = left < CHUNK ? left : CHUNK;
    if (atomic_load(&b->no_memory) || atomic_load(&b->cancelled))
        return;
    kd_hnsw_walk walk = {
        .graph = builder->graph, .codes = builder->codes, .locks = b->locks, .most = SIZE_MAX};
    bool good = kd_hnsw_walk_new(&walk, KD_HNSW_WIDTH);
    for (size_t i = first; i < first + n && good; i++)
        good = b->rows[i] == builder->graph->entry || insert(b, &walk, b->rows[i]);
    kd_hnsw_walk_free(&walk);
    if (!good)
        atomic_store(&b->no_memory, true);
    const size_t done = atomic_fetch_add(&b->done, n) + n;
    if (good && builder->progress && pthread_equal(pthread_self(), b->caller) &&
        !builder->progress(builder->progress_arg, builder->done + done, builder->of))
        atomic_store(&b->cancelled, true);
}

kd_status kd_hnsw_add(kd_hnsw_builder *builder, const uint32_t *rows, size_t n, kd_error *err)
{
    if (n == 0)
        return KD_OK;
    if (builder->done == 0)
        builder->graph->entry = rows[0];
    building *const b = calloc(1, sizeof *b);
    if (!b)
        return kd_error_memory(err, "the graph of an approximate index");
    b->builder = builder;
    b->rows = rows;
    b->n = n;
    b->caller = pthread_self();
    for (size_t i = 0; i < KD_HNSW_LOCKS; i++)
        (void)pthread_mutex_init(&b->locks[i], NULL);
    const size_t chunks = (n + CHUNK - 1) / CHUNK;
    if (builder->pool) {
        kd_pool_for(builder->pool, chunks, run_chunk, b);
    } else {
        for (size_t i = 0; i < chunks; i++)
            run_chunk(b, i);
    }
    builder->done += n;
    kd_status status = KD_OK;
    if (atomic_load(&b->no_memory))
        status = kd_error_memory(err, "the graph of an approximate index");
    else if (atomic_load(&b->cancelled))
        status = kd_error_set(err, KD_CANCELLED, "building the index was cancelled");
    for (size_t i = 0; i < KD_HNSW_LOCKS; i++)
        (void)pthread_mutex_destroy(&b->locks[i]);
    free(b);
    return status;
}
