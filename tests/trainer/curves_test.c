#include <float.h>
#include <stdlib.h>

#include "services/trainer/curves_chart.h"
#include "tests/support/check.h"

static kd_error g_err = KD_ERROR_INIT;

static char *page_of(const train_page *page)
{
    kd_buf out = KD_BUF_INIT;
    CHECK_OK(train_page_html(page, &out, &g_err), g_err);
    return (char *)out.data;
}

static size_t count(const char *text, const char *needle)
{
    size_t n = 0;
    for (; (text = strstr(text, needle)) != NULL; text += strlen(needle))
        n++;
    return n;
}

/* Each tag closes, in order; '<', '>', '&' and '"' stand only where they may. */
static void check_well_formed(const char *page)
{
    char open[32][16];
    size_t depth = 0;
    for (const char *p = strchr(page + 1, '<'); p; p = strchr(p + 1, '<')) {
        const char *const end = strchr(p, '>');
        const bool closes = p[1] == '/';
        const size_t len = strspn(p + 1 + closes, "abcdefghijklmnopqrstuvwxyz0123456789");
        char name[16];
        CHECK(end && len > 0 && len < sizeof name);
        CHECK(!memchr(p + 1, '<', (size_t)(end - p - 1)));
        (void)snprintf(name, sizeof name, "%.*s", (int)len, p + 1 + closes);
        size_t quotes = 0;
        for (const char *q = p; q < end; q++)
            quotes += *q == '"';
        CHECK_INT(0, quotes % 2);
        if (closes) {
            CHECK(depth > 0);
            CHECK_STR(open[depth - 1], name);
            depth--;
        } else if (end[-1] != '/') {
            CHECK(depth < 32);
            memcpy(open[depth++], name, sizeof name);
        }
    }
    CHECK_INT(0, depth);
    for (const char *p = strchr(page, '&'); p; p = strchr(p + 1, '&'))
        CHECK(strncmp(p, "&amp;", 5) == 0 || strncmp(p, "&lt;", 4) == 0 ||
              strncmp(p, "&gt;", 4) == 0 || strncmp(p, "&quot;", 6) == 0 ||
              strncmp(p, "&#39;", 5) == 0);
}

/* What any page must be. */
static char *checked(const train_page *page)
{
    char *const text = page_of(page);
    check_well_formed(text);
    assert_null(strstr(text, "nan"));
    assert_null(strstr(text, "inf"));
    assert_null(strstr(text, "<script"));
    assert_null(strstr(text, "http:"));
    assert_null(strstr(text, "https:"));
    assert_null(strstr(text, "url("));
    CHECK_HAS("default-src 'none'", text);
    return text;
}

static char *checked_values(const double *values, size_t n)
{
    const train_curve curve = {"loss", "loss", values};
    const train_page page = {.title = "T", .curves = &curve, .n_curves = 1, .n_epochs = n};
    return checked(&page);
}

/* ---- The page ---- */

static void test_trainer_curves__one_chart_for_each_group(void **state)
{
    const double falls[] = {1, 0.5, 0.25}, rises[] = {0.25, 0.5, 0.75}, none[] = {NAN, NAN, NAN};
    const train_curve curves[] = {{"training", "loss", falls}, {"recall@1", "retrieval", rises},
        {"validation", "loss", falls}, {"vote", "accuracy", none}, {"x", "odd & <own>", rises}};
    const train_page page = {.title = "T",
        .job = "j0b",
        .model_name = "m0del",
        .curves = curves,
        .n_curves = 5,
        .n_epochs = 3,
        .best_epoch = 2};
    (void)state;
    char *const text = checked(&page);
    CHECK_INT(3, count(text, "<svg "));
    CHECK_INT(4, count(text, "<path "));
    CHECK_HAS("<h2>Loss</h2>", text);
    CHECK_HAS("<h2>Retrieval</h2>", text);
    CHECK_HAS("<h2>odd &amp; &lt;own&gt;</h2>", text);
    assert_null(strstr(text, "Accuracy"));
    CHECK_HAS(">validation</text>", text); /* beside its curve */
    CHECK_HAS("<title>epoch 1\ntraining 1.0000\nvalidation 1.0000</title>", text);
    CHECK_HAS("<dd>j0b</dd>", text);
    CHECK_HAS("<dd>m0del</dd>", text);
    free(text);
}

static void test_trainer_curves__marks_the_best(void **state)
{
    const double falls[] = {1, 0.5, 0.25};
    const train_curve curve = {"loss", "loss", falls};
    train_page page = {
        .title = "T", .curves = &curve, .n_curves = 1, .n_epochs = 3, .best_epoch = 2};
    (void)state;
    char *text = checked(&page);
    CHECK_INT(1, count(text, ">best: epoch 2</text>"));
    CHECK_INT(1, count(text, "class=\"top s0\""));
    CHECK_INT(1, count(text, "<title>epoch 2, the best\nloss 0.5000</title>"));
    CHECK_INT(1, count(text, "<tr class=\"best\"><th scope=\"row\">2 "));
    CHECK_HAS("<dt>Best epoch</dt><dd>2</dd>", text);
    free(text);
    page.best_epoch = 0;
    text = checked(&page);
    assert_null(strstr(text, ">best:"));
    assert_null(strstr(text, "the best"));
    assert_null(strstr(text, "Best epoch"));
    free(text);
}

static void test_trainer_curves__everything_is_escaped(void **state)
{
    static const char *const facts[][2] = {{"<i>\"n\"", "</dl>&'v'"}, {"none", NULL}};
    const double values[] = {1, 2};
    const train_curve curves[] = {{"</svg><b>\"a\"", "<g>&\"", values}, {"&b", "<g>&\"", values}};
    const train_page page = {.title = "<t>&\"'",
        .job = "<j>",
        .model_name = "<m>",
        .facts = facts,
        .n_facts = 2,
        .curves = curves,
        .n_curves = 2,
        .n_epochs = 2,
        .running = true,
        .note = "<script>alert(1)</script>\x01"};
    (void)state;
    char *const text = checked(&page);
    CHECK_HAS("<title>&lt;t&gt;&amp;&quot;&#39;</title>", text);
    CHECK_HAS("<dt>&lt;i&gt;&quot;n&quot;</dt><dd>&lt;/dl&gt;&amp;&#39;v&#39;</dd>", text);
    CHECK_HAS("&lt;script&gt;alert(1)&lt;/script&gt;\xef\xbf\xbd</p>", text);
    CHECK_HAS("aria-label=\"&lt;g&gt;&amp;&quot; over 2 epochs\"", text);
    assert_null(strstr(text, "none</dt>"));
    free(text);
}

static void test_trainer_curves__a_name_is_cut_between_letters(void **state)
{
    const double values[] = {1, 2};
    const train_curve curves[] = {
        {"äöüäöüäöüäöüäöüäöü", "g", values}, {"äöüäöüäöüäöüäöüäöüä", "g", values}};
    const train_page page = {.title = "T", .curves = curves, .n_curves = 2, .n_epochs = 2};
    (void)state;
    char *const text = checked(&page);
    CHECK_HAS(">äöüäöüäöüäöüäöüäöü</text>", text);
    CHECK_HAS(">äöüäöüäöüäöüäöüäö…</text>", text);
    CHECK_HAS("\näöüäöüäöüäöüäöüäöüä ", text); /* whole for the pointer */
    free(text);
}

static void test_trainer_curves__says_what_state_it_is_in(void **state)
{
    train_page page = {.title = NULL, .running = true};
    (void)state;
    char *text = checked(&page);
    CHECK_HAS("<title>Training</title>", text);
    CHECK_HAS(">running<", text);
    CHECK_HAS("http-equiv=\"refresh\"", text);
    CHECK_HAS("No epoch is over yet", text);
    CHECK_INT(0, count(text, "<svg"));
    CHECK_INT(0, count(text, "<table"));
    free(text);
    page.running = false;
    text = checked(&page);
    CHECK_HAS(">ended<", text);
    assert_null(strstr(text, "refresh"));
    free(text);
}

static void test_trainer_curves__refuses_what_is_no_text(void **state)
{
    const double values[] = {1};
    const train_curve curve = {"\xff", "loss", values};
    train_page page = {.title = "T", .curves = &curve, .n_curves = 1, .n_epochs = 1};
    kd_buf out = KD_BUF_INIT;
    (void)state;
    CHECK_FAILS(KD_INVALID_ARGUMENT, train_page_html(&page, &out, &g_err), g_err);
    CHECK_STR("the page's curve is not valid UTF-8", g_err.message);
    page = (train_page){.title = "T", .note = "\xc3"};
    CHECK_FAILS(KD_INVALID_ARGUMENT, train_page_html(&page, &out, &g_err), g_err);
    CHECK_STR("the page's note is not valid UTF-8", g_err.message);
    CHECK_INT(0, out.len);
}

/* ---- Values of every kind ---- */

static void test_trainer_curves__one_epoch(void **state)
{
    const double values[] = {0.5};
    (void)state;
    char *const text = checked_values(values, 1);
    CHECK_INT(1, count(text, "<circle "));
    CHECK_INT(1, count(text, "<rect "));
    CHECK_HAS("over 1 epoch\"", text);
    CHECK_HAS(">0.50</text>", text); /* in the middle of its axis */
    free(text);
}

static void test_trainer_curves__a_thousand_epochs(void **state)
{
    double values[1000];
    (void)state;
    for (size_t i = 0; i < 1000; i++)
        values[i] = i == 567 ? 30 : 1 + (double)(i % 7);
    char *const text = checked_values(values, 1000);
    CHECK_INT(0, count(text, "<circle "));
    CHECK(count(text, "<rect ") <= 150);
    CHECK_HAS(">1000</text>", text);
    CHECK_HAS("<th scope=\"row\">1000</th>", text);
    const char *const path = strstr(text, "<path ");
    const char *const end = strstr(path, "/>");
    CHECK(end - path < 20000);
    const char *const peak = strstr(path, " 42.0L"); /* 30 is the axis's top: it isn't left out */
    CHECK(peak && peak < end);
    free(text);
}

static void test_trainer_curves__extreme_values(void **state)
{
    const double sets[][4] = {{1e308, -1e308, 0, DBL_MAX}, {5e-324, 0, 1e-310, -5e-324},
        {1e-9, 2e-9, 3e-9, 4e-9}, {1e6, 2e6, 3e6, 4e6},
        {123456789, 123456790, 123456791, 123456792}, {0, 0, 0, 0}, {7, 7, 7, 7}, {-7, -7, -7, -7},
        {1, 1 + 1e-15, 1, 1}, {NAN, INFINITY, 1, -INFINITY}, {1e300, 1e300, 1e300, 1e300},
        {DBL_MAX, DBL_MAX, DBL_MAX, DBL_MAX}, {-3, -2, 4, 5}, {DBL_MIN, DBL_MAX, 1, NAN}};
    (void)state;
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        char *const text = checked_values(sets[s], 4);
        CHECK_INT(1, count(text, "<svg "));
        CHECK(count(text, "class=\"end\"") >= 3 && count(text, "class=\"end\"") <= 12);
        free(text);
    }
}

static void test_trainer_curves__no_values_no_chart(void **state)
{
    const double values[] = {NAN, INFINITY, -INFINITY};
    (void)state;
    char *const text = checked_values(values, 3);
    CHECK_INT(0, count(text, "<svg "));
    free(text);
}

static void test_trainer_curves__a_line_goes_over_what_is_missing(void **state)
{
    const double values[] = {NAN, 0.5, NAN, NAN, 1.0, NAN};
    (void)state;
    char *const text = checked_values(values, 6);
    const char *const path = strstr(text, " d=\"");
    CHECK(path && path[4] == 'M');
    CHECK_INT(2, count(text, "<circle "));
    const char *const end = strchr(path + 4, '"');
    const char *const to = strchr(path, 'L');
    CHECK(to && to < end);
    CHECK_HAS("<td>–</td>", text);
    free(text);
}

/* ---- Parts ---- */

static void check_axis(double least, double most, double step, int64_t first, int64_t last)
{
    const train_axis axis = train_axis_for(least, most);
    CHECK_NEAR(step, axis.step, step * 1e-9);
    CHECK_INT(first, axis.first);
    CHECK_INT(last, axis.last);
}

static void test_trainer_curves__axes_step_by_1_2_or_5(void **state)
{
    (void)state;
    check_axis(0, 1, 0.2, 0, 5);
    check_axis(0.1, 1, 0.2, 0, 5); /* near to 0: from there */
    check_axis(0.52, 0.98, 0.1, 5, 10);
    check_axis(-1, 1, 0.5, -2, 2);
    check_axis(0, 240, 50, 0, 5);
    check_axis(10, 10, 0.5, 18, 22);
    check_axis(0, 0, 0.2, 0, 5);
    check_axis(-0.3, -0.1, 0.05, -6, -2);
}

static void test_trainer_curves__numbers_are_short(void **state)
{
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"}, {0.725, "0.7250"}, {-1.5, "-1.5000"}, {33.214, "33.21"},
        {1234.6, "1235"}, {1.5e-6, "1.500e-6"}, {-2e-12, "-2.000e-12"}, {4e10, "4.000e10"},
        {DBL_MAX, "1.798e308"}, {5e-324, "0"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[TRAIN_NUMBER_TEXT];
        train_number(cases[i].value, text);
        CHECK_STR(cases[i].text, text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_curves__one_chart_for_each_group),
        cmocka_unit_test(test_trainer_curves__marks_the_best),
        cmocka_unit_test(test_trainer_curves__everything_is_escaped),
        cmocka_unit_test(test_trainer_curves__a_name_is_cut_between_letters),
        cmocka_unit_test(test_trainer_curves__says_what_state_it_is_in),
        cmocka_unit_test(test_trainer_curves__refuses_what_is_no_text),
        cmocka_unit_test(test_trainer_curves__one_epoch),
        cmocka_unit_test(test_trainer_curves__a_thousand_epochs),
        cmocka_unit_test(test_trainer_curves__extreme_values),
        cmocka_unit_test(test_trainer_curves__no_values_no_chart),
        cmocka_unit_test(test_trainer_curves__a_line_goes_over_what_is_missing),
        cmocka_unit_test(test_trainer_curves__axes_step_by_1_2_or_5),
        cmocka_unit_test(test_trainer_curves__numbers_are_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
