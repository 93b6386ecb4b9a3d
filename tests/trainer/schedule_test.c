#include "services/trainer/schedule.h"
#include "tests/support/check.h"
#include "tests/trainer/golden_schedules.h"

#define COUNT(table) (sizeof(table) / sizeof(table)[0])

static train_schedule_options plain(train_schedule kind)
{
    train_schedule_options options = TRAIN_SCHEDULE_OPTIONS_INIT;
    options.kind = kind;
    options.peak = 1;
    options.warmup = 0;
    options.floor = 0;
    return options;
}

/* ---- PyTorch's rates ---- */

static void check_run(train_schedule_options options, const double *rates, size_t n)
{
    options.peak = GOLDEN_PEAK;
    for (size_t i = 0; i < n; i++)
        CHECK_NEAR(rates[i], train_schedule_rate(&options, i, n, 0, NULL), 1e-12 * GOLDEN_PEAK);
}

#define CHECK_RUN(options, table) check_run((options), (table), COUNT(table))

static void test_trainer_schedule__cosine_is_pytorchs(void **state)
{
    train_schedule_options options = plain(SCHEDULE_COSINE);
    (void)state;
    CHECK_RUN(options, golden_cosine_1);
    CHECK_RUN(options, golden_cosine_2);
    CHECK_RUN(options, golden_cosine_7);
    CHECK_RUN(options, golden_cosine_100);
    options.floor = 0.02;
    CHECK_RUN(options, golden_cosine_floor_1);
    CHECK_RUN(options, golden_cosine_floor_2);
    CHECK_RUN(options, golden_cosine_floor_7);
    CHECK_RUN(options, golden_cosine_floor_100);
}

static void test_trainer_schedule__one_cycle_is_pytorchs(void **state)
{
    train_schedule_options options = plain(SCHEDULE_ONE_CYCLE);
    (void)state;
    options.warmup = 0.2; /* of no account */
    CHECK_RUN(options, golden_one_cycle_2);
    CHECK_RUN(options, golden_one_cycle_3);
    CHECK_RUN(options, golden_one_cycle_10);
    CHECK_RUN(options, golden_one_cycle_97);
    CHECK_RUN(options, golden_one_cycle_100);
}

static void test_trainer_schedule__step_is_pytorchs(void **state)
{
    train_schedule_options options = plain(SCHEDULE_STEP);
    (void)state;
    options.peak = GOLDEN_PEAK;
    options.step_epochs = 3;
    options.factor = 0.2;
    for (uint32_t epoch = 0; epoch < COUNT(golden_step); epoch++)
        CHECK_NEAR(golden_step[epoch], train_schedule_rate(&options, 5, 100, epoch, NULL),
            1e-12 * golden_step[epoch]);
}

static void test_trainer_schedule__plateau_is_pytorchs(void **state)
{
    train_schedule_options options = plain(SCHEDULE_PLATEAU);
    train_plateau plateau = TRAIN_PLATEAU_INIT;
    (void)state;
    options.peak = GOLDEN_PEAK;
    for (uint32_t epoch = 0; epoch < COUNT(golden_plateau); epoch++) {
        const double rate = golden_plateau[epoch];
        CHECK_NEAR(rate, train_schedule_rate(&options, 0, 100, epoch, &plateau), 1e-12 * rate);
        if (epoch < COUNT(golden_metrics))
            CHECK_INT(golden_plateau[epoch + 1] < rate,
                train_plateau_note(&plateau, &options, golden_metrics[epoch]));
    }
}

/* ---- Our own ---- */

static void test_trainer_schedule__warms_up_and_cools_down(void **state)
{
    train_schedule_options options = plain(SCHEDULE_COSINE);
    (void)state;
    options.warmup = 0.05;
    options.floor = 0.01;
    CHECK_NEAR(0.1, train_schedule_rate(&options, 0, 200, 0, NULL), 1e-12);
    CHECK_NEAR(1, train_schedule_rate(&options, 9, 200, 0, NULL), 1e-12);
    CHECK_NEAR(1, train_schedule_rate(&options, 10, 200, 0, NULL), 1e-12);
    CHECK_NEAR(0.505, train_schedule_rate(&options, 105, 200, 0, NULL), 1e-12);
    CHECK(train_schedule_rate(&options, 199, 200, 0, NULL) < 0.011);
    CHECK_NEAR(1, train_schedule_rate(&options, 0, 1, 0, NULL), 1e-12); /* the shortest run */
}

static void test_trainer_schedule__every_kind_but_one_cycle_warms_up(void **state)
{
    static const train_schedule kinds[] = {
        SCHEDULE_COSINE, SCHEDULE_STEP, SCHEDULE_PLATEAU, SCHEDULE_CONSTANT};
    (void)state;
    for (size_t i = 0; i < COUNT(kinds); i++) {
        train_schedule_options options = plain(kinds[i]);
        options.warmup = 0.07; /* 0.07 × 100 is a little more than 7 */
        for (uint64_t step = 0; step < 7; step++)
            CHECK_NEAR(
                (double)(step + 1) / 7, train_schedule_rate(&options, step, 100, 0, NULL), 1e-12);
        CHECK_NEAR(1, train_schedule_rate(&options, 7, 100, 0, NULL), 1e-12);
        options.warmup = 0.29; /* 0.29 × 100 a little less than 29 */
        CHECK_NEAR(28 / 29.0, train_schedule_rate(&options, 27, 100, 0, NULL), 1e-12);
    }
}

/* Whatever the options, a rate is above 0 and never above the peak. */
static void test_trainer_schedule__rates_stay_in_bounds(void **state)
{
    static const double shares[] = {0, 0.01, 0.05, 0.3, 0.5};
    (void)state;
    for (train_schedule kind = SCHEDULE_COSINE; kind <= SCHEDULE_CONSTANT; kind++) {
        train_schedule_options options = plain(kind);
        for (size_t s = 0; s < COUNT(shares); s++) {
            options.warmup = shares[s];
            for (uint64_t total = 1; total < 70; total++) {
                for (uint64_t step = 0; step < total; step++) {
                    const double rate =
                        train_schedule_rate(&options, step, total, (uint32_t)step, NULL);
                    CHECK(rate > 0 && rate <= 1 + 1e-12);
                }
            }
        }
    }
}

/* A checkpoint holds the plateau's three numbers: a run that goes on does as one that never
 * stopped. */
static void test_trainer_schedule__plateau_is_its_three_numbers(void **state)
{
    const train_schedule_options options = plain(SCHEDULE_PLATEAU);
    train_plateau plateau = TRAIN_PLATEAU_INIT;
    (void)state;
    CHECK(isfinite(plateau.best) && isfinite(plateau.factor));
    CHECK(!train_plateau_note(&plateau, &options, 0.4));
    for (int i = 0; i < 3; i++)
        CHECK(!train_plateau_note(&plateau, &options, 0.4));
    train_plateau again = {.best = plateau.best, .factor = plateau.factor, .bad = plateau.bad};
    CHECK(train_plateau_note(&again, &options, 0.4));
    CHECK_NEAR(0.1, train_schedule_rate(&options, 0, 1, 9, &again), 1e-15);
    CHECK_INT(0, again.bad);
}

static void test_trainer_schedule__has_names(void **state)
{
    static const char *const words[] = {"cosine", "one-cycle", "step", "plateau", "constant"};
    train_schedule kind = SCHEDULE_STEP;
    (void)state;
    for (train_schedule i = SCHEDULE_COSINE; i <= SCHEDULE_CONSTANT; i++) {
        CHECK_STR(words[i], train_schedule_name(i));
        CHECK(train_schedule_parse(words[i], &kind));
        CHECK_INT(i, kind);
    }
    CHECK(!train_schedule_parse("", &kind));
    CHECK(!train_schedule_parse("Cosine", &kind));
    CHECK_INT(SCHEDULE_CONSTANT, kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_schedule__cosine_is_pytorchs),
        cmocka_unit_test(test_trainer_schedule__one_cycle_is_pytorchs),
        cmocka_unit_test(test_trainer_schedule__step_is_pytorchs),
        cmocka_unit_test(test_trainer_schedule__plateau_is_pytorchs),
        cmocka_unit_test(test_trainer_schedule__warms_up_and_cools_down),
        cmocka_unit_test(test_trainer_schedule__every_kind_but_one_cycle_warms_up),
        cmocka_unit_test(test_trainer_schedule__rates_stay_in_bounds),
        cmocka_unit_test(test_trainer_schedule__plateau_is_its_three_numbers),
        cmocka_unit_test(test_trainer_schedule__has_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
