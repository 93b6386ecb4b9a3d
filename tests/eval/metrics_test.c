/* The golden cases are tools/golden/eval.py's: brute force in numpy, and scikit-learn. */
#include <jansson.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/eval/eval.h"
#include "tests/support/check.h"

static kd_error g_err = KD_ERROR_INIT;

static uint64_t *read_u64(const json_t *object, const char *key, size_t *n)
{
    const json_t *const array = json_object_get(object, key);
    *n = json_array_size(array);
    uint64_t *const out = calloc(*n + 1, sizeof *out);
    for (size_t i = 0; i < *n; i++)
        out[i] = (uint64_t)json_integer_value(json_array_get(array, i));
    return out;
}

static uint32_t *read_u32(const json_t *object, const char *key)
{
    const json_t *const array = json_object_get(object, key);
    const size_t n = json_array_size(array);
    uint32_t *const out = calloc(n + 1, sizeof *out);
    for (size_t i = 0; i < n; i++)
        out[i] = (uint32_t)json_integer_value(json_array_get(array, i));
    return out;
}

static void check_measure(const char *name, const json_t *expected, const char *key, double actual)
{
    const json_t *const value = json_object_get(expected, key);
    CHECK(json_is_number(value));
    if (!(fabs(json_number_value(value) - actual) <= 1e-12))
        fail_msg("%s: %s: expected %.17g, got %.17g", name, key, json_number_value(value), actual);
}

static void check_case(const json_t *object)
{
    const char *const name = json_string_value(json_object_get(object, "name"));
    const json_t *const rows = json_object_get(object, "hits");
    const json_t *const expected = json_object_get(object, "expected");
    kd_eval_input input = {0};
    uint64_t *const query_ids = read_u64(object, "query_ids", &input.n_queries);
    uint64_t *const gallery_ids = read_u64(object, "gallery_ids", &input.n_gallery);
    uint32_t *const query_labels = read_u32(object, "query_labels");
    uint32_t *const gallery_labels = read_u32(object, "gallery_labels");
    kd_hit *const hits = calloc(input.n_queries * KD_EVAL_K, sizeof *hits);
    uint32_t *const counts = calloc(input.n_queries, sizeof *counts);
    for (size_t q = 0; q < input.n_queries; q++) {
        const json_t *const row = json_array_get(rows, q);
        counts[q] = (uint32_t)json_array_size(row);
        for (size_t i = 0; i < counts[q]; i++)
            hits[q * KD_EVAL_K + i].id = (uint64_t)json_integer_value(json_array_get(row, i));
    }
    input.hits = hits;
    input.counts = counts;
    input.query_ids = query_ids;
    input.query_labels = query_labels;
    input.gallery_ids = gallery_ids;
    input.gallery_labels = gallery_labels;

    kd_metrics_set got;
    CHECK_OK(kd_eval_run(&input, &got, &g_err), g_err);
    check_measure(name, expected, "recall_at_1", got.recall_at_1);
    check_measure(name, expected, "recall_at_5", got.recall_at_5);
    check_measure(name, expected, "recall_at_10", got.recall_at_10);
    check_measure(name, expected, "map_at_5", got.map_at_5);
    check_measure(name, expected, "accuracy", got.accuracy);
    check_measure(name, expected, "precision", got.precision);
    check_measure(name, expected, "recall", got.recall);
    check_measure(name, expected, "f1", got.f1);
    check_measure(name, expected, "queries", (double)got.queries);
    check_measure(name, expected, "without_positives", (double)got.without_positives);
    free(query_ids);
    free(gallery_ids);
    free(query_labels);
    free(gallery_labels);
    free(hits);
    free(counts);
}

static void test_eval_metrics__equal_the_golden_cases(void **state)
{
    json_error_t wrong;
    (void)state;
    json_t *const cases = json_load_file(KD_SOURCE_DIR "/tests/eval/data/cases.json", 0, &wrong);
    if (!cases)
        fail_msg("cases.json:%d: %s", wrong.line, wrong.text);
    CHECK_INT(14, json_array_size(cases));
    for (size_t i = 0; i < json_array_size(cases); i++)
        check_case(json_array_get(cases, i));
    json_decref(cases);
}

/* Five gallery images: labels 1, 2, 2, 1, 3 under ids 11 to 15. */
static const uint64_t gallery_ids[] = {11, 12, 13, 14, 15};
static const uint32_t gallery_labels[] = {1, 2, 2, 1, 3};

/* One query whose hits are given by id, 0 ends them. */
static kd_status run_one(
    uint64_t id, uint32_t label, const uint64_t *ids, kd_metrics_set *out, kd_error *err)
{
    kd_hit hits[KD_EVAL_K] = {0};
    uint32_t count = 0;
    for (; ids[count]; count++)
        hits[count].id = ids[count];
    const kd_eval_input input = {.hits = hits,
        .counts = &count,
        .n_queries = 1,
        .query_ids = &id,
        .query_labels = &label,
        .gallery_ids = gallery_ids,
        .gallery_labels = gallery_labels,
        .n_gallery = 5};
    return kd_eval_run(&input, out, err);
}

static void test_eval_metrics__follow_the_definitions_by_hand(void **state)
{
    kd_metrics_set got;
    (void)state;
    /* Label 1 at ranks 2 and 4 of 5, two positives: (1/2 + 2/4) / 2. */
    CHECK_OK(run_one(1, 1, (uint64_t[]){12, 11, 13, 14, 15, 0}, &got, &g_err), g_err);
    CHECK_NEAR(0.0, got.recall_at_1, 0);
    CHECK_NEAR(1.0, got.recall_at_5, 0);
    CHECK_NEAR(0.5, got.map_at_5, 1e-15);
    CHECK_NEAR(0.0, got.accuracy, 0); /* labels 2 and 1 have two votes each, 2 comes first */
    CHECK_OK(run_one(1, 1, (uint64_t[]){11, 12, 13, 14, 15, 0}, &got, &g_err), g_err);
    CHECK_NEAR(1.0, got.accuracy, 0); /* the same votes, 1 comes first */
    CHECK_NEAR((1.0 + 0.5) / 2, got.map_at_5, 1e-15);
}

static void test_eval_metrics__leave_the_query_out_of_its_own_answer(void **state)
{
    kd_metrics_set got;
    (void)state;
    CHECK_OK(run_one(11, 1, (uint64_t[]){11, 12, 14, 0}, &got, &g_err), g_err);
    CHECK_NEAR(0.0, got.recall_at_1, 0);
    CHECK_NEAR(0.5, got.map_at_5, 1e-15); /* one positive, at rank 2 */
    CHECK_FAILS(KD_FAILED_PRECONDITION, run_one(15, 3, (uint64_t[]){15, 11, 0}, &got, &g_err),
        g_err); /* alone with its label */
    CHECK_STR("none of the 1 queries has an image with its label in the gallery", g_err.message);
    CHECK_INT(0, got.queries);
}

static void test_eval_metrics__refuse_input_that_does_not_fit(void **state)
{
    kd_metrics_set got;
    const uint64_t ids[] = {1}, twice[] = {7, 8, 7};
    const uint32_t labels[] = {1, 1, 1}, counts[] = {1}, too_many[] = {KD_EVAL_K + 1};
    const kd_hit hits[KD_EVAL_K] = {{.id = 7}};
    kd_eval_input input = {.hits = hits,
        .counts = counts,
        .n_queries = 1,
        .query_ids = ids,
        .query_labels = labels,
        .gallery_ids = twice,
        .gallery_labels = labels,
        .n_gallery = 3};
    (void)state;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_eval_run(&input, &got, &g_err), g_err);
    CHECK_STR("the gallery has image 7 twice", g_err.message);
    input.n_gallery = 2;
    CHECK_OK(kd_eval_run(&input, &got, &g_err), g_err);
    input.counts = too_many;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_eval_run(&input, &got, &g_err), g_err);
    CHECK_STR("query 1 has 11 hits, allowed 10", g_err.message);
    input.n_gallery = 0;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_eval_run(&input, &got, &g_err), g_err);
    CHECK_STR("the gallery is empty", g_err.message);
    input.n_gallery = 2;
    input.n_queries = 0;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_eval_run(&input, &got, &g_err), g_err);
    CHECK_STR("there are no queries", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, run_one(1, 1, (uint64_t[]){99, 0}, &got, &g_err), g_err);
    CHECK_STR("query 1 was answered by image 99, which is not in the gallery", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, run_one(1, 1, (uint64_t[]){0}, &got, &g_err), g_err);
    CHECK_STR("query 1 has no hit", g_err.message);
}

/* As many queries as Stanford Online Products asks, each with its true neighbours in front. */
static void test_eval_metrics__take_60000_queries_in_a_moment(void **state)
{
    const size_t n = 60000;
    uint64_t *const ids = calloc(n, sizeof *ids);
    uint32_t *const labels = calloc(n, sizeof *labels), *const counts = calloc(n, sizeof *counts);
    kd_hit *const hits = calloc(n * KD_EVAL_K, sizeof *hits);
    (void)state;
    for (size_t i = 0; i < n; i++) {
        ids[i] = i + 1;
        labels[i] = (uint32_t)(i / 6);
        counts[i] = KD_EVAL_K;
        for (size_t h = 0; h < KD_EVAL_K; h++) /* the five others of six, then the next class */
            hits[i * KD_EVAL_K + h].id = (i / 6 * 6 + (i + h + 1) % 6 + (h < 5 ? 0 : 6)) % n + 1;
    }
    const kd_eval_input input = {.hits = hits,
        .counts = counts,
        .n_queries = n,
        .query_ids = ids,
        .query_labels = labels,
        .gallery_ids = ids,
        .gallery_labels = labels,
        .n_gallery = n};
    kd_metrics_set got;
    const int64_t start = kd_mono_ms();
    CHECK_OK(kd_eval_run(&input, &got, &g_err), g_err);
    const int64_t took = kd_mono_ms() - start;
    print_message("60,000 queries in %lld ms\n", (long long)took);
    CHECK(took < 5000); /* about 50 ms; a square algorithm takes minutes */
    CHECK_INT(n, got.queries);
    CHECK_NEAR(1.0, got.map_at_5, 1e-12);
    CHECK_NEAR(1.0, got.f1, 1e-12);
    free(ids);
    free(labels);
    free(counts);
    free(hits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_metrics__equal_the_golden_cases),
        cmocka_unit_test(test_eval_metrics__follow_the_definitions_by_hand),
        cmocka_unit_test(test_eval_metrics__leave_the_query_out_of_its_own_answer),
        cmocka_unit_test(test_eval_metrics__refuse_input_that_does_not_fit),
        cmocka_unit_test(test_eval_metrics__take_60000_queries_in_a_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
