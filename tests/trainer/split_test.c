/* How images are divided: by images, and what holds for every cut. */
#include <math.h>

#include "tests/trainer/split_room.h"

/* Classes 0, 1, … with `each` images, all usable, each a super-class of its own. */
static void fill(size_t n, uint32_t each)
{
    for (uint32_t i = 0; i < n; i++) {
        g_classes[i] = g_groups[i] = i / each;
        g_usable[i] = true;
    }
    g_n = n;
}

static train_split cut_share(double share, uint64_t seed)
{
    const train_split_input input = {.classes = g_classes,
        .groups = g_groups,
        .usable = g_usable,
        .n = g_n,
        .cut = TRAIN_CUT_IMAGES,
        .share = share,
        .seed = seed};
    train_split split;
    CHECK_OK(train_split_make(&split, &input, &g_err), g_err);
    CHECK_INT(TRAIN_CUT_IMAGES, split.cut);
    CHECK(!split.by_class);
    return split;
}

static train_split cut(size_t n, uint64_t seed)
{
    g_n = n;
    return cut_share(0.1, seed);
}

/* ---- A cut by images ---- */

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
        of[g_classes[split.validation[i]]]++;
    CHECK_INT(1, of[0]);
    for (size_t i = 1; i < 10; i++)
        CHECK_INT(2, of[i]);
    train_split_free(&split);
}

static void test_trainer_split__any_share_of_each_label_validates(void **state)
{
    static const struct {
        double share;
        uint32_t each, give;
    } cases[] = {{0.2, 5, 1}, {0.2, 4, 1}, {0.2, 3, 0}, {0.2, 19, 3}, {0.29, 100, 29}, {0.5, 4, 2},
        {0.5, 7, 3}, {0.001, 50, 1}, {0.07, 100, 7}};
    (void)state;
    for (size_t c = 0; c < sizeof cases / sizeof cases[0]; c++) {
        uint32_t of[8] = {0};
        fill(cases[c].each * 8, cases[c].each);
        train_split split = cut_share(cases[c].share, c);
        check_roles(&split);
        for (size_t i = 0; i < split.n_validation; i++)
            of[g_classes[split.validation[i]]]++;
        for (size_t i = 0; i < 8; i++)
            CHECK_INT(cases[c].give, of[i]);
        train_split_free(&split);
    }
}

static void test_trainer_split__an_image_has_one_role(void **state)
{
    (void)state;
    fill(300, 6);
    train_split split = cut(300, 9);
    check_roles(&split);
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

/* 5,000 labels of 4: the share is held back whole, the limits hold for what is measured, and each
 * validation image can be found in the gallery. */
static void test_trainer_split__is_bounded_for_many_labels(void **state)
{
    (void)state;
    static size_t positives[MOST / 4];
    fill(MOST, 4);
    train_split split = cut(MOST, 3);
    CHECK_INT(SPLIT_MAX_VALIDATION, split.n_validation);
    CHECK_INT(MOST / 4 - SPLIT_MAX_VALIDATION, split.n_held);
    CHECK_INT(MOST - MOST / 4, split.n_train);
    check_roles(&split);
    CHECK_INT(SPLIT_MAX_GALLERY, split.n_gallery);
    for (size_t i = 0; i < split.n_gallery; i++)
        positives[g_classes[split.gallery[i]]]++;
    for (size_t i = 0; i < split.n_validation; i++)
        CHECK(positives[g_classes[split.validation[i]]] > 0);
    train_split_free(&split);
}

static void test_trainer_split__images_are_cut_by_super_class_where_classes_are_small(void **state)
{
    (void)state;
    clear();
    for (int g = 0; g < 4; g++)
        add_group(10, 2);
    const train_split_input input = {.classes = g_classes,
        .groups = g_groups,
        .usable = g_usable,
        .n = g_n,
        .cut = TRAIN_CUT_IMAGES,
        .share = 0.2,
        .seed = 1};
    train_split split;
    CHECK_OK(train_split_make(&split, &input, &g_err), g_err);
    check_roles(&split);
    CHECK_INT(4 * 4, split.n_validation);
    train_split_free(&split);
}

/* ---- All ---- */

static void test_trainer_split__none_validate(void **state)
{
    train_split split;
    (void)state;
    fill(100, 10);
    g_usable[7] = false;
    const train_split_input input = {.classes = g_classes,
        .groups = g_groups,
        .usable = g_usable,
        .n = 100,
        .cut = TRAIN_CUT_NONE};
    CHECK_OK(train_split_make(&split, &input, &g_err), g_err);
    check_roles(&split);
    CHECK_INT(99, split.n_train);
    CHECK_INT(0, split.n_gallery);
    CHECK(!split.by_class);
    train_split_free(&split);
}

static void test_trainer_split__refuses_a_wrong_share(void **state)
{
    static const double shares[] = {0, -0.1, 0.51, NAN};
    train_split split;
    (void)state;
    fill(100, 10);
    train_split_input input = {.classes = g_classes,
        .groups = g_groups,
        .usable = g_usable,
        .n = 100,
        .cut = TRAIN_CUT_IMAGES};
    for (size_t i = 0; i < 4; i++) {
        input.share = shares[i];
        CHECK_FAILS(KD_INVALID_ARGUMENT, train_split_make(&split, &input, &g_err), g_err);
        CHECK_HAS("allowed is more than 0 up to 0.5", g_err.message);
        train_split_free(&split);
    }
}

static void test_trainer_split__cuts_have_names(void **state)
{
    static const char *const words[] = {"classes", "images", "none"};
    train_cut found = TRAIN_CUT_NONE;
    (void)state;
    for (train_cut i = TRAIN_CUT_CLASSES; i <= TRAIN_CUT_NONE; i++) {
        CHECK_STR(words[i], train_cut_name(i));
        CHECK(train_cut_parse(words[i], &found));
        CHECK_INT(i, found);
    }
    CHECK(!train_cut_parse("class", &found));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_split__one_in_ten_of_each_label_validates),
        cmocka_unit_test(test_trainer_split__any_share_of_each_label_validates),
        cmocka_unit_test(test_trainer_split__an_image_has_one_role),
        cmocka_unit_test(test_trainer_split__small_labels_keep_their_images),
        cmocka_unit_test(test_trainer_split__follows_the_seed_alone),
        cmocka_unit_test(test_trainer_split__is_bounded_for_many_labels),
        cmocka_unit_test(test_trainer_split__images_are_cut_by_super_class_where_classes_are_small),
        cmocka_unit_test(test_trainer_split__none_validate),
        cmocka_unit_test(test_trainer_split__refuses_a_wrong_share),
        cmocka_unit_test(test_trainer_split__cuts_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
