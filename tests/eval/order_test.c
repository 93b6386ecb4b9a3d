/* Whatever the fast kernel's last bits are, answers follow from kd_dot's scores and the ids:
 * against a sort of everything by those, where many scores lie nearer to each other than the kernel
 * is exact. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/eval/eval.h"
#include "tests/support/check.h"

enum { N = 300, DIM = 48, CENTRES = 3, VOTE_K = 5 };

static kd_error g_err = KD_ERROR_INIT;

typedef struct crowd {
    float vectors[N][DIM];
    uint64_t ids[N];
    uint32_t labels[KD_EVAL_KINDS][N];
} crowd;

static float draw(uint64_t *state)
{
    return (float)(kd_random_next(state) >> 40) * 0x1p-23f - 1;
}

/* Images around a few centres that say nothing of their labels. */
static void make(crowd *c, float spread, uint32_t classes)
{
    uint64_t state = 1;
    for (size_t i = 0; i < N; i++) {
        float *const v = c->vectors[i];
        uint64_t centre = 1000 + i % CENTRES;
        double square = 0;
        for (size_t d = 0; d < DIM; d++) {
            v[d] = draw(&centre) + spread * draw(&state);
            square += (double)v[d] * (double)v[d];
        }
        for (size_t d = 0; d < DIM; d++)
            v[d] = (float)((double)v[d] / sqrt(square));
        c->ids[i] = (i * 77) % N + 1;
        c->labels[KD_EVAL_CLASS][i] = (uint32_t)(kd_random_next(&state) % classes);
        c->labels[KD_EVAL_SUPER_CLASS][i] = c->labels[KD_EVAL_CLASS][i] / 4;
    }
}

/* ---- The other way ---- */

typedef struct ranked {
    float score;
    uint64_t id;
    size_t place;
} ranked;

static int best_first(const void *left, const void *right)
{
    const ranked *const a = left, *const b = right;
    if (a->score > b->score || a->score < b->score)
        return a->score > b->score ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

static void rank_all(const crowd *c, size_t query, ranked *all)
{
    size_t n = 0;
    for (size_t i = 0; i < N; i++)
        if (i != query)
            all[n++] = (ranked){kd_dot(c->vectors[query], c->vectors[i], DIM), c->ids[i], i};
    qsort(all, n, sizeof *all, best_first);
}

static void check_answer(
    const crowd *c, size_t query, const ranked *all, unsigned kind, const kd_answer *answer)
{
    const uint32_t *const labels = c->labels[kind];
    uint32_t positives = 0, right = 0, right_at_5 = 0, right_at_10 = 0, right_at_r = 0, first = 0;
    double sum = 0;
    for (size_t i = 0; i < N - 1; i++)
        positives += labels[all[i].place] == labels[query];
    CHECK_INT(positives, answer->positives);
    for (uint32_t i = 0; i < N - 1; i++) {
        if (labels[all[i].place] != labels[query])
            continue;
        right++;
        first = first ? first : i + 1;
        right_at_5 += i < 5;
        right_at_10 += i < 10;
        right_at_r += i < positives;
        sum += i < positives ? (double)right / (double)(i + 1) : 0;
    }
    if (positives == 0)
        return;
    CHECK_INT(first, answer->first);
    CHECK_INT(right_at_5, answer->right_at_5);
    CHECK_INT(right_at_10, answer->right_at_10);
    CHECK_NEAR((double)right_at_r / positives, answer->r_precision, 0);
    CHECK_NEAR(sum / positives, answer->ap_at_r, 0);
}

static void check_all(float spread, uint32_t classes)
{
    static crowd c;
    ranked all[N];
    kd_eval eval;
    make(&c, spread, classes);
    const kd_eval_input input = {.queries = c.vectors[0],
        .n_queries = N,
        .gallery = c.vectors[0],
        .n_gallery = N,
        .dim = DIM,
        .gallery_ids = c.ids,
        .selves = c.ids,
        .query_labels = {c.labels[0], c.labels[1]},
        .gallery_labels = {c.labels[0], c.labels[1]},
        .vote_k = VOTE_K};
    CHECK_OK(kd_eval_run(&input, &eval, &g_err), g_err);
    for (size_t q = 0; q < N; q++) {
        rank_all(&c, q, all);
        for (size_t i = 0; i < eval.counts[q]; i++) {
            CHECK_INT(all[i].id, eval.hits[q * KD_EVAL_HITS + i].id);
            CHECK_NEAR((double)all[i].score, (double)eval.hits[q * KD_EVAL_HITS + i].score, 0);
        }
        for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
            check_answer(&c, q, all, kind, &eval.answers[kind][q]);
    }
    kd_eval_free(&eval);
}

static void test_eval_order__is_kd_dot_s(void **state)
{
    static const float spreads[] = {0, 1e-7f, 1e-6f, 1e-5f, 1e-4f, 1e-3f, 3e-3f, 0.01f, 0.03f, 1};
    static const uint32_t classes[] = {2, 8, 40, 200};
    (void)state;
    for (size_t s = 0; s < sizeof spreads / sizeof spreads[0]; s++)
        for (size_t l = 0; l < sizeof classes / sizeof classes[0]; l++)
            check_all(spreads[s], classes[l]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_eval_order__is_kd_dot_s)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
