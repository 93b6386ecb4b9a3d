/* Each allocation of a check failing in turn: an image must never be called broken or missing for
 * want of memory. */
#include "tests/check/scene.h"
#include "tests/support/alloc.h"

static kd_status run_check(void *arg, kd_error *err)
{
    /* One thread, so that allocations come in the same order. */
    const kd_check_options options = {.min_side = 64, .max_aspect = 4, .threads = 1};
    kd_status first = KD_OK;
    kd_check *check = NULL;
    RUN_NEW(&first, &check, kd_check_new(&check, arg, &options, err), err);
    CHECK_INT(1, check->missing);
    CHECK_INT(1, check->broken);
    CHECK_INT(1, check->duplicates.n);
    CHECK_INT(1, check->near.n);
    kd_check_free(check);
    return first;
}

static void test_check_alloc__check(void **state)
{
    kd_dataset *dataset = NULL;
    (void)state;
    put_listing("Ebay_train.txt", "1 1 1 a.jpg\n2 1 1 a.jpg\n3 1 1 b.png\n4 1 1 gone\n5 2 1 bad\n");
    put_scene("a.jpg", 1);
    put_image("b.png", scene(1, 90, 70), 0);
    put("bad", "no picture");
    CHECK_OK(kd_dataset_open(&dataset, g_dir, KD_SPLIT_ALL, &g_err), g_err);
    alloc_replay(&(alloc_scenario){.name = "check", .run = run_check, .arg = dataset});
    kd_dataset_free(dataset);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_check_alloc__check, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
