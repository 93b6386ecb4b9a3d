#include "services/trainer/collapse.h"

#include <math.h>
#include <stdio.h>

#define RECENT 0.9     /* weight of what was before in a running mean */
#define NEAR 0.05      /* Euclidean distance of normalised embeddings that are as good as equal */
#define NEAR_SHARE 0.1 /* … of raw ones, of the margin */

static double mean(double before, double now, uint32_t steps)
{
    return steps == 0 ? now : RECENT * before + (1 - RECENT) * now;
}

void collapse_note(collapse_watch *w, const kd_step_stats *stats)
{
    w->positive = mean(w->positive, (double)stats->positive_distance, w->steps);
    w->negative = mean(w->negative, (double)stats->negative_distance, w->steps);
    w->active = mean(w->active, (double)stats->active_share, w->steps);
    w->loss = mean(w->loss, (double)stats->loss, w->steps);
    w->steps++;
}

bool collapse_of_steps(
    const collapse_watch *w, const kd_loss_options *loss, char text[COLLAPSE_TEXT])
{
    double near = NEAR;
    if (loss->raw && loss->margin > 0)
        near = NEAR_SHARE * (double)loss->margin;
    else if (loss->distance == KD_DISTANCE_COSINE)
        near = NEAR * NEAR / 2; /* 1 - cos of two unit vectors is half their distance's square */
    if (w->steps < COLLAPSE_STEPS || w->positive >= near || w->negative >= near)
        return false;
    const int n = snprintf(text, COLLAPSE_TEXT,
        "all embeddings have come to lie on one point (mean distance %.2g to images of the same "
        "label, %.2g to others; loss %.3g",
        w->positive, w->negative, w->loss);
    if (n > 0 && n < COLLAPSE_TEXT && loss->loss == KD_LOSS_TRIPLET)
        (void)snprintf(text + n, (size_t)(COLLAPSE_TEXT - n), ", %.0f %% of the triplets active)",
            100 * w->active);
    else if (n > 0 && n < COLLAPSE_TEXT)
        (void)snprintf(text + n, (size_t)(COLLAPSE_TEXT - n), ")");
    return true;
}

bool collapse_of_rank(double rank, size_t n, size_t dim, char text[COLLAPSE_TEXT])
{
    if (n < COLLAPSE_LEAST_ROWS || dim < 8 || rank >= COLLAPSE_RANK)
        return false;
    (void)snprintf(text, COLLAPSE_TEXT,
        "the embeddings of %zu validation images vary in hardly more than one of %zu directions "
        "(effective rank %.2f)",
        n, dim, rank);
    return true;
}

void collapse_advice(const kd_loss_options *loss, double learning_rate, char text[COLLAPSE_TEXT])
{
    (void)snprintf(text, COLLAPSE_TEXT, "try a learning_rate below %.2g%s%s%s; or on_collapse fix",
        learning_rate, loss->raw ? ", embeddings that are normalised (without raw)" : "",
        loss->reduction == KD_REDUCTION_SUM ? ", the reduction mean" : "",
        loss->loss == KD_LOSS_TRIPLET && loss->margin > 0
            ? ", the soft margin (without margin) or the miner semi-hard"
            : "");
}
