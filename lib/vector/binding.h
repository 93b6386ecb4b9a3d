/* lib/vector/binding.h: what FAISS's C API (1.7.3) does not have. Only index.c includes it, after
 * FAISS's headers, whose types it uses. No exception leaves these functions. */
#ifndef KD_VECTOR_BINDING_H
#define KD_VECTOR_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <faiss/c_api/Index_c.h>

#include "lib/base/status.h"

KD_C_BEGIN

/* As faiss_Index_search with one query, among the rows whose bit is set in mask (bit row % 8 of
 * byte row / 8). False: why (room for why_size) says what was wrong. */
bool kd_faiss_search_masked(const FaissIndex *index, const float *query, size_t k,
    const uint8_t *mask, size_t mask_bytes, float *scores, int64_t *rows, char *why,
    size_t why_size);

/* Keeps the first rows only. A flat index gives its memory back with the next growth. */
void kd_faiss_truncate(FaissIndex *index, size_t rows);

/* Sets how many OpenMP threads FAISS may use for the calling thread; returns what held before. */
int kd_faiss_threads(int threads);

KD_C_END
#endif
