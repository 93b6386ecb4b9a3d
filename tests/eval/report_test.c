#include <jansson.h>
#include <stdlib.h>

#include "tests/eval/page.h"

#define PICTURE "data:image/jpeg;base64,AAAA"

static kd_error g_err = KD_ERROR_INIT;

static const kd_report_row rows[] = {
    {.query = {.path = "a/<q>.jpg",
         .class_name = "Q&A",
         .super_class_name = "Apple \"x\"",
         .picture = PICTURE},
        .hits = {{.path = "a/1.jpg",
                     .class_name = "Q&A",
                     .super_class_name = "Apple",
                     .score = 0.75f,
                     .right = 1,
                     .right_super = 1,
                     .picture = PICTURE},
            {.path = "a/2.jpg",
                .class_name = "Gala",
                .super_class_name = "Apple",
                .score = 0.5f,
                .right = 0,
                .right_super = 1,
                .picture = "https://example.org/x.jpg"},
            {.path = "p/3.jpg",
                .class_name = "<script>alert(1)</script>",
                .super_class_name = "Pear",
                .score = -0.25f,
                .right = 0,
                .right_super = 0}},
        .n_hits = 3},
};

static const kd_report_model models[] = {
    {.id = "0123456789ab",
        .name = "plain",
        .image_size = 224,
        .images_per_second = 33.25,
        .of = {{.means = {.values = {[KD_RECALL_AT_1] = 0.1,
                              [KD_RECALL_AT_5] = 1.0 / 3,
                              [KD_MAP_AT_5] = 0.25,
                              [KD_ACCURACY] = 1},
                    .queries = 1234,
                    .without_positives = 2},
                   .nmi = (double)NAN,
                   .ami = 0.125},
            {.means = {.values = {[KD_RECALL_AT_1] = 0.9}, .queries = 1236}}},
        .rows = rows,
        .n_rows = 1},
    {.id = "ba9876543210",
        .name = "<b>triplet</b>",
        .image_size = 160,
        .of = {{.means = {.values = {[KD_RECALL_AT_1] = 0.7}, .queries = 1234},
                   .intervals = {[KD_RECALL_AT_1] = {0.65, 0.75}},
                   .differences = {[KD_RECALL_AT_1] = {0.5, 0.7},
                       [KD_MAP_AT_5] = {-0.5, 0.01},
                       [KD_ACCURACY] = {-1, -0.9}}},
            {.means = {.queries = 1236}}},
        .rows = rows,
        .n_rows = 1},
};

static const char *const skipped[] = {"a/broken.jpg: not a JPEG <0x00>", "b/gone.jpg: no file"};

static const kd_report report = {.title = "Apples & <pears>",
    .dataset = "/data/grocery",
    .protocol = "closed-set",
    .gallery = 2640,
    .queries = 296,
    .skipped = 5,
    .classes = 81,
    .super_classes = 43,
    .data_hash = "abcdef",
    .created_unix_ms = 1767323045678,
    .skipped_names = skipped,
    .n_skipped_names = 2,
    .models = models,
    .n_models = 2};

static void test_eval_report__json_has_stable_fields_in_stable_order(void **state)
{
    static const char expected[] =
        "{\n  \"schema_version\": 2,\n  \"title\": \"Apples & <pears>\",\n"
        "  \"created\": \"2026-01-02T03:04:05.678Z\",\n"
        "  \"dataset\": \"/data/grocery\",\n"
        "  \"data_hash\": \"abcdef\",\n"
        "  \"protocol\": \"closed-set\",\n"
        "  \"gallery\": 2640,\n  \"queries\": 296,\n  \"skipped\": 5,\n"
        "  \"classes\": 81,\n  \"super_classes\": 43,\n"
        "  \"models\": [\n    {\n      \"id\": \"0123456789ab\",\n"
        "      \"name\": \"plain\",\n      \"image_size\": 224,\n"
        "      \"images_per_second\": 33.25,\n      \"class\": {\n"
        "        \"recall_at_1\": 0.10000000000000001,\n"
        "        \"recall_at_5\": 0.33333333333333331,\n"
        "        \"recall_at_10\": 0.0,\n        \"recall_at_100\": 0.0,\n"
        "        \"recall_at_1000\": 0.0,\n        \"precision_at_5\": 0.0,\n"
        "        \"precision_at_10\": 0.0,\n        \"map_at_5\": 0.25,\n"
        "        \"map_at_r\": 0.0,\n        \"r_precision\": 0.0,\n"
        "        \"accuracy\": 1.0,\n        \"precision\": 0.0,\n"
        "        \"recall\": 0.0,\n        \"f1\": 0.0,\n"
        "        \"original_map_at_5\": 0.0,\n"
        "        \"queries\": 1234,\n        \"without_positives\": 2,\n"
        "        \"nmi\": null,\n        \"ami\": 0.125,\n";
    kd_buf first = KD_BUF_INIT, second = KD_BUF_INIT;
    (void)state;
    CHECK_OK(kd_report_json(&report, &first, &g_err), g_err);
    CHECK_OK(kd_report_json(&report, &second, &g_err), g_err);
    CHECK_STR((const char *)first.data, (const char *)second.data);
    CHECK(first.len > strlen(expected));
    char *const head = strndup((const char *)first.data, strlen(expected));
    CHECK_STR(expected, head);
    free(head);
    kd_buf_free(&first);
    kd_buf_free(&second);
}

static void test_eval_report__json_holds_rows_and_skipped_images(void **state)
{
    kd_buf out = KD_BUF_INIT;
    const char *path, *class_name, *reason;
    double score;
    int right, right_super;
    json_int_t n;
    (void)state;
    CHECK_OK(kd_report_json(&report, &out, &g_err), g_err);
    json_t *const root = json_loads((const char *)out.data, 0, NULL);
    CHECK(root != NULL);
    const json_t *const row = json_array_get(
        json_object_get(json_array_get(json_object_get(root, "models"), 1), "rows"), 0);
    CHECK_STR(
        "a/<q>.jpg", json_string_value(json_object_get(json_object_get(row, "query"), "path")));
    json_t *const hit = json_array_get(json_object_get(row, "hits"), 1);
    CHECK_INT(0, json_unpack(hit, "{s:s, s:s, s:f, s:b, s:b}", "path", &path, "class", &class_name,
                     "score", &score, "right", &right, "right_super", &right_super));
    CHECK_STR("a/2.jpg", path);
    CHECK_STR("Gala", class_name);
    CHECK_NEAR(0.5, score, 0);
    CHECK(!right && right_super);
    CHECK_INT(0, json_unpack(root, "{s:I, s:[s]}", "skipped", &n, "skipped_images", &reason));
    CHECK_INT(5, n);
    CHECK_STR("a/broken.jpg: not a JPEG <0x00>", reason);
    CHECK(strstr((const char *)out.data, PICTURE) == NULL);
    json_decref(root);
    kd_buf_free(&out);
}

static void test_eval_report__html_escapes_every_text(void **state)
{
    (void)state;
    char *const page = page_of(&report);
    CHECK_HAS("<title>Apples &amp; &lt;pears&gt;</title>", page);
    CHECK_HAS("<h1>Apples &amp; &lt;pears&gt;</h1>", page);
    CHECK_HAS("&lt;b&gt;triplet&lt;/b&gt;", page);
    CHECK_HAS("title=\"a/&lt;q&gt;.jpg\"", page);
    CHECK_HAS("Apple &quot;x&quot;", page);
    CHECK_HAS("alt=\"Q&amp;A\"", page);
    CHECK_HAS("a/broken.jpg: not a JPEG &lt;0x00&gt;", page);
    CHECK(strstr(page, "<script") == NULL);
    CHECK(strstr(page, "<pears>") == NULL);
    CHECK(strstr(page, "<b>triplet") == NULL);
    free(page);
}

static void test_eval_report__html_escapes_quotes_and_control_characters(void **state)
{
    kd_report mean = report;
    mean.dataset = "'\" onload=\x01\x1b<&>";
    (void)state;
    char *const page = page_of(&mean);
    CHECK_HAS("&#39;&quot; onload=\xef\xbf\xbd\xef\xbf\xbd&lt;&amp;&gt;", page);
    free(page);
}

static void test_eval_report__html_needs_nothing_from_elsewhere(void **state)
{
    (void)state;
    char *const page = page_of(&report);
    CHECK(strstr(page, "http:") == NULL && strstr(page, "https:") == NULL);
    CHECK(strstr(page, "<link") == NULL && strstr(page, "@import") == NULL);
    CHECK(strstr(page, "url(") == NULL);
    CHECK_HAS("default-src 'none'", page);
    CHECK_INT(4, times("src=\"" PICTURE "\"", page)); /* query and first hit, for each model */
    CHECK_INT(4, times("no picture", page)); /* an address elsewhere is not taken, nor is NULL */
    free(page);
}

static void test_eval_report__html_shows_models_side_by_side(void **state)
{
    (void)state;
    char *const page = page_of(&report);
    CHECK_HAS("<th scope=\"row\">R@1</th><td>0.1000</td><td><strong>0.7000</strong><small> "
              "0.650–0.750</small></td>",
        page);
    CHECK_HAS("<h3>Less plain</h3>", page);
    CHECK_HAS("<th scope=\"row\">Accuracy</th><td><strong class=\"less\">-1.0000</strong>", page);
    CHECK_HAS("<th scope=\"row\">R@1</th><td><strong>+0.6000</strong><small> +0.500 to "
              "+0.700</small></td>",
        page);
    CHECK_HAS("<th scope=\"row\">MAP@5</th><td>-0.2500<small> -0.500 to +0.010</small></td>", page);
    CHECK_HAS("<th scope=\"row\">NMI of k-means</th><td>–</td>", page);
    CHECK_HAS("<th scope=\"row\">MAP@5</th><td><strong>0.2500</strong></td><td>0.0000</td>", page);
    CHECK_HAS("<td>1,234<small>, 2 without a positive</small></td>", page);
    CHECK_HAS("<td>224 × 224</td><td>160 × 160</td>", page);
    CHECK_HAS("<td>33.2</td><td>–</td>", page);
    CHECK_HAS("<dt>Gallery images</dt><dd>2,640</dd>", page);
    CHECK_HAS("<dt>Made (UTC)</dt><dd>2026-01-02 03:04</dd>", page);
    CHECK_INT(4, times("<th scope=\"row\">F1</th>", page)); /* two kinds, and differences */
    CHECK_HAS("and 3 more.", page);
    free(page);
}

static void test_eval_report__html_frames_and_marks_hits(void **state)
{
    (void)state;
    char *const page = page_of(&report);
    CHECK_INT(1, times("<article", page)); /* one query, asked of two models */
    CHECK_INT(2, times("<li class=\"query\">", page));
    CHECK_INT(2, times("<li class=\"right\">", page));
    CHECK_INT(4, times("<li class=\"wrong\">", page));
    CHECK_INT(
        2, times("aria-label=\"right\">✓</b> Q&amp;A <span class=\"score\">0.750</span>", page));
    CHECK_INT(2, times("aria-label=\"wrong\">✗</b> Gala <span class=\"score\">0.500</span>"
                       "<span class=\"note\">same super-class</span>",
                     page));
    CHECK_INT(2, times("</b> 1 of 3 right</p>", page));
    free(page);
}

static void test_eval_report__rows_that_were_asked_for(void **state)
{
    static const char *const show[] = {"Apple", "<Pear>"};
    const kd_report_row three[] = {rows[0],
        {.query = {.path = "p/1.jpg", .class_name = "Pear", .super_class_name = "Pear"}}, rows[0]};
    kd_report_row strip = rows[0];
    strip.strip = "rows/sop-1-plain-001-Q-A.png";
    kd_report_model model = {.name = "plain", .rows = three, .n_rows = 3};
    kd_report shown = report;
    (void)state;
    shown.models = &model;
    shown.n_models = 1;
    shown.show = show;
    shown.n_show = 2;
    char *page = page_of(&shown);
    CHECK_HAS("Shown, as asked for: Apple, &lt;Pear&gt;.</p>", page);
    CHECK_HAS("<h3>Apple &quot;x&quot;: Q&amp;A</h3>", page);
    CHECK_HAS("<h3>Pear</h3>", page);
    CHECK_HAS("<h3>Apple &quot;x&quot;: Q&amp;A, 2</h3>", page);
    CHECK(strstr(page, "super-classes are shown") == NULL);
    free(page);
    shown.rows_left_out = 9;
    page = page_of(&shown);
    CHECK_HAS("&lt;Pear&gt;; 3 of 12 rows.</p>", page);
    free(page);

    kd_buf out = KD_BUF_INIT;
    model.rows = &strip;
    model.n_rows = 1;
    CHECK_OK(kd_report_json(&shown, &out, &g_err), g_err);
    CHECK_HAS("\"strip\": \"rows/sop-1-plain-001-Q-A.png\"", (const char *)out.data);
    CHECK_HAS("\"show\": [\n    \"Apple\",", (const char *)out.data);
    CHECK_HAS("\"rows_left_out\": 9", (const char *)out.data);
    strip.strip = "\xff";
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_report_json(&shown, &out, &g_err), g_err);
    kd_buf_free(&out);
}

/* Search results: nothing is known to be right, nothing was measured. */
static void test_eval_report__html_takes_rows_without_measures(void **state)
{
    kd_report_row row = rows[0];
    for (size_t i = 0; i < row.n_hits; i++)
        row.hits[i].right = row.hits[i].right_super = -1;
    const kd_report_model model = {.name = "plain", .rows = &row, .n_rows = 1};
    const kd_report search = {.title = "Search", .models = &model, .n_models = 1};
    (void)state;
    char *const page = page_of(&search);
    CHECK(strstr(page, "<table") == NULL && strstr(page, "Skipped") == NULL);
    CHECK(strstr(page, "✓") == NULL && strstr(page, "✗") == NULL);
    CHECK_INT(3, times("<li class=\"plain\">", page));
    free(page);
    kd_buf out = KD_BUF_INIT;
    CHECK_OK(kd_report_json(&search, &out, &g_err), g_err);
    CHECK_INT(3, times("\"right\": null", (const char *)out.data));
    CHECK_HAS("\"dataset\": null", (const char *)out.data);
    kd_buf_free(&out);
}

static void test_eval_report__refuses_text_and_numbers_it_cannot_write(void **state)
{
    kd_buf out = KD_BUF_INIT;
    kd_report bad = report;
    kd_report_model model = models[0];
    (void)state;
    bad.title = "\xff";
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_report_html(&bad, &out, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_report_json(&bad, &out, &g_err), g_err);
    bad = report;
    model.of[KD_EVAL_SUPER_CLASS].means.values[KD_F1] = (double)NAN;
    bad.models = &model;
    bad.n_models = 1;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_report_html(&bad, &out, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_report_json(&bad, &out, &g_err), g_err);
    CHECK_INT(0, out.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_report__json_has_stable_fields_in_stable_order),
        cmocka_unit_test(test_eval_report__json_holds_rows_and_skipped_images),
        cmocka_unit_test(test_eval_report__html_escapes_every_text),
        cmocka_unit_test(test_eval_report__html_escapes_quotes_and_control_characters),
        cmocka_unit_test(test_eval_report__html_needs_nothing_from_elsewhere),
        cmocka_unit_test(test_eval_report__html_shows_models_side_by_side),
        cmocka_unit_test(test_eval_report__html_frames_and_marks_hits),
        cmocka_unit_test(test_eval_report__rows_that_were_asked_for),
        cmocka_unit_test(test_eval_report__html_takes_rows_without_measures),
        cmocka_unit_test(test_eval_report__refuses_text_and_numbers_it_cannot_write),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
