/* The products that kindred-draw draws: many pictures that are alike and none that is a copy. */
#include <stdlib.h>

#include "tests/check/scene.h"

/* 720 pictures of 72 products. */
static void test_check_drawn__different_products_are_not_near(void **state)
{
    char command[1024];
    const kd_check_options options = KD_CHECK_OPTIONS_INIT;
    kd_dataset *dataset = NULL;
    kd_check *check = NULL;
    (void)state;
    (void)snprintf(command, sizeof command, "'%s' '%s/drawn' > '%s/said'", KD_DRAW, g_dir, g_dir);
    CHECK_INT(0, system(command)); /* NOLINT(cert-env33-c): our own program, quoted */
    char *const dir = kd_format("%s/drawn", g_dir);
    CHECK_OK(kd_dataset_open(&dataset, dir, KD_SPLIT_ALL, &g_err), g_err);
    CHECK_OK(kd_check_new(&check, dataset, &options, &g_err), g_err);
    CHECK_INT(720, check->formats[KD_IMAGE_JPEG]);
    CHECK_INT(576, check->train.images);
    CHECK_INT(72, check->test.classes);
    CHECK_INT(0, check->flat);
    CHECK_INT(0, check->duplicates.n);
    CHECK_INT(0, check->near.n);
    CHECK(kd_check_passed(check, true));
    kd_check_free(check);
    kd_dataset_free(dataset);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_check_drawn__different_products_are_not_near, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
