#include "lib/eval/answer.h"

#define FIRST_FIVE 5u

static uint32_t vote(
    const kd_eval_input *input, const kd_label_table *t, const kd_ranked *found, size_t n)
{
    uint32_t winner = KD_EVAL_NONE;
    double most = -1;
    if (n > kd_eval_vote_k(input))
        n = kd_eval_vote_k(input);
    for (size_t i = 0; i < n; i++) {
        double weight = 0;
        for (size_t j = 0; j < n; j++)
            if (t->gallery[found[j].place] == t->gallery[found[i].place])
                weight += !input->vote_by_score   ? 1
                          : found[j].score > 0.0f ? (double)found[j].score
                                                  : 0;
        if (weight > most) {
            most = weight;
            winner = t->gallery[found[i].place];
        }
    }
    return winner;
}

static uint8_t labels_of_five(
    const kd_label_table *t, uint32_t truth, const kd_ranked *found, size_t n)
{
    uint32_t seen[FIRST_FIVE + 1] = {truth};
    uint8_t n_seen = 1;
    for (size_t i = 0; i < n && i < FIRST_FIVE; i++) {
        uint8_t j = 0;
        while (j < n_seen && seen[j] != t->gallery[found[i].place])
            j++;
        if (j == n_seen)
            seen[n_seen++] = t->gallery[found[i].place];
    }
    return n_seen;
}

void kd_eval_answer(const kd_eval_input *input, const kd_label_table *t, const kd_ranked *found,
    size_t n, uint32_t truth, kd_answer *out)
{
    const uint32_t positives = out->positives;
    double sum_5 = 0, sum_r = 0;
    uint32_t right = 0, right_at_r = 0;
    for (size_t i = 0; i < n; i++) {
        if (t->gallery[found[i].place] != truth)
            continue;
        const double precision = (double)++right / (double)(i + 1);
        if (right == 1 && i < KD_EVAL_DEPTH)
            out->first = (uint32_t)i + 1;
        if (i < FIRST_FIVE) {
            sum_5 += precision;
            out->right_at_5++;
        }
        if (i < 10)
            out->right_at_10++;
        if (i < positives) {
            sum_r += precision;
            right_at_r++;
        }
    }
    out->truth = truth;
    out->vote = vote(input, t, found, n);
    out->labels_at_5 = labels_of_five(t, truth, found, n);
    out->ap_at_5 = sum_5 / (double)(positives < FIRST_FIVE ? positives : FIRST_FIVE);
    out->ap_at_r = sum_r / (double)positives;
    out->r_precision = (double)right_at_r / (double)positives;
}
