#include <stdlib.h>

#include "lib/eval/details.h"
#include "tests/support/check.h"

static kd_error g_err = KD_ERROR_INIT;

/* ---- Details of five queries ---- */

static const char *name(void *arg, kd_eval_kind kind, uint32_t label)
{
    static const char *const names[KD_EVAL_KINDS][4] = {
        {"gala", "fuji", "pear", "leek"}, {"fruit", "root", "leaf", NULL}};
    CHECK_INT(7, *(int *)arg);
    return names[kind][label / 10 % 4];
}

static int seven = 7;
static const kd_label_names names = {name, &seven};

#define QUERIES 6u
static uint32_t class_labels[] = {0, 10, 20, 30}, super_labels[] = {0, 10, 20};
static kd_answer of_class[QUERIES] = {
    {.truth = 0, .vote = 0, .positives = 3, .first = 1, .ap_at_5 = 1},
    {.truth = 0, .vote = 1, .positives = 3, .first = 4, .ap_at_5 = 0.5},
    {.truth = 1, .vote = 0, .positives = 2, .first = 0, .ap_at_5 = 0},
    {.truth = 1, .vote = 2, .positives = 2, .first = 9, .ap_at_5 = 0.25},
    {.truth = 2, .vote = 2, .positives = 1, .first = 0, .ap_at_5 = 0},
    {.truth = UINT32_MAX, .vote = 0, .positives = 0},
};
static kd_answer of_super[QUERIES] = {
    {.truth = 0, .vote = 1, .positives = 3, .first = 2, .ap_at_5 = 0.5},
    {.truth = 0, .vote = 1, .positives = 3, .first = 1, .ap_at_5 = 1},
    {.truth = 0, .vote = 0, .positives = 3, .first = 1, .ap_at_5 = 0.25},
    {.truth = 0, .vote = 2, .positives = 3, .first = 0, .ap_at_5 = 0.25},
    {.truth = 1, .vote = 1, .positives = 1, .first = 1, .ap_at_5 = 1},
    {.truth = UINT32_MAX, .vote = 0, .positives = 0},
};
static kd_hit hits[QUERIES * KD_EVAL_HITS];
static uint32_t counts[QUERIES] = {5, 5, 5, 5, 5, 5};
static kd_pairs pairs[KD_EVAL_KINDS];

static kd_eval make_eval(void)
{
    memset(pairs, 0, sizeof pairs);
    pairs[KD_EVAL_CLASS].same[KD_EVAL_BINS - 1] = 3;
    pairs[KD_EVAL_CLASS].same[KD_EVAL_BINS / 2] = 1;
    pairs[KD_EVAL_CLASS].other[KD_EVAL_BINS / 2] = 5;
    pairs[KD_EVAL_CLASS].other[0] = 5;
    hits[2 * KD_EVAL_HITS].score = 0.5f;
    hits[4 * KD_EVAL_HITS].score = 0.75f; /* as late, but surer */
    return (kd_eval){.n = QUERIES,
        .hits = hits,
        .counts = counts,
        .answers = {of_class, of_super},
        .labels = {class_labels, super_labels},
        .n_labels = {4, 3},
        .pairs = {&pairs[0], &pairs[1]}};
}

static void test_eval_details__means_by_label(void **state)
{
    const kd_eval eval = make_eval();
    kd_report_details d;
    (void)state;
    CHECK_OK(kd_details_make(&eval, &names, &d, &g_err), g_err);
    CHECK_INT(2, d.n_supers); /* the third has no query */
    CHECK_INT(2, d.all_supers);
    CHECK_STR("root", d.supers[0].name);
    CHECK_NEAR(1, d.supers[0].recall_at_1, 0);
    CHECK_STR("fruit", d.supers[1].name);
    CHECK_INT(4, d.supers[1].queries);
    CHECK_NEAR(0.5, d.supers[1].recall_at_1, 0);
    CHECK_NEAR(0.5, d.supers[1].map_at_5, 0);
    CHECK_NEAR(0.25, d.supers[1].accuracy, 0);
    CHECK_INT(2, d.n_hardest); /* the third has one query alone */
    CHECK_STR("fuji", d.hardest[0].name);
    CHECK_NEAR(0.125, d.hardest[0].map_at_5, 0);
    CHECK_STR("gala", d.hardest[1].name);
    CHECK_NEAR(0.75, d.hardest[1].map_at_5, 0);
    kd_details_free(&d);
}

static void test_eval_details__confusions(void **state)
{
    static const uint32_t expected[] = {1, 2, 1, 0, 1, 0, 0, 0, 0};
    const kd_eval eval = make_eval();
    kd_report_details d;
    (void)state;
    CHECK_OK(kd_details_make(&eval, &names, &d, &g_err), g_err);
    CHECK_INT(3, d.n_matrix);
    CHECK_STR("leaf", d.matrix_names[2]);
    for (size_t i = 0; i < 9; i++)
        CHECK_INT(expected[i], d.matrix[i]);
    CHECK_INT(2, d.n_confused);
    CHECK_STR("fruit", d.confused[0].truth);
    CHECK_STR("root", d.confused[0].vote);
    CHECK_INT(2, d.confused[0].count);
    CHECK_NEAR(0.5, d.confused[0].share, 0);
    CHECK_STR("leaf", d.confused[1].vote);
    kd_details_free(&d);
}

static void test_eval_details__spread_of_scores(void **state)
{
    const kd_eval eval = make_eval();
    kd_report_details d;
    (void)state;
    CHECK_OK(kd_details_make(&eval, &names, &d, &g_err), g_err);
    const kd_report_spread *const spread = &d.spread[KD_EVAL_CLASS];
    CHECK_INT(79, spread->n); /* of 52 of the 4096 each */
    CHECK_NEAR(-1, spread->low, 0);
    CHECK_NEAR(-1 + 2.0 * 79 * 52 / KD_EVAL_BINS, spread->high, 1e-15);
    CHECK_NEAR(0.75, spread->same[78], 1e-15);
    CHECK_NEAR(0.25, spread->same[39], 1e-15);
    CHECK_NEAR(0.5, spread->other[39], 1e-15);
    CHECK_NEAR(0.5, spread->other[0], 1e-15);
    CHECK_NEAR(0.25, spread->overlap, 1e-15);
    CHECK(isnan(d.spread[KD_EVAL_SUPER_CLASS].overlap));
    CHECK_INT(0, d.spread[KD_EVAL_SUPER_CLASS].n);
    kd_details_free(&d);
    memset(pairs, 0, sizeof pairs); /* all close together: as many bins as there are */
    pairs[KD_EVAL_CLASS].same[4001] = 10000;
    pairs[KD_EVAL_CLASS].same[0] = 1; /* too few to be seen */
    pairs[KD_EVAL_CLASS].other[4000] = 1;
    CHECK_OK(kd_details_make(&eval, &names, &d, &g_err), g_err);
    CHECK_INT(2, spread->n);
    CHECK_NEAR(-1 + 2.0 * 4000 / KD_EVAL_BINS, spread->low, 1e-15);
    CHECK_NEAR(-1 + 2.0 * 4002 / KD_EVAL_BINS, spread->high, 1e-15);
    CHECK_NEAR(10000.0 / 10001, spread->same[1], 1e-15);
    kd_details_free(&d);
}

static void test_eval_details__misses_are_the_latest(void **state)
{
    const kd_eval eval = make_eval();
    size_t queries[8], n;
    (void)state;
    CHECK_OK(kd_details_misses(&eval, 8, queries, &n, &g_err), g_err);
    CHECK_INT(4, n);
    CHECK_INT(4, queries[0]);
    CHECK_INT(2, queries[1]);
    CHECK_INT(3, queries[2]);
    CHECK_INT(1, queries[3]);
    CHECK_OK(kd_details_misses(&eval, 1, queries, &n, &g_err), g_err);
    CHECK_INT(1, n);
}

/* Lists end where they should, and there is no matrix of many labels. */
static void test_eval_details__lists_are_bounded(void **state)
{
    enum { N = 300 };
    static kd_answer answers[2 * N];
    static uint32_t labels[N], found[2 * N];
    static kd_hit none[2 * N * KD_EVAL_HITS];
    kd_report_details d;
    (void)state;
    for (uint32_t i = 0; i < 2 * N; i++) {
        labels[i / 2] = i / 2;
        found[i] = 1;
        answers[i] = (kd_answer){
            .truth = i / 2, .vote = (i / 2 + 1) % N, .positives = 1, .ap_at_5 = i / 1000.0};
    }
    const kd_eval eval = {.n = (size_t)2 * N,
        .hits = none,
        .counts = found,
        .answers = {answers, answers},
        .labels = {labels, labels},
        .n_labels = {N, N},
        .pairs = {&pairs[0], &pairs[1]}};
    CHECK_OK(kd_details_make(&eval, &names, &d, &g_err), g_err);
    CHECK_INT(KD_REPORT_SUPERS, d.n_supers);
    CHECK_INT(N, d.all_supers);
    CHECK_INT(KD_REPORT_HARDEST, d.n_hardest);
    CHECK_INT(0, d.hardest[0].label);
    CHECK_INT(0, d.n_matrix);
    CHECK_INT(KD_REPORT_CONFUSED, d.n_confused);
    kd_details_free(&d);
}

/* ---- Map ---- */

/* Along (3, 4, 0) / 5 with variance 100, along (0, 0, 1) with variance 4, nothing else. */
static void test_eval_details__principal_axes_of_a_known_case(void **state)
{
    static const float rows[] = {
        7, 9, 1, 7, 9, 5, -5, -7, 1, -5, -7, 5, /* (1, 1, 3) ± 10 · (0.6, 0.8, 0) ± (0, 0, 2) */
    };
    float at[8];
    double shares[2];
    (void)state;
    CHECK_OK(kd_principal_axes(rows, 4, 3, at, shares, &g_err), g_err);
    CHECK_NEAR(100.0 / 104, shares[0], 1e-9);
    CHECK_NEAR(4.0 / 104, shares[1], 1e-9);
    for (size_t i = 0; i < 4; i++) {
        CHECK_NEAR(i < 2 ? 10 : -10, (double)at[2 * i], 1e-5);
        CHECK_NEAR(i % 2 ? 2 : -2, (double)at[2 * i + 1], 1e-5);
    }
}

static void test_eval_details__principal_axes_of_equal_rows(void **state)
{
    static const float rows[] = {1, 0, 1, 0, 1, 0};
    float at[6];
    double shares[2];
    (void)state;
    CHECK_OK(kd_principal_axes(rows, 3, 2, at, shares, &g_err), g_err);
    CHECK_NEAR(0, shares[0], 0);
    for (size_t i = 0; i < 6; i++)
        CHECK_NEAR(0, (double)at[i], 0);
    static const float line[] = {1, 2, 3}; /* of one dimension: no second axis */
    CHECK_OK(kd_principal_axes(line, 3, 1, at, shares, &g_err), g_err);
    CHECK_NEAR(1, shares[0], 1e-12);
    CHECK_NEAR(0, shares[1], 0);
    CHECK_NEAR(1, (double)at[4], 1e-6);
}

static void test_eval_details__map_colours_the_largest_groups(void **state)
{
    enum { N = 40 };
    float rows[N * 2];
    uint32_t labels[N];
    kd_report_details d = {.n_supers = 0};
    (void)state;
    for (uint32_t i = 0; i < N; i++) {
        rows[2 * i] = (float)i;
        rows[2 * i + 1] = 0;
        labels[i] = i < 20 ? 20 : 100 + i % 15; /* one of twenty, fifteen of one or two */
    }
    CHECK_OK(kd_details_map(&d, rows, labels, 2, 2, &names, &g_err), g_err);
    CHECK_INT(0, d.map.n); /* too few */
    CHECK_OK(kd_details_map(&d, rows, labels, N, 2, &names, &g_err), g_err);
    CHECK_INT(N, d.map.n);
    CHECK_INT(KD_REPORT_MAP_LABELS, d.map.n_groups);
    CHECK_STR("leaf", d.map.groups[0]);
    CHECK_INT(20, d.map.group_sizes[0]);
    CHECK_INT(0, d.map.points[19].group);
    size_t others = 0;
    for (size_t i = 0; i < N; i++)
        others += d.map.points[i].group == d.map.n_groups;
    size_t named = 0;
    for (size_t g = 0; g < d.map.n_groups; g++)
        named += d.map.group_sizes[g];
    CHECK_INT(N, others + named);
    CHECK_NEAR(1, d.map.shares[0], 1e-9);
    kd_details_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_details__means_by_label),
        cmocka_unit_test(test_eval_details__confusions),
        cmocka_unit_test(test_eval_details__spread_of_scores),
        cmocka_unit_test(test_eval_details__misses_are_the_latest),
        cmocka_unit_test(test_eval_details__lists_are_bounded),
        cmocka_unit_test(test_eval_details__principal_axes_of_a_known_case),
        cmocka_unit_test(test_eval_details__principal_axes_of_equal_rows),
        cmocka_unit_test(test_eval_details__map_colours_the_largest_groups),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
