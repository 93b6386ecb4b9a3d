/* services/gateway/evaluate.h: the parts of an evaluate job.
 *
 * protocol.c opens gallery and queries, evaluate_job.c embeds them by each model,
 * evaluate_collection.c takes them and their neighbours from the indexer, measure.c has
 * lib/eval measure them, findings.c has lib/check look at the dataset, details.c adds what the page
 * shows by label, picture_rows.c draws what people look at, strips.c writes the same as files,
 * result.c says what came of it. */
#ifndef KD_GATEWAY_EVALUATE_H
#define KD_GATEWAY_EVALUATE_H

#include "lib/eval/details.h"
#include "services/gateway/gateway.h"
#include "services/gateway/rows.h"

/* A dataset's images with their embeddings by one model. Those that could not be read are left out:
 * row i is item rows[i]. */
typedef struct embedded {
    const kd_dataset *dataset; /* borrowed */
    const kd_item *items;      /* borrowed: the dataset's */
    size_t n_items;
    float *values; /* n × dim */
    bool *ok;      /* n_items, while embedding */
    size_t n;
    size_t *rows;               /* n */
    uint64_t *ids;              /* n: image ids */
    uint32_t *classes, *supers; /* n */
} embedded;

/* Room for the dataset's images. embedded_free in any case. */
KD_MUST_CHECK kd_status embedded_new(
    embedded *e, const kd_dataset *dataset, size_t dim, kd_error *err);
/* Closes the gaps of images that are not ok, and notes ids and labels. */
void embedded_compact(embedded *e, size_t dim);
void embedded_free(embedded *e);

/* ---- evaluate_collection.c ---- */
/* The dataset's images with the vectors that the collection holds. KD_FAILED_PRECONDITION when it
 * holds others, or is of another model. */
KD_MUST_CHECK kd_status embedded_from_collection(running_job *r, const kd_dataset *dataset,
    const Kindred__V1__Model *model, skipped *skip, embedded *out, kd_error *err);
/* Asks the collection for the nearest of each query, and puts them in place of eval's. */
KD_MUST_CHECK kd_status take_neighbours(
    running_job *r, const kd_eval_input *input, kd_eval *eval, double *recall, kd_error *err);

#define MODELS_MOST 16u
#define PROTOCOLS_MOST 4u
#define LABEL_MOST 64u

/* The models that are measured, as the trainer knows them. */
typedef struct models_asked {
    Kindred__V1__GetModelResponse *got[MODELS_MOST]; /* owned */
    size_t n;
} models_asked;

/* Gallery and queries of one evaluation; the same object twice in SOP's protocol. */
typedef struct protocol {
    const char *name;                   /* "closed-set", "sop", "catalogue", "val" */
    kd_dataset *test, *train, *listing; /* owned, as are the next: what the others are of */
    kd_dataset *held, *kept;            /* val: of train, what did not train the models, what did */
    const kd_dataset *gallery, *queries; /* borrowed from above */
} protocol;

/* Opens what the job asks for under this name; empty chooses. KD_FAILED_PRECONDITION: val with
 * models that held nothing back, or not the same, or that come from such. Free in any case. */
KD_MUST_CHECK kd_status protocol_open(
    protocol *p, running_job *r, const char *name, const models_asked *models, kd_error *err);
void protocol_free(protocol *p);
int compare_labels(const void *a, const void *b); /* of uint32_t, for qsort and bsearch */

typedef struct measured {
    const Kindred__V1__Model *model; /* borrowed, as is the next */
    const char *label;               /* what the report calls it */
    kd_eval eval;                    /* owned */
    kd_report_measures of[KD_EVAL_KINDS];
    kd_report_details details; /* owned; the names are the gallery's */
    kd_report_row *rows;       /* owned */
    kd_report_row *misses;     /* n_misses, owned */
    size_t n_misses;
    double rate;         /* images embedded in a second */
    double index_recall; /* with a collection */
} measured;

/* Fills out's eval and measures. first: the model that this one is to be set against, with the same
 * queries; NULL for none. */
KD_MUST_CHECK kd_status measure(running_job *r, const protocol *p, const embedded *queries,
    const embedded *gallery, size_t dim, const measured *first, measured *out, kd_error *err);

#define ROW_HITS 5u                            /* kd_report_row's */
#define PICTURE_HEAD "data:image/jpeg;base64," /* of the pictures in the page */

/* Among the queries that were embedded, what the job asks for (rows_choose). Where these are more
 * pictures than a page can hold, they get smaller, then the rows fewer. */
KD_MUST_CHECK kd_status shown_choose(shown *out, const embedded *queries,
    const Kindred__V1__EvaluateSpec *spec, size_t n_models, kd_error *err);
/* For so many pictures in one page. */
uint32_t picture_side(size_t pictures);

/* All models by one protocol. */
typedef struct evaluation {
    protocol protocol;
    measured models[MODELS_MOST];
    size_t n_models;
    bool pictures; /* and details: for the first protocol's */
    shown shown;
    skipped skipped;
} evaluation;

/* The rows of one model: *rows is owned by the caller, with rows_free. */
KD_MUST_CHECK kd_status rows_make(running_job *r, const shown *s, const embedded *queries,
    const embedded *gallery, const kd_hit *hits, const uint32_t *counts, kd_report_row **rows,
    kd_error *err);
void rows_free(kd_report_row *rows, size_t n);

/* Makes the folder of the strips in the report's folder dir, without those of an earlier attempt.
 * Each is then written for one model (number model, from 1) and put into its row. */
KD_MUST_CHECK kd_status strips_begin(const char *dir, kd_error *err);
KD_MUST_CHECK kd_status strips_write(running_job *r, const char *dir, const protocol *p,
    const measured *of, size_t model, const shown *s, kd_error *err);
/* When the report comes to nothing: many strips must not hold a full disk. */
void strips_drop(const char *dir);

/* Adds details and misses to what measure() filled; of more models there are fewer misses each. */
KD_MUST_CHECK kd_status add_details(running_job *r, const embedded *queries,
    const embedded *gallery, size_t dim, size_t n_models, measured *out, kd_error *err);

/* What is wrong with the dataset, as the report shows it. Empty: not checked. */
#define FINDING_KINDS 11u
typedef struct findings {
    kd_report_findings report;
    kd_report_finding at[FINDING_KINDS];
    char *examples[FINDING_KINDS][KD_REPORT_EXAMPLES]; /* owned */
} findings;

/* Checks both splits of the queries' dataset. Free in any case. */
KD_MUST_CHECK kd_status findings_make(
    running_job *r, const protocol *p, findings *out, kd_error *err);
void findings_free(findings *f);

/* The measures of n protocols into the result: the first one's, then also. */
KD_MUST_CHECK kd_status result_measured(
    Kindred__V1__JobResult *result, const evaluation *all, size_t n, kd_error *err);

#endif
