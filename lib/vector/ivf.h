/* lib/vector/ivf.h: rows in lists, each row in that of its nearest centre; a search reads the lists
 * of the centres nearest to the query (Sivic and Zisserman 2003, "Video Google"; Jégou, Douze and
 * Schmid 2011, "Product Quantization for Nearest Neighbor Search", section IV). FAISS finds the
 * centres; its searches would take rows of its own copy and know no rows but by number. */
#ifndef KD_VECTOR_IVF_H
#define KD_VECTOR_IVF_H

#include "lib/vector/codes.h"
#include "lib/vector/found.h"

typedef struct kd_ivf {
    size_t n, dim, lists;
    float *centres;   /* lists × dim */
    uint32_t *starts; /* lists + 1: where in order a list begins */
    uint32_t *order;  /* n rows */
} kd_ivf;

size_t kd_ivf_lists(size_t n);
/* Room, to be filled. */
KD_MUST_CHECK kd_status kd_ivf_new(kd_ivf *ivf, size_t n, size_t dim, kd_error *err);
void kd_ivf_free(kd_ivf *ivf);
size_t kd_ivf_bytes(const kd_ivf *ivf);

/* The centres are those of rows whose bit is set in mask. Of the options seed, pool and progress
 * count; KD_CANCELLED when progress says so. */
KD_MUST_CHECK kd_status kd_ivf_fill(kd_ivf *ivf, const kd_rows *rows, const uint8_t *mask,
    const kd_ann_options *options, kd_error *err);

/* The best `keep` rows of the `probes` nearest lists that pass (room for as many), in no order. */
KD_MUST_CHECK kd_status kd_ivf_search(const kd_ivf *ivf, const kd_codes *codes,
    const kd_code_query *query, const kd_search *search, size_t probes, size_t keep, kd_seen *found,
    size_t *n_found, kd_error *err);

#endif
