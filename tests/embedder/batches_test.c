/* Where decoded images wait: who lies beside whom, who waits, what is taken. */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "services/embedder/batches.h"
#include "tests/support/check.h"

enum { SIDE = 2, FLOATS = SIDE * SIDE * 3, LONG_MS = 60000 };

static batches *g_batches;
static const char model_a[] = "a", model_b[] = "b", model_c[] = "c";

static int setup(void **state)
{
    kd_error err;
    (void)state;
    return batches_new(&g_batches, &err) == KD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    batches_free(g_batches);
    return 0;
}

static batch_place reserve(const void *model)
{
    kd_error err = KD_ERROR_INIT;
    batch_place place = {0};
    batches_expect(g_batches);
    CHECK_OK(batches_reserve(g_batches, model, SIDE, &place, &err), err);
    return place;
}

/* The image is a number; its floats all have its value. */
static void fill(const batch_place *place, int *image)
{
    for (int i = 0; i < FLOATS; i++)
        place->input[i] = (float)*image;
    batches_filled(g_batches, place, image);
}

static void put(const void *model, int *images, int n)
{
    for (int i = 0; i < n; i++) {
        const batch_place place = reserve(model);
        fill(&place, &images[i]);
    }
}

/* Each image of the run has its own pixels. */
static void check_pixels(const batch_run *run)
{
    for (size_t i = 0; i < run->n; i++)
        for (int f = 0; f < FLOATS; f++)
            CHECK(run->pixels[i * FLOATS + (size_t)f] == (float)*(const int *)run->images[i]);
}

/* The next run must be these images of the model, in their order. */
static batch_run take(const void *model, const int *images, size_t n)
{
    batch_run run;
    CHECK(batches_take(g_batches, &(batch_patience){0, 0}, &run));
    CHECK(run.model == model);
    CHECK_INT(n, run.n);
    for (size_t i = 0; i < run.n && i < n; i++)
        CHECK(run.images[i] == &images[i]);
    check_pixels(&run);
    return run;
}

static void test_batches__images_of_a_model_lie_side_by_side(void **state)
{
    int a[] = {1, 2, 3}, b[] = {4, 5};
    (void)state;
    put(model_a, a, 1);
    put(model_b, b, 2);
    put(model_a, a + 1, 2);
    batch_run run = take(model_a, a, 3); /* the older one; models don't mix */
    batches_done(g_batches, &run);
    run = take(model_b, b, 2);
    batches_done(g_batches, &run);
}

static void test_batches__the_place_of_a_broken_image_is_given_again(void **state)
{
    int a[] = {1, 2, 3};
    (void)state;
    put(model_a, a, 1);
    batch_place broken = reserve(model_a);
    batch_place last = reserve(model_a);
    batches_give_back(g_batches, &broken);
    put(model_a, a + 1, 1);
    fill(&last, &a[2]);
    batch_run run = take(model_a, a, 3);
    batches_done(g_batches, &run);
}

static void test_batches__a_hole_parts_two_runs(void **state)
{
    int a[] = {1, 2, 3, 4};
    (void)state;
    put(model_a, a, 2);
    batch_place broken = reserve(model_a);
    put(model_a, a + 2, 2);
    batches_give_back(g_batches, &broken);
    batch_run run = take(model_a, a, 2);
    batches_done(g_batches, &run);
    run = take(model_a, a + 2, 2);
    batches_done(g_batches, &run);
}

static void test_batches__nobody_waits_for_a_slow_image(void **state)
{
    int a[] = {1, 2, 3, 4}, slow = 9;
    (void)state;
    batch_place late = reserve(model_a);
    put(model_a, a, 2);
    batch_run run = take(model_a, a, 2);
    batches_done(g_batches, &run);
    put(model_a, a + 2, 2); /* another batch: this one gives no places until it is empty */
    fill(&late, &slow);
    run = take(model_a, &slow, 1);
    batches_done(g_batches, &run);
    run = take(model_a, a + 2, 2);
    batches_done(g_batches, &run);
}

static void test_batches__what_is_dropped_leaves_no_hole(void **state)
{
    int a[] = {1, 2, 3, 4};
    (void)state;
    put(model_a, a, 4);
    batch_run run = take(model_a, a, 4);
    batches_drop(&run, 1);
    CHECK_INT(3, run.n);
    CHECK(run.images[0] == &a[0] && run.images[1] == &a[3] && run.images[2] == &a[2]);
    check_pixels(&run);
    batches_drop(&run, 2);
    batches_drop(&run, 0);
    CHECK(run.n == 1 && run.images[0] == &a[3]);
    check_pixels(&run);
    batches_drop(&run, 0);
    CHECK_INT(0, run.n);
    batches_done(g_batches, &run);
    put(model_a, a, 1); /* all places are free again */
    run = take(model_a, a, 1);
    batches_done(g_batches, &run);
}

static void test_batches__a_model_of_larger_images_gets_larger_places(void **state)
{
    kd_error err = KD_ERROR_INIT;
    batch_place place;
    int a = 1;
    (void)state;
    put(model_a, &a, 1);
    batch_run run = take(model_a, &a, 1);
    batches_done(g_batches, &run);
    for (int i = 0; i < 40; i++) { /* more than a batch: the sanitizer watches their ends */
        batches_expect(g_batches);
        CHECK_OK(batches_reserve(g_batches, model_b, (size_t)8 * SIDE, &place, &err), err);
        for (int f = 0; f < 64 * FLOATS; f++)
            place.input[f] = 1;
        batches_filled(g_batches, &place, &a);
    }
    CHECK(batches_take(g_batches, &(batch_patience){0, 0}, &run));
    CHECK_INT(KD_EMBEDDER_MAX_BATCH, run.n);
    batches_done(g_batches, &run);
    CHECK(batches_take(g_batches, &(batch_patience){0, 0}, &run));
    CHECK_INT(40 - KD_EMBEDDER_MAX_BATCH, run.n);
    batches_done(g_batches, &run);
}

/* ---- Waiting ---- */

static void test_batches__a_lone_image_does_not_wait(void **state)
{
    int a = 1;
    batch_run run;
    (void)state;
    put(model_a, &a, 1);
    const int64_t begun = kd_mono_ms();
    CHECK(batches_take(g_batches, &(batch_patience){LONG_MS, 0}, &run));
    CHECK(kd_mono_ms() - begun < LONG_MS / 2);
    batches_done(g_batches, &run);
}

static void test_batches__a_run_knows_whether_there_was_always_work(void **state)
{
    int a[] = {1, 2, 3};
    (void)state;
    put(model_a, a, 1);
    batch_run run = take(model_a, a, 1);
    CHECK(run.after_idle);
    batches_done(g_batches, &run);

    put(model_a, a, 1);
    batch_place place = reserve(model_a); /* on its way when the run is taken */
    run = take(model_a, a, 1);
    CHECK(run.after_idle);
    batches_done(g_batches, &run);
    fill(&place, &a[1]);
    run = take(model_a, a + 1, 1);
    CHECK(!run.after_idle);
    batches_done(g_batches, &run);

    put(model_a, a, 1);
    place = reserve(model_a);
    run = take(model_a, a, 1);
    batches_done(g_batches, &run);
    batches_give_back(g_batches, &place); /* broken: nothing was left to do */
    put(model_a, a + 2, 1);
    run = take(model_a, a + 2, 1);
    CHECK(run.after_idle);
    batches_done(g_batches, &run);
}

static void *fill_later(void *arg)
{
    static int late = 7;
    kd_sleep_ms(20);
    fill(arg, &late);
    return NULL;
}

static void *break_later(void *arg)
{
    kd_sleep_ms(20);
    batches_give_back(g_batches, arg);
    return NULL;
}

static void *forget_later(void *arg)
{
    (void)arg;
    kd_sleep_ms(20);
    batches_forget(g_batches);
    return NULL;
}

static void test_batches__one_that_is_expected_is_waited_for(void **state)
{
    void *(*const ends[])(void *) = {fill_later, break_later, forget_later};
    (void)state;
    for (int i = 0; i < 3; i++) {
        int a = 1;
        batch_run run;
        pthread_t thread;
        batch_place place = {0};
        put(model_a, &a, 1);
        if (i < 2)
            place = reserve(model_a);
        else
            batches_expect(g_batches);
        assert_int_equal(pthread_create(&thread, NULL, ends[i], &place), 0);
        CHECK(batches_take(g_batches, &(batch_patience){LONG_MS, 0}, &run));
        CHECK_INT(i == 0 ? 2 : 1, run.n);
        batches_done(g_batches, &run);
        pthread_join(thread, NULL);
    }
}

static void *come_back(void *arg)
{
    kd_sleep_ms(20);
    put(model_a, arg, 1);
    return NULL;
}

/* Takes a full batch, which leaves one image behind, and then that one, while another comes late.
 */
static size_t take_with_late(int64_t share_ms)
{
    static int a[KD_EMBEDDER_MAX_BATCH + 1], late = 8;
    const batch_patience patience = {0, share_ms * 1000000 * KD_EMBEDDER_PATIENCE};
    pthread_t thread;
    batch_run run;
    put(model_a, a, KD_EMBEDDER_MAX_BATCH + 1);
    run = take(model_a, a, KD_EMBEDDER_MAX_BATCH);
    batches_done(g_batches, &run);
    assert_int_equal(pthread_create(&thread, NULL, come_back, &late), 0);
    CHECK(batches_take(g_batches, &patience, &run));
    batches_done(g_batches, &run);
    pthread_join(thread, NULL);
    return run.n;
}

static void test_batches__under_load_a_run_waits_for_its_share_of_the_time(void **state)
{
    int late = 9;
    batch_run run;
    pthread_t thread;
    const int64_t begun = kd_mono_ms();
    (void)state;
    CHECK_INT(1, take_with_late(1));
    CHECK(batches_take(g_batches, &(batch_patience){0, 0}, &run)); /* it is there by now */
    CHECK_INT(1, run.n);
    batches_done(g_batches, &run);

    assert_int_equal(pthread_create(&thread, NULL, come_back, &late), 0);
    CHECK(batches_take(g_batches, &(batch_patience){0, LONG_MS * 1000000000LL}, &run));
    CHECK(kd_mono_ms() - begun < LONG_MS / 2); /* nothing was there: no other is waited for */
    CHECK_INT(1, run.n);
    batches_done(g_batches, &run);
    pthread_join(thread, NULL);
}

static void test_batches__under_load_a_run_takes_who_comes_in_time(void **state)
{
    (void)state;
    CHECK_INT(2, take_with_late(300));
}

static void *reserve_and_fill(void *arg)
{
    const batch_place place = reserve(model_c);
    fill(&place, arg);
    return NULL;
}

static void test_batches__who_finds_no_place_waits_for_one(void **state)
{
    enum { ALL = KD_EMBEDDER_BATCHES * KD_EMBEDDER_MAX_BATCH };
    static int a[ALL];
    int c = 5;
    pthread_t thread;
    (void)state;
    put(model_a, a, ALL);
    assert_int_equal(pthread_create(&thread, NULL, reserve_and_fill, &c), 0);
    for (unsigned i = 0; i < KD_EMBEDDER_BATCHES; i++) {
        batch_run run = take(model_a, a + (size_t)i * KD_EMBEDDER_MAX_BATCH, KD_EMBEDDER_MAX_BATCH);
        batches_done(g_batches, &run);
    }
    pthread_join(thread, NULL);
    batch_run run = take(model_c, &c, 1);
    batches_done(g_batches, &run);
}

static void test_batches__closing_refuses_places_and_gives_what_is_there(void **state)
{
    int a = 1;
    batch_run run;
    batch_place place;
    kd_error err = KD_ERROR_INIT;
    (void)state;
    put(model_a, &a, 1);
    batches_close(g_batches);
    CHECK_FAILS(KD_UNAVAILABLE, batches_reserve(g_batches, model_a, SIDE, &place, &err), err);
    run = take(model_a, &a, 1);
    batches_done(g_batches, &run);
    CHECK(!batches_take(g_batches, &(batch_patience){LONG_MS, 0}, &run));
}

/* ---- Many at a time ---- */

enum { DECODERS = 6, IMAGES = 3000 };

static int g_images[DECODERS][IMAGES];
static atomic_int g_broken;

static void *decode_all(void *arg)
{
    int *const images = arg;
    const char *const models[] = {model_a, model_b, model_c};
    for (int i = 0; i < IMAGES; i++) {
        const batch_place place = reserve(models[i % 7 % 3]);
        if (i % 11 == 0) {
            batches_give_back(g_batches, &place);
            atomic_fetch_add(&g_broken, 1);
        } else {
            fill(&place, &images[i]);
        }
    }
    return NULL;
}

static void test_batches__each_image_of_many_threads_is_taken_once(void **state)
{
    pthread_t threads[DECODERS];
    size_t taken = 0;
    (void)state;
    for (int i = 0; i < DECODERS; i++) {
        for (int j = 0; j < IMAGES; j++)
            g_images[i][j] = 1 + i * IMAGES + j;
        assert_int_equal(pthread_create(&threads[i], NULL, decode_all, g_images[i]), 0);
    }
    while (taken < DECODERS * (IMAGES - (IMAGES + 10) / 11)) {
        batch_run run;
        CHECK(batches_take(g_batches, &(batch_patience){1, 0}, &run));
        check_pixels(&run);
        for (size_t i = 0; i < run.n; i++) {
            CHECK(*(int *)run.images[i] > 0);
            *(int *)run.images[i] = -1;
        }
        taken += run.n;
        batches_done(g_batches, &run);
    }
    for (int i = 0; i < DECODERS; i++)
        pthread_join(threads[i], NULL);
    batches_close(g_batches);
    batch_run run;
    CHECK(!batches_take(g_batches, &(batch_patience){LONG_MS, 0}, &run));
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(test_batches__##f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(images_of_a_model_lie_side_by_side),
        TEST(the_place_of_a_broken_image_is_given_again),
        TEST(a_hole_parts_two_runs),
        TEST(nobody_waits_for_a_slow_image),
        TEST(what_is_dropped_leaves_no_hole),
        TEST(a_model_of_larger_images_gets_larger_places),
        TEST(a_lone_image_does_not_wait),
        TEST(a_run_knows_whether_there_was_always_work),
        TEST(one_that_is_expected_is_waited_for),
        TEST(under_load_a_run_waits_for_its_share_of_the_time),
        TEST(under_load_a_run_takes_who_comes_in_time),
        TEST(who_finds_no_place_waits_for_one),
        TEST(closing_refuses_places_and_gives_what_is_there),
        TEST(each_image_of_many_threads_is_taken_once),
    };
    return cmocka_run_group_tests_name("embedder.batches", tests, NULL, NULL);
}
