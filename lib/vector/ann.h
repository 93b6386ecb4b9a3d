/* lib/vector/ann.h: what the files of kd_ann share. */
#ifndef KD_VECTOR_ANN_H
#define KD_VECTOR_ANN_H

#include "lib/vector/hnsw.h"
#include "lib/vector/ivf.h"

struct kd_ann {
    kd_rows rows; /* borrowed memory */
    kd_ann_kind kind;
    kd_codes codes;
    kd_hnsw hnsw; /* of KD_ANN_HNSW */
    kd_ivf ivf;   /* of KD_ANN_IVF */
    size_t effort;
    uint64_t seed;
    float target, recall;
    bool exact; /* too few rows for anything else */
};

#define KD_ANN_LEAST 1000u /* rows; fewer are scanned */

/* Empty, with room for everything. */
KD_MUST_CHECK kd_status kd_ann_new(kd_ann **out, const kd_rows *rows, kd_ann_kind kind,
    kd_ann_storage storage, uint64_t seed, kd_error *err);

/* The most effort that makes sense. */
size_t kd_ann_most(const kd_ann *ann);

#endif
