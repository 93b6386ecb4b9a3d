/* Identical images at the same time: who computes, who waits, who gets what. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/clock.h"
#include "services/embedder/flights.h"
#include "tests/support/check.h"

typedef struct image {
    flight flight; /* first */
    uint8_t sha256[KD_SHA256_BYTES];
    bool wanted;
    atomic_bool done;
} image;

static flights *g_flights;

static int setup(void **state)
{
    kd_error err;
    (void)state;
    return flights_new(&g_flights, &err) == KD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    flights_free(g_flights);
    return 0;
}

/* In the first's bucket whatever content is, as that is in the last byte alone. */
static image *make(image *one, const char *model, int content)
{
    *one = (image){.flight = {.model = model, .sha256 = one->sha256}, .wanted = true};
    one->sha256[KD_SHA256_BYTES - 1] = (uint8_t)content;
    return one;
}

static bool wants(const flight *one)
{
    return ((const image *)one)->wanted;
}

static size_t land(image *first)
{
    size_t n = 0;
    for (flight *one = flights_land(g_flights, &first->flight); one; one = one->next)
        n++;
    return n;
}

static void test_flights__one_joins_what_is_in_work_alone(void **state)
{
    image first, second, third;
    (void)state;
    CHECK(!flights_join(g_flights, &make(&first, "m", 1)->flight));
    CHECK(flights_begin(g_flights, &first.flight));
    CHECK(flights_join(g_flights, &make(&second, "m", 1)->flight));
    CHECK(!flights_begin(g_flights, &make(&third, "m", 1)->flight));
    CHECK_INT(2, land(&first));
    CHECK(!flights_join(g_flights, &make(&second, "m", 1)->flight));
    CHECK(flights_begin(g_flights, &second.flight)); /* the work is over: anew */
    CHECK_INT(0, land(&second));
}

static void test_flights__models_and_contents_are_kept_apart(void **state)
{
    image of[4];
    (void)state;
    CHECK(flights_begin(g_flights, &make(&of[0], "m", 1)->flight));
    CHECK(flights_begin(g_flights, &make(&of[1], "n", 1)->flight));
    CHECK(flights_begin(g_flights, &make(&of[2], "m", 2)->flight));
    CHECK(!flights_begin(g_flights, &make(&of[3], "n", 1)->flight));
    CHECK_INT(0, land(&of[0]));
    CHECK_INT(1, land(&of[1]));
    CHECK_INT(0, land(&of[2]));
}

static void test_flights__the_work_goes_on_while_anyone_waits(void **state)
{
    image first, second, third;
    (void)state;
    CHECK(flights_begin(g_flights, &make(&first, "m", 1)->flight));
    CHECK(!flights_begin(g_flights, &make(&second, "m", 1)->flight));
    CHECK(!flights_begin(g_flights, &make(&third, "m", 1)->flight));
    first.wanted = third.wanted = false;
    CHECK(flights_wanted(g_flights, &first.flight, wants));
    CHECK_INT(2, land(&first));
}

static void test_flights__what_nobody_wants_takes_no_more_in(void **state)
{
    image first, second, next, last;
    (void)state;
    CHECK(flights_begin(g_flights, &make(&first, "m", 1)->flight));
    CHECK(!flights_begin(g_flights, &make(&second, "m", 1)->flight));
    first.wanted = second.wanted = false;
    CHECK(!flights_wanted(g_flights, &first.flight, wants));
    CHECK(flights_begin(g_flights, &make(&next, "m", 1)->flight)); /* before the landing */
    CHECK_INT(1, land(&first));
    CHECK(!flights_begin(g_flights, &make(&last, "m", 1)->flight)); /* next is still there */
    CHECK_INT(1, land(&next));
}

/* ---- Many at a time ---- */

enum { THREADS = 8, ROUNDS = 2000, CONTENTS = 3 };

static atomic_int g_at_work[CONTENTS];

static void *work(void *arg)
{
    (void)arg;
    for (int round = 0; round < ROUNDS; round++) {
        image one;
        const int content = round % CONTENTS;
        make(&one, "m", content);
        if (!flights_join(g_flights, &one.flight) && flights_begin(g_flights, &one.flight)) {
            CHECK_INT(0, atomic_fetch_add(&g_at_work[content], 1)); /* never two at the same */
            if (round % 50 == 0)
                kd_sleep_ms(1);
            atomic_fetch_sub(&g_at_work[content], 1);
            for (flight *next = flights_land(g_flights, &one.flight); next;) {
                image *const other = (image *)next;
                next = next->next; /* before: it may be gone at once */
                CHECK_INT(content, other->sha256[KD_SHA256_BYTES - 1]);
                atomic_store(&other->done, true);
            }
        } else {
            while (!atomic_load(&one.done))
                sched_yield();
        }
    }
    return NULL;
}

static void test_flights__each_of_many_threads_gets_its_result(void **state)
{
    pthread_t threads[THREADS];
    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(test_flights__##f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_joins_what_is_in_work_alone),
        TEST(models_and_contents_are_kept_apart),
        TEST(the_work_goes_on_while_anyone_waits),
        TEST(what_nobody_wants_takes_no_more_in),
        TEST(each_of_many_threads_gets_its_result),
    };
    return cmocka_run_group_tests_name("embedder.flights", tests, NULL, NULL);
}
