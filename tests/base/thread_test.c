#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "tests/support/check.h"

static kd_error g_err;

static void test_base_queue__is_bounded_and_in_order(void **state)
{
    kd_queue *q;
    int items[3];
    (void)state;
    CHECK_OK(kd_queue_new(&q, 2, &g_err), g_err);
    CHECK(kd_queue_try_push(q, &items[0]) && kd_queue_try_push(q, &items[1]));
    CHECK(!kd_queue_try_push(q, &items[2]));
    CHECK(kd_queue_pop(q, 0) == &items[0]);
    CHECK(kd_queue_try_push(q, &items[2]));
    kd_queue_close(q);
    CHECK(!kd_queue_push(q, &items[0]));
    CHECK(kd_queue_pop(q, -1) == &items[1] && kd_queue_pop(q, -1) == &items[2]);
    assert_null(kd_queue_pop(q, -1));
    kd_queue_free(q);
}

static void test_base_queue__an_empty_one_waits_its_time(void **state)
{
    kd_queue *q;
    (void)state;
    CHECK_OK(kd_queue_new(&q, 1, &g_err), g_err);
    const int64_t begun = kd_mono_ms();
    assert_null(kd_queue_pop(q, 30));
    CHECK(kd_mono_ms() - begun >= 29);
    kd_queue_free(q);
}

static void count(void *arg, size_t i)
{
    atomic_fetch_add((atomic_size_t *)arg, i);
}

static void add_one(void *arg)
{
    atomic_fetch_add((atomic_size_t *)arg, 1);
}

static void test_base_pool__runs_what_it_took(void **state)
{
    kd_pool *pool;
    atomic_size_t sum;
    (void)state;
    atomic_init(&sum, 0);
    CHECK_OK(kd_pool_new(&pool, "test", 3, 1000, &g_err), g_err);
    for (size_t i = 0; i < 200; i++)
        CHECK(kd_pool_try_run(pool, add_one, &sum));
    kd_pool_free(pool);
    CHECK_INT(200, atomic_load(&sum));
}

static void test_base_pool__for_visits_each_once(void **state)
{
    kd_pool *pool;
    atomic_size_t sum;
    (void)state;
    CHECK_OK(kd_pool_new(&pool, "test", 3, 2, &g_err), g_err);
    for (size_t round = 0; round < 500; round++) {
        atomic_init(&sum, 0);
        kd_pool_for(pool, 50, count, &sum);
        CHECK_INT(50 * 49 / 2, atomic_load(&sum));
    }
    atomic_init(&sum, 0);
    kd_pool_for(NULL, 5, count, &sum);
    CHECK_INT(10, atomic_load(&sum));
    kd_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_queue__is_bounded_and_in_order),
        cmocka_unit_test(test_base_queue__an_empty_one_waits_its_time),
        cmocka_unit_test(test_base_pool__runs_what_it_took),
        cmocka_unit_test(test_base_pool__for_visits_each_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
