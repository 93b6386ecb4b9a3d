#include <sys/stat.h>
#include <unistd.h>

#include "lib/dataset/dataset.h"
#include "tests/dataset/folder.h"

static kd_dataset *open_ok(kd_split split)
{
    kd_dataset *dataset = NULL;
    CHECK_OK(kd_dataset_open(&dataset, g_dir, split, &g_err), g_err);
    return dataset;
}

/* The sentence names the folder and holds this part. */
static void check_fault(kd_split split, kd_status status, const char *part)
{
    kd_dataset *dataset = NULL;
    CHECK_FAILS(status, kd_dataset_open(&dataset, g_dir, split, &g_err), g_err);
    CHECK(dataset == NULL);
    CHECK_HAS(part, g_err.message);
    CHECK_HAS(g_dir, g_err.message);
}

static void check_item(const kd_dataset *dataset, size_t at, uint64_t image_id, const char *path,
    const char *class_name, const char *super_class_name)
{
    size_t n;
    const kd_item *const items = kd_dataset_items(dataset, &n);
    CHECK(at < n);
    CHECK_INT(image_id, items[at].image_id);
    CHECK_STR(path, kd_dataset_path(dataset, &items[at]));
    CHECK_STR(class_name, kd_dataset_class_name(dataset, items[at].class_id));
    CHECK_STR(super_class_name, kd_dataset_super_class_name(dataset, items[at].super_class_id));
}

static void test_dataset_folders__reads_classes_and_super_classes(void **state)
{
    size_t n;
    (void)state;
    put("fruit/pear/2.JPEG", "");
    put("fruit/pear/1.jpg", "");
    put("fruit/apple/3.webp", "");
    put("fruit/apple/notes.txt", "");
    put("bike/1.png", "");
    put("bike/.hidden.jpg", "");
    put(".git/x/1.jpg", "");
    put("readme.txt", "");
    kd_dataset *const dataset = open_ok(KD_SPLIT_TRAIN);
    (void)kd_dataset_items(dataset, &n);
    CHECK_INT(4, n);
    check_item(dataset, 0, 1, "bike/1.png", "bike", "bike");
    check_item(dataset, 1, 2, "fruit/apple/3.webp", "apple", "fruit");
    check_item(dataset, 2, 3, "fruit/pear/1.jpg", "pear", "fruit");
    check_item(dataset, 3, 4, "fruit/pear/2.JPEG", "pear", "fruit");
    CHECK_INT(3, kd_dataset_class_count(dataset));
    CHECK_INT(2, kd_dataset_super_class_count(dataset));
    kd_dataset_free(dataset);
    check_fault(KD_SPLIT_TEST, KD_NOT_FOUND, "has no test images: there is no folder");
}

static void test_dataset_folders__gives_the_same_ids_in_every_split(void **state)
{
    size_t n_all, n_test, n_train;
    (void)state;
    put("train/b/1.jpg", "");
    put("train/d/1.jpg", "");
    put("test/a/1.jpg", "");
    put("test/d/2.jpg", "");
    put("other/e/1.jpg", ""); /* beside the splits: not part of the set */
    kd_dataset *const all = open_ok(KD_SPLIT_ALL);
    kd_dataset *const test = open_ok(KD_SPLIT_TEST);
    kd_dataset *const train = open_ok(KD_SPLIT_TRAIN);
    const kd_item *const items = kd_dataset_items(all, &n_all);
    const kd_item *const of_test = kd_dataset_items(test, &n_test);
    const kd_item *const of_train = kd_dataset_items(train, &n_train);
    CHECK_INT(4, n_all);
    CHECK_INT(2, n_test);
    CHECK_INT(2, n_train);
    CHECK_INT(2, kd_dataset_train_count(all));
    CHECK_INT(0, kd_dataset_train_count(test));
    CHECK_INT(2, kd_dataset_train_count(train));
    check_item(all, 0, 1, "train/b/1.jpg", "b", "b");
    check_item(all, 1, 2, "train/d/1.jpg", "d", "d");
    check_item(all, 2, 3, "test/a/1.jpg", "a", "a");
    check_item(all, 3, 4, "test/d/2.jpg", "d", "d");
    CHECK_INT(items[1].class_id, items[3].class_id);
    for (size_t i = 0; i < 2; i++) {
        CHECK_INT(items[i].image_id, of_train[i].image_id);
        CHECK_INT(items[i].class_id, of_train[i].class_id);
        CHECK_INT(items[2 + i].image_id, of_test[i].image_id);
        CHECK_INT(items[2 + i].class_id, of_test[i].class_id);
        CHECK_INT(items[2 + i].super_class_id, of_test[i].super_class_id);
    }
    CHECK_INT(3, kd_dataset_class_count(all));
    CHECK_INT(2, kd_dataset_class_count(test));
    kd_dataset_free(all);
    kd_dataset_free(test);
    kd_dataset_free(train);
}

static void test_dataset_folders__keeps_equal_class_names_apart(void **state)
{
    size_t n;
    (void)state;
    put("apple/red/1.jpg", "");
    put("pear/red/1.jpg", "");
    kd_dataset *const dataset = open_ok(KD_SPLIT_TRAIN);
    const kd_item *const items = kd_dataset_items(dataset, &n);
    CHECK_INT(2, n);
    CHECK(items[0].class_id != items[1].class_id);
    check_item(dataset, 0, 1, "apple/red/1.jpg", "red", "apple");
    check_item(dataset, 1, 2, "pear/red/1.jpg", "red", "pear");
    kd_dataset_free(dataset);
}

static void test_dataset_folders__takes_a_class_called_train(void **state)
{
    (void)state;
    put("train/1.jpg", "");
    put("car/1.jpg", "");
    kd_dataset *const dataset = open_ok(KD_SPLIT_TRAIN);
    check_item(dataset, 0, 1, "car/1.jpg", "car", "car");
    check_item(dataset, 1, 2, "train/1.jpg", "train", "train");
    kd_dataset_free(dataset);
}

static void test_dataset_folders__follows_a_link_to_a_folder(void **state)
{
    (void)state;
    put("car/1.jpg", "");
    char *const link = kd_format("%s/auto", g_dir);
    CHECK_INT(0, symlink("car", link));
    free(link);
    kd_dataset *const dataset = open_ok(KD_SPLIT_TRAIN);
    check_item(dataset, 0, 1, "auto/1.jpg", "auto", "auto");
    kd_dataset_free(dataset);
}

static void test_dataset_folders__says_what_is_wrong(void **state)
{
    (void)state;
    check_fault(KD_SPLIT_ALL, KD_NOT_FOUND,
        "holds no dataset: neither Ebay_train.txt and Ebay_test.txt nor folders of images");
    put("a/1.jpg", "");
    put("a/b/1.jpg", "");
    check_fault(KD_SPLIT_ALL, KD_INVALID_ARGUMENT,
        "/a holds images beside folders, so it is neither a class nor a super-class");
    CHECK_OK(kd_remove_tree(g_dir, &g_err), g_err);
    put("a/b/c/1.jpg", "");
    check_fault(KD_SPLIT_ALL, KD_INVALID_ARGUMENT,
        "/a/b/c is too deep, expected SUPER/CLASS/IMAGE or CLASS/IMAGE");
    CHECK_OK(kd_remove_tree(g_dir, &g_err), g_err);
    put("a/\xff.jpg", "");
    check_fault(KD_SPLIT_ALL, KD_INVALID_ARGUMENT, "/a is not valid UTF-8");
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_dataset_folders__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reads_classes_and_super_classes),
        TEST(gives_the_same_ids_in_every_split),
        TEST(keeps_equal_class_names_apart),
        TEST(takes_a_class_called_train),
        TEST(follows_a_link_to_a_folder),
        TEST(says_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
