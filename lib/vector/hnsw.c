#include "lib/vector/hnsw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/vector/scan.h"

enum { BITS = 64 };

/* ---- The graph ---- */

/* Section 4: a level has 1/M of the rows of the one below. */
static uint8_t draw_level(uint64_t *state)
{
    const double drawn = ((double)(kd_random_next(state) >> 11) + 1) * 0x1p-53;
    const double level = -log(drawn) / log(KD_HNSW_LINKS);
    return level < KD_HNSW_TOP ? (uint8_t)level : KD_HNSW_TOP - 1;
}

kd_status kd_hnsw_new(kd_hnsw *graph, size_t n, uint64_t seed, kd_error *err)
{
    *graph = (kd_hnsw){.n = n};
    graph->levels = malloc(n + 1);
    graph->places = malloc((n + 1) * sizeof *graph->places);
    graph->base = calloc(n + 1, (1 + KD_HNSW_BASE) * sizeof *graph->base);
    if (graph->levels && graph->places && graph->base) {
        for (size_t row = 0; row < n; row++) {
            graph->levels[row] = draw_level(&seed);
            graph->places[row] = graph->n_above;
            graph->n_above += graph->levels[row];
        }
        graph->above =
            calloc((size_t)graph->n_above + 1, (1 + KD_HNSW_LINKS) * sizeof *graph->above);
    }
    if (graph->above)
        return KD_OK;
    kd_hnsw_free(graph);
    return kd_error_memory(err, "the graph of an approximate index");
}

void kd_hnsw_free(kd_hnsw *graph)
{
    free(graph->levels);
    free(graph->places);
    free(graph->base);
    free(graph->above);
    *graph = (kd_hnsw){0};
}

size_t kd_hnsw_bytes(const kd_hnsw *graph)
{
    return graph->n * (1 + (2 + KD_HNSW_BASE) * sizeof(uint32_t)) +
           graph->n_above * (1 + KD_HNSW_LINKS) * sizeof(uint32_t);
}

/* ---- Search ---- */

bool kd_hnsw_walk_new(kd_hnsw_walk *walk, size_t width)
{
    walk->width = width;
    walk->waiting_room = 4 * width + 64;
    walk->seen = malloc((walk->graph->n / BITS + 1) * sizeof *walk->seen);
    walk->waiting = (kd_heap){.all = malloc(walk->waiting_room * sizeof(kd_seen)), .best = true};
    walk->found = (kd_heap){.all = malloc((width + 1) * sizeof(kd_seen))};
    if (walk->seen && walk->waiting.all && walk->found.all)
        return true;
    kd_hnsw_walk_free(walk);
    return false;
}

void kd_hnsw_walk_free(kd_hnsw_walk *walk)
{
    free(walk->seen);
    free(walk->waiting.all);
    free(walk->found.all);
    walk->seen = NULL;
    walk->waiting.all = walk->found.all = NULL;
}

static size_t copy_links(const kd_hnsw_walk *walk, size_t row, size_t level, uint32_t *links)
{
    const uint32_t *const list = kd_hnsw_links(walk->graph, row, level);
    pthread_mutex_t *const lock = walk->locks ? &walk->locks[row % KD_HNSW_LOCKS] : NULL;
    if (lock)
        (void)pthread_mutex_lock(lock);
    const size_t n = list[0];
    memcpy(links, list + 1, n * sizeof *links);
    if (lock)
        (void)pthread_mutex_unlock(lock);
    return n;
}

/* Algorithm 5's first loop. */
kd_seen kd_hnsw_descend(const kd_hnsw_walk *walk, const kd_code_query *query, size_t level)
{
    const kd_hnsw *const graph = walk->graph;
    uint32_t links[KD_HNSW_BASE];
    kd_seen at = {kd_codes_score(walk->codes, query, graph->entry), graph->entry};
    for (size_t l = graph->levels[graph->entry]; l > level; l--) {
        for (bool moved = true; moved;) {
            const size_t n = copy_links(walk, at.row, l, links);
            moved = false;
            for (size_t i = 0; i < n; i++)
                kd_codes_fetch(walk->codes, links[i]);
            for (size_t i = 0; i < n; i++) {
                const float score = kd_codes_score(walk->codes, query, links[i]);
                if (score > at.score) {
                    at = (kd_seen){score, links[i]};
                    moved = true;
                }
            }
        }
    }
    return at;
}

static bool see(kd_hnsw_walk *walk, uint32_t row)
{
    const uint64_t bit = (uint64_t)1 << row % BITS;
    const bool before = walk->seen[row / BITS] & bit;
    walk->seen[row / BITS] |= bit;
    return !before;
}

static bool may_be_found(const kd_hnsw_walk *walk, uint32_t row)
{
    const kd_rows *const rows = walk->codes->rows;
    return !walk->search || (kd_search_passes(walk->search, rows, row) &&
                                !kd_search_excludes(walk->search, rows->ids[row]));
}

static bool take(kd_hnsw_walk *walk, kd_seen item)
{
    if (walk->found.n == walk->width && item.score <= walk->found.all[0].score)
        return true;
    if (walk->waiting.n == walk->waiting_room) {
        const size_t room = 2 * walk->waiting_room + 64;
        kd_seen *const all = realloc(walk->waiting.all, room * sizeof *all);
        if (!all)
            return false;
        walk->waiting.all = all;
        walk->waiting_room = room;
    }
    kd_heap_push(&walk->waiting, item);
    if (may_be_found(walk, item.row))
        kd_heap_keep(&walk->found, walk->width, item);
    return true;
}

/* Algorithm 2. Rows that may not be found are walked over. */
bool kd_hnsw_find(
    kd_hnsw_walk *walk, const kd_code_query *query, size_t level, kd_seen from, uint32_t without)
{
    uint32_t links[KD_HNSW_BASE];
    memset(walk->seen, 0, (walk->graph->n / BITS + 1) * sizeof *walk->seen);
    walk->waiting.n = walk->found.n = 0;
    (void)see(walk, from.row);
    (void)see(walk, without);
    bool room = take(walk, from);
    while (room && walk->waiting.n > 0 && walk->scored <= walk->most) {
        const kd_seen at = kd_heap_pop(&walk->waiting);
        if (walk->found.n == walk->width && at.score < walk->found.all[0].score)
            break;
        const size_t n_links = copy_links(walk, at.row, level, links);
        size_t n = 0;
        for (size_t i = 0; i < n_links; i++) {
            if (see(walk, links[i])) {
                links[n++] = links[i];
                kd_codes_fetch(walk->codes, links[i]);
            }
        }
        walk->scored += n;
        for (size_t i = 0; i < n && room; i++)
            room = take(walk, (kd_seen){kd_codes_score(walk->codes, query, links[i]), links[i]});
    }
    return room;
}
