/* lib/vector/hnsw.h: a graph of near rows on levels, each with fewer rows than the one below
 * (Malkov and Yashunin 2018, "Efficient and robust approximate nearest neighbor search using
 * Hierarchical Navigable Small World graphs"). The functions cite its algorithms.
 *
 * Ours and not FAISS's, whose searches (1.7.3) share one efSearch, know no filter, and allocate
 * within OpenMP regions, where running out of memory ends the process. */
#ifndef KD_VECTOR_HNSW_H
#define KD_VECTOR_HNSW_H

#include <pthread.h>

#include "lib/vector/codes.h"
#include "lib/vector/found.h"

enum {
    KD_HNSW_LINKS = 16,               /* M: of a row on a level */
    KD_HNSW_BASE = 2 * KD_HNSW_LINKS, /* and on the lowest */
    KD_HNSW_WIDTH = 200,              /* efConstruction */
    KD_HNSW_TOP = 16,                 /* levels at most */
};

/* A list of links is their number and room for them. */
typedef struct kd_hnsw {
    size_t n;
    uint32_t entry; /* a row of the highest level */
    uint32_t n_above;
    uint8_t *levels;  /* of each row, from 0 */
    uint32_t *base;   /* n lists of KD_HNSW_BASE */
    uint32_t *above;  /* n_above lists of KD_HNSW_LINKS: a row's, one for each level from 1 */
    uint32_t *places; /* of each row, where its lists above begin */
} kd_hnsw;

/* Levels and empty lists. */
KD_MUST_CHECK kd_status kd_hnsw_new(kd_hnsw *graph, size_t n, uint64_t seed, kd_error *err);
void kd_hnsw_free(kd_hnsw *graph);
size_t kd_hnsw_bytes(const kd_hnsw *graph);

/* Links rows, side by side on the pool; the first of all becomes the entry, so it must be of the
 * highest level. done goes up and is told as in kd_ann_options. */
typedef struct kd_hnsw_builder {
    kd_hnsw *graph;
    const kd_codes *codes;
    kd_pool *pool;
    bool (*progress)(void *arg, size_t done, size_t of);
    void *progress_arg;
    size_t done, of;
} kd_hnsw_builder;
KD_MUST_CHECK kd_status kd_hnsw_add(
    kd_hnsw_builder *builder, const uint32_t *rows, size_t n, kd_error *err);

/* ---- Search ---- */

/* What a search and a builder's thread keep. */
typedef struct kd_hnsw_walk {
    const kd_hnsw *graph;
    const kd_codes *codes;
    pthread_mutex_t *locks;  /* KD_HNSW_LOCKS, of lists of links; NULL: nobody changes them */
    const kd_search *search; /* which rows may be found; NULL: all */
    size_t most;             /* rows to score before giving up */
    size_t scored;
    uint64_t *seen;         /* owned: a bit for each row */
    kd_heap waiting, found; /* owned memory: the first is the best; the worst */
    size_t waiting_room, width;
} kd_hnsw_walk;

enum { KD_HNSW_LOCKS = 1024 };

/* The fields above scored are set by the caller. */
KD_MUST_CHECK bool kd_hnsw_walk_new(kd_hnsw_walk *walk, size_t width);
void kd_hnsw_walk_free(kd_hnsw_walk *walk);
/* Goes down to a level, each time to the nearest row. */
kd_seen kd_hnsw_descend(const kd_hnsw_walk *walk, const kd_code_query *query, size_t level);
/* Finds the `width` best of a level that it meets from a row on. False: out of memory. It has given
 * up when scored passes most. */
KD_MUST_CHECK bool kd_hnsw_find(
    kd_hnsw_walk *walk, const kd_code_query *query, size_t level, kd_seen from, uint32_t without);

static inline uint32_t *kd_hnsw_links(const kd_hnsw *graph, size_t row, size_t level)
{
    return level == 0 ? graph->base + row * (1 + KD_HNSW_BASE)
                      : graph->above + (graph->places[row] + level - 1) * (1 + KD_HNSW_LINKS);
}

#endif
