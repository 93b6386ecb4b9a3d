/* lib/vector/binding.h: what FAISS's C API (1.7.3) does not have. Only index.c and vector.c include
 * it; it brings FAISS's types. No exception leaves these functions. */
#ifndef KD_VECTOR_BINDING_H
#define KD_VECTOR_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <faiss/c_api/Index_c.h>

#include "lib/base/status.h"

KD_C_BEGIN

/* The k best of one query, among the rows whose bit is set in mask (bit row % 8 of byte row / 8);
 * mask NULL: among all. Fails with KD_RESOURCE_EXHAUSTED or KD_INTERNAL. */
KD_MUST_CHECK kd_status kd_faiss_search(const FaissIndex *index, const float *query, size_t k,
    const uint8_t *mask, size_t mask_bytes, float *scores, int64_t *rows, kd_error *err);

/* Keeps the first rows only. A flat index gives its memory back with the next growth. */
void kd_faiss_truncate(FaissIndex *index, size_t rows);

/* Makes FAISS's searches fail, and not end the process, when there is no memory. For the process;
 * once, at start. */
void kd_faiss_setup(void);

/* Sets how many OpenMP threads FAISS may use for the calling thread; returns what held before. */
int kd_faiss_threads(int threads);

KD_C_END
#endif
