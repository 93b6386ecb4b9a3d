/* lib/eval/details.h: what a report shows beyond the means, from one model's answers. */
#ifndef KD_EVAL_DETAILS_H
#define KD_EVAL_DETAILS_H

#include "lib/eval/report.h"

/* A label's name, borrowed for as long as the details live; NULL where it has none. */
typedef struct kd_label_names {
    const char *(*name)(void *arg, kd_eval_kind kind, uint32_t label);
    void *arg;
} kd_label_names;

/* All but the map. Time about n log n in the queries and the labels. *out (kd_details_free) is
 * empty on failure. */
KD_MUST_CHECK kd_status kd_details_make(
    const kd_eval *eval, const kd_label_names *names, kd_report_details *out, kd_error *err);
/* Adds the map of n rows (n × dim) with their super-classes (n). n is KD_REPORT_POINTS at most; of
 * fewer than 3 rows there is no map. */
KD_MUST_CHECK kd_status kd_details_map(kd_report_details *details, const float *rows,
    const uint32_t *labels, size_t n, size_t dim, const kd_label_names *names, kd_error *err);
void kd_details_free(kd_report_details *details);

/* The queries whose first image of their class comes latest, worst first: up to `most` in
 * `queries`, *n of them; those with a right first image never. Of equal ranks the one that is
 * surest of its wrong answer comes first. */
KD_MUST_CHECK kd_status kd_details_misses(
    const kd_eval *eval, size_t most, size_t *queries, size_t *n, kd_error *err);

/* The coordinates (n × 2) of rows (n × dim) along the two axes on which they vary most (principal
 * component analysis), and the axes' shares of the whole variance; 0 where there is none. The mean
 * lies at the origin; of an axis's two directions the one in which its largest component is
 * positive. */
KD_MUST_CHECK kd_status kd_principal_axes(
    const float *rows, size_t n, size_t dim, float *coordinates, double shares[2], kd_error *err);

#endif
