/* kindred dataset check: the table, the JSON and the exit status. */
#include <signal.h>

#include "tests/check/scene.h"
#include "tests/cli/run.h"

/* Train: 1 and 2 of the same bytes in classes 1 and 2, 3 broken, 4 alone in its class, small.
 * Test: 5 is 4 written anew, 6 has the bytes of 1, 7 is missing, 8 is flat and elongated. */
static void put_faulty(void)
{
    put_listing("Ebay_train.txt", "1 1 1 s_final/1.jpg\n2 2 1 s_final/2.jpg\n3 2 1 s_final/3.jpg\n"
                                  "4 3 2 t_final/4.jpg\n");
    put_listing("Ebay_test.txt", "5 3 2 t_final/5.jpg\n6 1 1 s_final/6.jpg\n7 1 1 s_final/7.jpg\n"
                                 "8 1 1 s_final/8.png\n");
    put("s_final/3.jpg", "\xff\xd8\xff\xe0 no more");
    put("t_final/x", "");
    put_scene("s_final/1.jpg", 1);
    put_scene("s_final/2.jpg", 1);
    put_scene("s_final/6.jpg", 1);
    put_image("t_final/4.jpg", scene(2, 50, 60), 90);
    put_image("t_final/5.jpg", scene(2, 100, 120), 80);
    kd_image blank;
    CHECK_OK(kd_image_new(&blank, 700, 100, &g_err), g_err);
    put_image("s_final/8.png", blank, 0);
}

static void put_fine(void)
{
    put_listing("Ebay_train.txt", "1 1 1 1.jpg\n2 1 1 2.jpg\n");
    put_scene("1.jpg", 1);
    put_scene("2.jpg", 2);
}

static void test_cli_dataset__a_clean_set(void **state)
{
    ran r;
    (void)state;
    put_fine();
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--strict");
    CHECK_INT(0, r.status);
    CHECK_HAS("SPLIT  IMAGES  CLASSES  SUPER-CLASSES  MIN  MEDIAN  MAX  ONE IMAGE\n"
              "train       2        1              1    2     2.0    2          0\n"
              "all         2        1              1    2     2.0    2          0\n",
        r.out);
    CHECK_HAS("formats: 2 JPEG\n"
              "duplicates: none\n"
              "near-duplicates: none\n"
              "every image is there and can be read\n",
        r.out);
    CHECK_HAS("kindred dataset check: decoding 2/2 100%", r.err);
}

static void test_cli_dataset__a_table_of_all_findings(void **state)
{
    ran r;
    (void)state;
    put_faulty();
    RUN(&r, cmd_dataset, "dataset", "check", g_dir);
    CHECK_INT(1, r.status);
    CHECK_HAS("train       4        3              2    1     1.0    2          2\n"
              "test        4        2              2    1     2.0    3          1\n"
              "all         8        3              2    2     2.0    4          0\n",
        r.out);
    CHECK_HAS("classes in both splits: 2\n"
              "formats: 5 JPEG, 1 PNG\n"
              "classes with one image in train: 2\n"
              "  1, t_final\n"
              "classes with one image in test: 1\n"
              "  t_final\n"
              "missing files: 1\n"
              "  s_final/7.jpg\n"
              "broken files: 1\n"
              "  s_final/3.jpg: the JPEG image",
        r.out);
    CHECK_HAS("pictures with a side below 64 pixels: 1\n"
              "  t_final/4.jpg: 50 x 60\n"
              "pictures more than 4 times as long as wide: 1\n"
              "  s_final/8.png: 700 x 100\n"
              "pictures of one colour: 1\n"
              "  s_final/8.png: 700 x 100\n"
              "duplicates: 1 group of 3 images, 1 across the splits (leaks), 1 with different "
              "classes (label conflicts)\n"
              "  leak, label conflict: s_final/1.jpg in train as 1 = s_final/2.jpg in train as 2 = "
              "s_final/6.jpg in test as 1\n"
              "near-duplicates: 1 group of 2 images, 1 across the splits (leaks), 0 with different "
              "classes (label conflicts)\n"
              "  leak: t_final/4.jpg in train ~ t_final/5.jpg in test\n",
        r.out);
}

static json_int_t integer(const json_t *object, const char *key)
{
    const json_t *const value = json_object_get(object, key);
    if (!json_is_integer(value))
        fail_msg("%s is not a number", key);
    return json_integer_value(value);
}

static void check_groups(const json_t *groups, int n, int images, int leaks, int conflicts)
{
    CHECK_INT(n, integer(groups, "groups"));
    CHECK_INT(images, integer(groups, "images"));
    CHECK_INT(leaks, integer(groups, "leaks"));
    CHECK_INT(conflicts, integer(groups, "label_conflicts"));
    CHECK_INT(n, json_array_size(json_object_get(groups, "list")));
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *const text = json_string_value(json_object_get(object, key));
    return text ? text : "(none)";
}

static void test_cli_dataset__json_of_all_findings(void **state)
{
    ran r;
    json_error_t error;
    (void)state;
    put_faulty();
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--json");
    CHECK_INT(1, r.status);
    CHECK_STR("", r.err);
    json_t *const object = json_loads(r.out, 0, &error);
    CHECK(object);
    const json_t *const splits = json_object_get(object, "splits");
    const json_t *const train = json_object_get(splits, "train");
    const json_t *const per_class = json_object_get(train, "images_per_class");
    CHECK_STR(g_dir, text_of(object, "dir"));
    CHECK_INT(64, strlen(text_of(object, "data_hash")));
    CHECK_INT(8, integer(object, "images"));
    CHECK_INT(3, integer(object, "classes"));
    CHECK_INT(2, integer(object, "super_classes"));
    CHECK_INT(0, integer(object, "classes_with_one_image"));
    CHECK_INT(2, integer(object, "classes_in_both_splits"));
    CHECK_INT(4, integer(train, "images"));
    CHECK_INT(1, integer(per_class, "min"));
    CHECK_NEAR(1, json_real_value(json_object_get(per_class, "median")), 0);
    CHECK_INT(2, integer(per_class, "max"));
    CHECK_INT(2, integer(train, "classes_with_one_image"));
    const json_t *const lone = json_array_get(json_object_get(train, "one_image_classes"), 1);
    CHECK_INT(3, integer(lone, "class_id"));
    CHECK_STR("t_final", text_of(lone, "class_name"));
    CHECK_INT(5, integer(json_object_get(object, "formats"), "jpeg"));
    CHECK_INT(1, integer(json_object_get(object, "formats"), "png"));
    CHECK_INT(0, integer(json_object_get(object, "formats"), "webp"));
    static const char *const kinds[] = {"missing", "broken", "small", "elongated", "flat"};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char count[32];
        (void)snprintf(count, sizeof count, "%s_images", kinds[i]);
        CHECK_INT(1, integer(object, count));
        CHECK_INT(1, json_array_size(json_object_get(object, kinds[i])));
    }
    CHECK_STR(
        "s_final/7.jpg", json_string_value(json_array_get(json_object_get(object, "missing"), 0)));
    const json_t *const broken = json_array_get(json_object_get(object, "broken"), 0);
    CHECK_STR("s_final/3.jpg", text_of(broken, "path"));
    CHECK_HAS("JPEG", text_of(broken, "reason"));
    const json_t *const small = json_array_get(json_object_get(object, "small"), 0);
    CHECK_STR("t_final/4.jpg", text_of(small, "path"));
    CHECK_INT(50, integer(small, "width"));
    CHECK_INT(60, integer(small, "height"));
    const json_t *const same = json_object_get(object, "duplicates");
    check_groups(same, 1, 3, 1, 1);
    const json_t *const group = json_array_get(json_object_get(same, "list"), 0);
    CHECK(json_is_true(json_object_get(group, "leak")));
    CHECK(json_is_true(json_object_get(group, "label_conflict")));
    CHECK_INT(3, integer(group, "images"));
    const json_t *const member = json_array_get(json_object_get(group, "members"), 2);
    CHECK_INT(6, integer(member, "image_id"));
    CHECK_STR("test", text_of(member, "split"));
    CHECK_INT(1, integer(member, "class_id"));
    CHECK_STR("s_final/6.jpg", text_of(member, "path"));
    check_groups(json_object_get(object, "near_duplicates"), 1, 2, 1, 0);
    CHECK(json_is_false(json_object_get(object, "ok")));
    json_decref(object);
}

static void test_cli_dataset__only_strict_fails_on_what_looks_the_same(void **state)
{
    ran r;
    (void)state;
    put_fine();
    put_listing("Ebay_test.txt", "3 1 1 3.jpg\n");
    put_image("3.jpg", scene(1, 90, 70), 80);
    RUN(&r, cmd_dataset, "dataset", "check", g_dir);
    CHECK_INT(0, r.status);
    CHECK_HAS("  leak: 1.jpg in train ~ 3.jpg in test\n", r.out);
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--strict");
    CHECK_INT(1, r.status);
}

static void test_cli_dataset__options_set_what_is_odd(void **state)
{
    ran r;
    (void)state;
    put_fine(); /* 100 x 80 */
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--min-side", "80", "--max-aspect", "1.25");
    CHECK(!strstr(r.out, "pictures"));
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--min-side", "81", "--max-aspect", "1.2");
    CHECK_INT(0, r.status);
    CHECK_HAS("pictures with a side below 81 pixels: 2\n  1.jpg: 100 x 80\n", r.out);
    CHECK_HAS("pictures more than 1.2 times as long as wide: 2\n", r.out);
}

static void test_cli_dataset__names_the_first_of_many(void **state)
{
    ran r;
    kd_buf lines = KD_BUF_INIT;
    (void)state;
    for (unsigned i = 1; i <= 1003; i++)
        kd_buf_printf(&lines, "%u %u 1 %u.jpg\n", i, i, i);
    put_listing("Ebay_train.txt", (const char *)lines.data);
    RUN(&r, cmd_dataset, "dataset", "check", g_dir);
    CHECK_INT(1, r.status);
    CHECK_HAS("classes with one image in train: 1003\n  1, 2, 3, ", r.out);
    CHECK_HAS("missing files: 1003\n  1.jpg\n", r.out);
    CHECK_HAS("  20.jpg\n  and 983 more\n", r.out);
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--json");
    json_t *const object = json_loads(r.out, 0, NULL);
    CHECK_INT(1003, integer(object, "missing_images"));
    CHECK_INT(1000, json_array_size(json_object_get(object, "missing")));
    CHECK_INT(1003, integer(object, "classes_with_one_image"));
    CHECK_INT(1000, json_array_size(json_object_get(object, "one_image_classes")));
    json_decref(object);
    kd_buf_free(&lines);
}

static void test_cli_dataset__names_do_not_steer_the_terminal(void **state)
{
    ran r;
    (void)state;
    put("apple\033[1m/1.jpg", "");
    RUN(&r, cmd_dataset, "dataset", "check", g_dir);
    CHECK_INT(1, r.status);
    CHECK_HAS("classes with one image in train: 1\n  apple?[1m\n", r.out);
    CHECK_HAS("broken files: 1\n  apple?[1m/1.jpg: the image is empty\n", r.out);
    CHECK(!strchr(r.out, '\033'));
}

static void test_cli_dataset__says_what_it_cannot_open(void **state)
{
    ran r;
    (void)state;
    put_listing("Ebay_test.txt", "3 2 x 3.jpg\n");
    RUN(&r, cmd_dataset, "dataset", "check", g_dir);
    CHECK_INT(1, r.status);
    CHECK_HAS("Ebay_test.txt:2: ", r.err);
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--json");
    CHECK_INT(1, r.status);
    CHECK_HAS("\"INVALID_ARGUMENT\"", r.out);
    RUN(&r, cmd_dataset, "dataset", "check", "/no/such/folder");
    CHECK_INT(1, r.status);
    CHECK_HAS("there is no folder /no/such/folder", r.err);
}

static void test_cli_dataset__wrong_usage(void **state)
{
    ran r;
    (void)state;
    put_fine();
    RUN(&r, cmd_dataset, "dataset", "check");
    CHECK_INT(2, r.status);
    CHECK_HAS("an argument is missing", r.err);
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--min-side", "0");
    CHECK_INT(2, r.status);
    CHECK_HAS("--min-side is '0'", r.err);
    RUN(&r, cmd_dataset, "dataset", "check", g_dir, "--max-aspect", "0.5");
    CHECK_INT(2, r.status);
    CHECK_HAS("--max-aspect is '0.5', not a number in 1..1000", r.err);
    RUN(&r, cmd_dataset, "dataset", "check", "--help");
    CHECK_INT(0, r.status);
    CHECK_HAS("Exit status 1 when a file is missing or broken", r.out);
}

/* The last test: an interrupt is noted for the rest of the process. */
static void test_cli_dataset__can_be_interrupted(void **state)
{
    ran r;
    (void)state;
    put_fine();
    RUN(&r, cmd_dataset, "dataset", "check", g_dir); /* catches SIGINT from now on */
    CHECK_INT(0, r.status);
    CHECK_INT(0, raise(SIGINT));
    RUN(&r, cmd_dataset, "dataset", "check", g_dir);
    CHECK_INT(1, r.status);
    CHECK_HAS("kindred dataset check: interrupted while decoding, after 2 of 2\n", r.err);
    CHECK_STR("", r.out);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_cli_dataset__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_clean_set),
        TEST(a_table_of_all_findings),
        TEST(json_of_all_findings),
        TEST(only_strict_fails_on_what_looks_the_same),
        TEST(options_set_what_is_odd),
        TEST(names_the_first_of_many),
        TEST(names_do_not_steer_the_terminal),
        TEST(says_what_it_cannot_open),
        TEST(wrong_usage),
        TEST(can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
