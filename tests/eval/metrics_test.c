/* The golden cases are tools/golden/eval.py's: brute force in NumPy, scikit-learn, and
 * pytorch-metric-learning. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/eval/eval.h"
#include "tests/support/check.h"

static kd_error g_err = KD_ERROR_INIT;
static json_t *g_golden;

static int load(void **state)
{
    json_error_t wrong;
    (void)state;
    g_golden = json_load_file(KD_SOURCE_DIR "/tests/eval/data/cases.json", 0, &wrong);
    if (!g_golden)
        print_error("cases.json:%d: %s\n", wrong.line, wrong.text);
    return g_golden ? 0 : -1;
}

static int unload(void **state)
{
    (void)state;
    json_decref(g_golden);
    return 0;
}

/* ---- Golden cases ---- */

#define MOST_CASES 2000u

typedef struct golden {
    kd_eval_input input;
    float *queries, *gallery;
    uint64_t *selves, *ids;
    uint32_t *labels[KD_EVAL_KINDS][2];
} golden;

static const char *const kinds[KD_EVAL_KINDS] = {"class", "super_class"};

static float *read_floats(const json_t *object, const char *key, size_t *n)
{
    const json_t *const array = json_object_get(object, key);
    *n = json_array_size(array);
    float *const out = calloc(*n + 1, sizeof *out);
    for (size_t i = 0; i < *n; i++)
        out[i] = (float)json_number_value(json_array_get(array, i));
    return out;
}

static uint64_t *read_u64(const json_t *object, const char *key)
{
    const json_t *const array = json_object_get(object, key);
    uint64_t *const out = calloc(json_array_size(array) + 1, sizeof *out);
    for (size_t i = 0; i < json_array_size(array); i++)
        out[i] = (uint64_t)json_integer_value(json_array_get(array, i));
    return out;
}

static uint32_t *read_u32(const json_t *object, const char *key)
{
    const json_t *const array = json_object_get(object, key);
    uint32_t *const out = calloc(json_array_size(array) + 1, sizeof *out);
    for (size_t i = 0; i < json_array_size(array); i++)
        out[i] = (uint32_t)json_integer_value(json_array_get(array, i));
    return out;
}

static void golden_read(golden *g, const json_t *object)
{
    *g = (golden){.queries = NULL};
    kd_eval_input *const in = &g->input;
    in->dim = (size_t)json_integer_value(json_object_get(object, "dim"));
    g->queries = read_floats(object, "queries", &in->n_queries);
    g->gallery = read_floats(object, "gallery", &in->n_gallery);
    in->n_queries /= in->dim;
    in->n_gallery /= in->dim;
    in->queries = g->queries;
    in->gallery = g->gallery;
    in->selves = g->selves = read_u64(object, "selves");
    in->gallery_ids = g->ids = read_u64(object, "gallery_ids");
    in->vote_k = (uint32_t)json_integer_value(json_object_get(object, "vote_k"));
    in->vote_by_score = json_is_true(json_object_get(object, "vote_by_score"));
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        const json_t *const of = json_object_get(object, kinds[kind]);
        in->query_labels[kind] = g->labels[kind][0] = read_u32(of, "query_labels");
        in->gallery_labels[kind] = g->labels[kind][1] = read_u32(of, "gallery_labels");
    }
}

static void golden_free(golden *g)
{
    free(g->queries);
    free(g->gallery);
    free(g->selves);
    free(g->ids);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        free(g->labels[kind][0]);
        free(g->labels[kind][1]);
    }
}

static void check_value(
    const char *name, const char *kind, const char *key, const json_t *in, double actual)
{
    const json_t *const value = json_object_get(in, key);
    CHECK(json_is_number(value));
    if (!(fabs(json_number_value(value) - actual) <= 1e-12))
        fail_msg("%s, %s, %s: expected %.17g, got %.17g", name, kind, key, json_number_value(value),
            actual);
}

static void check_kind(const json_t *object, const kd_eval *eval, kd_eval_kind kind)
{
    const char *const name = json_string_value(json_object_get(object, "name"));
    const json_t *const of = json_object_get(object, kinds[kind]);
    const json_t *const expected = json_object_get(of, "expected");
    const json_t *const pairs = json_object_get(of, "pairs");
    kd_metrics_set set;
    CHECK_OK(kd_eval_metrics(eval, kind, NULL, &set, &g_err), g_err);
    for (unsigned m = 0; m < KD_METRICS; m++)
        check_value(name, kinds[kind], kd_metric_name(m), expected, set.values[m]);
    check_value(name, kinds[kind], "queries", expected, (double)set.queries);
    check_value(name, kinds[kind], "without_positives", expected, (double)set.without_positives);
    for (size_t i = 0; i < json_array_size(pairs); i++) {
        const json_t *const pair = json_array_get(pairs, i);
        double fnmr, threshold;
        if (json_is_null(pair)) {
            kd_pairs_fnmr(eval->pairs[kind], 0.01, &fnmr, &threshold);
            CHECK(isnan(fnmr) && isnan(threshold));
            continue;
        }
        kd_pairs_fnmr(
            eval->pairs[kind], json_number_value(json_object_get(pair, "fmr")), &fnmr, &threshold);
        check_value(name, kinds[kind], "fnmr", pair, fnmr);
        check_value(name, kinds[kind], "threshold", pair, threshold);
    }
}

static void check_nearest(const json_t *object, const kd_eval *eval)
{
    const json_t *const nearest = json_object_get(object, "nearest");
    for (size_t q = 0; q < eval->n; q++) {
        const json_t *const ids = json_array_get(nearest, q);
        CHECK_INT(json_array_size(ids), eval->counts[q]);
        for (size_t i = 0; i < eval->counts[q]; i++)
            CHECK_INT((uint64_t)json_integer_value(json_array_get(ids, i)),
                eval->hits[q * KD_EVAL_HITS + i].id);
    }
}

static void test_eval_metrics__equal_the_golden_cases(void **state)
{
    const json_t *const cases = json_object_get(g_golden, "cases");
    (void)state;
    CHECK_INT(18, json_array_size(cases));
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *const object = json_array_get(cases, i);
        golden g;
        kd_eval eval;
        golden_read(&g, object);
        CHECK_OK(kd_eval_run(&g.input, &eval, &g_err), g_err);
        check_nearest(object, &eval);
        for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
            check_kind(object, &eval, kind);
        kd_eval_free(&eval);
        golden_free(&g);
    }
}

static void test_eval_metrics__clusters_agree_as_scikit_learn_says(void **state)
{
    const json_t *const all = json_object_get(g_golden, "clusterings");
    (void)state;
    CHECK_INT(10, json_array_size(all));
    for (size_t i = 0; i < json_array_size(all); i++) {
        const json_t *const one = json_array_get(all, i);
        uint32_t *const a = read_u32(one, "a"), *const b = read_u32(one, "b");
        const char *const name = json_string_value(json_object_get(one, "name"));
        double nmi, ami;
        CHECK_OK(kd_mutual_information(
                     a, b, json_array_size(json_object_get(one, "a")), &nmi, &ami, &g_err),
            g_err);
        check_value(name, "clusters", "nmi", one, nmi);
        if (fabs(json_number_value(json_object_get(one, "ami")) - ami) > 1e-9)
            fail_msg("%s: ami %.17g", name, ami);
        free(a);
        free(b);
    }
    double nmi, ami;
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_mutual_information(NULL, NULL, 0, &nmi, &ami, &g_err), g_err);
}

/* ---- By hand ---- */

/* Four gallery images on the plane, at 0, 10, 20 and 90 degrees: labels 1, 2, 2, 3; all of one
 * super-class. The query lies at 0 degrees. */
static const float plane[] = {1, 0, 0.98480775f, 0.17364818f, 0.93969262f, 0.34202014f, 0, 1};
static const uint64_t plane_ids[] = {11, 12, 13, 14};
static const uint32_t plane_labels[] = {1, 2, 2, 3}, one_label[] = {9, 9, 9, 9};

static kd_eval_input by_hand(const uint32_t *label, const uint64_t *self)
{
    return (kd_eval_input){.queries = plane,
        .n_queries = 1,
        .gallery = plane,
        .n_gallery = 4,
        .dim = 2,
        .gallery_ids = plane_ids,
        .selves = self,
        .query_labels = {label, one_label},
        .gallery_labels = {plane_labels, one_label}};
}

static void test_eval_metrics__follow_the_definitions_by_hand(void **state)
{
    const uint32_t label = 2;
    kd_eval_input input = by_hand(&label, NULL);
    kd_eval eval;
    kd_metrics_set set;
    uint32_t *confusion;
    (void)state;
    /* Label 2 at ranks 2 and 3, two positives. */
    CHECK_OK(kd_eval_run(&input, &eval, &g_err), g_err);
    CHECK_OK(kd_eval_metrics(&eval, KD_EVAL_CLASS, NULL, &set, &g_err), g_err);
    CHECK_NEAR(0, set.values[KD_RECALL_AT_1], 0);
    CHECK_NEAR(1, set.values[KD_RECALL_AT_5], 0);
    CHECK_NEAR(0.4, set.values[KD_PRECISION_AT_5], 0);
    CHECK_NEAR((1.0 / 2 + 2.0 / 3) / 2, set.values[KD_MAP_AT_5], 1e-15);
    CHECK_NEAR((1.0 / 2) / 2, set.values[KD_MAP_AT_R], 1e-15);
    CHECK_NEAR(0.5, set.values[KD_R_PRECISION], 0);
    CHECK_NEAR(1, set.values[KD_ACCURACY], 0); /* two of four */
    CHECK_NEAR(1.0 / 3, set.values[KD_ORIGINAL_MAP_AT_5], 1e-15);
    CHECK_INT(11, eval.hits[0].id);
    CHECK_INT(4, eval.counts[0]);
    CHECK_OK(kd_eval_confusion(&eval, KD_EVAL_CLASS, &confusion, &g_err), g_err);
    for (size_t i = 0; i < 9; i++)
        CHECK_INT(i == 4, confusion[i]); /* row and column of label 2 */
    free(confusion);
    kd_eval_free(&eval);
    input.vote_k = 1;
    CHECK_OK(kd_eval_run(&input, &eval, &g_err), g_err);
    CHECK_OK(kd_eval_metrics(&eval, KD_EVAL_CLASS, NULL, &set, &g_err), g_err);
    CHECK_NEAR(0, set.values[KD_ACCURACY], 0);
    kd_eval_free(&eval);
}

static void test_eval_metrics__leave_the_query_out_of_its_own_answer(void **state)
{
    const uint32_t label = 1;
    const uint64_t self = 11, nobody = 99;
    kd_eval_input input = by_hand(&label, &self);
    kd_eval eval;
    kd_metrics_set set;
    (void)state;
    CHECK_OK(kd_eval_run(&input, &eval, &g_err), g_err);
    CHECK_INT(12, eval.hits[0].id);
    CHECK_INT(3, eval.counts[0]);
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_eval_metrics(&eval, KD_EVAL_CLASS, NULL, &set, &g_err),
        g_err); /* alone with its label */
    CHECK_STR("none of the 1 queries has an image with its label in the gallery", g_err.message);
    CHECK_INT(0, set.queries);
    CHECK_OK(kd_eval_metrics(&eval, KD_EVAL_SUPER_CLASS, NULL, &set, &g_err), g_err);
    CHECK_NEAR(1, set.values[KD_MAP_AT_R], 0);
    uint64_t pairs = 0;
    for (size_t b = 0; b < KD_EVAL_BINS; b++)
        pairs +=
            eval.pairs[KD_EVAL_SUPER_CLASS]->same[b] + eval.pairs[KD_EVAL_SUPER_CLASS]->other[b];
    CHECK_INT(3, pairs);
    kd_eval_free(&eval);
    input.selves = &nobody;
    CHECK_OK(kd_eval_run(&input, &eval, &g_err), g_err);
    CHECK_INT(11, eval.hits[0].id);
    kd_eval_free(&eval);
}

static void check_refused(const kd_eval_input *input, const char *sentence)
{
    kd_eval eval;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_eval_run(input, &eval, &g_err), g_err);
    CHECK_STR(sentence, g_err.message);
    CHECK(eval.n == 0 && !eval.hits);
}

static bool stop(void *arg, size_t done)
{
    (void)arg, (void)done;
    return false;
}

static void test_eval_metrics__refuse_input_that_does_not_fit(void **state)
{
    const uint32_t label = 1;
    const uint64_t twice[] = {7, 8, 7, 9};
    kd_eval_input input = by_hand(&label, NULL);
    kd_eval eval;
    (void)state;
    input.gallery_ids = twice;
    check_refused(&input, "the gallery has image 7 twice");
    input = by_hand(&label, NULL);
    input.n_gallery = 0;
    check_refused(&input, "the gallery is empty");
    input = by_hand(&label, NULL);
    input.n_queries = 0;
    check_refused(&input, "there are no queries");
    input = by_hand(&label, NULL);
    input.vote_k = 101;
    check_refused(&input, "101 images cannot vote, allowed are 1 to 100");
    input = by_hand(&label, NULL);
    input.queries = (const float[]){2, 0};
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_eval_run(&input, &eval, &g_err), g_err);
    CHECK_HAS("query 0", g_err.message);
    input = by_hand(&label, NULL);
    input.progress = stop;
    CHECK_FAILS(KD_CANCELLED, kd_eval_run(&input, &eval, &g_err), g_err);
}

/* ---- Many ---- */

typedef struct crowd {
    kd_eval_input input;
    float *vectors;
    uint64_t *ids;
    uint32_t *classes, *supers;
} crowd;

/* n images around n / 6 centres; the larger the spread, the harder. */
static void crowd_make(crowd *c, size_t n, size_t dim, float spread, uint64_t seed)
{
    uint64_t state = seed;
    *c = (crowd){.vectors = calloc(n, dim * sizeof(float)),
        .ids = calloc(n, sizeof(uint64_t)),
        .classes = calloc(n, sizeof(uint32_t)),
        .supers = calloc(n, sizeof(uint32_t))};
    for (size_t i = 0; i < n; i++) {
        float *const v = c->vectors + i * dim;
        uint64_t centre = i / 6 + 1000;
        double square = 0;
        for (size_t d = 0; d < dim; d++) {
            const float at = (float)(kd_random_next(&centre) >> 40) * 0x1p-23f - 1;
            v[d] = at + spread * ((float)(kd_random_next(&state) >> 40) * 0x1p-23f - 1);
            square += (double)v[d] * (double)v[d];
        }
        for (size_t d = 0; d < dim; d++)
            v[d] = (float)((double)v[d] / sqrt(square));
        c->ids[i] = i + 1;
        c->classes[i] = (uint32_t)(i / 6);
        c->supers[i] = (uint32_t)(i / 60);
    }
    c->input = (kd_eval_input){.queries = c->vectors,
        .n_queries = n,
        .gallery = c->vectors,
        .n_gallery = n,
        .dim = dim,
        .gallery_ids = c->ids,
        .selves = c->ids,
        .query_labels = {c->classes, c->supers},
        .gallery_labels = {c->classes, c->supers}};
}

static void crowd_free(crowd *c)
{
    free(c->vectors);
    free(c->ids);
    free(c->classes);
    free(c->supers);
}

static void test_eval_metrics__are_the_same_with_any_number_of_threads(void **state)
{
    crowd c;
    kd_eval alone, together;
    kd_pool *pool;
    (void)state;
    crowd_make(&c, 600, 16, 1.2f, 5);
    CHECK_OK(kd_eval_run(&c.input, &alone, &g_err), g_err);
    CHECK_OK(kd_pool_new(&pool, "eval", 3, 64, &g_err), g_err);
    c.input.pool = pool;
    CHECK_OK(kd_eval_run(&c.input, &together, &g_err), g_err);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        CHECK(memcmp(alone.answers[kind], together.answers[kind],
                  alone.n * sizeof *alone.answers[kind]) == 0);
        CHECK(memcmp(alone.pairs[kind], together.pairs[kind], sizeof *alone.pairs[kind]) == 0);
    }
    kd_interval one[KD_METRICS], many[KD_METRICS];
    CHECK_OK(kd_eval_intervals(&alone, NULL, KD_EVAL_CLASS, 200, 3, NULL, one, &g_err), g_err);
    CHECK_OK(kd_eval_intervals(&alone, NULL, KD_EVAL_CLASS, 200, 3, pool, many, &g_err), g_err);
    CHECK(memcmp(one, many, sizeof one) == 0);
    kd_eval_free(&alone);
    kd_eval_free(&together);
    kd_pool_free(pool);
    crowd_free(&c);
}

static void test_eval_metrics__intervals_say_how_sure_a_mean_is(void **state)
{
    crowd easy, hard;
    kd_eval better, worse;
    kd_metrics_set set;
    kd_interval of[KD_METRICS], between[KD_METRICS];
    (void)state;
    crowd_make(&easy, 1200, 16, 0.8f, 5);
    crowd_make(&hard, 1200, 16, 1.0f, 5);
    CHECK_OK(kd_eval_run(&easy.input, &better, &g_err), g_err);
    CHECK_OK(kd_eval_run(&hard.input, &worse, &g_err), g_err);
    CHECK_OK(kd_eval_metrics(&worse, KD_EVAL_CLASS, NULL, &set, &g_err), g_err);
    CHECK_OK(kd_eval_intervals(&worse, NULL, KD_EVAL_CLASS, 1000, 7, NULL, of, &g_err), g_err);
    for (unsigned m = 0; m < KD_METRICS; m++)
        CHECK(of[m].low <= of[m].high);
    /* A share's interval is near the normal one, p ± 1.96 √(p (1 - p) / n). */
    const double p = set.values[KD_RECALL_AT_1], half = 1.96 * sqrt(p * (1 - p) / 1200);
    CHECK(p > 0.1 && p < 0.9);
    CHECK_NEAR(p - half, of[KD_RECALL_AT_1].low, half / 4);
    CHECK_NEAR(p + half, of[KD_RECALL_AT_1].high, half / 4);
    CHECK_OK(
        kd_eval_intervals(&better, &worse, KD_EVAL_CLASS, 1000, 7, NULL, between, &g_err), g_err);
    CHECK(between[KD_RECALL_AT_1].low > 0 && between[KD_MAP_AT_R].low > 0);
    CHECK_OK(
        kd_eval_intervals(&worse, &worse, KD_EVAL_CLASS, 100, 7, NULL, between, &g_err), g_err);
    for (unsigned m = 0; m < KD_METRICS; m++)
        CHECK_NEAR(0, between[m].high - between[m].low, 0);
    kd_eval_free(&worse);
    hard.input.n_queries = 600;
    CHECK_OK(kd_eval_run(&hard.input, &worse, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_eval_intervals(&better, &worse, KD_EVAL_CLASS, 100, 7, NULL, between, &g_err), g_err);
    kd_eval_free(&better);
    kd_eval_free(&worse);
    crowd_free(&easy);
    crowd_free(&hard);
}

static void test_eval_metrics__weights_choose_queries(void **state)
{
    crowd c;
    kd_eval all, some;
    kd_metrics_set chosen, alone;
    (void)state;
    crowd_make(&c, 240, 8, 1.2f, 9);
    uint32_t *const weights = calloc(240, sizeof *weights);
    for (size_t i = 0; i < 60; i++) /* the first super-class */
        weights[i] = 1;
    CHECK_OK(kd_eval_run(&c.input, &all, &g_err), g_err);
    c.input.n_queries = 60;
    CHECK_OK(kd_eval_run(&c.input, &some, &g_err), g_err);
    CHECK_OK(kd_eval_metrics(&all, KD_EVAL_CLASS, weights, &chosen, &g_err), g_err);
    CHECK_OK(kd_eval_metrics(&some, KD_EVAL_CLASS, NULL, &alone, &g_err), g_err);
    CHECK(memcmp(&chosen, &alone, sizeof alone) == 0);
    memset(weights, 0, 240 * sizeof *weights);
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        kd_eval_metrics(&all, KD_EVAL_CLASS, weights, &chosen, &g_err), g_err);
    free(weights);
    kd_eval_free(&all);
    kd_eval_free(&some);
    crowd_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_metrics__equal_the_golden_cases),
        cmocka_unit_test(test_eval_metrics__clusters_agree_as_scikit_learn_says),
        cmocka_unit_test(test_eval_metrics__follow_the_definitions_by_hand),
        cmocka_unit_test(test_eval_metrics__leave_the_query_out_of_its_own_answer),
        cmocka_unit_test(test_eval_metrics__refuse_input_that_does_not_fit),
        cmocka_unit_test(test_eval_metrics__are_the_same_with_any_number_of_threads),
        cmocka_unit_test(test_eval_metrics__intervals_say_how_sure_a_mean_is),
        cmocka_unit_test(test_eval_metrics__weights_choose_queries),
    };
    return cmocka_run_group_tests(tests, load, unload);
}
