/* What the files of a report are called, and which names a client may ask for. */
#include <string.h>

#include "services/gateway/rows.h"
#include "tests/support/check.h"

static void check_name(const char *expected, const char *model, const char *super, const char *of)
{
    char name[STRIP_NAME];
    strip_name(name, "closed-set", 1, model, 3, super, of);
    CHECK_STR(expected, name);
    CHECK(is_strip_name(name));
}

static void test_gateway_strip_name__holds_what_a_file_name_may(void **state)
{
    (void)state;
    check_name("rows/closed-set-1-plain-003-mug-11318.png", "plain", "mug", "11318");
    check_name("rows/closed-set-1-v1-2_b-003-mug-2.png", "v1.2_b", "mug", "mug-2");
    check_name("rows/closed-set-1-etc-passwd-003-a-b-c.png", "../../etc/passwd", "a b", "c\n\t");
    check_name("rows/closed-set-1-003-pfel.png", "\xe6\xa8\xa1", NULL, "\xc3\x84pfel");
    check_name("rows/closed-set-1-003.png", NULL, NULL, NULL);
    check_name("rows/closed-set-1-003.png", "", "..", "///");
}

static void test_gateway_strip_name__is_cut_and_stays_unique(void **state)
{
    char text[1000], first[STRIP_NAME], second[STRIP_NAME];
    (void)state;
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    strip_name(first, text, SIZE_MAX, text, SIZE_MAX, text, text);
    CHECK(is_strip_name(first));
    strip_name(second, text, SIZE_MAX, text, SIZE_MAX - 1, text, text);
    CHECK(strcmp(first, second) != 0);
    strip_name(first, "sop", 1, "a b", 1, "Mug", "Mug");
    strip_name(second, "sop", 2, "a/b", 1, "mug", "mug");
    CHECK(strcasecmp(first, second) != 0);
    strip_name(second, "catalogue", 1, "a b", 1, "Mug", "Mug");
    CHECK(strcmp(first, second) != 0);
}

static void test_gateway_report_file__no_name_leads_elsewhere(void **state)
{
    static const char *const wrong[] = {"", "report", "report.html ", "/report.json",
        "../report.json", "rows", "rows/", "rows/.png", "rows/..png", "rows/../report.json",
        "rows/../../x.png", "rows/a/b.png", "rows//a.png", "rows/a.png/", "rows/a.png.png",
        "rows/a.jpg", "rows/a b.png", "rows/a%2fb.png", "rows/a\\b.png", "rows/\xc3\xa4.png",
        "Rows/a.png", "rows/a.PNG", "./rows/a.png"};
    char name[STRIP_NAME + 1] = "rows/";
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK(report_file_type(wrong[i]) == NULL);
    CHECK_STR("text/html; charset=utf-8", report_file_type("report.html"));
    CHECK_STR("application/json", report_file_type("report.json"));
    CHECK_STR("image/png", report_file_type("rows/sop-1-plain-001-mug.png"));

    memset(name + 5, 'a', STRIP_NAME - 5 - 5); /* the last length that is allowed */
    memcpy(name + STRIP_NAME - 5, ".png", sizeof ".png");
    CHECK_INT(STRIP_NAME - 1, strlen(name));
    CHECK(is_strip_name(name));
    memcpy(name + STRIP_NAME - 5, "a.png", sizeof "a.png");
    CHECK(!is_strip_name(name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gateway_strip_name__holds_what_a_file_name_may),
        cmocka_unit_test(test_gateway_strip_name__is_cut_and_stays_unique),
        cmocka_unit_test(test_gateway_report_file__no_name_leads_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
