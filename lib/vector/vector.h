/* lib/vector/vector.h: nearest neighbours among unit-length float32 vectors, by cosine.
 *
 * kd_index is an engine behind one interface (FAISS exact here); no other file than lib/vector's
 * includes a FAISS header. kd_topk is the one exact kernel for many queries. Both score candidates
 * by the same routine (kd_dot) and order hits by score, then by lower id, so that search and
 * evaluation agree to the last bit.
 *
 * Threads: searches may run side by side. Every other call needs the index to itself: the caller
 * holds the lock, this module has none. */
#ifndef KD_VECTOR_VECTOR_H
#define KD_VECTOR_VECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/base/thread.h"

#define KD_VECTOR_MAX_DIM 4096u
#define KD_VECTOR_MAX_K 1000u

typedef struct kd_hit {
    uint64_t id;
    float score; /* cosine similarity, -1..1, higher is nearer */
} kd_hit;

/* Before anything else of this module: KD_FAILED_PRECONDITION when the CPU lacks an instruction
 * set that FAISS was built for (the sentence names it); sets BLAS and OpenMP to one thread. */
KD_MUST_CHECK kd_status kd_vector_init(kd_error *err);

/* Inner product in a fixed order of addition: equal inputs give equal bits on every call. */
float kd_dot(const float *a, const float *b, size_t dim);

/* KD_INVALID_ARGUMENT, naming what, unless all values are finite and the length is 1 within 1e-3.
 */
KD_MUST_CHECK kd_status kd_vector_check(
    const char *what, const float *vector, size_t dim, kd_error *err);

/* ---- Index ---- */
typedef struct kd_index kd_index;

KD_MUST_CHECK kd_status kd_index_new(kd_index **out, size_t dim, kd_error *err);
void kd_index_free(kd_index *index);
size_t kd_index_count(const kd_index *index);
size_t kd_index_bytes(const kd_index *index); /* memory in use, about */

/* Adds n vectors (n × dim, copied); an id that is there is replaced. tags[i] is the caller's number
 * for the vector, its place in tables that a search brings: numbers are best dense, and several
 * vectors may have one. All or nothing. */
KD_MUST_CHECK kd_status kd_index_upsert(kd_index *index, size_t n, const uint64_t *ids,
    const uint32_t *tags, const float *vectors, kd_error *err);
/* Ids that are not there are passed over; *removed counts the others. */
KD_MUST_CHECK kd_status kd_index_remove(
    kd_index *index, size_t n, const uint64_t *ids, size_t *removed, kd_error *err);
/* The stored vector into vector (dim floats); false when the id is not there. */
bool kd_index_get(const kd_index *index, uint64_t id, float *vector);

typedef struct kd_search {
    size_t k;               /* 1..KD_VECTOR_MAX_K */
    const float *min_score; /* hits below it are left out; NULL: none */
    const uint8_t *mask;    /* bit tag % 8 of byte tag / 8: the vector may be a hit; NULL: all */
    const uint32_t *groups; /* by tag: of each group only the best is a hit; NULL: each is one */
    size_t n_tags; /* bits of mask, entries of groups; a vector with a tag beyond is none */
    const uint64_t *exclude; /* ids that are left out */
    size_t n_exclude;
} kd_search;

/* The k nearest of one query (dim floats, length 1), best first, in hits (room for k); *n_hits < k
 * only when the index holds fewer that pass. */
KD_MUST_CHECK kd_status kd_index_search(const kd_index *index, const float *query,
    const kd_search *search, kd_hit *hits, size_t *n_hits, kd_error *err);

/* The same search for n queries (n × dim), to the same bits: hits has n rows of k, of which the
 * first counts[i] of row i are filled. Many queries cost far less together than one by one. With a
 * pool (may be NULL) its threads share the work, also of a single query. */
KD_MUST_CHECK kd_status kd_index_search_many(const kd_index *index, const float *queries, size_t n,
    const kd_search *search, kd_hit *hits, uint32_t *counts, kd_pool *pool, kd_error *err);

/* ---- The exact kernel for many queries ---- */
/* For each of n_queries (row-major, dim floats, length 1) the k best of n_gallery. ids: gallery ids
 * for ties and results; skip[i] (may be NULL) is a gallery id left out for query i (its own, in the
 * SOP protocol). hits: n_queries × k, filled; counts[i] of row i are real. Blocked sgemm over the
 * pool with a running top-k; memory beside the inputs is a few MiB per thread. progress (may be
 * NULL) is called from the calling thread with the queries done; it returns false to stop:
 * KD_CANCELLED. */
typedef struct kd_topk {
    const float *queries;
    size_t n_queries;
    const float *gallery;
    const uint64_t *ids;
    size_t n_gallery;
    size_t dim;
    size_t k;
    const uint64_t *skip; /* UINT64_MAX: none */
    kd_pool *pool;        /* NULL: the calling thread alone */
    bool (*progress)(void *arg, size_t done);
    void *progress_arg;
} kd_topk;
KD_MUST_CHECK kd_status kd_topk_run(
    const kd_topk *topk, kd_hit *hits, uint32_t *counts, kd_error *err);

/* ---- All scores ---- */
/* For what looks further than any k. visit gets each block of queries once, on the pool's threads,
 * with its scores against the whole gallery (its own to change): row i of n × n_gallery is query
 * first + i. They come from the fast kernel, each within kd_score_margin of kd_dot's. Where the
 * queries are the gallery's first vectors (the same memory), scores of one query with another are
 * used for both. Memory beside the inputs: 64 MiB a thread, or 8 rows; and 256 MiB then. The rest
 * is as in kd_topk. */
typedef struct kd_scores {
    const float *queries;
    size_t n_queries;
    const float *gallery;
    size_t n_gallery;
    size_t dim;
    kd_pool *pool;
    bool (*progress)(void *arg, size_t done);
    void *progress_arg;
    bool (*visit)(void *arg, size_t first, size_t n, float *scores); /* false: no memory */
    void *visit_arg;
} kd_scores;
KD_MUST_CHECK kd_status kd_scores_run(const kd_scores *scores, kd_error *err);

/* How far a score of the fast kernels and kd_dot's can lie apart for vectors of length 1. */
float kd_score_margin(size_t dim);

/* ---- Clusters ---- */
#define KD_KMEANS_MOST ((size_t)1 << 30) /* n × k × dim */

/* k-means by Lloyd's rounds (1982; 25 at most) from centres drawn as Arthur and Vassilvitskii do
 * (2007, "k-means++"), with a fixed seed: clusters[i] (n, filled) is below k. KD_INVALID_ARGUMENT
 * for k = 0, k above n, or more work than KD_KMEANS_MOST. */
KD_MUST_CHECK kd_status kd_kmeans(
    const float *rows, size_t n, size_t dim, size_t k, uint32_t *clusters, kd_error *err);

#endif
