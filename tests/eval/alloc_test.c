/* Each allocation of lib/eval failing in turn. */
#include <stdlib.h>

#include "lib/eval/details.h"
#include "tests/support/alloc.h"

enum { N = 24, DIM = 4, SAMPLES = 3 };

static float vectors[N][DIM];
static uint64_t ids[N];
static uint32_t classes[N], supers[N];

static kd_eval_input make_input(void)
{
    for (uint32_t i = 0; i < N; i++) {
        vectors[i][i % DIM] = 0.8f;
        vectors[i][(i + 1) % DIM] = 0.6f;
        ids[i] = 100 + i;
        classes[i] = i / 3;
        supers[i] = i / 6;
    }
    return (kd_eval_input){.queries = vectors[0],
        .n_queries = N,
        .gallery = vectors[0],
        .n_gallery = N,
        .dim = DIM,
        .gallery_ids = ids,
        .selves = ids,
        .query_labels = {classes, supers},
        .gallery_labels = {classes, supers}};
}

/* ---- Measuring ---- */

static kd_status run_measures(void *arg, kd_error *err)
{
    const kd_eval_input input = make_input();
    kd_status first = KD_OK;
    kd_eval eval;
    kd_metrics_set set;
    kd_interval intervals[KD_METRICS];
    uint32_t *confusion = NULL;
    double nmi, ami;
    (void)arg;
    RUN(&first, kd_eval_run(&input, &eval, err), err);
    RUN(&first, kd_eval_metrics(&eval, KD_EVAL_CLASS, NULL, &set, err), err);
    CHECK_INT(N, set.queries);
    RUN(&first,
        kd_eval_intervals(&eval, &eval, KD_EVAL_SUPER_CLASS, SAMPLES, 1, NULL, intervals, err),
        err);
    RUN(&first, kd_eval_confusion(&eval, KD_EVAL_CLASS, &confusion, err), err);
    RUN(&first, kd_mutual_information(classes, supers, N, &nmi, &ami, err), err);
    CHECK(nmi > 0);
    free(confusion);
    kd_eval_free(&eval);
    return first;
}

static void test_eval_alloc__measures(void **state)
{
    kd_error err = KD_ERROR_INIT;
    (void)state;
    CHECK_OK(kd_vector_init(&err), err);
    alloc_replay(&(alloc_scenario){.name = "measures", .run = run_measures});
}

/* ---- Report ---- */

static const char *name(void *arg, kd_eval_kind kind, uint32_t label)
{
    (void)arg, (void)kind, (void)label;
    return "apple";
}

/* A buffer that had no memory once takes no more. */
static kd_status write(kd_status (*how)(const kd_report *report, kd_buf *out, kd_error *err),
    const kd_report *report, kd_error *err)
{
    kd_buf text = KD_BUF_INIT;
    const kd_status status = how(report, &text, err);
    CHECK(status != KD_OK || text.len > 0);
    kd_buf_free(&text);
    return status;
}

static kd_status run_report(void *arg, kd_error *err)
{
    const kd_label_names names = {name, NULL};
    const kd_eval *const eval = arg;
    kd_status first = KD_OK;
    kd_report_details details;
    size_t misses[4], n;
    RUN(&first, kd_details_make(eval, &names, &details, err), err);
    RUN(&first, kd_details_map(&details, vectors[0], supers, N, DIM, &names, err), err);
    RUN(&first, kd_details_misses(eval, 4, misses, &n, err), err);
    kd_report_model model = {.id = "m", .name = "plain", .details = &details};
    model.of[KD_EVAL_CLASS].means.queries = N;
    const kd_report report = {.title = "Apples", .dataset = "/d", .models = &model, .n_models = 1};
    RUN(&first, write(kd_report_json, &report, err), err);
    RUN(&first, write(kd_report_html, &report, err), err);
    kd_details_free(&details);
    return first;
}

static void test_eval_alloc__report(void **state)
{
    const kd_eval_input input = make_input();
    kd_error err = KD_ERROR_INIT;
    kd_eval eval;
    (void)state;
    CHECK_OK(kd_vector_init(&err), err);
    CHECK_OK(kd_eval_run(&input, &eval, &err), err);
    alloc_replay(&(alloc_scenario){.name = "report", .run = run_report, .arg = &eval});
    kd_eval_free(&eval);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_alloc__measures),
        cmocka_unit_test(test_eval_alloc__report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
