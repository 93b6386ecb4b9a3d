/* What the check finds, each kind of fault by itself, and that it finds none where none is. */
#include <stdlib.h>

#include "tests/check/scene.h"

static kd_check *check_with(const kd_check_options *options)
{
    kd_dataset *dataset = NULL;
    kd_check *check = NULL;
    CHECK_OK(kd_dataset_open(&dataset, g_dir, KD_SPLIT_ALL, &g_err), g_err);
    CHECK_OK(kd_check_new(&check, dataset, options, &g_err), g_err);
    kd_dataset_free(dataset);
    return check;
}

static kd_check *check_all(void)
{
    const kd_check_options options = KD_CHECK_OPTIONS_INIT;
    return check_with(&options);
}

static void check_groups(const kd_check_groups *groups, size_t n, size_t leaks, size_t conflicts)
{
    CHECK_INT(n, groups->n);
    CHECK_INT(leaks, groups->n_leaks);
    CHECK_INT(conflicts, groups->n_conflicts);
}

/* Group g has these two members. */
static void check_pair(
    const kd_check_groups *groups, size_t g, uint32_t a, uint32_t b, bool leak, bool conflict)
{
    CHECK(g < groups->n);
    const kd_check_group *const group = &groups->at[g];
    CHECK_INT(2, group->n);
    CHECK(group->first + group->n <= groups->n_members);
    CHECK_INT(a, groups->members[group->first]);
    CHECK_INT(b, groups->members[group->first + 1]);
    CHECK_INT(leak, group->leak);
    CHECK_INT(conflict, group->conflict);
}

/* Two classes of two images, and a test image of each. */
static void put_clean(void)
{
    put_listing("Ebay_train.txt", "1 1 1 1.jpg\n2 1 1 2.jpg\n3 2 1 3.jpg\n4 2 1 4.jpg\n");
    put_listing("Ebay_test.txt", "5 1 1 5.jpg\n6 2 1 6.jpg\n");
    for (unsigned i = 1; i <= 6; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "%u.jpg", i);
        put_scene(name, 1000 * i);
    }
}

static void test_check__a_clean_set_has_no_findings(void **state)
{
    (void)state;
    put_clean();
    kd_check *const check = check_all();
    CHECK(kd_check_passed(check, true));
    CHECK_INT(6, check->n);
    CHECK_INT(0, check->missing + check->broken + check->small + check->elongated + check->flat);
    CHECK_INT(6, check->formats[KD_IMAGE_JPEG]);
    check_groups(&check->duplicates, 0, 0, 0);
    check_groups(&check->near, 0, 0, 0);
    CHECK_INT(100, check->images[5].width);
    CHECK_INT(80, check->images[5].height);
    kd_check_free(check);
}

static void test_check__counts_each_split(void **state)
{
    (void)state;
    /* train: classes of 1, 1, 2 and 5 images under 2 super-classes; test: one of 3 */
    put_listing("Ebay_train.txt",
        "1 7 1 a\n2 3 1 a\n3 4 2 a\n4 4 2 a\n5 5 2 a\n6 5 2 a\n7 5 2 a\n8 5 2 a\n9 5 2 a\n");
    put_listing("Ebay_test.txt", "10 7 1 a\n11 7 1 a\n12 7 1 a\n");
    kd_check *const check = check_all();
    const kd_check_split *const train = &check->train, *const test = &check->test;
    CHECK_INT(9, train->images);
    CHECK_INT(4, train->classes);
    CHECK_INT(2, train->super_classes);
    CHECK_INT(1, train->least);
    CHECK_NEAR(1.5, train->median, 0);
    CHECK_INT(5, train->most);
    CHECK_INT(2, train->n_lone);
    CHECK_INT(3, train->lone[0]);
    CHECK_INT(7, train->lone[1]);
    CHECK_INT(3, test->images);
    CHECK_INT(1, test->classes);
    CHECK_INT(1, test->super_classes);
    CHECK_NEAR(3, test->median, 0);
    CHECK_INT(0, test->n_lone);
    CHECK_INT(12, check->all.images);
    CHECK_INT(4, check->all.classes);
    CHECK_INT(1, check->all.n_lone); /* class 3: class 7 has four in all */
    CHECK_NEAR(3, check->all.median, 0);
    CHECK_INT(12, check->missing);
    kd_check_free(check);
}

static void test_check__a_folder_without_splits_is_train(void **state)
{
    (void)state;
    put("apple/x", "");
    put_scene("apple/1.jpg", 1);
    kd_check *const check = check_all();
    CHECK_INT(1, check->train.images);
    CHECK_INT(0, check->test.images);
    CHECK_INT(0, check->test.classes);
    CHECK(kd_check_passed(check, true));
    kd_check_free(check);
}

static void test_check__names_missing_and_broken_files(void **state)
{
    kd_buf bytes = KD_BUF_INIT;
    (void)state;
    put_clean();
    char *const path = kd_format("%s/2.jpg", g_dir);
    CHECK_OK(kd_file_read(path, KD_IMAGE_MAX_BYTES, &bytes, &g_err), g_err);
    put_bytes("2.jpg", bytes.data, bytes.len / 2);
    put("3.jpg", "");
    put("4.jpg", "GIF89a and so on");
    put("6.jpg", "GIF89a and so on"); /* equal, but nothing to compare */
    char *const gone = kd_format("%s/5.jpg", g_dir);
    CHECK(remove(gone) == 0);
    kd_check *const check = check_all();
    CHECK(!kd_check_passed(check, false));
    CHECK_INT(1, check->missing);
    CHECK_INT(4, check->broken);
    CHECK_INT(1, check->formats[KD_IMAGE_JPEG]);
    CHECK_INT(KD_CHECK_READ, check->images[0].state);
    CHECK_INT(KD_CHECK_BROKEN, check->images[1].state);
    CHECK_HAS("broken", check->images[1].reason);
    CHECK_STR("the image is empty", check->images[2].reason);
    CHECK_HAS("it is a GIF", check->images[3].reason);
    CHECK_INT(KD_CHECK_MISSING, check->images[4].state);
    CHECK(!check->images[4].reason);
    check_groups(&check->duplicates, 0, 0, 0);
    kd_check_free(check);
    kd_buf_free(&bytes);
    free(gone);
    free(path);
}

static void test_check__an_image_over_a_limit_is_broken(void **state)
{
    (void)state;
    put_listing("Ebay_train.txt", "1 1 1 1.png\n2 1 1 2.jpg\n");
    put_image("1.png", scene(1, 100, 80), 0);
    put_scene("2.jpg", 2);
    kd_buf bytes = KD_BUF_INIT;
    char *const path = kd_format("%s/1.png", g_dir);
    CHECK_OK(kd_file_read(path, KD_IMAGE_MAX_BYTES, &bytes, &g_err), g_err);
    bytes.data[16] = 0x7f; /* the width's highest byte */
    put_bytes("1.png", bytes.data, bytes.len);
    kd_check *const check = check_all();
    CHECK_INT(1, check->broken);
    CHECK(check->images[0].reason);
    CHECK_INT(KD_CHECK_READ, check->images[1].state);
    kd_check_free(check);
    kd_buf_free(&bytes);
    free(path);
}

static void test_check__tells_odd_sizes_at_their_limits(void **state)
{
    const kd_check_options options = {.min_side = 80, .max_aspect = 2.5};
    (void)state;
    put_listing("Ebay_train.txt", "1 1 1 1.png\n2 1 1 2.png\n3 1 1 3.jpg\n4 1 1 4.jpg\n");
    put_image("1.png", scene(1, 200, 80), 0); /* the least side, the largest aspect */
    put_image("2.png", scene(2, 79, 79), 0);
    put_image("3.jpg", scene(3, 80, 201), 90);
    put_image("4.jpg", scene(4, 30, 300), 90);
    kd_check *const check = check_with(&options);
    CHECK_INT(2, check->small);
    CHECK_INT(2, check->elongated);
    CHECK(!check->images[0].small && !check->images[0].elongated);
    CHECK(check->images[1].small && !check->images[1].elongated);
    CHECK(!check->images[2].small && check->images[2].elongated);
    CHECK(check->images[3].small && check->images[3].elongated);
    CHECK_INT(2, check->formats[KD_IMAGE_PNG]);
    CHECK_INT(2, check->formats[KD_IMAGE_JPEG]);
    CHECK(kd_check_passed(check, true));
    kd_check_free(check);
}

/* ---- The same bytes ---- */

static void test_check__duplicates_within_a_split(void **state)
{
    (void)state;
    put_clean();
    put_scene("2.jpg", 1000); /* as 1.jpg, of the same class */
    kd_check *const check = check_all();
    check_groups(&check->duplicates, 1, 0, 0);
    check_pair(&check->duplicates, 0, 0, 1, false, false);
    check_groups(&check->near, 0, 0, 0); /* told once */
    CHECK(kd_check_passed(check, true));
    kd_check_free(check);
}

static void test_check__duplicates_across_splits_are_leaks(void **state)
{
    (void)state;
    put_clean();
    put_scene("5.jpg", 2000); /* as 2.jpg, of the same class */
    kd_check *const check = check_all();
    check_groups(&check->duplicates, 1, 1, 0);
    check_pair(&check->duplicates, 0, 1, 4, true, false);
    CHECK(!kd_check_passed(check, false));
    kd_check_free(check);
}

static void test_check__duplicates_in_two_classes_are_conflicts(void **state)
{
    (void)state;
    put_clean();
    put_scene("3.jpg", 1000);
    kd_check *const check = check_all();
    check_groups(&check->duplicates, 1, 0, 1);
    check_pair(&check->duplicates, 0, 0, 2, false, true);
    CHECK(!kd_check_passed(check, false));
    kd_check_free(check);
}

static void test_check__the_worst_groups_come_first(void **state)
{
    (void)state;
    put_listing("Ebay_train.txt", "1 1 1 a.jpg\n2 1 1 a.jpg\n3 1 1 b.jpg\n4 1 1 c.jpg\n");
    put_listing("Ebay_test.txt", "5 1 1 b.jpg\n6 2 1 c.jpg\n");
    put_scene("a.jpg", 1);
    put_scene("b.jpg", 2);
    put_scene("c.jpg", 3);
    kd_check *const check = check_all();
    check_groups(&check->duplicates, 3, 2, 1);
    check_pair(&check->duplicates, 0, 3, 5, true, true);
    check_pair(&check->duplicates, 1, 2, 4, true, false);
    check_pair(&check->duplicates, 2, 0, 1, false, false);
    kd_check_free(check);
}

/* ---- The same look ---- */

static void test_check__copies_written_anew_are_near(void **state)
{
    (void)state;
    put_clean();
    put_image("2.jpg", scene(1000, 100, 80), 40); /* 1.jpg, coarser */
    put_image("5.jpg", scene(3000, 73, 61), 85);  /* 3.jpg, smaller, of another class and split */
    put_image("6.jpg", scene(4000, 100, 80), 0);  /* 4.jpg, as PNG, of the other split */
    kd_check *const check = check_all();
    check_groups(&check->duplicates, 0, 0, 0);
    check_groups(&check->near, 3, 2, 1);
    check_pair(&check->near, 0, 2, 4, true, true);
    check_pair(&check->near, 1, 3, 5, true, false);
    check_pair(&check->near, 2, 0, 1, false, false);
    CHECK(kd_check_passed(check, false)); /* a person is to judge */
    CHECK(!kd_check_passed(check, true));
    kd_check_free(check);
}

static void test_check__a_near_group_holds_the_duplicates_too(void **state)
{
    (void)state;
    put_clean();
    put_scene("2.jpg", 1000);
    put_image("5.jpg", scene(1000, 100, 80), 40);
    kd_check *const check = check_all();
    check_groups(&check->duplicates, 1, 0, 0);
    check_groups(&check->near, 1, 1, 0);
    CHECK_INT(3, check->near.at[0].n);
    CHECK_INT(4, check->near.members[2]);
    kd_check_free(check);
}

/* Blank pictures in two shades look the same, and are no copies of each other. */
static void test_check__flat_pictures_do_not_pair(void **state)
{
    (void)state;
    put_clean();
    for (unsigned i = 1; i <= 4; i++) {
        char name[16];
        kd_image image;
        (void)snprintf(name, sizeof name, "%u.jpg", i);
        CHECK_OK(kd_image_new(&image, 80, 80, &g_err), g_err);
        memset(image.pixels, 255 - (int)i, (size_t)80 * 80 * 3);
        put_image(name, image, 90);
    }
    kd_check *const check = check_all();
    CHECK_INT(4, check->flat);
    CHECK(check->images[0].flat && !check->images[4].flat);
    check_groups(&check->near, 0, 0, 0);
    check_groups(&check->duplicates, 0, 0, 0);
    kd_check_free(check);
}

/* ---- Progress ---- */

typedef struct watcher {
    size_t calls, last, stop_at; /* stop_at: the call that says stop */
    bool compared;
} watcher;

static bool watch(void *arg, const char *phase, size_t done, size_t total)
{
    watcher *const w = arg;
    const bool comparing = strcmp(phase, "comparing") == 0;
    CHECK(done <= total);
    if (comparing == w->compared)
        CHECK(done > w->last || (comparing && done == 0) || w->calls == 0);
    w->compared = comparing;
    w->last = done;
    return ++w->calls != w->stop_at;
}

static void test_check__tells_progress_and_can_be_stopped(void **state)
{
    kd_buf lines = KD_BUF_INIT;
    kd_dataset *dataset = NULL;
    kd_check *check = NULL;
    (void)state;
    for (unsigned i = 1; i <= 100; i++)
        kd_buf_printf(&lines, "%u %u 1 %u.jpg\n", i, i, i);
    put_listing("Ebay_train.txt", (const char *)lines.data);
    CHECK_OK(kd_dataset_open(&dataset, g_dir, KD_SPLIT_ALL, &g_err), g_err);
    watcher w = {.stop_at = 0};
    const kd_check_options options = {.threads = 2, .progress = watch, .arg = &w};
    CHECK_OK(kd_check_new(&check, dataset, &options, &g_err), g_err);
    CHECK(w.compared);
    const size_t calls = w.calls;
    CHECK(calls >= 5);
    kd_check_free(check);
    for (size_t stop = 1; stop <= calls; stop += calls - 1) { /* while reading, while comparing */
        w = (watcher){.stop_at = stop};
        CHECK_FAILS(KD_CANCELLED, kd_check_new(&check, dataset, &options, &g_err), g_err);
        CHECK_INT(stop, w.calls);
        CHECK(!check);
        CHECK_HAS(stop == 1 ? "interrupted while decoding, after" : "interrupted while comparing",
            g_err.message);
    }
    kd_dataset_free(dataset);
    kd_buf_free(&lines);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_check__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_clean_set_has_no_findings),
        TEST(counts_each_split),
        TEST(a_folder_without_splits_is_train),
        TEST(names_missing_and_broken_files),
        TEST(an_image_over_a_limit_is_broken),
        TEST(tells_odd_sizes_at_their_limits),
        TEST(duplicates_within_a_split),
        TEST(duplicates_across_splits_are_leaks),
        TEST(duplicates_in_two_classes_are_conflicts),
        TEST(the_worst_groups_come_first),
        TEST(copies_written_anew_are_near),
        TEST(a_near_group_holds_the_duplicates_too),
        TEST(flat_pictures_do_not_pair),
        TEST(tells_progress_and_can_be_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
