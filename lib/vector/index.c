/* The exact index: FAISS's flat storage, and beside it each row's id and tag. Rows are kept dense:
 * a replaced vector is written over the old one, a removed one's place is taken by the last row. So
 * there are no tombstones to step over and nothing to compact. */
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/IndexFlat_c.h>

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/vector/binding.h"
#include "lib/vector/scan.h"
#include "lib/vector/slots.h"
#include "lib/vector/vector.h"

struct kd_index {
    FaissIndexFlat *flat; /* owned */
    float *rows;          /* flat's storage, count × dim; anew after each growth */
    uint64_t *ids;        /* owned, of each row, as tags */
    uint32_t *tags;
    kd_slots slots; /* id -> row */
    size_t dim, count, room;
};

kd_status kd_index_new(kd_index **out, size_t dim, kd_error *err)
{
    *out = NULL;
    if (dim == 0 || dim > KD_VECTOR_MAX_DIM)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "an index cannot have %zu dimensions, allowed are 1 to %u", dim, KD_VECTOR_MAX_DIM);
    kd_index *index = calloc(1, sizeof *index);
    if (!index)
        return kd_error_memory(err, "an index");
    index->dim = dim;
    if (faiss_IndexFlat_new_with(&index->flat, (int64_t)dim, METRIC_INNER_PRODUCT) != 0) {
        free(index);
        return kd_error_memory(err, "an index");
    }
    *out = index;
    return KD_OK;
}

void kd_index_free(kd_index *index)
{
    if (!index)
        return;
    faiss_IndexFlat_free(index->flat);
    kd_slots_free(&index->slots);
    free(index->ids);
    free(index->tags);
    free(index);
}

size_t kd_index_count(const kd_index *index)
{
    return index->count;
}

size_t kd_index_bytes(const kd_index *index)
{
    const size_t row = index->dim * sizeof(float);
    const size_t entry = sizeof(uint64_t) + sizeof(uint32_t);
    return index->count * row + (index->room + index->slots.room) * entry + sizeof *index;
}

/* ---- Changes ---- */

static void refresh_rows(kd_index *index)
{
    size_t n_floats = 0;
    faiss_IndexFlat_xb(index->flat, &index->rows, &n_floats);
    assert(n_floats == index->count * index->dim);
}

static kd_status check_batch(
    const kd_index *index, size_t n, const uint64_t *ids, const float *vectors, kd_error *err)
{
    if (n > UINT32_MAX - 1 - index->count)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "an index holds at most %u vectors",
            (unsigned)(UINT32_MAX - 1));
    for (size_t i = 0; i < n; i++) {
        char what[64];
        (void)snprintf(what, sizeof what, "the vector of image %" PRIu64, ids[i]);
        const kd_status status = kd_vector_check(what, vectors + i * index->dim, index->dim, err);
        if (status != KD_OK)
            return status;
    }
    return KD_OK;
}

static kd_status reserve_rows(kd_index *index, size_t more, kd_error *err)
{
    if (index->count + more > index->room) {
        size_t room = index->room ? index->room : 64;
        while (room < index->count + more)
            room *= 2;
        uint64_t *ids = realloc(index->ids, room * sizeof *ids);
        if (!ids)
            return kd_error_memory(err, "the index's rows");
        index->ids = ids;
        uint32_t *tags = realloc(index->tags, room * sizeof *tags);
        if (!tags)
            return kd_error_memory(err, "the index's rows");
        index->tags = tags;
        index->room = room;
    }
    return kd_slots_reserve(&index->slots, more, err);
}

kd_status kd_index_upsert(kd_index *index, size_t n, const uint64_t *ids, const uint32_t *tags,
    const float *vectors, kd_error *err)
{
    assert(index && (n == 0 || (ids && tags && vectors)));
    kd_status status = check_batch(index, n, ids, vectors, err);
    if (status == KD_OK)
        status = reserve_rows(index, n, err);
    if (status != KD_OK)
        return status;

    size_t n_new = 0;
    for (size_t i = 0; i < n; i++) {
        if (kd_slots_get(&index->slots, ids[i]) == KD_SLOT_NONE) {
            index->ids[index->count + n_new] = ids[i];
            kd_slots_put(&index->slots, ids[i], (uint32_t)(index->count + n_new++));
        }
    }
    /* Growing is the last step that can fail. What it writes is only to make room: the vectors go
     * to their rows below. */
    if (n_new && faiss_Index_add(index->flat, (int64_t)n_new, vectors) != 0) {
        for (size_t i = 0; i < n_new; i++)
            (void)kd_slots_take(&index->slots, index->ids[index->count + i]);
        return kd_error_memory(err, "more vectors in the index");
    }
    index->count += n_new;
    refresh_rows(index);
    for (size_t i = 0; i < n; i++) {
        const size_t row = kd_slots_get(&index->slots, ids[i]);
        memcpy(
            index->rows + row * index->dim, vectors + i * index->dim, index->dim * sizeof *vectors);
        index->tags[row] = tags[i];
    }
    return KD_OK;
}

kd_status kd_index_remove(
    kd_index *index, size_t n, const uint64_t *ids, size_t *removed, kd_error *err)
{
    (void)err; /* an engine that rebuilds on removal can fail; this one does not */
    size_t count = index->count;
    for (size_t i = 0; i < n; i++) {
        const size_t row = kd_slots_take(&index->slots, ids[i]);
        if (row == KD_SLOT_NONE)
            continue;
        const size_t last = --count;
        if (row == last)
            continue;
        memcpy(index->rows + row * index->dim, index->rows + last * index->dim,
            index->dim * sizeof *index->rows);
        index->ids[row] = index->ids[last];
        index->tags[row] = index->tags[last];
        kd_slots_put(&index->slots, index->ids[row], (uint32_t)row);
    }
    if (removed)
        *removed = index->count - count;
    if (count < index->count)
        kd_faiss_truncate(index->flat, count);
    index->count = count;
    refresh_rows(index);
    return KD_OK;
}

bool kd_index_get(const kd_index *index, uint64_t id, float *vector)
{
    const size_t row = kd_slots_get(&index->slots, id);
    if (row == KD_SLOT_NONE)
        return false;
    memcpy(vector, index->rows + row * index->dim, index->dim * sizeof *vector);
    return true;
}

/* ---- Search ---- */

kd_status kd_search_check(
    const kd_search *search, size_t dim, const float *queries, size_t n, kd_error *err)
{
    kd_status status = KD_OK;
    if (search->k == 0 || search->k > KD_VECTOR_MAX_K)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "k is %zu, allowed are 1 to %u", search->k, KD_VECTOR_MAX_K);
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        char what[64] = "the query";
        if (n > 1)
            (void)snprintf(what, sizeof what, "query %zu", i);
        status = kd_vector_check(what, queries + i * dim, dim, err);
    }
    return status;
}

kd_status kd_rows_search_many(const kd_rows *rows, const float *queries, size_t n,
    const kd_search *search, kd_hit *hits, uint32_t *counts, kd_pool *pool, kd_error *err)
{
    assert(rows && search && (n == 0 || (queries && hits && counts)));
    for (size_t i = 0; i < n; i++)
        counts[i] = 0;
    const kd_status status = kd_search_check(search, rows->dim, queries, n, err);
    return status == KD_OK ? kd_scan(rows, search, queries, n, hits, counts, pool, err) : status;
}

kd_rows kd_index_rows(const kd_index *index)
{
    return (kd_rows){index->rows, index->ids, index->tags, index->count, index->dim};
}

kd_status kd_index_search_many(const kd_index *index, const float *queries, size_t n,
    const kd_search *search, kd_hit *hits, uint32_t *counts, kd_pool *pool, kd_error *err)
{
    assert(index);
    const kd_rows rows = kd_index_rows(index);
    return kd_rows_search_many(&rows, queries, n, search, hits, counts, pool, err);
}

kd_status kd_index_search(const kd_index *index, const float *query, const kd_search *search,
    kd_hit *hits, size_t *n_hits, kd_error *err)
{
    assert(n_hits);
    uint32_t count = 0;
    const kd_status status = kd_index_search_many(index, query, 1, search, hits, &count, NULL, err);
    *n_hits = count;
    return status;
}
