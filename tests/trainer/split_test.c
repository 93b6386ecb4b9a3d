#include <stdlib.h>

#include "services/trainer/split.h"
#include "tests/support/check.h"

#define MOST 20000u

static uint32_t g_labels[MOST];
static bool g_usable[MOST];

/* Labels 0, 1, … with `each` images, all usable. */
static void fill(size_t n, uint32_t each)
{
    for (uint32_t i = 0; i < n; i++) {
        g_labels[i] = i / each;
        g_usable[i] = true;
    }
}

static train_split cut(size_t n, uint64_t seed)
{
    train_split split;
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(train_split_make(&split, g_labels, g_usable, n, seed, &err), err);
    return split;
}

static void test_trainer_split__one_in_ten_of_each_label_validates(void **state)
{
    (void)state;
    fill(200, 20);
    g_usable[0] = g_usable[1] = false;
    train_split split = cut(200, 1);
    size_t of[10] = {0};
    CHECK_INT(10 * 2 - 1, split.n_validation); /* 18 images left of the first give one */
    CHECK_INT(198 - split.n_validation, split.n_train);
    for (size_t i = 0; i < split.n_validation; i++)
        of[g_labels[split.validation[i]]]++;
    CHECK_INT(1, of[0]);
    for (size_t i = 1; i < 10; i++)
        CHECK_INT(2, of[i]);
    train_split_free(&split);
}

static void test_trainer_split__an_image_has_one_role(void **state)
{
    (void)state;
    fill(300, 6);
    train_split split = cut(300, 9);
    int seen[300] = {0};
    for (size_t i = 0; i < split.n_train; i++)
        seen[split.train[i]]++;
    for (size_t i = 0; i < split.n_validation; i++)
        seen[split.validation[i]]++;
    for (size_t i = 0; i < 300; i++)
        CHECK_INT(1, seen[i]);
    for (size_t i = 0; i < split.n_validation; i++)
        seen[split.validation[i]]++;
    for (size_t i = 0; i < split.n_gallery; i++)
        CHECK_INT(1, seen[split.gallery[i]]); /* 2: it validates */
    train_split_free(&split);
}

static void test_trainer_split__small_labels_keep_their_images(void **state)
{
    (void)state;
    fill(30, 3);
    train_split split = cut(30, 1);
    CHECK_INT(0, split.n_validation);
    CHECK_INT(30, split.n_train);
    CHECK_INT(0, split.n_gallery);
    train_split_free(&split);
}

static void test_trainer_split__follows_the_seed_alone(void **state)
{
    (void)state;
    fill(400, 8);
    train_split a = cut(400, 1), b = cut(400, 1), c = cut(400, 2);
    CHECK_INT(a.n_validation, b.n_validation);
    assert_memory_equal(a.validation, b.validation, a.n_validation * sizeof *a.validation);
    CHECK(memcmp(a.validation, c.validation, a.n_validation * sizeof *a.validation) != 0);
    train_split_free(&a);
    train_split_free(&b);
    train_split_free(&c);
}

/* 5,000 labels of 4: the limits hold, and each validation image can be found in the gallery. */
static void test_trainer_split__is_bounded_for_many_labels(void **state)
{
    (void)state;
    static size_t positives[MOST / 4];
    fill(MOST, 4);
    train_split split = cut(MOST, 3);
    CHECK_INT(SPLIT_MAX_VALIDATION, split.n_validation);
    CHECK_INT(MOST - SPLIT_MAX_VALIDATION, split.n_train);
    CHECK_INT(SPLIT_MAX_GALLERY, split.n_gallery);
    for (size_t i = 0; i < split.n_gallery; i++)
        positives[g_labels[split.gallery[i]]]++;
    for (size_t i = 0; i < split.n_validation; i++)
        CHECK(positives[g_labels[split.validation[i]]] > 0);
    train_split_free(&split);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_split__one_in_ten_of_each_label_validates),
        cmocka_unit_test(test_trainer_split__an_image_has_one_role),
        cmocka_unit_test(test_trainer_split__small_labels_keep_their_images),
        cmocka_unit_test(test_trainer_split__follows_the_seed_alone),
        cmocka_unit_test(test_trainer_split__is_bounded_for_many_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
