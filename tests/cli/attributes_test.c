/* Attributes and conditions as they are typed. */
#include "services/gateway/cli/attributes.h"
#include "tests/support/check.h"

static void test_cli_attributes__numbers_texts_and_quotes(void **state)
{
    cli_attributes a = {.n = 0};
    (void)state;
    assert_true(cli_attributes_add(&a, "x", "brand=Acme & Sons"));
    assert_true(cli_attributes_add(&a, "x", "price=-9.5e1"));
    assert_true(cli_attributes_add(&a, "x", "size=\"42\""));
    assert_true(cli_attributes_add(&a, "x", "formula=a=b"));
    assert_true(cli_attributes_add(&a, "x", "empty="));
    CHECK_INT(5, a.n);
    CHECK_STR("brand", a.list[0]->name);
    CHECK_STR("Acme & Sons", a.list[0]->text);
    CHECK_INT(KINDRED__V1__ATTRIBUTE__VALUE_NUMBER, a.list[1]->value_case);
    CHECK_NEAR(-95, a.list[1]->number, 0);
    CHECK_STR("42", a.list[2]->text);
    CHECK_STR("a=b", a.list[3]->text);
    CHECK_STR("", a.list[4]->text);
    static const char *const wrong[] = {"", "brand", "=Acme", "price>=5", "price<5", "<"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(cli_attributes_add(&a, "x", wrong[i]));
    for (size_t i = a.n; i < CLI_MAX_ATTRIBUTES; i++)
        assert_true(cli_attributes_add(&a, "x", "more=1"));
    assert_false(cli_attributes_add(&a, "x", "more=1"));
    cli_attributes_clear(&a);
}

static void test_cli_conditions__of_one_name_are_one(void **state)
{
    static cli_conditions c;
    (void)state;
    static const char *const right[] = {"brand=Acme", "price>=5", "brand=Other", "price<=20",
        "price>=7", "price<=30", "stock=3", "brand=7"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        assert_true(cli_conditions_add(&c, "x", right[i]));
    CHECK_INT(4, c.n);
    CHECK_INT(2, c.list[0]->any_of->n_texts);
    CHECK_STR("Other", c.list[0]->any_of->texts[1]);
    CHECK_NEAR(7, c.list[1]->range->min->value, 0);
    CHECK_NEAR(20, c.list[1]->range->max->value, 0);
    CHECK_NEAR(3, c.list[2]->range->min->value, 0);
    CHECK_NEAR(3, c.list[2]->range->max->value, 0);
    CHECK_STR("brand", c.list[3]->name); /* the number 7, which is no text */
    CHECK_INT(KINDRED__V1__CONDITION__TEST_RANGE, c.list[3]->test_case);
    static const char *const wrong[] = {"brand", "brand>=Acme", "price<\"5\"", ">=5"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(cli_conditions_add(&c, "x", wrong[i]));
    for (size_t i = 2; i < CLI_MAX_TEXTS; i++)
        assert_true(cli_conditions_add(&c, "x", "brand=more"));
    assert_false(cli_conditions_add(&c, "x", "brand=more"));
    cli_conditions_clear(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cli_attributes__numbers_texts_and_quotes),
        cmocka_unit_test(test_cli_conditions__of_one_name_are_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
