/* lib/eval/eval.h: how good the answers are.
 *
 * Definitions. One query q with a label; its gallery images, without q itself, ranked 1, 2, … by
 * score (kd_dot), ties to the lower image id; P(q) is the number of gallery images with q's label,
 * without q itself; right(i) is 1 where the image of rank i has q's label, prec(i) the mean of
 * right(1..i). Queries with P(q) = 0 are counted as `without_positives` and left out of every mean.
 *
 * - recall@k: 1 when one of the first k is right (Jegou et al. 2011; Song et al. 2016 for SOP)
 * - precision@k: prec(k), missing ranks counting as wrong
 * - MAP@5: mean of AP@5, the sum of prec(i) · right(i) over i ≤ 5, divided by min(5, P(q))
 * - R-precision: prec(P(q)); MAP@R: the sum of prec(i) · right(i) over i ≤ P(q), divided by P(q)
 *   (both Musgrave, Belongie, Lim 2020, "A Metric Learning Reality Check")
 * - vote: the label with the most weight among the first `vote_k`, each weighing 1 or its score
 *   (negative ones nothing); a tie goes to the label that comes first
 * - accuracy: share of queries whose vote is right
 * - precision, recall, F1 of the vote: macro means over the labels that occur as truth or as vote,
 *   0 where undefined (scikit-learn's average='macro', zero_division=0)
 * - original MAP@5: what the program that kindred began from called MAP@5, to set tables side by
 *   side: the macro precision of the first five as predictions of q's label, 1 where undefined. It
 *   comes to 1 / (number of labels among those five and q), whether or not one is right.
 *
 * Each for two kinds of label, classes and super-classes. */
#ifndef KD_EVAL_EVAL_H
#define KD_EVAL_EVAL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/vector/vector.h"

/* ---- One pass over all pairs ---- */

typedef enum kd_eval_kind {
    KD_EVAL_CLASS,
    KD_EVAL_SUPER_CLASS,
} kd_eval_kind;
#define KD_EVAL_KINDS 2u

#define KD_EVAL_HITS 10u    /* kept for each query */
#define KD_EVAL_DEPTH 1000u /* ranks that recall@k looks at */
#define KD_EVAL_BINS 4096u  /* of scores, from -1 to 1 */
#define KD_EVAL_MAX_VOTE 100u

typedef struct kd_eval_input {
    const float *queries; /* n_queries × dim, of length 1 */
    size_t n_queries;
    const float *gallery; /* n_gallery × dim */
    size_t n_gallery;
    size_t dim;
    const uint64_t *gallery_ids;                   /* in any order, each once */
    const uint64_t *selves;                        /* the gallery image that is the query itself, */
                                                   /* UINT64_MAX for none; NULL: none of all */
    const uint32_t *query_labels[KD_EVAL_KINDS];   /* n_queries */
    const uint32_t *gallery_labels[KD_EVAL_KINDS]; /* n_gallery */
    uint32_t vote_k;                               /* 1..KD_EVAL_MAX_VOTE; 0: 5 */
    bool vote_by_score;
    kd_pool *pool; /* NULL: the calling thread alone */
    bool (*progress)(void *arg, size_t done);
    void *progress_arg; /* as in kd_scores */
} kd_eval_input;

/* The answer to one query, for one kind of label. */
typedef struct kd_answer {
    uint32_t truth, vote; /* places in kd_eval's labels; truth is UINT32_MAX where positives is 0 */
    uint32_t positives;   /* P(q); with 0 the rest has no meaning */
    uint32_t first;       /* rank of the first right image; 0: none within KD_EVAL_DEPTH */
    uint8_t right_at_5, right_at_10; /* right images among the first so many */
    uint8_t labels_at_5;             /* labels among the first five and the query */
    double ap_at_5, ap_at_r, r_precision;
} kd_answer;

/* How scores of pairs are spread, by whether they have the same label. */
typedef struct kd_pairs {
    uint64_t same[KD_EVAL_BINS], other[KD_EVAL_BINS];
} kd_pairs;

typedef struct kd_eval {
    size_t n;                          /* queries */
    kd_hit *hits;                      /* n × KD_EVAL_HITS, best first */
    uint32_t *counts;                  /* n: hits that there are */
    kd_answer *answers[KD_EVAL_KINDS]; /* n */
    uint32_t *labels[KD_EVAL_KINDS];   /* the gallery's, ascending */
    size_t n_labels[KD_EVAL_KINDS];
    kd_pairs *pairs[KD_EVAL_KINDS];
} kd_eval;

/* Measures every query against every gallery image: time as of one matrix product of the two,
 * memory beside the inputs about 300 bytes a query and that of kd_scores, which is quicker where
 * the queries are the gallery. KD_INVALID_ARGUMENT for no queries, an empty gallery, an image twice
 * in it, a vector that is not of length 1; KD_CANCELLED. *out (kd_eval_free) is empty on failure.
 */
KD_MUST_CHECK kd_status kd_eval_run(const kd_eval_input *input, kd_eval *out, kd_error *err);
void kd_eval_free(kd_eval *eval);

/* Puts the nearest of each query as a search engine gave them (n_queries × KD_EVAL_HITS, the first
 * counts[q] of row q, best first, without the query itself) in place of the exact ones: what
 * depends on the first ranks alone is then what the engine's users see. What lies deeper stays
 * exact. *recall is the share of the exact ones that the engine found. input is what eval was made
 * from; KD_INVALID_ARGUMENT for a vote of more than KD_EVAL_HITS or a hit that is not in the
 * gallery, then eval is of no use. */
KD_MUST_CHECK kd_status kd_eval_take_hits(const kd_eval_input *input, const kd_hit *hits,
    const uint32_t *counts, kd_eval *eval, double *recall, kd_error *err);

/* ---- Means ---- */

typedef enum kd_metric {
    KD_RECALL_AT_1,
    KD_RECALL_AT_5,
    KD_RECALL_AT_10,
    KD_RECALL_AT_100,
    KD_RECALL_AT_1000,
    KD_PRECISION_AT_5,
    KD_PRECISION_AT_10,
    KD_MAP_AT_5,
    KD_MAP_AT_R,
    KD_R_PRECISION,
    KD_ACCURACY,
    KD_PRECISION,
    KD_RECALL,
    KD_F1,
    KD_ORIGINAL_MAP_AT_5,
} kd_metric;
#define KD_METRICS 15u

const char *kd_metric_name(kd_metric metric);  /* "recall_at_1", static */
const char *kd_metric_title(kd_metric metric); /* "R@1", static */

typedef struct kd_metrics_set {
    double values[KD_METRICS];
    uint64_t queries; /* that count: with at least one positive */
    uint64_t without_positives;
} kd_metrics_set;

/* Means over the queries; with weights (n) query i counts weights[i] times, 0 leaves it out.
 * KD_FAILED_PRECONDITION when no query is left that has a positive. */
KD_MUST_CHECK kd_status kd_eval_metrics(const kd_eval *eval, kd_eval_kind kind,
    const uint32_t *weights, kd_metrics_set *out, kd_error *err);

/* ---- Uncertainty ---- */

typedef struct kd_interval {
    double low, high;
} kd_interval;

/* 95 % percentile intervals of the means by bootstrap over queries (Efron 1979), for as many
 * samples drawn with this seed. With other (the same queries by another model) of the differences
 * eval's less other's, drawn in pairs. out: KD_METRICS of them. */
KD_MUST_CHECK kd_status kd_eval_intervals(const kd_eval *eval, const kd_eval *other,
    kd_eval_kind kind, uint32_t samples, uint64_t seed, kd_pool *pool, kd_interval *out,
    kd_error *err);

/* ---- Votes and pairs ---- */

/* How often each truth (row) was given each vote (column): n_labels² counts, owned (free). */
KD_MUST_CHECK kd_status kd_eval_confusion(
    const kd_eval *eval, kd_eval_kind kind, uint32_t **counts, kd_error *err);

/* Where at most the share fmr of pairs of different labels scores at least *threshold (false match
 * rate), the share of same-label pairs that scores below it (false non-match rate; ISO/IEC
 * 19795-1). NaN where there are no such pairs. Exact to a bin. */
void kd_pairs_fnmr(const kd_pairs *pairs, double fmr, double *fnmr, double *threshold);

/* ---- Clusters ---- */

/* Normalised and adjusted mutual information of two labelings of n items, both by the arithmetic
 * mean of the entropies (Vinh, Epps, Bailey 2010; scikit-learn's defaults). */
KD_MUST_CHECK kd_status kd_mutual_information(
    const uint32_t *a, const uint32_t *b, size_t n, double *nmi, double *ami, kd_error *err);

#endif
