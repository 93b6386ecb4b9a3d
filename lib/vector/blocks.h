/* lib/vector/blocks.h: many queries against one gallery, a block of queries at a time, each block
 * by one thread. Blocks share nothing but what stops them. */
#ifndef KD_VECTOR_BLOCKS_H
#define KD_VECTOR_BLOCKS_H

#include "lib/vector/vector.h"

/* See kd_scores in vector.h. */
typedef struct kd_blocks {
    const float *queries;
    size_t n_queries;
    const float *gallery;
    size_t n_gallery;
    size_t dim;
    size_t block; /* queries in one */
    kd_pool *pool;
    bool (*progress)(void *arg, size_t done);
    void *progress_arg;
    /* Queries first..first+n. False: no memory, and the whole ends with KD_RESOURCE_EXHAUSTED. */
    bool (*run)(void *arg, size_t first, size_t n);
    void *run_arg;
} kd_blocks;

KD_MUST_CHECK kd_status kd_blocks_run(const kd_blocks *blocks, kd_error *err);

/* Scores of n_queries queries against rows from..from+n of the gallery, row q at scores + q ×
 * stride: one sgemm, each score within kd_score_margin of kd_dot's. */
void kd_blocks_score(const kd_blocks *blocks, size_t first_query, size_t n_queries, size_t from,
    size_t n, float *scores, size_t stride);

#endif
