/* lib/eval/answer.h: what the first images of a query say of it. Nobody outside lib/eval includes
 * it.
 */
#ifndef KD_EVAL_ANSWER_H
#define KD_EVAL_ANSWER_H

#include "lib/eval/scan.h"
#include "lib/eval/tables.h"

static inline uint32_t kd_eval_vote_k(const kd_eval_input *input)
{
    return input->vote_k ? input->vote_k : 5;
}

/* Fills *out, which has its positives (at least one) and else zeros, from the first n images, best
 * first: as many as the positives, the vote and KD_EVAL_HITS need, or all there are. */
void kd_eval_answer(const kd_eval_input *input, const kd_label_table *t, const kd_ranked *found,
    size_t n, uint32_t truth, kd_answer *out);

#endif
