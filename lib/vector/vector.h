/* lib/vector/vector.h: nearest neighbours among unit-length float32 vectors, by cosine.
 *
 * kd_index is exact and changes, kd_ann is approximate and does not; no other file than
 * lib/vector's includes a FAISS header. All score candidates by the same routine (kd_dot) and order
 * hits by score, then by lower id, so that they agree to the last bit.
 *
 * Another engine, also one behind an RPC of its own, stands where kd_ann does: it takes rows that
 * no longer change, answers with ids of candidates, and leaves score and order to kd_dot of the
 * rows (see rank in ann.c), so that its hits can be merged with those of all others.
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

/* Vectors and what a search asks of each, in memory of the caller's: a mapped file will do. Only
 * tags may change, between searches. */
typedef struct kd_rows {
    const float *vectors; /* n × dim, each of length 1 */
    const uint64_t *ids;
    const uint32_t *tags; /* see kd_index_upsert */
    size_t n, dim;        /* n below UINT32_MAX */
} kd_rows;

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
/* The index's own memory, until the next change of it. */
kd_rows kd_index_rows(const kd_index *index);
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

/* The same for rows that are in no index. */
KD_MUST_CHECK kd_status kd_rows_search_many(const kd_rows *rows, const float *queries, size_t n,
    const kd_search *search, kd_hit *hits, uint32_t *counts, kd_pool *pool, kd_error *err);

/* ---- Approximate search ---- */
/* An index of rows that no longer change (a sealed segment), which are borrowed for as long as it
 * lives; of a removed one the tag's bit in the mask goes out, or the tag becomes one beyond n_tags,
 * and searches have a mask from then on. It picks what to look at; kd_dot of
 * the rows themselves decides and scores, so that hits of segments and of a kd_index can be merged.
 * Searches may run side by side, each on its caller's thread. */
typedef struct kd_ann kd_ann;

typedef enum kd_ann_kind {
    KD_ANN_HNSW, /* a graph: fast, slow to build */
    KD_ANN_IVF,  /* lists of clusters: quick to build */
} kd_ann_kind;

/* What it looks at. */
typedef enum kd_ann_storage {
    KD_ANN_FLOAT32, /* the rows themselves: no memory of its own */
    KD_ANN_FLOAT16, /* 2 bytes a value */
    KD_ANN_INT8,    /* 1 byte a value: the fastest */
} kd_ann_storage;

typedef struct kd_ann_options {
    kd_ann_kind kind;
    kd_ann_storage storage;
    float target_recall; /* of the ten nearest, 0.5..1 */
    uint64_t seed;
    kd_pool *pool; /* NULL: the calling thread alone, which builds the same from the same */
    /* May be NULL; from the calling thread, false stops: KD_CANCELLED. */
    bool (*progress)(void *arg, size_t done, size_t of);
    void *progress_arg;
} kd_ann_options;
#define KD_ANN_OPTIONS_INIT {.storage = KD_ANN_INT8, .target_recall = 0.95f}

/* Builds and tunes: some of the rows ask before they are let in, and the effort becomes the least
 * with which they found their ten nearest as often as wished. KD_INVALID_ARGUMENT,
 * KD_RESOURCE_EXHAUSTED, KD_CANCELLED, KD_INTERNAL (FAISS). */
KD_MUST_CHECK kd_status kd_ann_build(
    kd_ann **out, const kd_rows *rows, const kd_ann_options *options, kd_error *err);
void kd_ann_free(kd_ann *ann);
/* Whether it was built with these options. */
bool kd_ann_made_for(
    const kd_ann *ann, kd_ann_kind kind, kd_ann_storage storage, float target_recall);
float kd_ann_recall(const kd_ann *ann);  /* that the tuning reached; 1 where searches are exact */
size_t kd_ann_effort(const kd_ann *ann); /* that it took for k = 10 */
size_t kd_ann_bytes(const kd_ann *ann);  /* memory in use without the rows, about */

/* As kd_index_search, but for what it misses. effort 0: as tuned; else candidates held (HNSW) or
 * lists read (IVF). Never fewer hits than an exact search has: where few rows pass the filter, or
 * the search comes back with too few, it is exact. */
KD_MUST_CHECK kd_status kd_ann_search(const kd_ann *ann, const float *query,
    const kd_search *search, size_t effort, kd_hit *hits, size_t *n_hits, kd_error *err);

/* A file with checksums, there whole or not at all; it does not hold the rows. */
KD_MUST_CHECK kd_status kd_ann_save(const kd_ann *ann, const char *path, kd_error *err);
/* rows: those it was built from. KD_DATA_LOSS when the file is damaged, KD_FAILED_PRECONDITION
 * when it is of other rows or another version, KD_NOT_FOUND. */
KD_MUST_CHECK kd_status kd_ann_load(
    kd_ann **out, const kd_rows *rows, const char *path, kd_error *err);

/* ---- All scores ---- */
/* For what looks further than any k. visit gets each block of queries once, on the pool's threads,
 * with its scores against the whole gallery (its own to change): row i of n × n_gallery is query
 * first + i. They come from the fast kernel, each within kd_score_margin of kd_dot's. Where the
 * queries are the gallery's first vectors (the same memory), scores of one query with another are
 * used for both. Memory beside the inputs: 64 MiB a thread, or 8 rows; and 256 MiB then.
 * progress (may be NULL) is called from the calling thread with the queries done; it returns false
 * to stop: KD_CANCELLED. */
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
 * for k = 0, k above n, or more work than KD_KMEANS_MOST. step, NULL for none, is called many times
 * a second; where it gives false the work ends with KD_CANCELLED. */
KD_MUST_CHECK kd_status kd_kmeans(const float *rows, size_t n, size_t dim, size_t k,
    uint32_t *clusters, bool (*step)(void *arg), void *arg, kd_error *err);

#endif
