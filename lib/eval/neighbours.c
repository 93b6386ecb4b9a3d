/* Answers of a search engine in place of exact ones. */
#include <stdlib.h>
#include <string.h>

#include "lib/eval/answer.h"

typedef struct taking {
    const kd_eval_input *input;
    kd_eval *eval;
    kd_eval_tables tables;
    uint64_t expected, found;
} taking;

/* Where the hits are in the gallery. */
static kd_status find_places(
    const taking *t, const kd_hit *hits, size_t n, kd_ranked *found, kd_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t place = kd_eval_place_of(&t->tables, hits[i].id);
        if (place == KD_EVAL_NONE)
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "a neighbour is image %llu, which is not in the gallery",
                (unsigned long long)hits[i].id);
        found[i] = (kd_ranked){hits[i].score, place};
    }
    return KD_OK;
}

static void count_found(taking *t, size_t q, const kd_hit *hits, size_t n)
{
    t->expected += t->eval->counts[q];
    for (size_t i = 0; i < t->eval->counts[q]; i++)
        for (size_t j = 0; j < n; j++)
            t->found += hits[j].id == t->eval->hits[q * KD_EVAL_HITS + i].id;
}

/* Ranks behind the n stay as they were. */
static void take_answer(const taking *t, size_t q, unsigned kind, const kd_ranked *found, size_t n)
{
    const kd_label_table *const table = &t->tables.of[kind];
    kd_answer *const out = &t->eval->answers[kind][q];
    if (out->positives == 0)
        return;
    kd_answer of_first = {.positives = out->positives};
    kd_eval_answer(t->input, table, found, n, table->queries[q], &of_first);
    if (of_first.first > 0)
        out->first = of_first.first;
    else if (out->first > 0 && out->first <= n)
        out->first = (uint32_t)n + 1; /* not among the first, and nobody knows where */
    out->vote = of_first.vote;
    out->right_at_5 = of_first.right_at_5;
    out->right_at_10 = of_first.right_at_10;
    out->labels_at_5 = of_first.labels_at_5;
    out->ap_at_5 = of_first.ap_at_5;
    if (out->positives <= n) {
        out->ap_at_r = of_first.ap_at_r;
        out->r_precision = of_first.r_precision;
    }
}

static kd_status take(taking *t, size_t q, const kd_hit *hits, size_t n, kd_error *err)
{
    kd_ranked found[KD_EVAL_HITS];
    const kd_status status = find_places(t, hits, n, found, err);
    if (status != KD_OK)
        return status;
    count_found(t, q, hits, n);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
        take_answer(t, q, kind, found, n);
    memcpy(t->eval->hits + q * KD_EVAL_HITS, hits, n * sizeof *hits);
    t->eval->counts[q] = (uint32_t)n;
    return KD_OK;
}

kd_status kd_eval_take_hits(const kd_eval_input *input, const kd_hit *hits, const uint32_t *counts,
    kd_eval *eval, double *recall, kd_error *err)
{
    taking t = {.input = input, .eval = eval};
    *recall = 1;
    if (kd_eval_vote_k(input) > KD_EVAL_HITS)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "%u neighbours cannot vote where a search engine answers, allowed are 1 to %u",
            input->vote_k, KD_EVAL_HITS);
    kd_status status = kd_eval_tables_make(&t.tables, input, err);
    for (size_t q = 0; q < input->n_queries && status == KD_OK; q++)
        status = take(&t, q, hits + q * KD_EVAL_HITS, counts[q], err);
    if (status == KD_OK && t.expected > 0)
        *recall = (double)t.found / (double)t.expected;
    kd_eval_tables_free(&t.tables);
    return status;
}
