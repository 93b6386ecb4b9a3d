/* lib/eval/report.h: an evaluation or a search as a page and as JSON. */
#ifndef KD_EVAL_REPORT_H
#define KD_EVAL_REPORT_H

#include "lib/base/buf.h"
#include "lib/eval/eval.h"

/* Texts are UTF-8 and may be NULL where unknown; everything is borrowed for the call. */
typedef struct kd_report_hit {
    const char *path; /* as listed */
    const char *class_name;
    const char *super_class_name;
    float score;
    int right;           /* same class as the query: 1 or 0; -1 unknown (search results) */
    int right_super;     /* same super-class: likewise */
    const char *picture; /* JPEG as a data:image/ URI; anything else shows as "no picture" */
} kd_report_hit;

typedef struct kd_report_row { /* a query and its five nearest */
    kd_report_hit query;
    kd_report_hit hits[5];
    size_t n_hits;
} kd_report_row;

#define KD_REPORT_FMRS 2u
extern const double kd_report_fmrs[KD_REPORT_FMRS]; /* 0.01, 0.001 */

typedef struct kd_report_measures { /* NaN: not measured */
    kd_metrics_set means;
    kd_interval intervals[KD_METRICS];   /* of the means */
    kd_interval differences[KD_METRICS]; /* of the means less the first model's; not in the first */
    double nmi, ami;                     /* of k-means of the queries, as many clusters as labels */
    double fnmr[KD_REPORT_FMRS], thresholds[KD_REPORT_FMRS]; /* at kd_report_fmrs */
} kd_report_measures;

typedef struct kd_report_model {
    const char *id, *name;
    uint32_t image_size;
    kd_report_measures of[KD_EVAL_KINDS];
    double images_per_second;  /* of embedding; 0 unknown */
    const kd_report_row *rows; /* the same queries for each model */
    size_t n_rows;
} kd_report_model;

typedef struct kd_report {
    const char *title, *dataset; /* without dataset the page leaves out the sizes below */
    const char *protocol;        /* "closed-set", "sop", "catalogue" */
    uint64_t gallery, queries, skipped;
    uint64_t classes, super_classes;
    const char *data_hash;
    int64_t created_unix_ms;
    const char *const *skipped_names; /* "path: reason" of the first ones */
    size_t n_skipped_names;
    const kd_report_model *models;
    size_t n_models;
} kd_report;

/* report.json: stable snake_case fields in stable order, `schema_version` 2; numbers with 17
 * significant digits; no pictures. Both append to *out and fail with KD_INVALID_ARGUMENT for text
 * that is not UTF-8 or a number that is not finite. */
KD_MUST_CHECK kd_status kd_report_json(const kd_report *report, kd_buf *out, kd_error *err);
/* One self-contained page: the table, where any model has counted queries, and for each row a strip
 * of pictures per model. */
KD_MUST_CHECK kd_status kd_report_html(const kd_report *report, kd_buf *out, kd_error *err);

#endif
