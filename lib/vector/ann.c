#include "lib/vector/ann.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "lib/vector/scan.h"

enum {
    TUNED_K = 10,
    SAMPLED = 1024,         /* rows that tell how many pass a filter */
    SCORED = KD_HNSW_LINKS, /* rows that a search of the graph scores for each it holds, about */
    MOST_WIDTH = 4096,
    GROUPED = 4, /* times as many candidates where each group gives one hit */
};

kd_status kd_ann_new(kd_ann **out, const kd_rows *rows, kd_ann_kind kind, kd_ann_storage storage,
    uint64_t seed, kd_error *err)
{
    *out = NULL;
    kd_ann *const ann = calloc(1, sizeof *ann);
    if (!ann)
        return kd_error_memory(err, "an approximate index");
    *ann = (kd_ann){
        .rows = *rows, .kind = kind, .seed = seed, .recall = 1, .exact = rows->n < KD_ANN_LEAST};
    kd_status status = KD_OK;
    if (!ann->exact) {
        status = kd_codes_new(&ann->codes, &ann->rows, storage, err);
        if (status == KD_OK)
            status = kind == KD_ANN_HNSW ? kd_hnsw_new(&ann->hnsw, rows->n, seed, err)
                                         : kd_ivf_new(&ann->ivf, rows->n, rows->dim, err);
    }
    if (status != KD_OK) {
        kd_ann_free(ann);
        return status;
    }
    ann->codes.storage = storage;
    *out = ann;
    return KD_OK;
}

void kd_ann_free(kd_ann *ann)
{
    if (!ann)
        return;
    kd_codes_free(&ann->codes);
    kd_hnsw_free(&ann->hnsw);
    kd_ivf_free(&ann->ivf);
    free(ann);
}

bool kd_ann_made_for(
    const kd_ann *ann, kd_ann_kind kind, kd_ann_storage storage, float target_recall)
{
    return ann->kind == kind && ann->codes.storage == storage && ann->target == target_recall;
}

float kd_ann_recall(const kd_ann *ann)
{
    return ann->recall;
}

size_t kd_ann_effort(const kd_ann *ann)
{
    return ann->effort;
}

size_t kd_ann_bytes(const kd_ann *ann)
{
    return sizeof *ann + kd_codes_bytes(&ann->codes) + kd_hnsw_bytes(&ann->hnsw) +
           kd_ivf_bytes(&ann->ivf);
}

size_t kd_ann_most(const kd_ann *ann)
{
    const size_t n = ann->rows.n;
    if (ann->kind == KD_ANN_IVF)
        return ann->ivf.lists;
    return n < MOST_WIDTH ? n : MOST_WIDTH;
}

/* ---- Search ---- */

/* What part of the rows pass, by a sample of them. */
static double part_that_passes(const kd_rows *rows, const kd_search *search)
{
    if (!search->mask && !search->groups)
        return 1;
    size_t passed = 0;
    for (size_t i = 0; i < SAMPLED; i++)
        passed += kd_search_passes(search, rows, i * rows->n / SAMPLED);
    return (double)passed / SAMPLED;
}

/* How a search is done. */
typedef struct plan {
    bool exact;
    size_t width; /* candidates to hold */
    size_t lists; /* to read */
    size_t most;  /* rows to score before an exact search is cheaper */
} plan;

/* The effort grows with k: an answer holds part of what is looked at. With a filter as many rows
 * that pass are looked at as without one, and as those that do not pass cost little in lists, twice
 * as many there. */
static plan make_plan(const kd_ann *ann, const kd_search *search, size_t effort)
{
    plan p = {.exact = ann->exact};
    if (p.exact)
        return p;
    const double n = (double)ann->rows.n, part = part_that_passes(&ann->rows, search);
    const double more = search->k > TUNED_K ? (double)search->k / TUNED_K : 1;
    const size_t times = search->groups ? GROUPED : 1, k = search->k;
    if (ann->kind == KD_ANN_IVF) {
        const double lists = (part < 1 ? 2 : 1) * more * (double)effort / (part + 1e-9);
        p.exact = lists >= (double)ann->ivf.lists && part < 1;
        p.lists = lists < (double)ann->ivf.lists ? (size_t)lists : ann->ivf.lists;
        p.width = (k + k / 2 + 10) * times;
    } else {
        p.width = (size_t)(more * (double)(effort > TUNED_K ? effort : TUNED_K)) * times;
        if (p.width > ann->rows.n)
            p.width = ann->rows.n;
        p.exact = part * n <= SCORED * (double)p.width / (part + 1e-9);
        p.most = (size_t)(part * n);
    }
    return p;
}

static int best_first(const void *left, const void *right)
{
    const float a = ((const kd_seen *)left)->score, b = ((const kd_seen *)right)->score;
    return (a < b) - (a > b);
}

/* The candidates in found (room for p->width); too few to answer with when *n_found is 0. */
static kd_status find(const kd_ann *ann, const float *query, const kd_search *search, const plan *p,
    kd_seen *found, size_t *n_found, kd_error *err)
{
    kd_code_query asked;
    kd_codes_ask(&ann->codes, query, &asked);
    if (ann->kind == KD_ANN_IVF)
        return kd_ivf_search(
            &ann->ivf, &ann->codes, &asked, search, p->lists, p->width, found, n_found, err);
    const bool all = !search->mask && !search->groups && search->n_exclude == 0;
    kd_hnsw_walk walk = {
        .graph = &ann->hnsw, .codes = &ann->codes, .search = all ? NULL : search, .most = p->most};
    if (!kd_hnsw_walk_new(&walk, p->width))
        return kd_error_memory(err, "a search");
    const kd_seen from = kd_hnsw_descend(&walk, &asked, 0);
    const bool room = kd_hnsw_find(&walk, &asked, 0, from, from.row);
    *n_found = room && walk.scored <= p->most ? walk.found.n : 0;
    for (size_t i = 0; i < *n_found; i++)
        found[i] = walk.found.all[i];
    kd_hnsw_walk_free(&walk);
    return room ? KD_OK : kd_error_memory(err, "a search");
}

/* The hits among the candidates, by kd_dot. */
static kd_status rank(const kd_ann *ann, const float *query, const kd_search *search,
    kd_seen *found, size_t n_found, kd_hit *hits, size_t *n_hits, kd_error *err)
{
    const kd_rows *const rows = &ann->rows;
    const size_t wanted = search->k + search->k / 2 + 10;
    if (!search->groups && n_found > wanted) {
        qsort(found, n_found, sizeof *found, best_first);
        n_found = wanted;
    }
    kd_candidate *const kept = malloc((n_found + 1) * sizeof *kept);
    if (!kept)
        return kd_error_memory(err, "a search");
    kd_best best;
    kd_best_start(&best, query, rows->vectors, rows->dim, search->k, kept);
    best.grouped = search->groups != NULL;
    for (size_t i = 0; i < n_found; i++) {
        const uint32_t row = found[i].row;
        __builtin_prefetch(rows->vectors + row * rows->dim);
        kept[i] = (kd_candidate){.id = rows->ids[row],
            .row = row,
            .group = search->groups ? search->groups[rows->tags[row]] : 0};
    }
    best.n_kept = n_found;
    *n_hits = kd_best_finish(&best, hits);
    free(kept);
    return KD_OK;
}

static kd_status search_exactly(const kd_ann *ann, const float *query, const kd_search *search,
    kd_hit *hits, size_t *n_hits, kd_error *err)
{
    uint32_t count = 0;
    const kd_status status = kd_scan(&ann->rows, search, query, 1, hits, &count, NULL, err);
    *n_hits = count;
    return status;
}

kd_status kd_ann_search(const kd_ann *ann, const float *query, const kd_search *search,
    size_t effort, kd_hit *hits, size_t *n_hits, kd_error *err)
{
    assert(ann && query && search && hits && n_hits);
    *n_hits = 0;
    kd_status status = kd_search_check(search, ann->rows.dim, query, 1, err);
    if (status != KD_OK)
        return status;
    const plan p = make_plan(ann, search, effort ? effort : ann->effort);
    if (p.exact)
        return search_exactly(ann, query, search, hits, n_hits, err);
    kd_seen *const found = malloc((p.width + 1) * sizeof *found);
    if (!found)
        return kd_error_memory(err, "a search");
    size_t n_found = 0, n = 0;
    status = find(ann, query, search, &p, found, &n_found, err);
    if (status == KD_OK)
        status = rank(ann, query, search, found, n_found, hits, &n, err);
    free(found);
    if (status != KD_OK)
        return status;
    if (n < search->k) /* more may be there */
        return search_exactly(ann, query, search, hits, n_hits, err);
    while (search->min_score && n > 0 && hits[n - 1].score < *search->min_score)
        n--;
    *n_hits = n;
    return KD_OK;
}
