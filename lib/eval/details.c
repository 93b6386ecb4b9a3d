/* From answers to what a reader looks for next: which labels are found, which are taken for which.
 */
#include "lib/eval/details.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *name_of(const kd_label_names *names, kd_eval_kind kind, uint32_t label)
{
    return names->name(names->arg, kind, label);
}

/* ---- Labels ---- */

/* Means of each label's queries: *out has the kind's labels, in their order. */
static kd_status sum_labels(
    const kd_eval *eval, kd_eval_kind kind, kd_report_label **out, kd_error *err)
{
    const size_t n = eval->n_labels[kind];
    kd_report_label *const labels = calloc(n ? n : 1, sizeof *labels);
    *out = labels;
    if (!labels)
        return kd_error_memory(err, "the labels' means");
    for (size_t i = 0; i < n; i++)
        labels[i].label = eval->labels[kind][i];
    for (size_t q = 0; q < eval->n; q++) {
        const kd_answer *const a = &eval->answers[kind][q];
        if (a->positives == 0)
            continue;
        kd_report_label *const label = &labels[a->truth];
        label->queries++;
        label->recall_at_1 += a->first == 1;
        label->map_at_5 += a->ap_at_5;
        label->accuracy += a->vote == a->truth;
    }
    for (size_t i = 0; i < n; i++) {
        const double queries = labels[i].queries > 0 ? (double)labels[i].queries : 1;
        labels[i].recall_at_1 /= queries;
        labels[i].map_at_5 /= queries;
        labels[i].accuracy /= queries;
    }
    return KD_OK;
}

/* Keeps those with at least `least` queries; returns how many. */
static size_t keep_asked(kd_report_label *labels, size_t n, uint64_t least)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (labels[i].queries >= least)
            labels[kept++] = labels[i];
    return kept;
}

static int compare_numbers(double a, double b)
{
    return (a > b) - (a < b);
}

static int by_queries(const void *a, const void *b)
{
    const kd_report_label *const x = a, *const y = b;
    if (x->queries != y->queries)
        return x->queries > y->queries ? -1 : 1;
    return x->label < y->label ? -1 : x->label > y->label;
}

static int best_first(const void *a, const void *b)
{
    const kd_report_label *const x = a, *const y = b;
    const int order = compare_numbers(y->recall_at_1, x->recall_at_1);
    return order ? order : by_queries(a, b);
}

static int hardest_first(const void *a, const void *b)
{
    const kd_report_label *const x = a, *const y = b;
    const int order = compare_numbers(x->map_at_5, y->map_at_5);
    return order ? order : by_queries(a, b);
}

static void name_labels(
    kd_report_label *labels, size_t n, kd_eval_kind kind, const kd_label_names *names)
{
    for (size_t i = 0; i < n; i++)
        labels[i].name = name_of(names, kind, labels[i].label);
}

static size_t at_most(size_t n, size_t most)
{
    return n < most ? n : most;
}

static kd_status make_labels(
    const kd_eval *eval, const kd_label_names *names, kd_report_details *out, kd_error *err)
{
    kd_status status = sum_labels(eval, KD_EVAL_SUPER_CLASS, &out->supers, err);
    if (status == KD_OK)
        status = sum_labels(eval, KD_EVAL_CLASS, &out->hardest, err);
    if (status != KD_OK)
        return status;
    size_t n = keep_asked(out->supers, eval->n_labels[KD_EVAL_SUPER_CLASS], 1);
    out->all_supers = n;
    out->n_supers = at_most(n, KD_REPORT_SUPERS);
    qsort(out->supers, n, sizeof *out->supers, by_queries);
    qsort(out->supers, out->n_supers, sizeof *out->supers, best_first);
    name_labels(out->supers, out->n_supers, KD_EVAL_SUPER_CLASS, names);
    n = keep_asked(out->hardest, eval->n_labels[KD_EVAL_CLASS], 2);
    out->n_hardest = at_most(n, KD_REPORT_HARDEST);
    qsort(out->hardest, n, sizeof *out->hardest, hardest_first);
    name_labels(out->hardest, out->n_hardest, KD_EVAL_CLASS, names);
    return KD_OK;
}

/* ---- Confusions ---- */

static kd_status make_matrix(
    const kd_eval *eval, const kd_label_names *names, kd_report_details *out, kd_error *err)
{
    const size_t n = eval->n_labels[KD_EVAL_SUPER_CLASS];
    if (n > KD_REPORT_MATRIX)
        return KD_OK;
    const kd_status status = kd_eval_confusion(eval, KD_EVAL_SUPER_CLASS, &out->matrix, err);
    if (status != KD_OK)
        return status;
    out->matrix_names = calloc(n ? n : 1, sizeof *out->matrix_names);
    if (!out->matrix_names)
        return kd_error_memory(err, "the confusion matrix");
    for (size_t i = 0; i < n; i++)
        out->matrix_names[i] =
            name_of(names, KD_EVAL_SUPER_CLASS, eval->labels[KD_EVAL_SUPER_CLASS][i]);
    out->n_matrix = n;
    return KD_OK;
}

typedef struct pair { /* places of labels */
    uint32_t truth, vote;
    uint64_t count;
} pair;

static int by_pair(const void *a, const void *b)
{
    const pair *const x = a, *const y = b;
    if (x->truth != y->truth)
        return x->truth < y->truth ? -1 : 1;
    return x->vote < y->vote ? -1 : x->vote > y->vote;
}

static int most_first(const void *a, const void *b)
{
    const pair *const x = a, *const y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return by_pair(a, b);
}

/* The wrong votes, each pair of labels once; returns how many. */
static size_t count_pairs(const kd_eval *eval, kd_eval_kind kind, pair *pairs)
{
    size_t n = 0, kept = 0;
    for (size_t q = 0; q < eval->n; q++) {
        const kd_answer *const a = &eval->answers[kind][q];
        if (a->positives > 0 && a->vote != a->truth)
            pairs[n++] = (pair){a->truth, a->vote, 1};
    }
    qsort(pairs, n, sizeof *pairs, by_pair);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && by_pair(&pairs[kept - 1], &pairs[i]) == 0)
            pairs[kept - 1].count++;
        else
            pairs[kept++] = pairs[i];
    }
    qsort(pairs, kept, sizeof *pairs, most_first);
    return kept;
}

static kd_status make_confused(
    const kd_eval *eval, const kd_label_names *names, kd_report_details *out, kd_error *err)
{
    const kd_eval_kind kind = KD_EVAL_SUPER_CLASS;
    uint64_t *const asked = calloc(eval->n_labels[kind] ? eval->n_labels[kind] : 1, sizeof *asked);
    pair *const pairs = malloc((eval->n ? eval->n : 1) * sizeof *pairs);
    out->confused = calloc(KD_REPORT_CONFUSED, sizeof *out->confused);
    const bool memory = asked && pairs && out->confused;
    if (memory) {
        for (size_t q = 0; q < eval->n; q++)
            if (eval->answers[kind][q].positives > 0)
                asked[eval->answers[kind][q].truth]++;
        out->n_confused = at_most(count_pairs(eval, kind, pairs), KD_REPORT_CONFUSED);
        for (size_t i = 0; i < out->n_confused; i++)
            out->confused[i] = (kd_report_confusion){
                .truth = name_of(names, kind, eval->labels[kind][pairs[i].truth]),
                .vote = name_of(names, kind, eval->labels[kind][pairs[i].vote]),
                .count = pairs[i].count,
                .share = (double)pairs[i].count / (double)asked[pairs[i].truth]};
    }
    free(pairs);
    free(asked);
    return memory ? KD_OK : kd_error_memory(err, "the confusions");
}

/* ---- Scores ---- */

static double sum_of(const uint64_t *bins)
{
    double sum = 0;
    for (size_t b = 0; b < KD_EVAL_BINS; b++)
        sum += (double)bins[b];
    return sum;
}

/* Widens first and last to hold all but 0.05 % of the pairs at either end. */
static void hold(const uint64_t *bins, double sum, size_t *first, size_t *last)
{
    const double beyond = sum / 2000;
    size_t low = 0, high = KD_EVAL_BINS - 1;
    double below = (double)bins[low], above = (double)bins[high];
    while (below <= beyond)
        below += (double)bins[++low];
    while (above <= beyond)
        above += (double)bins[--high];
    *first = low < *first ? low : *first;
    *last = high > *last ? high : *last;
}

static void make_spread(const kd_pairs *pairs, kd_report_spread *out)
{
    const double same = sum_of(pairs->same), other = sum_of(pairs->other);
    size_t first = KD_EVAL_BINS, last = 0;
    *out = (kd_report_spread){.overlap = (double)NAN};
    if (!(same > 0) || !(other > 0))
        return;
    hold(pairs->same, same, &first, &last);
    hold(pairs->other, other, &first, &last);
    const size_t width = (last - first) / KD_REPORT_BINS + 1;
    out->n = (last - first) / width + 1;
    out->low = 2.0 * (double)first / KD_EVAL_BINS - 1;
    out->high = 2.0 * (double)(first + out->n * width) / KD_EVAL_BINS - 1;
    out->overlap = 0;
    for (size_t b = 0; b < KD_EVAL_BINS; b++) {
        const double s = (double)pairs->same[b] / same, o = (double)pairs->other[b] / other;
        out->overlap += fmin(s, o);
        if (b < first || (b - first) / width >= out->n)
            continue;
        out->same[(b - first) / width] += s;
        out->other[(b - first) / width] += o;
    }
}

/* ---- All of it ---- */

kd_status kd_details_make(
    const kd_eval *eval, const kd_label_names *names, kd_report_details *out, kd_error *err)
{
    assert(eval && names && out);
    *out = (kd_report_details){.n_supers = 0};
    kd_status status = make_labels(eval, names, out, err);
    if (status == KD_OK)
        status = make_matrix(eval, names, out, err);
    if (status == KD_OK)
        status = make_confused(eval, names, out, err);
    if (status != KD_OK) {
        kd_details_free(out);
        return status;
    }
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
        make_spread(eval->pairs[kind], &out->spread[kind]);
    return KD_OK;
}

void kd_details_free(kd_report_details *details)
{
    free(details->supers);
    free(details->hardest);
    free(details->matrix);
    free(details->matrix_names);
    free(details->confused);
    free(details->map.points);
    *details = (kd_report_details){.n_supers = 0};
}

/* ---- Misses ---- */

typedef struct miss {
    size_t query;
    uint32_t rank;
    float score;
} miss;

static int worst_first(const void *a, const void *b)
{
    const miss *const x = a, *const y = b;
    if (x->rank != y->rank)
        return x->rank > y->rank ? -1 : 1;
    const int order = compare_numbers((double)y->score, (double)x->score);
    return order ? order : (x->query > y->query) - (x->query < y->query);
}

kd_status kd_details_misses(
    const kd_eval *eval, size_t most, size_t *queries, size_t *n, kd_error *err)
{
    assert(eval && queries && n);
    size_t found = 0;
    *n = 0;
    miss *const misses = malloc((eval->n ? eval->n : 1) * sizeof *misses);
    if (!misses)
        return kd_error_memory(err, "the misses");
    for (size_t q = 0; q < eval->n; q++) {
        const kd_answer *const a = &eval->answers[KD_EVAL_CLASS][q];
        if (a->positives > 0 && a->first != 1 && eval->counts[q] > 0)
            misses[found++] = (miss){.query = q,
                .rank = a->first > 0 ? a->first : UINT32_MAX,
                .score = eval->hits[q * KD_EVAL_HITS].score};
    }
    qsort(misses, found, sizeof *misses, worst_first);
    *n = at_most(found, most);
    for (size_t i = 0; i < *n; i++)
        queries[i] = misses[i].query;
    free(misses);
    return KD_OK;
}
