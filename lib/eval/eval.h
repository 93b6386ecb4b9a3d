/* lib/eval/eval.h: how good the answers are.
 *
 * Definitions. One query q; its k nearest gallery images, without q itself, ranked 1, 2, … by
 * score, ties to the lower image id; P(q) is the number of gallery images with q's label, without q
 * itself. Queries with P(q) = 0 are counted as `without_positives` and left out of every mean.
 *
 * - recall@k: 1 when one of the first k has q's label (Jegou et al. 2011; Song et al. 2016 for SOP)
 * - MAP@5: mean of AP@5, the sum of precision@i over the ranks i ≤ 5 that have q's label, divided
 *   by min(5, P(q))
 * - vote: the label that most of the first 5 have; a tie goes to the label that comes first
 * - accuracy: share of queries whose vote is right
 * - precision, recall, F1 of the vote: macro means over the labels that occur as truth or as vote,
 *   0 where undefined (scikit-learn's average='macro', zero_division=0)
 *
 * Each for classes and for super-classes. */
#ifndef KD_EVAL_EVAL_H
#define KD_EVAL_EVAL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/status.h"
#include "lib/vector/vector.h"

#define KD_EVAL_K 10u /* ranks needed: the largest recall@k */

typedef struct kd_metrics_set {
    double recall_at_1, recall_at_5, recall_at_10;
    double map_at_5;
    double accuracy, precision, recall, f1; /* of the 5-nearest vote, macro */
    uint64_t queries;                       /* that count: with at least one positive */
    uint64_t without_positives;
} kd_metrics_set;

typedef struct kd_eval_input {
    const kd_hit *hits;     /* n_queries × KD_EVAL_K, from kd_topk_run */
    const uint32_t *counts; /* n_queries */
    size_t n_queries;
    /* Image ids: a query that stands in the gallery is not its own positive. Should it be among
     * its own hits it is passed over, but then a rank is missing: give its id to kd_topk's skip. */
    const uint64_t *query_ids;
    const uint32_t *query_labels;
    const uint64_t *gallery_ids; /* any order */
    const uint32_t *gallery_labels;
    size_t n_gallery;
} kd_eval_input;

/* Metrics for one kind of label. KD_INVALID_ARGUMENT for an empty gallery or no queries, an image
 * twice in the gallery, a hit that is not in it, a query with a positive but no hit;
 * KD_FAILED_PRECONDITION when no query has a positive. *out is all zero on failure. */
KD_MUST_CHECK kd_status kd_eval_run(const kd_eval_input *input, kd_metrics_set *out, kd_error *err);

/* ---- Report ----
 * Texts are UTF-8 and may be NULL where unknown; everything is borrowed for the call. */
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

typedef struct kd_report_model {
    const char *id, *name;
    uint32_t image_size;
    kd_metrics_set of_class, of_super_class;
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

/* report.json: stable snake_case fields in stable order, `schema_version` 1; numbers with 17
 * significant digits; no pictures. Both append to *out and fail with KD_INVALID_ARGUMENT for text
 * that is not UTF-8 or a number that is not finite. */
KD_MUST_CHECK kd_status kd_report_json(const kd_report *report, kd_buf *out, kd_error *err);
/* One self-contained page: the table, where any model has counted queries, and for each row a strip
 * of pictures per model. */
KD_MUST_CHECK kd_status kd_report_html(const kd_report *report, kd_buf *out, kd_error *err);

#endif
