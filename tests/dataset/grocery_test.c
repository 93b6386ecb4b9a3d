/* The grocery photographs, where they lie beside the checkout. */
#include <stdlib.h>

#include "lib/base/file.h"
#include "lib/dataset/dataset.h"
#include "tests/support/check.h"

static const char dir[] = KD_SOURCE_DIR "/../shared/datasets/grocery";
static kd_error g_err = KD_ERROR_INIT;

static kd_dataset *open_or_skip(kd_split split)
{
    kd_dataset *dataset = NULL;
    if (!kd_is_dir(dir))
        skip();
    CHECK_OK(kd_dataset_open(&dataset, dir, split, &g_err), g_err);
    return dataset;
}

static void test_dataset_grocery__has_its_images_and_classes(void **state)
{
    size_t n;
    (void)state;
    kd_dataset *dataset = open_or_skip(KD_SPLIT_TRAIN);
    (void)kd_dataset_items(dataset, &n);
    CHECK_INT(2640, n);
    CHECK_INT(81, kd_dataset_class_count(dataset));
    CHECK_INT(43, kd_dataset_super_class_count(dataset));
    kd_dataset_free(dataset);
    dataset = open_or_skip(KD_SPLIT_TEST);
    (void)kd_dataset_items(dataset, &n);
    CHECK_INT(296, n);
    kd_dataset_free(dataset);
    dataset = open_or_skip(KD_SPLIT_ALL);
    (void)kd_dataset_items(dataset, &n);
    CHECK_INT(2936, n);
    CHECK_INT(81, kd_dataset_class_count(dataset));
    CHECK_INT(43, kd_dataset_super_class_count(dataset));
    kd_dataset_free(dataset);
}

static void test_dataset_grocery__has_names_that_match_its_folders(void **state)
{
    size_t n;
    (void)state;
    kd_dataset *const dataset = open_or_skip(KD_SPLIT_ALL);
    const kd_item *const items = kd_dataset_items(dataset, &n);
    CHECK_STR("Golden-Delicious", kd_dataset_class_name(dataset, items[0].class_id));
    CHECK_STR("Apple", kd_dataset_super_class_name(dataset, items[0].super_class_id));
    CHECK_STR("Zucchini", kd_dataset_class_name(dataset, 81));
    CHECK_STR("Zucchini", kd_dataset_super_class_name(dataset, 43));
    for (size_t i = 0; i < n; i++) {
        const char *const name = kd_dataset_class_name(dataset, items[i].class_id);
        char *const part = kd_format("/%s/", name);
        CHECK_HAS(part, kd_dataset_path(dataset, &items[i]));
        free(part);
        char *const full = kd_dataset_full_path(dataset, &items[i]);
        CHECK(kd_is_file(full));
        free(full);
    }
    kd_dataset_free(dataset);
}

static void test_dataset_grocery__has_a_catalogue_listing(void **state)
{
    size_t n;
    kd_dataset *dataset;
    (void)state;
    if (!kd_is_dir(dir))
        skip();
    char *const file = kd_format("%s/Ebay_iconic.txt", dir);
    CHECK_OK(kd_dataset_open_listing(&dataset, file, &g_err), g_err);
    free(file);
    const kd_item *const items = kd_dataset_items(dataset, &n);
    CHECK_INT(81, n);
    CHECK_INT(2937, items[0].image_id);
    CHECK_STR("Golden-Delicious", kd_dataset_class_name(dataset, items[0].class_id));
    kd_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset_grocery__has_its_images_and_classes),
        cmocka_unit_test(test_dataset_grocery__has_names_that_match_its_folders),
        cmocka_unit_test(test_dataset_grocery__has_a_catalogue_listing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
