/* Cuts by classes: whole products validate. */
#include "tests/trainer/split_room.h"

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

static void test_trainer_split_classes__whole_classes_validate(void **state)
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
static void test_trainer_split_classes__super_classes_give_evenly_and_keep_some(void **state)
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
static void test_trainer_split_classes__takes_last_classes_where_there_are_no_others(void **state)
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

static void test_trainer_split_classes__gallery_of_unseen_classes_is_spread(void **state)
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
static void test_trainer_split_classes__bounds_hold_for_many_classes(void **state)
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
static void test_trainer_split_classes__large_classes_train(void **state)
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
static void test_trainer_split_classes__falls_back_to_images(void **state)
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

static void test_trainer_split_classes__classes_follow_the_seed_alone(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_split_classes__whole_classes_validate),
        cmocka_unit_test(test_trainer_split_classes__super_classes_give_evenly_and_keep_some),
        cmocka_unit_test(test_trainer_split_classes__takes_last_classes_where_there_are_no_others),
        cmocka_unit_test(test_trainer_split_classes__gallery_of_unseen_classes_is_spread),
        cmocka_unit_test(test_trainer_split_classes__bounds_hold_for_many_classes),
        cmocka_unit_test(test_trainer_split_classes__large_classes_train),
        cmocka_unit_test(test_trainer_split_classes__falls_back_to_images),
        cmocka_unit_test(test_trainer_split_classes__classes_follow_the_seed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
