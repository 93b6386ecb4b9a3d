/* Redis goes away and comes back. */
#include <pthread.h>

#include "tests/store/room.h"

static void test_store_restart__an_address_that_is_none_is_refused(void **state)
{
    room *const r = *state;
    static const char *const wrong[] = {"", "localhost", ":6379", "localhost:", "localhost:0",
        "localhost:65536", "localhost:6379x"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        kd_store *store = NULL;
        CHECK_FAILS(KD_INVALID_ARGUMENT, kd_store_open(&store, wrong[i], 1000, &r->err), r->err);
        CHECK(store == NULL);
    }
    CHECK_HAS("localhost:6379x", r->err.message);
}

static void test_store_restart__ping_answers(void **state)
{
    room *const r = *state;
    CHECK_OK(kd_store_ping(r->a, &r->err), r->err);
}

static void test_store_restart__without_redis_every_call_names_the_address(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT] = "x";
    const uint8_t key[1][KD_SHA256_BYTES] = {{0}};
    float vector[2] = {0};
    bool found = true, taken = true;
    kd_job job, *jobs;
    size_t n;
    submit(r, "x", id); /* connected, so that the connection breaks under us */
    test_redis_kill(&r->redis);
#define DOWN(call)                                                                                 \
    do {                                                                                           \
        r->err.message[0] = '\0';                                                                  \
        CHECK_FAILS(KD_UNAVAILABLE, call, r->err);                                                 \
        CHECK_HAS(r->redis.address, r->err.message);                                               \
    } while (0)
    DOWN(kd_store_ping(r->a, &r->err));
    DOWN(kd_jobs_submit(r->a, "train", "train", "x", 1, "", id, &r->err));
    DOWN(kd_jobs_get(r->a, id, &job, &r->err));
    DOWN(kd_jobs_list(r->a, 0, "", false, "", 5, &jobs, &n, &r->err));
    DOWN(kd_jobs_take(r->a, "train", "w", 50, &job, &taken, &r->err));
    CHECK(!taken);
    DOWN(kd_jobs_cancel(r->a, id, &r->err));
    DOWN(get_rows(r->a, KD_CACHE_FLOAT32, "m", 1, key, 2, vector, &found, &r->err));
    CHECK(!found);
    DOWN(put_rows(r->a, KD_CACHE_FLOAT32, "m", 1, key, 2, vector, 60, &r->err));
    CHECK(test_redis_restart(&r->redis));
}

static void test_store_restart__nothing_acknowledged_is_lost(void **state)
{
    room *const r = *state;
    char running[KD_JOB_ID_TEXT], waiting[KD_JOB_ID_TEXT], done[KD_JOB_ID_TEXT];
    bool cancel;
    submit(r, "done", done);
    kd_job job = take(r, r->a, "w");
    CHECK_OK(kd_jobs_finish(r->a, &job, KD_JOB_DONE, "r", 1, NULL, &r->err), r->err);
    kd_job_clear(&job);
    submit(r, "running", running);
    submit(r, "waiting", waiting);
    job = take(r, r->a, "w");
    CHECK_STR(running, job.id);

    CHECK(test_redis_restart(&r->redis));
    /* The owner goes on with its job; the first call after the restart already works. */
    CHECK_OK(kd_jobs_progress(r->a, &job, "w", "half", 4, &cancel, &r->err), r->err);
    CHECK(test_redis_restart(&r->redis));
    CHECK_OK(kd_jobs_finish(r->a, &job, KD_JOB_DONE, "ok", 2, NULL, &r->err), r->err);
    kd_job_clear(&job);
    CHECK(test_redis_restart(&r->redis));

    CHECK_OK(kd_jobs_get(r->b, running, &job, &r->err), r->err);
    CHECK_INT(KD_JOB_DONE, job.state);
    CHECK_STR("half", (const char *)job.progress.data);
    CHECK_STR("ok", (const char *)job.result.data);
    kd_job_clear(&job);
    check_state(r, done, KD_JOB_DONE);
    job = take(r, r->b, "v");
    CHECK_STR(waiting, job.id);
    CHECK_INT(1, job.attempt);
    kd_job_clear(&job);
    check_nothing_to_take(r, r->a, "w");
}

static void test_store_restart__a_pending_job_outlives_redis_and_its_worker(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    submit(r, "x", id);
    kd_job job = take(r, r->a, "w");
    kd_job_clear(&job);
    CHECK(test_redis_restart(&r->redis));
    job = take(r, r->b, "w");
    CHECK_STR(id, job.id);
    CHECK_INT(2, job.attempt);
    kd_job_clear(&job);
}

static void *kill_when_blocked(void *arg)
{
    room *const r = arg;
    for (bool blocked = false; !blocked;) {
        redisReply *const info = room_redis(r, "INFO clients");
        blocked = strstr(info->str, "blocked_clients:1") != NULL;
        freeReplyObject(info);
    }
    test_redis_kill(&r->redis);
    return NULL;
}

static void test_store_restart__a_waiting_worker_learns_of_it(void **state)
{
    room *const r = *state;
    pthread_t thread;
    kd_job job;
    bool taken = true;
    CHECK_INT(0, pthread_create(&thread, NULL, kill_when_blocked, r));
    CHECK_FAILS(
        KD_UNAVAILABLE, kd_jobs_take(r->a, "train", "w", 60000, &job, &taken, &r->err), r->err);
    CHECK(!taken);
    CHECK_INT(0, pthread_join(thread, NULL));
    CHECK(test_redis_restart(&r->redis));
    check_nothing_to_take(r, r->a, "w");
}

static void test_store_restart__a_redis_that_hangs_is_given_up_in_time(void **state)
{
    room *const r = *state;
    kd_store *store = NULL;
    CHECK_OK(kd_store_open(&store, r->redis.address, 200, &r->err), r->err);
    CHECK_OK(kd_store_ping(store, &r->err), r->err);
    CHECK_INT(0, kill(r->redis.pid, SIGSTOP));
    CHECK_FAILS(KD_UNAVAILABLE, kd_store_ping(store, &r->err), r->err);
    CHECK_HAS("no answer in time", r->err.message);
    CHECK_INT(0, kill(r->redis.pid, SIGCONT));
    kd_store_close(store);
}

/* It answers later, when nobody listens any more: no job may lose an attempt by that. */
static void test_store_restart__a_take_that_nobody_heard_of_is_no_attempt(void **state)
{
    room *const r = *state;
    kd_store *store = NULL;
    kd_job job;
    bool taken = true;
    char id[KD_JOB_ID_TEXT];
    check_nothing_to_take(r, r->a, "other"); /* makes the group */
    submit(r, "x", id);
    CHECK_OK(kd_store_open(&store, r->redis.address, 100, &r->err), r->err);
    CHECK_OK(kd_store_ping(store, &r->err), r->err);
    CHECK_INT(0, kill(r->redis.pid, SIGSTOP));
    for (unsigned i = 0; i <= KD_JOB_MAX_ATTEMPTS; i++) {
        CHECK_FAILS(
            KD_UNAVAILABLE, kd_jobs_take(store, "train", "w", 0, &job, &taken, &r->err), r->err);
        CHECK(!taken);
    }
    CHECK_INT(0, kill(r->redis.pid, SIGCONT));
    CHECK_OK(kd_jobs_get(r->b, id, &job, &r->err), r->err); /* behind them */
    CHECK_INT(KD_JOB_RUNNING, job.state);
    CHECK_INT(1, job.attempt);
    kd_job_clear(&job);
    kd_store_close(r->b);
    r->b = store; /* the same worker again */
    job = take(r, r->b, "w");
    CHECK_INT(1, job.attempt);
    kd_job_clear(&job);
    job = take(r, r->b, "w"); /* that one was heard of: this is its next life */
    CHECK_INT(2, job.attempt);
    kd_job_clear(&job);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, room_setup, room_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_store_restart__an_address_that_is_none_is_refused),
        TEST(test_store_restart__ping_answers),
        TEST(test_store_restart__without_redis_every_call_names_the_address),
        TEST(test_store_restart__nothing_acknowledged_is_lost),
        TEST(test_store_restart__a_pending_job_outlives_redis_and_its_worker),
        TEST(test_store_restart__a_waiting_worker_learns_of_it),
        TEST(test_store_restart__a_redis_that_hangs_is_given_up_in_time),
        TEST(test_store_restart__a_take_that_nobody_heard_of_is_no_attempt),
    };
    return cmocka_run_group_tests_name("store.restart", tests, room_start, room_stop);
}
