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

/* Keeps the first rows only. A flat index gives its memory back with the next growth. */
void kd_faiss_truncate(FaissIndex *index, size_t rows);

/* Sets how many OpenMP threads FAISS may use for the calling thread; returns what held before. */
int kd_faiss_threads(int threads);

KD_C_END
#endif
