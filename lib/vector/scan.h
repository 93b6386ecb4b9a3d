/* lib/vector/scan.h: exact search: every row that passes, against one query or many. */
#ifndef KD_VECTOR_SCAN_H
#define KD_VECTOR_SCAN_H

#include "lib/vector/best.h"

/* Whether the row's tag lets it be a hit. Tags that are not asked for are not read: a caller may
 * change them while an index is built. */
static inline bool kd_search_passes(const kd_search *search, const kd_rows *rows, size_t row)
{
    if (!search->mask && !search->groups)
        return true;
    const uint32_t tag = rows->tags[row];
    return tag < search->n_tags && (!search->mask || (search->mask[tag / 8] >> (tag % 8) & 1));
}

/* For rows that are good enough to be asked about: a search excludes few. */
static inline bool kd_search_excludes(const kd_search *search, uint64_t id)
{
    for (size_t i = 0; i < search->n_exclude; i++)
        if (search->exclude[i] == id)
            return true;
    return false;
}

/* best is empty; kept has room for kd_best_room(search->k). */
void kd_search_start(const kd_search *search, const kd_rows *rows, const float *query,
    kd_candidate *kept, kd_best *best);

/* A row that kd_search_passes. */
static inline void kd_search_offer(
    const kd_search *search, const kd_rows *rows, size_t row, float fast_score, kd_best *best)
{
    if (fast_score >= best->floor && !kd_search_excludes(search, rows->ids[row]))
        kd_best_offer(best, fast_score, (uint32_t)row, rows->ids[row],
            search->groups ? search->groups[rows->tags[row]] : 0);
}

/* KD_INVALID_ARGUMENT for a bad k or a query that is not of length 1. */
KD_MUST_CHECK kd_status kd_search_check(
    const kd_search *search, size_t dim, const float *queries, size_t n, kd_error *err);

/* What the searches of vector.h have in common, but for checking what they are asked. hits: n ×
 * search->k, of which the first counts[i] of row i are filled; all counts are 0 on failure. pool
 * may be NULL. */
KD_MUST_CHECK kd_status kd_scan(const kd_rows *rows, const kd_search *search, const float *queries,
    size_t n, kd_hit *hits, uint32_t *counts, kd_pool *pool, kd_error *err);

#endif
