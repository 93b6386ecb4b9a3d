/* services/indexer/parts.h: a collection's vectors as one: a growing part, exact, and segments.
 * Each image's vector is alive in one of them. Hits of all are merged by (score, id), or by the
 * best of each class: exact answers are to the bit those of one exact index.
 *
 * In memory for each image: 8 bytes and a bit here, and 4 bytes for a row of a segment, besides
 * what its approximate index takes; the growing vectors.
 *
 * Threads: searches and look-ups side by side, changes alone; the caller holds the lock. */
#ifndef KD_INDEXER_PARTS_H
#define KD_INDEXER_PARTS_H

#include "services/indexer/collection_items.h"
#include "services/indexer/segment.h"

#define PARTS_MOST 256u
#define PARTS_SPARE 2u /* slots for what others become; else the growing part goes on growing */

/* Where an image's vector is. */
typedef struct location {
    uint32_t slot; /* of its segment, plus 1; 0: in the growing part, by id */
    uint32_t row;
} location;

typedef struct parts {
    size_t dim;
    kd_index *growing;             /* owned, as all */
    segment *segments[PARTS_MOST]; /* NULL: none in the slot */
    location *where;               /* by place: room of them, as bits */
    uint8_t *all;                  /* a mask that all pass */
    size_t room;
    uint64_t shape; /* another number after each change of the parts, not of their rows */
} parts;

KD_MUST_CHECK kd_status parts_init(parts *p, size_t dim, kd_error *err);
void parts_clear(parts *p); /* a {0} one is fine */

/* Into the growing part, wherever they were; places are the images'. KD_RESOURCE_EXHAUSTED and
 * KD_INVALID_ARGUMENT (a vector) change nothing. */
KD_MUST_CHECK kd_status parts_put(parts *p, size_t n, const uint64_t *ids, const uint32_t *places,
    const float *vectors, kd_error *err);
/* Of images that are there. On failure nothing is changed. */
KD_MUST_CHECK kd_status parts_remove(
    parts *p, const uint64_t *ids, const uint32_t *places, size_t n, kd_error *err);
bool parts_get(const parts *p, uint64_t id, uint32_t place, float *vector);
/* Makes room for places below n. */
KD_MUST_CHECK kd_status parts_reserve(parts *p, size_t n, kd_error *err);

/* ---- Segments ---- */
bool parts_full(const parts *p);       /* there are no free slots but the spare ones */
void parts_add(parts *p, segment *s);  /* takes it over; there is a free slot */
void parts_drop(parts *p, segment *s); /* all its rows are dead; it is the caller's */
/* Takes the growing rows as a segment, and an empty index (then the segment's) in their place. */
void parts_freeze(parts *p, segment *frozen, kd_index *empty);
/* A row of s, which is dead, becomes the image's. */
void parts_revive(parts *p, segment *s, uint32_t row, uint32_t place);
/* What is still alive of picks from..to moves to the same rows of s, which are dead. */
void parts_move(parts *p, segment *s, const segment_pick *picks, size_t from, size_t to);

/* ---- Searches ---- */
typedef struct parts_search {
    kd_search engine; /* mask, groups and n_tags by place */
    bool approximate; /* where a segment has an index */
    const items *items;
    kd_pool *pool; /* may be NULL */
} parts_search;

/* As kd_index_search_many over all parts. */
KD_MUST_CHECK kd_status parts_search_many(const parts *p, const float *queries, size_t n,
    const parts_search *search, kd_hit *hits, uint32_t *counts, kd_error *err);

/* The rows of a segment from a row on, n at most, are searched exactly for one query. hits and
 * *count have the best so far, and take in what is found. */
KD_MUST_CHECK kd_status parts_search_rows(const parts *p, const segment *s, size_t from, size_t n,
    const float *query, const parts_search *search, kd_hit *hits, uint32_t *count, kd_error *err);
/* A part as parts_search_many does it, for one query, likewise; s NULL: the growing part. */
KD_MUST_CHECK kd_status parts_search_part(const parts *p, const segment *s, const float *query,
    const parts_search *search, kd_hit *hits, uint32_t *count, kd_error *err);

#endif
