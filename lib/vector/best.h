/* lib/vector/best.h: the k best rows for one query, exact to the last bit.
 *
 * Rows are offered with a score from a fast kernel whose order of addition is its own business.
 * Whatever could still be among the best is kept, scored again by kd_dot and ordered by (score,
 * id): the answer depends on kd_dot alone, never on the kernel, the tiling or the order of offers.
 * With groups, the best row of each of the k best groups. */
#ifndef KD_VECTOR_BEST_H
#define KD_VECTOR_BEST_H

#include "lib/vector/vector.h"

typedef struct kd_candidate {
    uint64_t id;
    uint32_t row; /* in base */
    uint32_t group;
    float score; /* the fast kernel's, or kd_dot's once settled */
} kd_candidate;

typedef struct kd_best {
    const float *query; /* borrowed, as base: dim floats of length 1 */
    const float *base;
    kd_candidate *kept; /* borrowed: room for kd_best_room(k) */
    size_t dim, k;
    size_t n_kept;
    float floor;     /* a row with a fast score below this one is surely not among the best */
    float min_score; /* nor is one with an exact score below this one; -INFINITY as it starts */
    bool grouped;    /* false as it starts */
} kd_best;

/* Room for the k best and for enough newcomers that making room stays rare. */
static inline size_t kd_best_room(size_t k)
{
    return 2 * k + 64;
}

void kd_best_start(
    kd_best *best, const float *query, const float *base, size_t dim, size_t k, kd_candidate *kept);

/* Before the first offer. */
void kd_best_cut(kd_best *best, float min_score);

void kd_best_make_room(kd_best *best);

static inline void kd_best_offer(
    kd_best *best, float fast_score, uint32_t row, uint64_t id, uint32_t group)
{
    if (!(fast_score >= best->floor))
        return;
    best->kept[best->n_kept++] =
        (kd_candidate){.id = id, .row = row, .group = group, .score = fast_score};
    if (best->n_kept == kd_best_room(best->k))
        kd_best_make_room(best);
}

/* Scores what is kept by kd_dot, orders it and cuts it to k. */
void kd_best_settle(kd_best *best);

/* Settles and writes the hits (room for k); returns their number. */
size_t kd_best_finish(kd_best *best, kd_hit *hits);

#endif
