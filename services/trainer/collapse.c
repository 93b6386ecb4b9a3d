#include "services/trainer/collapse.h"

#include <math.h>
#include <stdio.h>

#define RECENT 0.9     /* weight of what was before in a running mean */
#define NEAR 0.05      /* Euclidean distance of normalised embeddings that are as good as equal */
#define NEAR_SHARE 0.1 /* … of raw ones, of the margin */
#define GAP_SHARE 0.05 /* of the margin, between the two mean distances: no gap at all */
#define ACTIVE 0.7     /* least share of active terms at the margin */

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

/* Both mean distances are nothing beside what the loss asks for. */
bool collapse_of_epoch(
    const collapse_means *m, const kd_loss_options *loss, char text[COLLAPSE_TEXT])
{
    double near = NEAR;
    if (loss->raw && loss->margin > 0)
        near = NEAR_SHARE * (double)loss->margin;
    else if (loss->distance == KD_DISTANCE_COSINE)
        near = NEAR * NEAR / 2; /* 1 - cos of two unit vectors is half their distance's square */
    if (m->positive >= near || m->negative >= near)
        return false;
    (void)snprintf(text, COLLAPSE_TEXT,
        "all embeddings have come to lie on one point (mean distance %.2g to images of the same "
        "label, %.2g to others; loss %.3g, %.0f %% of its terms active)",
        m->positive, m->negative, m->loss, 100 * m->active);
    return true;
}

bool collapse_of_steps(
    const collapse_watch *w, const kd_loss_options *loss, char text[COLLAPSE_TEXT])
{
    const collapse_means recent = {w->positive, w->negative, w->active, w->loss};
    return w->steps >= COLLAPSE_STEPS && collapse_of_epoch(&recent, loss, text);
}

/* Over these epochs together, as one of few steps says little: no gap, and most terms active. */
static bool without_gap(const collapse_means *means, size_t n, double margin)
{
    double gap = 0, active = 0;
    for (size_t i = 0; i < n; i++) {
        gap += (means[i].negative - means[i].positive) / (double)n;
        active += means[i].active / (double)n;
    }
    return active >= ACTIVE && fabs(gap) <= GAP_SHARE * margin;
}

bool collapse_of_margin(
    const collapse_means *means, size_t n, const kd_loss_options *loss, char text[COLLAPSE_TEXT])
{
    /* Two points of the unit sphere are at most 2 apart, whatever is asked for. */
    const double asked = (double)loss->margin, margin = loss->raw ? asked : fmin(asked, 1);
    const bool pairs = loss->loss == KD_LOSS_TRIPLET || loss->loss == KD_LOSS_CONTRASTIVE;
    /* A gap that opens only now is none over all. */
    if (!pairs || margin <= 0 || !without_gap(means, n, margin) ||
        !without_gap(means + n / 2, n - n / 2, margin))
        return false;
    const collapse_means *const last = &means[n - 1];
    (void)snprintf(text, COLLAPSE_TEXT,
        "the loss sits at its margin: in %zu epochs images of other labels have not come to lie "
        "farther than those of the same (mean distance %.3g and %.3g, margin %.3g; loss %.4g, %.0f "
        "%% of its terms active)",
        n, last->negative, last->positive, asked, last->loss, 100 * last->active);
    return true;
}

bool collapse_of_rank(double rank, size_t n, size_t dim, char text[COLLAPSE_TEXT])
{
    if (n < COLLAPSE_LEAST_ROWS || dim < 8 || !(rank < COLLAPSE_RANK))
        return false;
    (void)snprintf(text, COLLAPSE_TEXT,
        "the embeddings of %zu validation images vary in hardly more than one of %zu directions "
        "(effective rank %.2f)",
        n, dim, rank);
    return true;
}

void collapse_advice(const kd_loss_options *loss, double learning_rate, char text[COLLAPSE_TEXT])
{
    (void)snprintf(text, COLLAPSE_TEXT,
        "try a learning_rate below %.2g%s%s%s, and look whether the labels are right; or "
        "on_collapse fix",
        learning_rate, loss->raw ? ", embeddings that are normalised (without raw)" : "",
        loss->reduction == KD_REDUCTION_SUM ? ", the reduction mean" : "",
        loss->loss == KD_LOSS_TRIPLET && loss->margin > 0
            ? ", the soft margin (without margin) or the miner semi-hard"
            : "");
}
