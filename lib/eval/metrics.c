/* From answers to means, and how sure they are. */
#include <assert.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/eval/eval.h"

static const struct {
    const char *name, *title;
} metrics[KD_METRICS] = {
    [KD_RECALL_AT_1] = {"recall_at_1", "R@1"},
    [KD_RECALL_AT_5] = {"recall_at_5", "R@5"},
    [KD_RECALL_AT_10] = {"recall_at_10", "R@10"},
    [KD_RECALL_AT_100] = {"recall_at_100", "R@100"},
    [KD_RECALL_AT_1000] = {"recall_at_1000", "R@1000"},
    [KD_PRECISION_AT_5] = {"precision_at_5", "P@5"},
    [KD_PRECISION_AT_10] = {"precision_at_10", "P@10"},
    [KD_MAP_AT_5] = {"map_at_5", "MAP@5"},
    [KD_MAP_AT_R] = {"map_at_r", "MAP@R"},
    [KD_R_PRECISION] = {"r_precision", "R-precision"},
    [KD_ACCURACY] = {"accuracy", "Accuracy"},
    [KD_PRECISION] = {"precision", "Precision"},
    [KD_RECALL] = {"recall", "Recall"},
    [KD_F1] = {"f1", "F1"},
    [KD_ORIGINAL_MAP_AT_5] = {"original_map_at_5", "Original MAP@5"},
};

const char *kd_metric_name(kd_metric metric)
{
    return metrics[metric].name;
}

const char *kd_metric_title(kd_metric metric)
{
    return metrics[metric].title;
}

/* ---- Means ---- */

typedef struct votes { /* of the queries that count, by label */
    uint64_t truths, votes, right;
} votes;

static void add_answer(double *sums, votes *by_label, const kd_answer *a, uint32_t weight)
{
    const double w = weight;
    static const uint32_t depths[] = {1, 5, 10, 100, 1000};
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++)
        sums[KD_RECALL_AT_1 + i] += a->first > 0 && a->first <= depths[i] ? w : 0;
    sums[KD_PRECISION_AT_5] += w * a->right_at_5 / 5;
    sums[KD_PRECISION_AT_10] += w * a->right_at_10 / 10;
    sums[KD_MAP_AT_5] += w * a->ap_at_5;
    sums[KD_MAP_AT_R] += w * a->ap_at_r;
    sums[KD_R_PRECISION] += w * a->r_precision;
    sums[KD_ACCURACY] += a->vote == a->truth ? w : 0;
    sums[KD_ORIGINAL_MAP_AT_5] += w / a->labels_at_5;
    by_label[a->truth].truths += weight;
    by_label[a->vote].votes += weight;
    by_label[a->truth].right += a->vote == a->truth ? weight : 0;
}

static void add_labels(double *values, const votes *by_label, size_t n_labels)
{
    size_t n = 0;
    for (size_t l = 0; l < n_labels; l++) {
        const votes *const v = &by_label[l];
        if (v->truths + v->votes == 0)
            continue;
        const double right = (double)v->right;
        n++;
        values[KD_PRECISION] += v->votes ? right / (double)v->votes : 0;
        values[KD_RECALL] += v->truths ? right / (double)v->truths : 0;
        values[KD_F1] += 2 * right / (double)(v->truths + v->votes);
    }
    for (unsigned m = KD_PRECISION; m <= KD_F1; m++)
        values[m] /= (double)n;
}

/* by_label: room for the kind's labels. False when no query counts. */
static bool means(const kd_eval *eval, kd_eval_kind kind, const uint32_t *weights, votes *by_label,
    kd_metrics_set *out)
{
    const kd_answer *const answers = eval->answers[kind];
    *out = (kd_metrics_set){.queries = 0};
    memset(by_label, 0, eval->n_labels[kind] * sizeof *by_label);
    for (size_t q = 0; q < eval->n; q++) {
        const uint32_t weight = weights ? weights[q] : 1;
        if (answers[q].positives == 0) {
            out->without_positives += weight;
        } else if (weight > 0) {
            out->queries += weight;
            add_answer(out->values, by_label, &answers[q], weight);
        }
    }
    if (out->queries == 0)
        return false;
    for (unsigned m = 0; m < KD_METRICS; m++)
        out->values[m] /= (double)out->queries;
    add_labels(out->values, by_label, eval->n_labels[kind]);
    return true;
}

kd_status kd_eval_metrics(const kd_eval *eval, kd_eval_kind kind, const uint32_t *weights,
    kd_metrics_set *out, kd_error *err)
{
    assert(eval && out);
    *out = (kd_metrics_set){.queries = 0};
    votes *const by_label = calloc(eval->n_labels[kind], sizeof *by_label);
    if (!by_label)
        return kd_error_memory(err, "the votes");
    kd_metrics_set found;
    const bool any = means(eval, kind, weights, by_label, &found);
    free(by_label);
    if (!any)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "none of the %zu queries has an image with its label in the gallery", eval->n);
    *out = found;
    return KD_OK;
}

/* ---- Bootstrap ---- */

typedef struct bootstrap {
    const kd_eval *eval, *other;
    kd_eval_kind kind;
    uint64_t seed;
    uint32_t *counted; /* queries with a positive */
    size_t n_counted;
    double *values; /* samples × KD_METRICS */
    atomic_bool no_memory;
} bootstrap;

static void draw(const bootstrap *b, size_t sample, uint32_t *weights)
{
    uint64_t state = b->seed + sample, n = b->n_counted;
    state = kd_random_next(&state); /* neighbouring samples share nothing */
    for (size_t i = 0; i < n; i++) {
        const uint64_t at = (uint64_t)(((unsigned __int128)kd_random_next(&state) * n) >> 64);
        weights[b->counted[at]]++;
    }
}

static void take_sample(void *arg, size_t sample)
{
    bootstrap *const b = arg;
    double *const values = b->values + sample * KD_METRICS;
    size_t labels = b->eval->n_labels[b->kind];
    if (b->other && b->other->n_labels[b->kind] > labels)
        labels = b->other->n_labels[b->kind];
    uint32_t *const weights = calloc(b->eval->n, sizeof *weights);
    votes *const by_label = calloc(labels, sizeof *by_label);
    if (weights && by_label) {
        kd_metrics_set set;
        draw(b, sample, weights);
        (void)means(b->eval, b->kind, weights, by_label, &set);
        memcpy(values, set.values, sizeof set.values);
        if (b->other) {
            (void)means(b->other, b->kind, weights, by_label, &set);
            for (unsigned m = 0; m < KD_METRICS; m++)
                values[m] -= set.values[m];
        }
    } else {
        atomic_store(&b->no_memory, true);
    }
    free(by_label);
    free(weights);
}

static int ascending(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

/* As NumPy's: linear between the two nearest. */
static double percentile(const double *sorted, size_t n, double share)
{
    const double at = share * (double)(n - 1);
    const size_t below = (size_t)at;
    if (below + 1 >= n)
        return sorted[n - 1];
    return sorted[below] + (at - (double)below) * (sorted[below + 1] - sorted[below]);
}

static kd_status check_pair(const bootstrap *b, kd_error *err)
{
    bool same = b->other->n == b->eval->n;
    for (size_t q = 0; same && q < b->eval->n; q++)
        same = (b->eval->answers[b->kind][q].positives > 0) ==
               (b->other->answers[b->kind][q].positives > 0);
    return same ? KD_OK
                : kd_error_set(
                      err, KD_INVALID_ARGUMENT, "the two models did not answer the same queries");
}

static kd_status prepare(bootstrap *b, uint32_t samples, kd_error *err)
{
    b->values = calloc(samples, KD_METRICS * sizeof *b->values);
    b->counted = calloc(b->eval->n, sizeof *b->counted);
    if (!b->values || !b->counted)
        return kd_error_memory(err, "the bootstrap");
    for (size_t q = 0; q < b->eval->n; q++)
        if (b->eval->answers[b->kind][q].positives > 0)
            b->counted[b->n_counted++] = (uint32_t)q;
    if (b->n_counted == 0)
        return kd_error_set(err, KD_FAILED_PRECONDITION, "no query has a positive");
    return b->other ? check_pair(b, err) : KD_OK;
}

static kd_status summarise(const bootstrap *b, uint32_t samples, kd_interval *out, kd_error *err)
{
    double *const column = calloc(samples, sizeof *column);
    if (!column)
        return kd_error_memory(err, "the bootstrap");
    for (unsigned m = 0; m < KD_METRICS; m++) {
        for (size_t i = 0; i < samples; i++)
            column[i] = b->values[i * KD_METRICS + m];
        qsort(column, samples, sizeof *column, ascending);
        out[m] =
            (kd_interval){percentile(column, samples, 0.025), percentile(column, samples, 0.975)};
    }
    free(column);
    return KD_OK;
}

kd_status kd_eval_intervals(const kd_eval *eval, const kd_eval *other, kd_eval_kind kind,
    uint32_t samples, uint64_t seed, kd_pool *pool, kd_interval *out, kd_error *err)
{
    assert(eval && out && samples > 1);
    bootstrap b = {.eval = eval, .other = other, .kind = kind, .seed = seed};
    kd_status status = prepare(&b, samples, err);
    if (status == KD_OK && pool)
        kd_pool_for(pool, samples, take_sample, &b);
    for (size_t i = 0; status == KD_OK && !pool && i < samples; i++)
        take_sample(&b, i);
    if (status == KD_OK && atomic_load(&b.no_memory))
        status = kd_error_memory(err, "a bootstrap sample");
    if (status == KD_OK)
        status = summarise(&b, samples, out, err);
    free(b.counted);
    free(b.values);
    return status;
}

/* ---- Votes and pairs ---- */

kd_status kd_eval_confusion(
    const kd_eval *eval, kd_eval_kind kind, uint32_t **counts, kd_error *err)
{
    const size_t n = eval->n_labels[kind];
    *counts = n < 1u << 16 ? calloc(n * n, sizeof **counts) : NULL;
    if (!*counts)
        return kd_error_memory(err, "the confusion matrix");
    for (size_t q = 0; q < eval->n; q++) {
        const kd_answer *const a = &eval->answers[kind][q];
        if (a->positives > 0)
            (*counts)[a->truth * n + a->vote]++;
    }
    return KD_OK;
}

void kd_pairs_fnmr(const kd_pairs *pairs, double fmr, double *fnmr, double *threshold)
{
    uint64_t same = 0, other = 0, above = 0, matched = 0;
    for (size_t b = 0; b < KD_EVAL_BINS; b++) {
        same += pairs->same[b];
        other += pairs->other[b];
    }
    *fnmr = *threshold = (double)NAN;
    if (same == 0 || other == 0)
        return;
    size_t bin = KD_EVAL_BINS;
    while (bin > 0 && (double)(above + pairs->other[bin - 1]) <= fmr * (double)other) {
        above += pairs->other[--bin];
        matched += pairs->same[bin];
    }
    *threshold = (double)bin / (KD_EVAL_BINS / 2.0) - 1;
    *fnmr = 1 - (double)matched / (double)same;
}
