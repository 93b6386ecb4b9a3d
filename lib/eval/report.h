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
    /* Of misses: rank of the first right image; 0: not in the first KD_EVAL_DEPTH. */
    uint32_t first;
    const char *strip; /* the same as a picture, a file beside the report; NULL: none */
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

/* ---- Details: who is found, who is not, and what with (kd_details_make, kd_details_map) ---- */

#define KD_REPORT_SUPERS 100u    /* super-classes with a bar each */
#define KD_REPORT_HARDEST 20u    /* classes */
#define KD_REPORT_MATRIX 40u     /* labels up to which there is a matrix */
#define KD_REPORT_CONFUSED 20u   /* pairs of labels */
#define KD_REPORT_BINS 80u       /* of scores */
#define KD_REPORT_POINTS 2000u   /* on the map */
#define KD_REPORT_MAP_LABELS 10u /* with a colour of their own */

typedef struct kd_report_label { /* means over one label's queries that have a positive */
    uint32_t label;
    const char *name;
    uint64_t queries;
    double recall_at_1, map_at_5, accuracy;
} kd_report_label;

typedef struct kd_report_confusion { /* how many of truth's queries were voted to be vote */
    const char *truth, *vote;
    uint64_t count;
    double share; /* of truth's queries */
} kd_report_confusion;

/* Shares of the pairs by score, in n equal bins from low to high. At either end 0.05 % of the same
 * and of the other pairs may lie beyond. n is 0 where one of the two kinds is missing. */
typedef struct kd_report_spread {
    double same[KD_REPORT_BINS], other[KD_REPORT_BINS];
    size_t n;
    double low, high;
    double overlap; /* sum of the lesser of both in each of KD_EVAL_BINS; NaN unknown */
} kd_report_spread;

typedef struct kd_report_point {
    float x, y;
    uint32_t group; /* place in the map's groups, or n_groups for all other labels */
} kd_report_point;

typedef struct kd_report_map { /* embeddings of queries on their two principal axes */
    kd_report_point *points;
    size_t n;
    const char *groups[KD_REPORT_MAP_LABELS]; /* super-classes with the most points */
    size_t group_sizes[KD_REPORT_MAP_LABELS];
    size_t n_groups;
    double shares[2]; /* of the variance along the axes */
} kd_report_map;

typedef struct kd_report_details {
    kd_report_label *supers; /* those with the most queries, best R@1 first */
    size_t n_supers, all_supers;
    kd_report_label *hardest; /* classes with at least 2 queries, lowest MAP@5 first */
    size_t n_hardest;
    uint32_t *matrix; /* n_matrix²: how often each super-class (row) was given each vote */
    const char **matrix_names;
    size_t n_matrix;               /* 0: more than KD_REPORT_MATRIX */
    kd_report_confusion *confused; /* super-classes taken for another, most often first */
    size_t n_confused;
    kd_report_spread spread[KD_EVAL_KINDS];
    kd_report_map map;
} kd_report_details;

typedef struct kd_report_model {
    const char *id, *name;
    uint32_t image_size;
    kd_report_measures of[KD_EVAL_KINDS];
    double images_per_second;  /* of embedding; 0 unknown */
    const kd_report_row *rows; /* the same queries for each model */
    size_t n_rows;
    const kd_report_row *misses; /* queries whose first right image comes latest, worst first */
    size_t n_misses;
    const kd_report_details *details; /* NULL: none */
} kd_report_model;

#define KD_REPORT_EXAMPLES 10u /* of one kind of finding */

typedef struct kd_report_finding { /* a kind of thing that is wrong with the dataset */
    const char *name, *title;      /* for programs and for people */
    uint64_t count;                /* 0: none, and left out of the page */
    const char *const *examples;
    size_t n_examples;
} kd_report_finding;

typedef struct kd_report_findings {
    uint64_t images; /* that were checked */
    bool passed;     /* nothing makes the measurement wrong */
    const kd_report_finding *at;
    size_t n;
} kd_report_findings;

typedef struct kd_report {
    const char *title, *dataset; /* without dataset the page leaves out the sizes below */
    const char *protocol;        /* "closed-set", "sop", "catalogue", "val" */
    uint64_t gallery, queries, skipped;
    uint64_t classes, super_classes;
    const char *data_hash;
    int64_t created_unix_ms;
    const char *const *skipped_names; /* "path: reason" of the first ones */
    size_t n_skipped_names;
    const char *const *show;            /* whose rows were asked for, as they were named */
    size_t n_show;                      /* 0: a row for each super-class */
    size_t rows_left_out;               /* asked for, and more than a page holds */
    const kd_report_findings *findings; /* NULL: the dataset was not checked */
    const kd_report_model *models;
    size_t n_models;
    /* The same models by further protocols: their sizes and measures alone are shown. */
    const struct kd_report *also;
    size_t n_also;
} kd_report;

/* report.json: stable snake_case fields in stable order, `schema_version` 2; numbers with 17
 * significant digits, null where not measured; no pictures. Fields may be added within a version.
 *
 * - title, created (UTC), dataset, data_hash, protocol
 * - gallery, queries, skipped: images; classes, super_classes: of the queries
 * - models[]: id, name, image_size, images_per_second
 *   - class, super_class: kd_metric_name's means; queries that count, without_positives; nmi, ami;
 *     matches[] (fmr, fnmr, threshold); intervals and, but in the first model, differences
 *   - rows[]: query and hits[] (path, class, super_class; hits also score, right, right_super);
 *     strip, the picture of it in a file beside this one, null without
 *   - misses[]: the same without strip, with first, the rank of the first right image, null beyond
 *     KD_EVAL_DEPTH
 *   - details, null without:
 *     - super_classes[] (up to KD_REPORT_SUPERS), hardest_classes[] (up to KD_REPORT_HARDEST):
 *       name, queries, recall_at_1, map_at_5, accuracy
 *     - confusion: labels[] and counts[truth][vote], null above KD_REPORT_MATRIX labels
 *     - confused[] (up to KD_REPORT_CONFUSED): truth, vote, count, share
 *     - scores: class and super_class, each low, high, same[] and other[], shares of the pairs in
 *       up to KD_REPORT_BINS equal bins from low to high, and overlap
 *     - map: images, shares[2], groups[] (super_class, images); the points are in the page alone
 * - show[]: whose rows were asked for, none for one of each super-class; rows_left_out
 * - skipped_images[]: "path: reason"
 * - findings: of the dataset check, null without: images, ok, list[] of name, count and examples[]
 *   (up to KD_REPORT_EXAMPLES)
 * - also[]: further protocols, with data_hash, protocol, gallery, queries, skipped, classes,
 *   super_classes, models[] and skipped_images[]
 *
 * Both append to *out and fail with KD_INVALID_ARGUMENT for text that is not UTF-8 or a number that
 * is not finite. */
KD_MUST_CHECK kd_status kd_report_json(const kd_report *report, kd_buf *out, kd_error *err);
/* One self-contained page: where any model has counted queries the table and, with details, curves,
 * bars, histograms, confusions and a map; for each row a strip of pictures per model. */
KD_MUST_CHECK kd_status kd_report_html(const kd_report *report, kd_buf *out, kd_error *err);

#endif
