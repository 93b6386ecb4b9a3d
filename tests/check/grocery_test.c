/* The grocery photographs, where they lie beside the checkout: what people found in them by eye. */
#include <stdlib.h>

#include "lib/base/file.h"
#include "lib/check/check.h"
#include "tests/support/check.h"

static const char dir[] = KD_SOURCE_DIR "/../shared/datasets/grocery";

static void test_check_grocery__has_second_shots_and_no_leak(void **state)
{
    const kd_check_options options = KD_CHECK_OPTIONS_INIT;
    kd_error err = KD_ERROR_INIT;
    kd_dataset *dataset = NULL;
    kd_check *check = NULL;
    (void)state;
    if (!kd_is_dir(dir))
        skip();
    CHECK_OK(kd_dataset_open(&dataset, dir, KD_SPLIT_ALL, &err), err);
    CHECK_OK(kd_check_new(&check, dataset, &options, &err), err);
    CHECK(kd_check_passed(check, true));
    CHECK_INT(2936, check->formats[KD_IMAGE_JPEG]);
    CHECK_INT(0, check->small + check->elongated + check->flat);
    CHECK_INT(0, check->duplicates.n);
    CHECK_INT(6, check->near.n);
    CHECK_INT(12, check->near.n_members);
    CHECK_INT(0, check->near.n_leaks + check->near.n_conflicts);
    const kd_item *const items = kd_dataset_items(dataset, &(size_t){0});
    CHECK_HAS("Royal-Gala_023.jpg",
        kd_dataset_path(dataset, &items[check->near.members[check->near.at[0].first]]));
    kd_check_free(check);
    kd_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check_grocery__has_second_shots_and_no_leak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
