#include "services/trainer/collapse.h"
#include "tests/support/check.h"

static char g_text[COLLAPSE_TEXT];

static kd_loss_options triplet(float margin)
{
    kd_loss_options loss;
    kd_loss_defaults(KD_LOSS_TRIPLET, &loss);
    loss.margin = margin;
    return loss;
}

static void note(collapse_watch *watch, float positive, float negative, uint32_t times)
{
    const kd_step_stats stats = {.loss = 0.9f,
        .active_share = 1,
        .positive_distance = positive,
        .negative_distance = negative};
    for (uint32_t i = 0; i < times; i++)
        collapse_note(watch, &stats);
}

static void test_trainer_collapse__near_distances_are_told_after_twenty_steps(void **state)
{
    const kd_loss_options loss = triplet(0.9f);
    collapse_watch watch = {.steps = 0};
    (void)state;
    note(&watch, 0.004f, 0.006f, COLLAPSE_STEPS - 1);
    CHECK(!collapse_of_steps(&watch, &loss, g_text));
    note(&watch, 0.004f, 0.006f, 1);
    CHECK(collapse_of_steps(&watch, &loss, g_text));
    CHECK_STR("all embeddings have come to lie on one point (mean distance 0.004 to images of the "
              "same label, 0.006 to others; loss 0.9, 100 % of its terms active)",
        g_text);
}

/* What was learned to lie together may: the others lie apart. */
static void test_trainer_collapse__near_positives_alone_are_well(void **state)
{
    const kd_loss_options loss = triplet(0);
    collapse_watch watch = {.steps = 0};
    (void)state;
    note(&watch, 0.004f, 1.2f, 100);
    CHECK(!collapse_of_steps(&watch, &loss, g_text));
}

/* Wide at first, then on one point: the mean forgets. */
static void test_trainer_collapse__late_collapse_is_seen(void **state)
{
    const kd_loss_options loss = triplet(0);
    collapse_watch watch = {.steps = 0};
    (void)state;
    note(&watch, 0.8f, 1.2f, 500);
    CHECK(!collapse_of_steps(&watch, &loss, g_text));
    note(&watch, 0.001f, 0.001f, 40);
    CHECK(collapse_of_steps(&watch, &loss, g_text));
}

/* Raw embeddings have no length of their own: near is what the margin calls so. Cosine distances
 * are half the square. */
static void test_trainer_collapse__near_depends_on_the_space(void **state)
{
    kd_loss_options loss = triplet(10);
    const collapse_means means = {0.5, 0.6, 1, 10}, small = {0.002, 0.002, 1, 0.9};
    (void)state;
    CHECK(!collapse_of_epoch(&means, &loss, g_text));
    loss.raw = true;
    CHECK(collapse_of_epoch(&means, &loss, g_text));
    loss = triplet(0);
    CHECK(collapse_of_epoch(&small, &loss, g_text));
    loss.distance = KD_DISTANCE_COSINE;
    CHECK(!collapse_of_epoch(&small, &loss, g_text));
}

static void test_trainer_collapse__a_loss_at_its_margin_is_told(void **state)
{
    kd_loss_options loss = triplet(0.9f);
    collapse_means means[COLLAPSE_EPOCHS] = {
        {8.46, 8.47, 0.86, 189}, {6.88, 6.87, 0.86, 186}, {5.86, 5.87, 0.88, 182}};
    (void)state;
    CHECK(collapse_of_margin(means, COLLAPSE_EPOCHS, &loss, g_text));
    CHECK_HAS("the loss sits at its margin: in 3 epochs images of other labels", g_text);
    CHECK_HAS("(mean distance 5.87 and 5.86, margin 0.9;", g_text);
    means[0].negative = 8.4; /* a few steps say little */
    CHECK(collapse_of_margin(means, COLLAPSE_EPOCHS, &loss, g_text));
    means[0].negative = 8.36; /* over all there is no gap yet, but there is one now */
    means[2].negative = 5.96;
    CHECK(!collapse_of_margin(means, COLLAPSE_EPOCHS, &loss, g_text));
    means[2].negative = 6.5; /* it began to learn */
    CHECK(!collapse_of_margin(means, COLLAPSE_EPOCHS, &loss, g_text));
    means[0].negative = 8.47;
    means[2].negative = 5.87;
    means[1].active = 0.3; /* most triplets are satisfied */
    CHECK(!collapse_of_margin(means, COLLAPSE_EPOCHS, &loss, g_text));
    means[1].active = 0.9;
    loss.margin = 0; /* the soft margin has none to sit at */
    CHECK(!collapse_of_margin(means, COLLAPSE_EPOCHS, &loss, g_text));
    kd_loss_defaults(KD_LOSS_ARCFACE, &loss); /* in degrees */
    CHECK(!collapse_of_margin(means, COLLAPSE_EPOCHS, &loss, g_text));
}

static void test_trainer_collapse__rank_of_enough_rows_is_believed(void **state)
{
    (void)state;
    CHECK(collapse_of_rank(1.3, COLLAPSE_LEAST_ROWS, 512, g_text));
    CHECK_HAS("effective rank 1.30", g_text);
    CHECK(!collapse_of_rank(1.3, COLLAPSE_LEAST_ROWS - 1, 512, g_text));
    CHECK(!collapse_of_rank(2.5, 1000, 512, g_text));
    CHECK(!collapse_of_rank(1.3, 1000, 2, g_text)); /* there is no more to fill */
    CHECK(!collapse_of_rank((double)NAN, 1000, 512, g_text));
}

static void test_trainer_collapse__advice_fits_the_settings(void **state)
{
    kd_loss_options loss = triplet(0.9f);
    (void)state;
    loss.raw = true;
    loss.reduction = KD_REDUCTION_SUM;
    collapse_advice(&loss, 1e-3, g_text);
    CHECK_HAS("a learning_rate below 0.001", g_text);
    CHECK_HAS("without raw", g_text);
    CHECK_HAS("the reduction mean", g_text);
    CHECK_HAS("soft margin", g_text);
    kd_loss_defaults(KD_LOSS_ARCFACE, &loss);
    collapse_advice(&loss, 1e-3, g_text);
    CHECK(strstr(g_text, "raw") == NULL && strstr(g_text, "soft margin") == NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trainer_collapse__near_distances_are_told_after_twenty_steps),
        cmocka_unit_test(test_trainer_collapse__near_positives_alone_are_well),
        cmocka_unit_test(test_trainer_collapse__late_collapse_is_seen),
        cmocka_unit_test(test_trainer_collapse__near_depends_on_the_space),
        cmocka_unit_test(test_trainer_collapse__a_loss_at_its_margin_is_told),
        cmocka_unit_test(test_trainer_collapse__rank_of_enough_rows_is_believed),
        cmocka_unit_test(test_trainer_collapse__advice_fits_the_settings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
