/* Which calls are run together, and when. Calls are numbers: nobody looks into them. */
#include <pthread.h>
#include <stdlib.h>

#include "kindred/v1/indexer.pb-c.h"

#include "services/indexer/lots.h"
#include "tests/support/check.h"

enum { RUNS = 2048, CALLS = 2048 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool open_gate;       /* runs may end */
static size_t n_runs;        /* that have begun, by now… */
static size_t sizes[RUNS];   /* …with so many calls */
static size_t run_of[CALLS]; /* of each call, from 1 */
static size_t n_running, most_running, n_refused;

void __wrap_kd_call_fail(kd_call *call, const kd_error *error);
void __wrap_kd_call_fail(kd_call *call, const kd_error *error)
{
    (void)call;
    CHECK_INT(KD_RESOURCE_EXHAUSTED, error->status);
    CHECK_HAS("1024 calls wait already", error->message);
    n_refused++;
}

static void run(void *state, const lot_call *first)
{
    (void)state;
    pthread_mutex_lock(&lock);
    const size_t number = ++n_runs;
    if (++n_running > most_running)
        most_running = n_running;
    for (const lot_call *call = first; call; call = call->next) {
        run_of[(uintptr_t)call->call] = number;
        sizes[number - 1]++;
    }
    pthread_cond_broadcast(&changed);
    while (!open_gate)
        pthread_cond_wait(&changed, &lock);
    n_running--;
    pthread_mutex_unlock(&lock);
}

static int setup(void **state)
{
    (void)state;
    open_gate = false;
    n_runs = n_running = most_running = n_refused = 0;
    memset(sizes, 0, sizeof sizes);
    memset(run_of, 0, sizeof run_of);
    return 0;
}

static lots *made(size_t threads, size_t together)
{
    lots *l = NULL;
    kd_error err = KD_ERROR_INIT;
    const lots_options options = {
        .what = "calls", .threads = threads, .together = together, .run = run};
    CHECK_OK(lots_new(&l, &options, &err), err);
    return l;
}

/* name NULL: like no other. */
static void add(lots *l, size_t number, const char *name, size_t weight)
{
    Kindred__V1__SearchRequest rest = KINDRED__V1__SEARCH_REQUEST__INIT;
    rest.collection = (char *)(uintptr_t)name;
    lots_add(l, (kd_call *)number, NULL, name ? &rest.base : NULL, weight); /* NOLINT */
}

static void wait_for_runs(size_t n)
{
    pthread_mutex_lock(&lock);
    while (n_runs < n)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void let_go(lots *l)
{
    pthread_mutex_lock(&lock);
    open_gate = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    lots_free(l); /* waits for all */
}

static void test_lots__what_is_alike_gathers_behind_a_run(void **state)
{
    (void)state;
    lots *const l = made(1, 64);
    add(l, 1, "a", 1); /* alone: at once */
    wait_for_runs(1);
    for (size_t i = 2; i < 12; i++)
        add(l, i, i % 2 ? "b" : "a", 1);
    add(l, 12, NULL, 1);
    add(l, 13, NULL, 1);
    let_go(l);
    CHECK_INT(5, n_runs);
    CHECK_INT(1, sizes[0]);
    for (size_t i = 2; i < 12; i++) /* in the order of the first of each */
        CHECK_INT(i % 2 ? 3 : 2, run_of[i]);
    CHECK(run_of[12] != run_of[13]);
    CHECK_INT(0, n_refused);
}

static void test_lots__one_lot_of_a_kind_runs_at_a_time_beside_others(void **state)
{
    (void)state;
    lots *const l = made(4, 64);
    add(l, 1, "a", 1);
    wait_for_runs(1);
    add(l, 2, "a", 1);
    add(l, 3, "b", 1);
    add(l, 4, NULL, 1);
    add(l, 5, NULL, 1);
    wait_for_runs(4); /* all but the second a */
    CHECK_INT(0, run_of[2]);
    let_go(l);
    CHECK_INT(5, n_runs);
    CHECK_INT(5, run_of[2]);
    CHECK_INT(4, most_running);
}

static void test_lots__weight_bounds_a_lot(void **state)
{
    (void)state;
    lots *const l = made(1, 10);
    add(l, 1, "a", 1);
    wait_for_runs(1);
    static const size_t weights[] = {4, 4, 4, 2, 50, 1};
    for (size_t i = 0; i < 6; i++)
        add(l, i + 2, "a", weights[i]);
    let_go(l);
    static const size_t runs[] = {2, 2, 3, 2, 4, 3}; /* what fits goes along */
    for (size_t i = 0; i < 6; i++)
        CHECK_INT(runs[i], run_of[i + 2]);
    CHECK_INT(4, n_runs);
}

static void test_lots__so_many_wait_and_no_more(void **state)
{
    (void)state;
    lots *const l = made(2, 64);
    add(l, 1, "a", 1);
    wait_for_runs(1);
    for (size_t i = 0; i < LOTS_WAITING + 5; i++)
        add(l, i + 2, "a", 1);
    CHECK_INT(5, n_refused);
    let_go(l);
    CHECK_INT(1 + LOTS_WAITING / 64, n_runs);
    CHECK_INT(0, run_of[LOTS_WAITING + 2]);
}

static void *ask_often(void *arg)
{
    lots *const l = arg;
    static size_t next = 1;
    static const char *const names[] = {"a", "b", NULL};
    for (size_t i = 0; i < 100; i++) {
        const size_t number = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);
        add(l, number, names[number % 3], 1);
    }
    return NULL;
}

static void test_lots__every_call_is_run_once(void **state)
{
    (void)state;
    pthread_t threads[4];
    lots *const l = made(4, 16);
    open_gate = true;
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(0, pthread_create(&threads[i], NULL, ask_often, l));
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    let_go(l);
    size_t calls = 0;
    for (size_t i = 0; i < n_runs; i++)
        calls += sizes[i];
    CHECK_INT(400, calls);
    for (size_t i = 1; i <= 400; i++)
        CHECK(run_of[i] > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_lots__what_is_alike_gathers_behind_a_run, setup),
        cmocka_unit_test_setup(test_lots__one_lot_of_a_kind_runs_at_a_time_beside_others, setup),
        cmocka_unit_test_setup(test_lots__weight_bounds_a_lot, setup),
        cmocka_unit_test_setup(test_lots__so_many_wait_and_no_more, setup),
        cmocka_unit_test_setup(test_lots__every_call_is_run_once, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
