/* One pass over the scores of all pairs. Each query's row is counted into bins; the bins tell from
 * which score on images can be among the ranks that matter, and those alone are scored again by
 * kd_dot and put in order: what is measured does not depend on the fast kernel's last bits. */
#include "lib/eval/eval.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/eval/answer.h"

#define RADIX_BITS 8u
#define RADIX (1u << RADIX_BITS)
#define PASSES 4u /* of RADIX_BITS over 32 */

typedef struct pass {
    const kd_eval_input *input;
    kd_eval_tables tables;
    kd_eval *out;
    pthread_mutex_t lock; /* of out->pairs */
} pass;

typedef struct workspace { /* of one block of queries */
    uint32_t counts[KD_EVAL_BINS];
    uint64_t all[KD_EVAL_BINS], same[KD_EVAL_KINDS][KD_EVAL_BINS];
    kd_ranked *found, *spare; /* n_gallery each */
} workspace;

static size_t larger(size_t a, size_t b)
{
    return a > b ? a : b;
}

/* ---- Bins ---- */

static void count_row(workspace *w, const float *row, size_t n, uint32_t self)
{
    memset(w->counts, 0, sizeof w->counts);
    kd_scan_count(row, n, w->counts);
    if (self != KD_EVAL_NONE)
        w->counts[kd_scan_bin(row[self])]--;
    for (size_t b = 0; b < KD_EVAL_BINS; b++)
        w->all[b] += w->counts[b];
}

/* A score that all of the first depth images reach in kd_dot's eyes, and few others. */
static float floor_of(const workspace *w, size_t depth, size_t dim)
{
    size_t bin = KD_EVAL_BINS, reached = 0;
    while (bin > 0 && reached < depth)
        reached += w->counts[--bin];
    if (bin == 0)
        return -2;
    const float edge = (float)bin / (KD_EVAL_BINS / 2.0f) - 1.0f;
    return edge - 2 * kd_score_margin(dim) - 1e-6f; /* and what kd_scan_bin rounded away */
}

/* ---- Order ---- */

/* Best first as an unsigned number, least first. */
static uint32_t sort_key(float score)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof bits);
    return (bits & 0x80000000u) ? bits : ~bits & 0x7fffffffu;
}

static void sort_ranked(workspace *w, size_t n)
{
    static const uint32_t mask = RADIX - 1;
    uint32_t starts[PASSES][RADIX] = {{0}};
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = sort_key(w->found[i].score);
        for (unsigned p = 0; p < PASSES; p++)
            starts[p][(key >> (p * RADIX_BITS)) & mask]++;
    }
    for (unsigned p = 0; p < PASSES; p++) {
        uint32_t sum = 0;
        for (uint32_t d = 0; d < RADIX; d++) {
            const uint32_t here = starts[p][d];
            starts[p][d] = sum;
            sum += here;
        }
        for (size_t i = 0; i < n; i++) {
            const uint32_t key = sort_key(w->found[i].score);
            w->spare[starts[p][(key >> (p * RADIX_BITS)) & mask]++] = w->found[i];
        }
        kd_ranked *const sorted = w->spare;
        w->spare = w->found;
        w->found = sorted;
    }
}

static float exact(const pass *p, size_t q, size_t place)
{
    const kd_eval_input *const input = p->input;
    return kd_dot(input->queries + q * input->dim, input->gallery + place * input->dim, input->dim);
}

static int best_first(const void *left, const void *right, void *ids)
{
    const kd_ranked *const a = left, *const b = right;
    if (a->score > b->score || a->score < b->score)
        return a->score > b->score ? -1 : 1;
    const uint64_t x = ((const uint64_t *)ids)[a->place], y = ((const uint64_t *)ids)[b->place];
    return (x > y) - (x < y);
}

/* kd_dot's scores and order for n images. */
static void decide(const pass *p, size_t q, kd_ranked *found, size_t n)
{
    for (size_t i = 0; i < n; i++)
        found[i].score = exact(p, q, found[i].place);
    if (n > 1)
        qsort_r(found, n, sizeof *found, best_first, (void *)p->input->gallery_ids);
}

/* Which of q's labels an image has, a bit for each. */
static unsigned shared_labels(const pass *p, size_t q, size_t place)
{
    unsigned bits = 0;
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        const kd_label_table *const t = &p->tables.of[kind];
        bits |= (unsigned)(t->gallery[place] == t->queries[q]) << kind;
    }
    return bits;
}

/* Puts n images, sorted by their fast scores, into an order that answers as kd_dot's. Its order
 * can be another only where scores lie near each other, and beyond the first ones no answer depends
 * on the order of two images that share the same labels with the query. So kd_dot decides among
 * the first, and around each place further down where shared labels change: over everything that
 * is near the other side. Two that differ and are near each other have such a place between them.
 */
static void settle(const pass *p, kd_ranked *found, size_t n, size_t q, size_t first, size_t depth)
{
    const float near = 2 * kd_score_margin(p->input->dim);
    size_t from = 0, to = first < n ? first : n; /* what kd_dot has to decide next */
    unsigned labels = 0;
    float above = 0;
    for (size_t i = to, low = 0; i < n; i++) {
        const unsigned last = labels;
        labels = shared_labels(p, q, found[i].place);
        if (i == first || labels != last) {
            above = found[i - 1].score;
            while (found[low].score - found[i].score > near)
                low++;
            if (low >= depth)
                break;
            if (low > to) {
                decide(p, q, found + from, to - from);
                from = low;
            }
            to = i;
        }
        if (above - found[i].score <= near)
            to = i + 1;
    }
    decide(p, q, found + from, to - from);
}

/* The first depth images for query q, best first, into w->found; returns how many there are. */
static size_t rank(
    const pass *p, workspace *w, size_t q, const float *row, uint32_t self, size_t depth)
{
    const kd_eval_input *const input = p->input;
    const float floor = floor_of(w, depth, input->dim);
    const size_t n = kd_scan_reach(row, input->n_gallery, floor, self, w->found);
    sort_ranked(w, n);
    settle(p, w->found, n, q, larger(KD_EVAL_HITS, kd_eval_vote_k(p->input)), depth);
    return n < depth ? n : depth;
}

/* ---- One query's answer ---- */

static uint32_t count_positives(const kd_label_table *t, uint32_t truth, uint32_t self)
{
    if (truth == KD_EVAL_NONE)
        return 0;
    return t->starts[truth + 1] - t->starts[truth] -
           (self != KD_EVAL_NONE && t->gallery[self] == truth);
}

static void count_same(workspace *w, unsigned kind, const kd_label_table *t, uint32_t truth,
    const float *row, uint32_t self)
{
    if (truth == KD_EVAL_NONE)
        return;
    for (uint32_t m = t->starts[truth]; m < t->starts[truth + 1]; m++)
        if (t->members[m] != self)
            w->same[kind][kd_scan_bin(row[t->members[m]])]++;
}

/* ---- The first right image beyond the ranks in order ---- */

/* Is a ranked before b? */
static bool before(const pass *p, kd_ranked a, kd_ranked b)
{
    return best_first(&a, &b, (void *)p->input->gallery_ids) < 0;
}

/* The best image of label truth, which has one. */
static kd_ranked best_positive(const pass *p, const kd_label_table *t, uint32_t truth, size_t q,
    const float *row, uint32_t self)
{
    const float margin = 2 * kd_score_margin(p->input->dim);
    float most = -2;
    kd_ranked best = {.score = -2};
    for (uint32_t m = t->starts[truth]; m < t->starts[truth + 1]; m++)
        if (t->members[m] != self && row[t->members[m]] > most)
            most = row[t->members[m]];
    for (uint32_t m = t->starts[truth]; m < t->starts[truth + 1]; m++) {
        const uint32_t place = t->members[m];
        if (place == self || row[place] < most - margin)
            continue;
        const kd_ranked one = {exact(p, q, place), place};
        if (before(p, one, best))
            best = one;
    }
    return best;
}

static uint32_t rank_of_first(const pass *p, const kd_label_table *t, uint32_t truth, size_t q,
    const float *row, uint32_t self)
{
    const float margin = kd_score_margin(p->input->dim);
    const kd_ranked best = best_positive(p, t, truth, q, row, self);
    size_t better = 0;
    for (size_t i = 0; i < p->input->n_gallery && better < KD_EVAL_DEPTH; i++) {
        if (row[i] < best.score - margin || i == self)
            continue;
        if (row[i] > best.score + margin ||
            before(p, (kd_ranked){exact(p, q, i), (uint32_t)i}, best))
            better++;
    }
    return better < KD_EVAL_DEPTH ? (uint32_t)better + 1 : 0;
}

static void measure_query(const pass *p, workspace *w, size_t q, const float *row)
{
    const kd_eval_input *const input = p->input;
    const uint32_t self = p->tables.selves[q];
    size_t depth = larger(KD_EVAL_HITS, kd_eval_vote_k(p->input));
    count_row(w, row, input->n_gallery, self);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        const kd_label_table *const t = &p->tables.of[kind];
        kd_answer *const out = &p->out->answers[kind][q];
        *out = (kd_answer){.truth = KD_EVAL_NONE, .vote = KD_EVAL_NONE};
        out->positives = count_positives(t, t->queries[q], self);
        if (out->positives > 0)
            depth = larger(depth, out->positives);
        count_same(w, kind, t, t->queries[q], row, self);
    }
    const size_t n = rank(p, w, q, row, self, depth);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        const kd_label_table *const t = &p->tables.of[kind];
        kd_answer *const out = &p->out->answers[kind][q];
        if (out->positives > 0)
            kd_eval_answer(p->input, t, w->found, n, t->queries[q], out);
        if (out->positives > 0 && out->first == 0)
            out->first = rank_of_first(p, t, t->queries[q], q, row, self);
    }
    p->out->counts[q] = (uint32_t)(n < KD_EVAL_HITS ? n : KD_EVAL_HITS);
    for (size_t i = 0; i < p->out->counts[q]; i++)
        p->out->hits[q * KD_EVAL_HITS + i] =
            (kd_hit){.id = input->gallery_ids[w->found[i].place], .score = w->found[i].score};
}

/* ---- All of them ---- */

static void merge(pass *p, const workspace *w)
{
    (void)pthread_mutex_lock(&p->lock);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        kd_pairs *const pairs = p->out->pairs[kind];
        for (size_t b = 0; b < KD_EVAL_BINS; b++) {
            pairs->same[b] += w->same[kind][b];
            pairs->other[b] += w->all[b] - w->same[kind][b];
        }
    }
    (void)pthread_mutex_unlock(&p->lock);
}

static bool visit(void *arg, size_t first, size_t n, float *scores)
{
    pass *const p = arg;
    const size_t columns = p->input->n_gallery;
    workspace *const w = calloc(1, sizeof *w);
    kd_ranked *const room = malloc((2 * columns + 2) * sizeof *room);
    if (w && room) {
        w->found = room;
        w->spare = room + columns + 1;
        for (size_t i = 0; i < n; i++)
            measure_query(p, w, first + i, scores + i * columns);
        merge(p, w);
    }
    const bool good = w && room;
    free(room);
    free(w);
    return good;
}

static kd_status make_room(kd_eval *out, size_t n, kd_error *err)
{
    out->n = n;
    out->hits = calloc(n, KD_EVAL_HITS * sizeof *out->hits);
    out->counts = calloc(n, sizeof *out->counts);
    bool good = out->hits && out->counts;
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        out->answers[kind] = calloc(n, sizeof *out->answers[kind]);
        out->pairs[kind] = calloc(1, sizeof *out->pairs[kind]);
        good = good && out->answers[kind] && out->pairs[kind];
    }
    return good ? KD_OK : kd_error_memory(err, "the answers");
}

static kd_status check(const kd_eval_input *input, kd_error *err)
{
    if (input->n_gallery == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the gallery is empty");
    if (input->n_queries == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "there are no queries");
    if (input->n_gallery > UINT32_MAX)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "a gallery holds at most %u images", UINT32_MAX);
    if (input->vote_k > KD_EVAL_MAX_VOTE)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%u images cannot vote, allowed are 1 to %u",
            input->vote_k, KD_EVAL_MAX_VOTE);
    return KD_OK;
}

kd_status kd_eval_run(const kd_eval_input *input, kd_eval *out, kd_error *err)
{
    assert(input && out);
    *out = (kd_eval){.n = 0};
    kd_status status = check(input, err);
    if (status != KD_OK)
        return status;
    pass p = {.input = input, .out = out, .lock = PTHREAD_MUTEX_INITIALIZER};
    const kd_scores scores = {.queries = input->queries,
        .n_queries = input->n_queries,
        .gallery = input->gallery,
        .n_gallery = input->n_gallery,
        .dim = input->dim,
        .pool = input->pool,
        .progress = input->progress,
        .progress_arg = input->progress_arg,
        .visit = visit,
        .visit_arg = &p};
    status = kd_eval_tables_make(&p.tables, input, err);
    if (status == KD_OK)
        status = make_room(out, input->n_queries, err);
    if (status == KD_OK)
        status = kd_scores_run(&scores, err);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS && status == KD_OK; kind++) {
        out->labels[kind] = p.tables.of[kind].labels;
        out->n_labels[kind] = p.tables.of[kind].n;
        p.tables.of[kind].labels = NULL;
    }
    kd_eval_tables_free(&p.tables);
    if (status != KD_OK)
        kd_eval_free(out);
    return status;
}

void kd_eval_free(kd_eval *eval)
{
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        free(eval->answers[kind]);
        free(eval->labels[kind]);
        free(eval->pairs[kind]);
    }
    free(eval->hits);
    free(eval->counts);
    *eval = (kd_eval){.n = 0};
}
