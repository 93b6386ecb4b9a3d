#include <stdlib.h>

#include "services/trainer/split.h"
#include "tests/support/check.h"

#define MOST 20000u
#define MOST_CLASSES 8000u

static uint32_t g_labels[MOST], g_classes[MOST], g_groups[MOST];
static bool g_usable[MOST];
static size_t g_n;
static uint32_t g_n_classes, g_n_groups;
static kd_error g_err = KD_ERROR_INIT;

/* Classes 0, 1, … with `each` images, all usable, each a super-class of its own. */
static void fill(size_t n, uint32_t each)
{
    for (uint32_t i = 0; i < n; i++) {
        g_labels[i] = g_groups[i] = i / each;
        g_usable[i] = true;
    }
    g_n = n;
}

static train_split cut_share(double share, uint64_t seed)
{
    const train_split_input input = {.classes = g_labels,
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

/* Every usable image trains, validates or is held back, in rising order; the gallery is of those
 * that train. */
static void check_roles(const train_split *split)
{
    static int seen[MOST];
    memset(seen, 0, sizeof seen);
    for (size_t i = 0; i < split->n_train; i++) {
        seen[split->train[i]]++;
        CHECK(i == 0 || split->train[i - 1] < split->train[i]);
    }
    for (size_t i = 0; i < split->n_validation; i++) {
        seen[split->validation[i]] += 3;
        CHECK(i == 0 || split->validation[i - 1] < split->validation[i]);
    }
    for (size_t i = 0; i < split->n_held; i++) {
        seen[split->held[i]] += 5;
        CHECK(i == 0 || split->held[i - 1] < split->held[i]);
    }
    for (size_t i = 0; i < g_n; i++)
        CHECK(g_usable[i] ? seen[i] == 1 || seen[i] == 3 || seen[i] == 5 : seen[i] == 0);
    for (size_t i = 0; i < split->n_gallery; i++)
        CHECK_INT(2, ++seen[split->gallery[i]]);
    CHECK(split->n_validation <= SPLIT_MAX_VALIDATION && split->n_gallery <= SPLIT_MAX_GALLERY);
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
        of[g_labels[split.validation[i]]]++;
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
            of[g_labels[split.validation[i]]]++;
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
        positives[g_labels[split.gallery[i]]]++;
    for (size_t i = 0; i < split.n_validation; i++)
        CHECK(positives[g_labels[split.validation[i]]] > 0);
    train_split_free(&split);
}

/* ---- Classes and super-classes ---- */

static void clear(void)
{
    g_n = g_n_classes = g_n_groups = 0;
}

/* The next super-class: so many classes of so many images. */
static void add_group(uint32_t classes, uint32_t images)
{
    for (uint32_t c = 0; c < classes; c++, g_n_classes++) {
        CHECK(g_n + images <= MOST && g_n_classes < MOST_CLASSES);
        for (uint32_t i = 0; i < images; i++, g_n++) {
            g_classes[g_n] = g_n_classes;
            g_groups[g_n] = g_n_groups;
            g_usable[g_n] = true;
        }
    }
    g_n_groups++;
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

/* ---- A cut by classes ---- */

static train_split cut_classes(double share, uint64_t seed)
{
    const train_split_input input = {.classes = g_classes,
        .groups = g_groups,
        .usable = g_usable,
        .n = g_n,
        .cut = TRAIN_CUT_CLASSES,
        .share = share,
        .seed = seed};
    train_split split;
    CHECK_OK(train_split_make(&split, &input, &g_err), g_err);
    check_roles(&split);
    CHECK_INT(split.cut == TRAIN_CUT_CLASSES, split.by_class);
    return split;
}

/* How many images of each class have a role, how many classes of each super-class. */
typedef struct census {
    uint32_t train[MOST_CLASSES], validation[MOST_CLASSES];
    uint32_t group_train[MOST_CLASSES], group_validation[MOST_CLASSES];
    uint32_t n_validation; /* classes */
} census;

static census g_census;

static const census *count(const train_split *split)
{
    static uint32_t group_of[MOST_CLASSES];
    census *const c = &g_census;
    *c = (census){0};
    for (size_t i = 0; i < g_n; i++)
        group_of[g_classes[i]] = g_groups[i];
    for (size_t i = 0; i < split->n_train; i++)
        c->train[g_classes[split->train[i]]]++;
    for (size_t i = 0; i < split->n_validation; i++)
        c->validation[g_classes[split->validation[i]]]++;
    for (uint32_t i = 0; i < g_n_classes; i++) {
        c->n_validation += c->validation[i] > 0;
        c->group_validation[group_of[i]] += c->validation[i] > 0;
        c->group_train[group_of[i]] += c->train[i] > 1;
    }
    return c;
}

/* What holds for every cut by classes: whole classes of 2 and more, each query with another of its
 * class to find, enough classes left to train. */
static const census *check_whole(const train_split *split)
{
    const census *const c = count(split);
    uint32_t train = 0;
    CHECK_INT(TRAIN_CUT_CLASSES, split->cut);
    for (uint32_t i = 0; i < g_n_classes; i++) {
        CHECK(c->train[i] == 0 || c->validation[i] == 0);
        CHECK(c->validation[i] != 1 && c->validation[i] <= SPLIT_MAX_CLASS);
        train += c->train[i] > 1;
    }
    CHECK(c->n_validation >= 2 && train >= c->n_validation);
    return c;
}

static void test_trainer_split__whole_classes_validate(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        clear();
        for (int g = 0; g < 5; g++)
            add_group(10, 6);
        add_group(4, 1); /* classes of one image train, if they can */
        for (size_t i = 0; i < g_n; i++)
            g_usable[i] = (i * 7 + seed) % 5 > 0;
        train_split split = cut_classes(0.1, seed);
        const census *const c = check_whole(&split);
        CHECK_INT(5, c->n_validation); /* of 50 */
        for (uint32_t g = 0; g < 5; g++)
            CHECK_INT(1, c->group_validation[g]);
        CHECK_INT(0, c->group_validation[5]);
        train_split_free(&split);
    }
}

/* Small and large super-classes: each gives one before one gives two, none its last class. */
static void test_trainer_split__super_classes_give_evenly_and_keep_some(void **state)
{
    static const uint32_t sizes[] = {1, 2, 3, 4, 9, 30};
    (void)state;
    for (int percent = 4; percent < 50; percent += 5) {
        const double share = percent / 100.0;
        for (uint64_t seed = 0; seed < 20; seed++) {
            clear();
            for (size_t g = 0; g < 6; g++)
                add_group(sizes[g], 3);
            train_split split = cut_classes(share, seed);
            const census *const c = check_whole(&split);
            const uint32_t want = (uint32_t)(share * 49 + 0.5); /* 24 at the most */
            CHECK_INT(want, c->n_validation);
            for (size_t a = 0; a < 6; a++) {
                CHECK(c->group_train[a] > 0);
                /* The halves are 23: the last one is of a super-class that gives more. */
                CHECK(c->group_validation[a] <= sizes[a] / 2 + (want == 24));
                for (size_t b = 0; b < 6; b++)
                    CHECK(c->group_validation[a] <= c->group_validation[b] + 1 ||
                          c->group_validation[b] >= sizes[b] / 2);
            }
            train_split_free(&split);
        }
    }
}

/* Each class a super-class of its own, as in a plain folder: any may go, and half stay. */
static void test_trainer_split__takes_last_classes_where_there_are_no_others(void **state)
{
    (void)state;
    for (uint32_t n = 4; n < 20; n++) {
        clear();
        for (uint32_t i = 0; i < n; i++)
            add_group(1, 2 + i % 3);
        train_split split = cut_classes(0.5, n);
        CHECK_INT(n / 2, check_whole(&split)->n_validation);
        train_split_free(&split);
    }
}

static void test_trainer_split__gallery_of_unseen_classes_is_spread(void **state)
{
    uint32_t of[400] = {0};
    (void)state;
    clear();
    for (int g = 0; g < 4; g++)
        add_group(100, 10);
    train_split split = cut_classes(0.1, 5);
    const census *const c = check_whole(&split);
    CHECK_INT(400, split.n_gallery); /* as many as validate: 360 classes give 1 or 2 */
    for (size_t i = 0; i < split.n_gallery; i++)
        of[g_classes[split.gallery[i]]]++;
    for (uint32_t i = 0; i < 400; i++)
        CHECK(c->validation[i] > 0 ? of[i] == 0 : of[i] == 1 || of[i] == 2);
    train_split_free(&split);
}

/* Of 4,000 classes of 5 half are held back: those that fit the limit are measured, whole. */
static void test_trainer_split__bounds_hold_for_many_classes(void **state)
{
    (void)state;
    clear();
    for (int g = 0; g < 10; g++)
        add_group(400, 5);
    train_split split = cut_classes(0.5, 3);
    const census *const c = check_whole(&split);
    CHECK_INT(SPLIT_MAX_VALIDATION, split.n_validation);
    CHECK_INT(MOST / 2 - SPLIT_MAX_VALIDATION, split.n_held);
    CHECK_INT(SPLIT_MAX_VALIDATION / 5, c->n_validation);
    for (uint32_t g = 0; g < 10; g++)
        CHECK_INT(40, c->group_validation[g]);
    for (uint32_t i = 0; i < g_n_classes; i++)
        CHECK(c->validation[i] == 0 || c->validation[i] == 5);
    train_split_free(&split);
}

/* A class of more than 1,000 images is not cut out, but counts as one that its super-class
 * keeps. */
static void test_trainer_split__large_classes_train(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++) {
        clear();
        add_group(1, 5000);
        add_group(1, SPLIT_MAX_CLASS + 1);
        g_n_groups--; /* of the same super-class as the next */
        add_group(3, SPLIT_MAX_CLASS);
        add_group(1, 40);
        train_split split = cut_classes(0.5, seed);
        const census *const c = check_whole(&split);
        CHECK_INT(2, c->n_validation); /* of 4 that could */
        CHECK_INT(5000, c->train[0]);
        CHECK_INT(SPLIT_MAX_CLASS + 1, c->train[1]);
        CHECK_INT(2 * SPLIT_MAX_CLASS, split.n_validation); /* not the last one of its own */
        train_split_free(&split);
    }
}

/* Fewer than 4 classes with two images: images are cut in their place, by class. */
static void test_trainer_split__falls_back_to_images(void **state)
{
    (void)state;
    clear();
    add_group(3, 10);
    add_group(9, 1);
    train_split split = cut_classes(0.2, 1);
    CHECK_INT(TRAIN_CUT_IMAGES, split.cut);
    CHECK_INT(3 * 2, split.n_validation);
    train_split_free(&split);
    clear();
    split = cut_classes(0.2, 1);
    CHECK_INT(0, split.n_train + split.n_validation + split.n_gallery);
    train_split_free(&split);
    add_group(6, SPLIT_MAX_CLASS + 1);
    split = cut_classes(0.1, 1);
    CHECK_INT(TRAIN_CUT_IMAGES, split.cut);
    CHECK_INT(600, split.n_validation);
    train_split_free(&split);
    clear();
    add_group(4, 2);
    split = cut_classes(0.1, 1);
    CHECK_INT(2, check_whole(&split)->n_validation);
    train_split_free(&split);
}

static void test_trainer_split__classes_follow_the_seed_alone(void **state)
{
    size_t times[12] = {0};
    (void)state;
    clear();
    for (int g = 0; g < 3; g++)
        add_group(4, 5);
    for (uint64_t seed = 0; seed < 600; seed++) {
        train_split a = cut_classes(0.25, seed);
        train_split b = cut_classes(0.25, seed);
        CHECK_INT(15, a.n_validation);
        assert_memory_equal(a.validation, b.validation, 15 * sizeof *a.validation);
        assert_memory_equal(a.gallery, b.gallery, a.n_gallery * sizeof *a.gallery);
        for (size_t i = 0; i < 15; i += 5)
            times[g_classes[a.validation[i]]]++;
        train_split_free(&a);
        train_split_free(&b);
    }
    for (size_t i = 0; i < 12; i++) /* each class is one of 4: 5 standard deviations */
        CHECK_NEAR(150, (double)times[i], 5 * 10.6);
}

/* ---- All ---- */

static void test_trainer_split__none_validate(void **state)
{
    train_split split;
    (void)state;
    fill(100, 10);
    g_usable[7] = false;
    const train_split_input input = {.classes = g_labels,
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
    train_split_input input = {.classes = g_labels,
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
        cmocka_unit_test(test_trainer_split__whole_classes_validate),
        cmocka_unit_test(test_trainer_split__super_classes_give_evenly_and_keep_some),
        cmocka_unit_test(test_trainer_split__takes_last_classes_where_there_are_no_others),
        cmocka_unit_test(test_trainer_split__gallery_of_unseen_classes_is_spread),
        cmocka_unit_test(test_trainer_split__bounds_hold_for_many_classes),
        cmocka_unit_test(test_trainer_split__large_classes_train),
        cmocka_unit_test(test_trainer_split__falls_back_to_images),
        cmocka_unit_test(test_trainer_split__classes_follow_the_seed_alone),
        cmocka_unit_test(test_trainer_split__none_validate),
        cmocka_unit_test(test_trainer_split__refuses_a_wrong_share),
        cmocka_unit_test(test_trainer_split__cuts_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
