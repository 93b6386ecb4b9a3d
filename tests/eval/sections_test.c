/* The sections of the report beyond table and rows. */
#include <jansson.h>
#include <stdlib.h>

#include "tests/eval/page.h"

static kd_error g_err = KD_ERROR_INIT;

static kd_report_label supers[] = {
    {.label = 1, .name = "Root & <leaf>", .queries = 1500, .recall_at_1 = 0.875, .map_at_5 = 0.5},
    {.label = 0, .name = "Fruit", .queries = 4, .recall_at_1 = 0.25, .accuracy = 0.75},
};
static kd_report_label other_supers[] = {
    {.label = 0, .name = "Fruit", .queries = 4, .recall_at_1 = 0.625},
};
static kd_report_label hardest[] = {
    {.label = 5, .name = "<i>gala</i>", .queries = 2, .map_at_5 = 0.0625},
};
static uint32_t matrix[] = {3, 1, 0, 1500};
static const char *matrix_names[] = {"Fruit", "Root & <leaf>"};
static kd_report_confusion confused[] = {{"Fruit", "Root & <leaf>", 1, 0.25}};
static kd_report_point points[] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 1}};

static const kd_report_row miss = {
    .query = {.path = "a/q.jpg", .class_name = "Q<a>"},
    .hits = {{.path = "a/1.jpg", .class_name = "Gala", .score = 0.5f}},
    .n_hits = 1,
    .first = 37,
};
static const kd_report_row lost = {.query = {.path = "a/r.jpg", .class_name = "R"}};

static kd_report_details details = {.supers = supers,
    .n_supers = 2,
    .all_supers = 7,
    .hardest = hardest,
    .n_hardest = 1,
    .matrix = matrix,
    .matrix_names = matrix_names,
    .n_matrix = 2,
    .confused = confused,
    .n_confused = 1,
    .spread = {{.same = {0, 1}, .other = {0.5, 0.5}, .n = 2, .low = 0, .high = 1, .overlap = 0.5},
        {.overlap = (double)NAN}},
    .map = {.points = points,
        .n = 3,
        .groups = {"Fruit"},
        .group_sizes = {2},
        .n_groups = 1,
        .shares = {0.625, 0.25}}};
static kd_report_details fewer = {.supers = other_supers, .n_supers = 1, .all_supers = 1};

#define MEANS                                                                                      \
    {                                                                                              \
        {.means = {.values = {0.25, 0.5, 0.75, 1, 1}, .queries = 1504},                            \
            .fnmr = {0.25, 0},                                                                     \
            .thresholds = {0.5, 0}},                                                               \
        {.means = {.values = {0.5, 1, 1, 1, 1}, .queries = 1504}},                                 \
    }
static kd_report_model models[] = {
    {.id = "0123", .name = "one", .of = MEANS, .misses = &miss, .n_misses = 1, .details = &details},
    {.id = "4567",
        .name = "<b>two",
        .of = MEANS,
        .misses = &lost,
        .n_misses = 1,
        .details = &fewer},
};

static kd_report of_models(size_t n)
{
    return (kd_report){.title = "t", .dataset = "d", .models = models, .n_models = n};
}

static char *html_of(size_t n)
{
    const kd_report report = of_models(n);
    return page_of(&report);
}

static void test_eval_sections__one_model(void **state)
{
    (void)state;
    char *const page = html_of(1);
    CHECK_HAS("<tr><th scope=\"row\">one</th><td>0.250</td><td>0.750</td><td>0.000</td>"
              "<td>0.500</td><td>1.000</td><td>0.000</td></tr>",
        page);
    CHECK_HAS("<a href=\"#recall\">Recall</a>", page);
    CHECK_HAS("<section id=\"recall\">\n<h2>Recall</h2>", page);
    CHECK_INT(times("<section id=", page), times("<a href=\"#", page) - times("#row-", page));
    CHECK_HAS(
        "<desc>one: R@1 0.250, R@5 0.500, R@10 0.750, R@100 1.000, R@1000 1.000. </desc>", page);
    CHECK_INT(2, times("<svg class=\"chart recalls\" viewBox=", page));
    CHECK_HAS("The 2 with the most queries, of 7.", page);
    CHECK_HAS(
        "Root &amp; &lt;leaf&gt;</span> <small>1,500</small></th>"
        "<td class=\"track\"><span class=\"bar-room\"><span class=\"bar s0\" style=\"width:87.5%\">"
        "</span></span></td>"
        "<td>0.875</td><td>0.500</td><td>0.000</td></tr>",
        page);
    CHECK_HAS("<tr><th scope=\"row\">Fruit</th><td class=\"own h4\">3</td>"
              "<td class=\"h3\">1</td></tr>",
        page);
    CHECK_HAS("</th><td></td><td class=\"own h5\">1500</td></tr>", page);
    CHECK_HAS("<td class=\"text\">Root &amp; &lt;leaf&gt;</td><td>1</td><td>25.0 %</td>", page);
    CHECK_HAS("The two overlap by 50.0 %. Below 0.500 lie 1 % of the pairs of different classes "
              "and 75.0 % of those of the same.",
        page);
    CHECK_HAS("3 images. Across: 62.5 % of the variance; up: 25.0 %.", page);
    CHECK_HAS("Fruit <small>2</small></li>", page);
    CHECK_HAS("other <small>1</small></li>", page);
    CHECK_HAS("<b>Q&lt;a&gt;</b> first right image at rank 37", page);
    CHECK_HAS("&lt;i&gt;gala&lt;/i&gt;</th><td>2</td><td>0.062</td>", page);
    CHECK_INT(0, times("<details class=\"model\"", page));
    free(page);
}

static void test_eval_sections__several_models(void **state)
{
    (void)state;
    char *const page = html_of(2);
    CHECK_INT(2, times("<rect class=\"ground\"", page) + 1); /* the second has no map */
    CHECK_HAS("<tr><th scope=\"rowgroup\" rowspan=\"2\"><span class=\"name\">", page + 0);
    CHECK_HAS("rowspan=\"1\"><span class=\"name\">Root", page);
    CHECK_HAS("<tr><td class=\"model\">&lt;b&gt;two</td><td class=\"track\"><span "
              "class=\"bar-room\"><span class=\"bar s1\" style=\"width:62.5%\">",
        page);
    CHECK_HAS("<path class=\"line d1\"", page);
    CHECK_HAS("<th scope=\"row\">&lt;b&gt;two</th><td><strong>0.250</strong></td>", page);
    CHECK_HAS("<details class=\"model\" open>\n<summary>one</summary>", page);
    CHECK_HAS("<details class=\"model\">\n<summary>&lt;b&gt;two</summary>", page);
    CHECK_HAS("<b>R</b> no right image among the first 1000", page);
    CHECK_HAS("No query was taken for another super-class.", page);
    CHECK(strstr(page, "<b>two") == NULL && strstr(page, "<i>gala") == NULL);
    free(page);
}

static void test_eval_sections__page_needs_nothing_from_elsewhere(void **state)
{
    (void)state;
    char *const page = html_of(2);
    CHECK(strstr(page, "http") == strstr(page, "http-equiv") && times("http", page) == 1);
    CHECK(strstr(page, "<script") == NULL && strstr(page, "url(") == NULL);
    CHECK(strstr(page, "nan") == NULL && strstr(page, "inf\"") == NULL);
    CHECK_INT(times("<svg", page), times("role=\"img\"", page) + times("aria-hidden", page));
    free(page);
}

/* What a search has, or a program that knows no more than the means. */
static void test_eval_sections__nothing_to_show_no_section(void **state)
{
    static const char *const sections[] = {"<h2>Super-classes", "<h2>Confusions", "<h2>Distances",
        "<h2>Map", "<h2>Worst misses", "<h2>Hardest"};
    kd_report_model bare = {.id = "0123", .of = MEANS};
    kd_report report = {.title = "t", .models = &bare, .n_models = 1};
    kd_report_details nothing = {.n_supers = 0};
    (void)state;
    for (unsigned with = 0; with < 2; with++) {
        kd_buf out = KD_BUF_INIT, json = KD_BUF_INIT;
        bare.details = with ? &nothing : NULL;
        CHECK_OK(kd_report_html(&report, &out, &g_err), g_err);
        CHECK_OK(kd_report_json(&report, &json, &g_err), g_err);
        for (size_t i = 0; i < sizeof sections / sizeof sections[0]; i++)
            CHECK(strstr((const char *)out.data, sections[i]) == NULL);
        CHECK_HAS("<h2>Recall", (const char *)out.data);
        CHECK_HAS(with ? "\"map\": null" : "\"details\": null", (const char *)json.data);
        kd_buf_free(&json);
        kd_buf_free(&out);
    }
    memset(bare.of, 0, sizeof bare.of);
    kd_buf out = KD_BUF_INIT;
    CHECK_OK(kd_report_html(&report, &out, &g_err), g_err);
    CHECK(strstr((const char *)out.data, "<svg") == NULL);
    kd_buf_free(&out);
}

static void test_eval_sections__json_has_the_same_numbers(void **state)
{
    const kd_report report = of_models(2);
    kd_buf out = KD_BUF_INIT;
    const char *name, *vote;
    double recall, share, overlap, axis;
    int first, count, own;
    json_int_t images;
    (void)state;
    CHECK_OK(kd_report_json(&report, &out, &g_err), g_err);
    json_t *const root = json_loads((const char *)out.data, 0, NULL);
    json_t *const model = json_array_get(json_object_get(root, "models"), 0);
    CHECK_INT(
        0, json_unpack(model, "{s:[{s:i}], s:{s:[{s:s, s:F}], s:[{s:s, s:i, s:F}]}}", "misses",
               "first", &first, "details", "super_classes", "name", &name, "recall_at_1", &recall,
               "confused", "vote", &vote, "count", &count, "share", &share));
    CHECK_INT(37, first);
    CHECK_STR("Root & <leaf>", name);
    CHECK_NEAR(0.875, recall, 0);
    CHECK_STR("Root & <leaf>", vote);
    CHECK_INT(1, count);
    CHECK_NEAR(0.25, share, 0);
    CHECK_INT(0, json_unpack(model, "{s:{s:{s:[[i]]}, s:{s:{s:F}}, s:{s:I, s:[F]}}}", "details",
                     "confusion", "counts", &own, "scores", "class", "overlap", &overlap, "map",
                     "images", &images, "shares", &axis));
    CHECK_INT(3, own);
    CHECK_NEAR(0.5, overlap, 0);
    CHECK_INT(3, images);
    CHECK_NEAR(0.625, axis, 0);
    json_t *const second = json_array_get(json_object_get(root, "models"), 1);
    CHECK(json_is_null(
        json_object_get(json_array_get(json_object_get(second, "misses"), 0), "first")));
    CHECK(json_is_null(json_object_get(json_object_get(second, "details"), "confusion")));
    json_decref(root);
    kd_buf_free(&out);
}

/* ---- Dataset check ---- */

static void test_eval_sections__findings_of_the_dataset_check(void **state)
{
    static const char *const broken[] = {"a/<b>.jpg: not an image"};
    static const kd_report_finding list[] = {
        {.name = "missing_images", .title = "Missing images"},
        {.name = "broken_images",
            .title = "Broken images",
            .count = 1234,
            .examples = broken,
            .n_examples = 1},
    };
    static const kd_report_findings found = {.images = 2936, .at = list, .n = 2};
    kd_report report = of_models(1);
    kd_buf page = KD_BUF_INIT, json = KD_BUF_INIT;
    int n, ok;
    const char *name, *second, *example;
    (void)state;
    report.findings = &found;
    CHECK_OK(kd_report_html(&report, &page, &g_err), g_err);
    CHECK_OK(kd_report_json(&report, &json, &g_err), g_err);
    CHECK_HAS("2,936 images of the dataset were read. <strong>Some", (const char *)page.data);
    CHECK_HAS("<h3>Broken images: 1,234</h3>", (const char *)page.data);
    CHECK_HAS("<li>a/&lt;b&gt;.jpg: not an image</li>", (const char *)page.data);
    CHECK_HAS("… and 1,233 more.", (const char *)page.data);
    CHECK(strstr((const char *)page.data, "Missing images") == NULL);
    json_t *const root = json_loads((const char *)json.data, 0, NULL);
    CHECK_INT(0, json_unpack(root, "{s:{s:b, s:[{s:s}, {s:s, s:i, s:[s]}]}}", "findings", "ok", &ok,
                     "list", "name", &name, "name", &second, "count", &n, "examples", &example));
    CHECK(!ok);
    CHECK_STR("missing_images", name);
    CHECK_STR("broken_images", second);
    CHECK_INT(1234, n);
    CHECK_STR("a/<b>.jpg: not an image", example);
    json_decref(root);
    kd_buf_free(&json);
    kd_buf_free(&page);
}

/* ---- Bounds ---- */

/* As much as there can be, but for pictures: sixteen models, full lists, a full map. */
static void test_eval_sections__page_stays_small(void **state)
{
    enum { MODELS = 16 };
    static kd_report_label many[KD_REPORT_SUPERS];
    static kd_report_confusion pairs[KD_REPORT_CONFUSED];
    static uint32_t counts[KD_REPORT_MATRIX * KD_REPORT_MATRIX];
    static const char *labels[KD_REPORT_MATRIX];
    static kd_report_point all[KD_REPORT_POINTS];
    static kd_report_details full;
    static kd_report_model all_models[MODELS];
    kd_buf page = KD_BUF_INIT, json = KD_BUF_INIT;
    (void)state;
    for (uint32_t i = 0; i < KD_REPORT_SUPERS; i++)
        many[i] = (kd_report_label){.label = i, .name = "a name of some length", .queries = 12345};
    for (size_t i = 0; i < KD_REPORT_CONFUSED; i++)
        pairs[i] = (kd_report_confusion){"a name of some length", "another name", 12345, 0.5};
    for (size_t i = 0; i < KD_REPORT_MATRIX; i++)
        labels[i] = "a name of some length";
    for (size_t i = 0; i < KD_REPORT_MATRIX * KD_REPORT_MATRIX; i++)
        counts[i] = 12345;
    for (uint32_t i = 0; i < KD_REPORT_POINTS; i++)
        all[i] = (kd_report_point){(float)(i % 50), (float)i, i % (KD_REPORT_MAP_LABELS + 1)};
    full = (kd_report_details){.supers = many,
        .n_supers = KD_REPORT_SUPERS,
        .all_supers = 11316,
        .hardest = many,
        .n_hardest = KD_REPORT_HARDEST,
        .matrix = counts,
        .matrix_names = labels,
        .n_matrix = KD_REPORT_MATRIX,
        .confused = pairs,
        .n_confused = KD_REPORT_CONFUSED,
        .map = {.points = all, .n = KD_REPORT_POINTS, .n_groups = KD_REPORT_MAP_LABELS}};
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        full.spread[kind].n = KD_REPORT_BINS;
        full.spread[kind].high = 1;
        for (size_t b = 0; b < KD_REPORT_BINS; b++)
            full.spread[kind].same[b] = full.spread[kind].other[b] = 1.0 / KD_REPORT_BINS;
    }
    for (size_t m = 0; m < MODELS; m++)
        all_models[m] = (kd_report_model){.id = "0123456789abcdef", .of = MEANS, .details = &full};
    const kd_report report = {.title = "t", .models = all_models, .n_models = MODELS};
    CHECK_OK(kd_report_html(&report, &page, &g_err), g_err);
    CHECK_OK(kd_report_json(&report, &json, &g_err), g_err);
    CHECK(page.len < (size_t)4 << 20);
    CHECK(json.len < (size_t)4 << 20);
    kd_buf_free(&json);
    kd_buf_free(&page);
}

/* ---- Refusals ---- */

static void refused(const kd_report_details *with)
{
    kd_report_model model = models[0];
    const kd_report report = {.title = "t", .models = &model, .n_models = 1};
    kd_buf out = KD_BUF_INIT;
    model.details = with;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_report_html(&report, &out, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_report_json(&report, &out, &g_err), g_err);
    CHECK_INT(0, out.len);
}

static void test_eval_sections__refuses_what_it_cannot_write(void **state)
{
    (void)state;
    kd_report_details bad = details;
    bad.spread[KD_EVAL_CLASS].other[1] = (double)INFINITY;
    refused(&bad);
    bad = details;
    bad.map.shares[1] = (double)NAN;
    refused(&bad);
    bad = details;
    kd_report_label label = hardest[0];
    label.name = "\xff";
    bad.hardest = &label;
    refused(&bad);
    bad = details;
    kd_report_confusion pair = confused[0];
    pair.vote = "\xff";
    bad.confused = &pair;
    refused(&bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_sections__one_model),
        cmocka_unit_test(test_eval_sections__several_models),
        cmocka_unit_test(test_eval_sections__page_needs_nothing_from_elsewhere),
        cmocka_unit_test(test_eval_sections__nothing_to_show_no_section),
        cmocka_unit_test(test_eval_sections__json_has_the_same_numbers),
        cmocka_unit_test(test_eval_sections__findings_of_the_dataset_check),
        cmocka_unit_test(test_eval_sections__page_stays_small),
        cmocka_unit_test(test_eval_sections__refuses_what_it_cannot_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
