#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/metrics.h"
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

/* What a service does whose labels come and go. */
static void look_anew(void *arg)
{
    kd_metrics_forget(arg, "rooms");
    kd_gauge_set(kd_metrics_gauge(arg, "rooms", "floor=\"1\"", "Rooms"), 4);
    kd_gauge_set(kd_metrics_gauge(arg, "rooms", "floor=\"2\"", "Rooms"), 5);
}

typedef struct printing {
    kd_metrics *metrics;
    atomic_size_t good;
} printing;

static void print_one(void *arg, size_t i)
{
    printing *const p = arg;
    kd_buf text = KD_BUF_INIT;
    (void)i;
    kd_metrics_print(p->metrics, &text);
    const char *const printed = (const char *)text.data;
    if (strstr(printed, "kept 1\n") && !strstr(printed, "floor=\"9\"") &&
        strstr(printed, "# TYPE rooms gauge\nrooms{floor=\"1\"} 4\nrooms{floor=\"2\"} 5\n"))
        atomic_fetch_add(&p->good, 1);
    kd_buf_free(&text);
}

static void test_base_metrics__are_made_anew_by_each_of_many_prints(void **state)
{
    enum { PRINTS = 2000 };
    printing p;
    kd_pool *pool;
    (void)state;
    atomic_init(&p.good, 0);
    CHECK_OK(kd_metrics_new(&p.metrics, &g_err), g_err);
    kd_gauge_set(kd_metrics_gauge(p.metrics, "rooms", "floor=\"9\"", "Rooms"), 6);
    kd_gauge_set(kd_metrics_gauge(p.metrics, "kept", "", "Kept"), 1);
    CHECK_OK(kd_metrics_on_print(p.metrics, look_anew, p.metrics, &g_err), g_err);
    CHECK_OK(kd_pool_new(&pool, "test", 3, 1000, &g_err), g_err);
    kd_pool_for(pool, PRINTS, print_one, &p);
    CHECK_INT(PRINTS, atomic_load(&p.good));
    kd_pool_free(pool);
    kd_metrics_free(p.metrics);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_queue__is_bounded_and_in_order),
        cmocka_unit_test(test_base_queue__an_empty_one_waits_its_time),
        cmocka_unit_test(test_base_pool__runs_what_it_took),
        cmocka_unit_test(test_base_pool__for_visits_each_once),
        cmocka_unit_test(test_base_metrics__are_made_anew_by_each_of_many_prints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
