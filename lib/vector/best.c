#include "lib/vector/best.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

void kd_best_start(
    kd_best *best, const float *query, const float *base, size_t dim, size_t k, kd_candidate *kept)
{
    *best = (kd_best){.query = query,
        .base = base,
        .kept = kept,
        .dim = dim,
        .k = k,
        .floor = -INFINITY,
        .min_score = -INFINITY};
}

void kd_best_cut(kd_best *best, float min_score)
{
    best->min_score = min_score;
    best->floor = min_score - kd_score_margin(best->dim);
}

/* Each is within dim × 2^-24 of the true product, in any order of addition, with or without FMA. */
float kd_score_margin(size_t dim)
{
    return 2.2f * (float)(dim + 8) * (FLT_EPSILON / 2);
}

static int better_first(const void *left, const void *right)
{
    const kd_candidate *a = left, *b = right;
    if (a->score > b->score)
        return -1;
    if (a->score < b->score)
        return 1;
    return (a->id > b->id) - (a->id < b->id);
}

static int by_group(const void *left, const void *right)
{
    const kd_candidate *a = left, *b = right;
    return a->group != b->group ? (a->group > b->group) - (a->group < b->group)
                                : better_first(left, right);
}

/* Leaves the best of each group. */
static void thin_groups(kd_best *best)
{
    size_t n = 0;
    qsort(best->kept, best->n_kept, sizeof *best->kept, by_group);
    for (size_t i = 0; i < best->n_kept; i++)
        if (n == 0 || best->kept[n - 1].group != best->kept[i].group)
            best->kept[n++] = best->kept[i];
    best->n_kept = n;
}

static void swap(kd_candidate *a, kd_candidate *b)
{
    const kd_candidate held = *a;
    *a = *b;
    *b = held;
}

/* Hoare's selection: moves the nth best score to all[nth], better ones before it. */
static float select_nth(kd_candidate *all, size_t n, size_t nth)
{
    size_t low = 0, high = n - 1;
    while (low < high) {
        const float pivot = all[low + (high - low) / 2].score;
        size_t i = low, j = high;
        while (i <= j) {
            while (all[i].score > pivot)
                i++;
            while (all[j].score < pivot)
                j--;
            if (i <= j) {
                swap(&all[i++], &all[j]);
                if (j == 0)
                    break;
                j--;
            }
        }
        if (nth <= j)
            high = j;
        else if (nth >= i)
            low = i;
        else
            break;
    }
    return all[nth].score;
}

/* Drops what is surely not among the best. The k best scores are those of rows with kd_dot's score
 * at most a margin lower, so a row two margins below the k-th is out. Where that frees too little
 * (copies, a collapsed model: all scores alike), the exact scores decide. */
void kd_best_make_room(kd_best *best)
{
    const size_t k = best->k;
    if (best->grouped) { /* the k-th best row says nothing of the k-th best group */
        kd_best_settle(best);
        return;
    }
    best->floor = select_nth(best->kept, best->n_kept, k - 1) - 2 * kd_score_margin(best->dim);
    size_t n = k;
    for (size_t i = k; i < best->n_kept; i++)
        if (best->kept[i].score >= best->floor)
            best->kept[n++] = best->kept[i];
    best->n_kept = n;
    if (n > k + (kd_best_room(k) - k) / 2)
        kd_best_settle(best);
}

void kd_best_settle(kd_best *best)
{
    for (size_t i = 0; i < best->n_kept; i++)
        best->kept[i].score =
            kd_dot(best->query, best->base + best->kept[i].row * best->dim, best->dim);
    if (best->grouped && best->n_kept > 1)
        thin_groups(best);
    if (best->n_kept > 1)
        qsort(best->kept, best->n_kept, sizeof *best->kept, better_first);
    if (best->n_kept > best->k)
        best->n_kept = best->k;
    while (best->n_kept > 0 && best->kept[best->n_kept - 1].score < best->min_score)
        best->n_kept--;
    if (best->n_kept == best->k)
        best->floor = best->kept[best->k - 1].score - kd_score_margin(best->dim);
}

size_t kd_best_finish(kd_best *best, kd_hit *hits)
{
    kd_best_settle(best);
    for (size_t i = 0; i < best->n_kept; i++)
        hits[i] = (kd_hit){.id = best->kept[i].id, .score = best->kept[i].score};
    return best->n_kept;
}
