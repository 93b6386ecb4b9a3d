/* lib/eval/tables.h: labels as small numbers, and who is whose self. Nobody outside lib/eval
 * includes it. */
#ifndef KD_EVAL_TABLES_H
#define KD_EVAL_TABLES_H

#include "lib/eval/eval.h"

#define KD_EVAL_NONE UINT32_MAX

typedef struct kd_label_table {
    uint32_t *labels; /* the gallery's, ascending */
    size_t n;
    uint32_t *starts;  /* n + 1: where each label's images begin in members */
    uint32_t *members; /* gallery places, grouped by label */
    uint32_t *gallery; /* each gallery image's label, as a place in labels */
    uint32_t *queries; /* each query's; KD_EVAL_NONE where the gallery has no such label */
} kd_label_table;

typedef struct kd_eval_place {
    uint64_t id;
    uint32_t place; /* in the gallery */
} kd_eval_place;

typedef struct kd_eval_tables {
    kd_label_table of[KD_EVAL_KINDS];
    kd_eval_place *places; /* of the gallery's images, by id */
    size_t n_places;
    uint32_t *selves; /* each query's own place in the gallery, or KD_EVAL_NONE */
} kd_eval_tables;

/* KD_INVALID_ARGUMENT for an image that is twice in the gallery. Free in any case. */
KD_MUST_CHECK kd_status kd_eval_tables_make(
    kd_eval_tables *out, const kd_eval_input *input, kd_error *err);
void kd_eval_tables_free(kd_eval_tables *tables);

/* KD_EVAL_NONE when the gallery has no such image. */
uint32_t kd_eval_place_of(const kd_eval_tables *tables, uint64_t id);

#endif
