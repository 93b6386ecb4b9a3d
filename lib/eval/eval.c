#include "lib/eval/eval.h"

#include <assert.h>
#include <stdlib.h>

#define DEPTH 5u /* ranks that MAP@5 and the vote look at */

typedef struct gallery_image {
    uint64_t id;
    uint32_t label;
} gallery_image;

typedef struct label_count {
    uint32_t label;
    uint32_t images;                 /* of the gallery */
    uint32_t truths, votes, hits_of; /* counted queries: with it, voted for it, both */
} label_count;

typedef struct eval_tables {
    gallery_image *images; /* by id */
    size_t n_images;
    label_count *labels; /* by label: all of the gallery, so every possible vote is in it */
    size_t n_labels;
} eval_tables;

/* ---- The gallery ---- */

static int compare_images(const void *left, const void *right)
{
    const gallery_image *const a = left, *const b = right;
    return (a->id > b->id) - (a->id < b->id);
}

static int compare_counts(const void *left, const void *right)
{
    const label_count *const a = left, *const b = right;
    return (a->label > b->label) - (a->label < b->label);
}

static const gallery_image *find_image(const eval_tables *tables, uint64_t id)
{
    const gallery_image key = {.id = id};
    return bsearch(&key, tables->images, tables->n_images, sizeof key, compare_images);
}

static label_count *find_label(const eval_tables *tables, uint32_t label)
{
    const label_count key = {.label = label};
    return bsearch(&key, tables->labels, tables->n_labels, sizeof key, compare_counts);
}

static kd_status fill_tables(eval_tables *tables, const kd_eval_input *input, kd_error *err)
{
    const size_t n = input->n_gallery;
    tables->images = calloc(n, sizeof *tables->images);
    tables->labels = calloc(n, sizeof *tables->labels);
    if (!tables->images || !tables->labels)
        return kd_error_memory(err, "the evaluation");
    for (size_t i = 0; i < n; i++) {
        tables->images[i] =
            (gallery_image){.id = input->gallery_ids[i], .label = input->gallery_labels[i]};
        tables->labels[i] = (label_count){.label = input->gallery_labels[i], .images = 1};
    }
    tables->n_images = n;
    qsort(tables->images, n, sizeof *tables->images, compare_images);
    for (size_t i = 1; i < n; i++)
        if (tables->images[i].id == tables->images[i - 1].id)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "the gallery has image %llu twice",
                (unsigned long long)tables->images[i].id);

    qsort(tables->labels, n, sizeof *tables->labels, compare_counts);
    for (size_t i = 0; i < n; i++) { /* folds equal labels into one entry */
        label_count *const last = tables->n_labels ? &tables->labels[tables->n_labels - 1] : NULL;
        if (last && last->label == tables->labels[i].label)
            last->images++;
        else
            tables->labels[tables->n_labels++] = tables->labels[i];
    }
    return KD_OK;
}

/* ---- One query ---- */

/* The labels of query q's hits, best first, into labels (room for KD_EVAL_K). The query itself is
 * no answer, should it be among them. */
static kd_status labels_of_hits(const eval_tables *tables, const kd_eval_input *input, size_t q,
    uint32_t *labels, size_t *n, kd_error *err)
{
    const kd_hit *const hits = input->hits + q * KD_EVAL_K;
    const unsigned long long query = input->query_ids[q];
    *n = 0;
    if (input->counts[q] > KD_EVAL_K)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "query %llu has %u hits, allowed %u", query,
            input->counts[q], KD_EVAL_K);
    for (size_t i = 0; i < input->counts[q]; i++) {
        if (hits[i].id == query)
            continue;
        const gallery_image *const image = find_image(tables, hits[i].id);
        if (!image)
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "query %llu was answered by image %llu, which is not in the gallery", query,
                (unsigned long long)hits[i].id);
        labels[(*n)++] = image->label;
    }
    return KD_OK;
}

/* The label that most of the first five have; of equals the one that comes first. n > 0. */
static uint32_t vote(const uint32_t *labels, size_t n)
{
    uint32_t winner = labels[0];
    size_t most = 0;
    for (size_t i = 0; i < n && i < DEPTH; i++) {
        size_t votes = 0;
        for (size_t j = 0; j < n && j < DEPTH; j++)
            votes += labels[j] == labels[i];
        if (votes > most) {
            most = votes;
            winner = labels[i];
        }
    }
    return winner;
}

/* Adds to the sums in out what one query brings. positives > 0. */
static void count_query(
    kd_metrics_set *out, uint32_t truth, size_t positives, const uint32_t *labels, size_t n)
{
    size_t found = 0;
    double precisions = 0;
    size_t first = KD_EVAL_K; /* rank of the first right hit, from 0 */
    for (size_t i = 0; i < n; i++) {
        if (labels[i] != truth)
            continue;
        if (first == KD_EVAL_K)
            first = i;
        if (i < DEPTH) {
            found++;
            precisions += (double)found / (double)(i + 1);
        }
    }
    out->recall_at_1 += first < 1;
    out->recall_at_5 += first < 5;
    out->recall_at_10 += first < 10;
    out->map_at_5 += precisions / (double)(positives < DEPTH ? positives : DEPTH);
}

/* ---- All of them ---- */

static kd_status count_queries(
    const eval_tables *tables, const kd_eval_input *input, kd_metrics_set *out, kd_error *err)
{
    for (size_t q = 0; q < input->n_queries; q++) {
        const uint32_t truth = input->query_labels[q];
        const gallery_image *const itself = find_image(tables, input->query_ids[q]);
        label_count *const of_truth = find_label(tables, truth);
        size_t positives = of_truth ? of_truth->images : 0;
        if (itself && itself->label == truth)
            positives--;
        uint32_t labels[KD_EVAL_K];
        size_t n;
        const kd_status status = labels_of_hits(tables, input, q, labels, &n, err);
        if (status != KD_OK)
            return status;
        if (positives == 0) {
            out->without_positives++;
            continue;
        }
        if (n == 0)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "query %llu has no hit",
                (unsigned long long)input->query_ids[q]);
        out->queries++;
        count_query(out, truth, positives, labels, n);
        label_count *const of_vote = find_label(tables, vote(labels, n));
        of_truth->truths++;
        of_vote->votes++;
        of_truth->hits_of += of_vote == of_truth;
    }
    return KD_OK;
}

/* From sums to means. out->queries > 0. */
static void finish(const eval_tables *tables, kd_metrics_set *out)
{
    const double queries = (double)out->queries;
    size_t n_labels = 0, right = 0;
    for (size_t i = 0; i < tables->n_labels; i++) {
        const label_count *const label = &tables->labels[i];
        if (label->truths + label->votes == 0)
            continue;
        const double hits = label->hits_of;
        n_labels++;
        right += label->hits_of;
        out->precision += label->votes ? hits / label->votes : 0;
        out->recall += label->truths ? hits / label->truths : 0;
        out->f1 += 2 * hits / ((double)label->truths + label->votes);
    }
    out->recall_at_1 /= queries;
    out->recall_at_5 /= queries;
    out->recall_at_10 /= queries;
    out->map_at_5 /= queries;
    out->accuracy = (double)right / queries;
    out->precision /= (double)n_labels;
    out->recall /= (double)n_labels;
    out->f1 /= (double)n_labels;
}

kd_status kd_eval_run(const kd_eval_input *input, kd_metrics_set *out, kd_error *err)
{
    eval_tables tables = {0};
    assert(input && out);
    *out = (kd_metrics_set){0};
    if (input->n_gallery == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the gallery is empty");
    if (input->n_queries == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "there are no queries");

    kd_metrics_set sums = {0};
    kd_status status = fill_tables(&tables, input, err);
    if (status == KD_OK)
        status = count_queries(&tables, input, &sums, err);
    if (status == KD_OK && sums.queries == 0)
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "none of the %zu queries has an image with its label in the gallery", input->n_queries);
    if (status == KD_OK) {
        finish(&tables, &sums);
        *out = sums;
    }
    free(tables.images);
    free(tables.labels);
    return status;
}
