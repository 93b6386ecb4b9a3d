/* Jobs as their worker sees them: at least once, fenced, given up in the end. */
#include <pthread.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "tests/store/room.h"

static void test_store_worker__take_progress_finish(void **state)
{
    room *const r = *state;
    const char progress[] = {'5', '\0', '9'}, result[] = {'\0', 'r'};
    char id[KD_JOB_ID_TEXT];
    bool cancel = true;
    submit(r, "spec", id);
    kd_job job = take(r, r->a, "w");
    CHECK_STR(id, job.id);
    CHECK_INT(KD_JOB_RUNNING, job.state);
    CHECK_INT(1, job.attempt);
    CHECK_INT(4, job.spec.len);
    CHECK(job.started_ms >= job.created_ms);
    CHECK_OK(
        kd_jobs_progress(r->a, &job, "w", progress, sizeof progress, &cancel, &r->err), r->err);
    CHECK(!cancel);
    CHECK_OK(kd_jobs_progress(r->a, &job, "w", NULL, 0, &cancel, &r->err), r->err);
    CHECK_OK(kd_jobs_finish(r->a, &job, KD_JOB_DONE, result, sizeof result, NULL, &r->err), r->err);
    /* A worker that lost the answer says it again. */
    CHECK_OK(kd_jobs_finish(r->a, &job, KD_JOB_DONE, result, sizeof result, NULL, &r->err), r->err);
    CHECK_FAILS(KD_ABORTED, kd_jobs_progress(r->a, &job, "w", "x", 1, &cancel, &r->err), r->err);
    kd_job_clear(&job);

    CHECK_OK(kd_jobs_get(r->b, id, &job, &r->err), r->err);
    CHECK_INT(KD_JOB_DONE, job.state);
    CHECK_INT(sizeof progress, job.progress.len);
    CHECK(memcmp(progress, job.progress.data, sizeof progress) == 0);
    CHECK_INT(sizeof result, job.result.len);
    CHECK(memcmp(result, job.result.data, sizeof result) == 0);
    CHECK(job.finished_ms >= job.started_ms);
    kd_job_clear(&job);
    CHECK_INT(0, room_number(r, "XLEN kindred:queue:train")); /* the stream stays bounded */
    check_nothing_to_take(r, r->a, "w");
}

static void test_store_worker__takes_in_the_order_of_submission(void **state)
{
    room *const r = *state;
    char ids[3][KD_JOB_ID_TEXT];
    for (int i = 0; i < 3; i++)
        submit(r, "x", ids[i]);
    for (int i = 0; i < 3; i++) {
        kd_job job = take(r, r->a, "w");
        CHECK_STR(ids[i], job.id);
        CHECK_OK(kd_jobs_finish(r->a, &job, KD_JOB_DONE, NULL, 0, NULL, &r->err), r->err);
        kd_job_clear(&job);
    }
}

static void test_store_worker__a_job_that_is_renewed_stays_with_its_owner(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    bool cancel;
    submit(r, "x", id);
    kd_job job = take(r, r->a, "w");
    kd_store_set_stale_ms(r->b, 2000);
    const int64_t until = kd_mono_ms() + 2600;
    while (kd_mono_ms() < until) { /* longer than the stale time, renewed all along */
        CHECK_OK(kd_jobs_progress(r->a, &job, "w", NULL, 0, &cancel, &r->err), r->err);
        check_nothing_to_take(r, r->b, "v");
        kd_sleep_ms(50);
    }
    kd_job_clear(&job);
}

static void test_store_worker__a_stale_owner_is_fenced_off(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    bool cancel;
    submit(r, "x", id);
    kd_job old = take(r, r->a, "w");
    check_nothing_to_take(r, r->b, "v");
    kd_store_set_stale_ms(r->b, 1);
    kd_sleep_ms(5);
    kd_job new = take(r, r->b, "v");
    CHECK_STR(id, new.id);
    CHECK_INT(2, new.attempt);

    CHECK_FAILS(KD_ABORTED, kd_jobs_progress(r->a, &old, "w", "old", 3, &cancel, &r->err), r->err);
    CHECK_HAS(id, r->err.message);
    CHECK_FAILS(
        KD_ABORTED, kd_jobs_finish(r->a, &old, KD_JOB_DONE, "old", 3, NULL, &r->err), r->err);
    check_nothing_to_take(r, r->a, "w"); /* nor is it among the old owner's own any more */
    CHECK_OK(kd_jobs_progress(r->b, &new, "v", "new", 3, &cancel, &r->err), r->err);
    CHECK_OK(kd_jobs_finish(r->b, &new, KD_JOB_DONE, "new", 3, NULL, &r->err), r->err);
    kd_job_clear(&old);
    kd_job_clear(&new);
    CHECK_OK(kd_jobs_get(r->a, id, &old, &r->err), r->err);
    CHECK_STR("new", (const char *)old.result.data);
    CHECK_STR("new", (const char *)old.progress.data);
    kd_job_clear(&old);
}

static void test_store_worker__an_owner_from_before_a_retry_is_fenced_off(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    bool cancel;
    submit(r, "x", id);
    kd_job old = take(r, r->a, "w");
    CHECK_OK(kd_jobs_cancel(r->a, id, &r->err), r->err);
    kd_store_set_stale_ms(r->b, 1);
    kd_sleep_ms(5);
    check_nothing_to_take(r, r->b, "v"); /* ends the job: its owner is gone, it is cancelled */
    check_state(r, id, KD_JOB_CANCELLED);
    CHECK_OK(kd_jobs_retry(r->a, id, &r->err), r->err);
    kd_job new = take(r, r->b, "v");
    CHECK_INT(old.attempt, new.attempt);
    CHECK_FAILS(KD_ABORTED, kd_jobs_progress(r->a, &old, "w", "x", 1, &cancel, &r->err), r->err);
    CHECK_OK(kd_jobs_progress(r->b, &new, "v", "y", 1, &cancel, &r->err), r->err);
    kd_job_clear(&old);
    kd_job_clear(&new);
}

/* For how long the only pending entry has not been renewed. */
static long long idle_ms(room *r)
{
    redisReply *const pending = room_redis(r, "XPENDING kindred:queue:train workers - + 10");
    CHECK_INT(1, pending->elements);
    const long long idle = pending->element[0]->element[2]->integer;
    freeReplyObject(pending);
    return idle;
}

static void test_store_worker__a_restarted_worker_takes_its_own_at_once(void **state)
{
    room *const r = *state;
    char first[KD_JOB_ID_TEXT], second[KD_JOB_ID_TEXT];
    bool cancel;
    submit(r, "1", first);
    submit(r, "2", second);
    kd_job job = take(r, r->a, "w");
    CHECK_OK(kd_jobs_progress(r->a, &job, "w", "half", 4, &cancel, &r->err), r->err);
    kd_job_clear(&job);
    kd_store_close(r->a);
    r->a = NULL;
    kd_sleep_ms(200); /* so that the idle time below tells its old life from its new one */
    const int64_t began = kd_mono_ms() - 1;
    CHECK_OK(kd_store_open(&r->a, r->redis.address, TIMEOUT_MS, &r->err), r->err);
    job = take(r, r->a, "w");
    CHECK_STR(first, job.id);
    CHECK_INT(2, job.attempt);
    CHECK_STR("half", (const char *)job.progress.data);
    /* Its time runs from then: nobody else may claim it. */
    const long long idle = idle_ms(r);
    CHECK(idle <= kd_mono_ms() - began);
    kd_job_clear(&job);
}

static void test_store_worker__cancelling_a_running_job_reaches_its_owner(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    bool cancel = false;
    submit(r, "x", id);
    kd_job job = take(r, r->a, "w");
    CHECK_OK(kd_jobs_cancel(r->b, id, &r->err), r->err);
    check_state(r, id, KD_JOB_RUNNING);
    CHECK_OK(kd_jobs_progress(r->a, &job, "w", NULL, 0, &cancel, &r->err), r->err);
    CHECK(cancel);
    const kd_error why = {KD_CANCELLED, "cancelled in epoch 2"};
    CHECK_OK(kd_jobs_finish(r->a, &job, KD_JOB_CANCELLED, NULL, 0, &why, &r->err), r->err);
    kd_job_clear(&job);
    CHECK_OK(kd_jobs_get(r->b, id, &job, &r->err), r->err);
    CHECK_INT(KD_JOB_CANCELLED, job.state);
    CHECK_INT(KD_CANCELLED, job.error_status);
    CHECK_STR("cancelled in epoch 2", job.error_message);
    kd_job_clear(&job);
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_jobs_cancel(r->b, id, &r->err), r->err);
}

static void test_store_worker__a_job_that_kills_its_workers_goes_to_the_dead_letters(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], fine[KD_JOB_ID_TEXT];
    submit(r, "poison", id);
    submit(r, "fine", fine);
    for (unsigned i = 1; i <= KD_JOB_MAX_ATTEMPTS; i++) { /* each take is a worker's new life */
        kd_job job = take(r, r->a, "w");
        CHECK_STR(id, job.id);
        CHECK_INT(i, job.attempt);
        kd_job_clear(&job);
    }
    kd_job job = take(r, r->a, "w");
    CHECK_STR(fine, job.id); /* the poison is out of the way */
    kd_job_clear(&job);

    kd_job *dead;
    size_t n;
    CHECK_OK(kd_jobs_list(r->b, 0, "", true, "", 10, &dead, &n, &r->err), r->err);
    CHECK_INT(1, n);
    CHECK_STR(id, dead[0].id);
    CHECK(dead[0].dead);
    CHECK_INT(KD_JOB_FAILED, dead[0].state);
    CHECK_INT(KD_ABORTED, dead[0].error_status);
    CHECK_HAS("5 attempts", dead[0].error_message);
    kd_job_counts counts;
    CHECK_OK(kd_jobs_count(r->b, &counts, &r->err), r->err);
    CHECK_INT(1, counts.dead);
    CHECK_INT(1, counts.by_state[KD_JOB_FAILED]);
    kd_jobs_free(dead, n);

    CHECK_OK(kd_jobs_retry(r->b, id, &r->err), r->err);
    CHECK_OK(kd_jobs_list(r->b, 0, "", true, "", 10, &dead, &n, &r->err), r->err);
    CHECK_INT(0, n);
    kd_jobs_free(dead, n);
}

static void test_store_worker__a_released_job_comes_again_with_the_same_attempt(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], other[KD_JOB_ID_TEXT];
    bool cancel;
    submit(r, "long", id);
    submit(r, "other", other);
    for (unsigned i = 0; i < KD_JOB_MAX_ATTEMPTS + 2; i++) {
        kd_job job = take(r, r->a, "w");
        CHECK_STR(id, job.id);
        CHECK_INT(1, job.attempt);
        CHECK_OK(kd_jobs_release(r->a, &job, &r->err), r->err);
        CHECK_OK(kd_jobs_release(r->a, &job, &r->err), r->err);
        check_state(r, id, KD_JOB_QUEUED);
        CHECK_FAILS(
            KD_ABORTED, kd_jobs_progress(r->a, &job, "w", "x", 1, &cancel, &r->err), r->err);
        kd_job_clear(&job);
    }
    /* Who lost the job can't give it back. */
    kd_job lost = take(r, r->a, "w"), job = take(r, r->a, "w");
    CHECK_INT(2, job.attempt);
    CHECK_FAILS(KD_ABORTED, kd_jobs_release(r->a, &lost, &r->err), r->err);
    check_state(r, id, KD_JOB_RUNNING);
    kd_job_clear(&lost);
    CHECK_OK(kd_jobs_release(r->a, &job, &r->err), r->err);
    kd_job_clear(&job);
    /* Cancelled while it waits it doesn't come again. */
    CHECK_OK(kd_jobs_cancel(r->b, id, &r->err), r->err);
    check_state(r, id, KD_JOB_CANCELLED);
    job = take(r, r->a, "w");
    CHECK_STR(other, job.id);
    kd_job_clear(&job);
}

static void test_store_worker__take_waits_no_longer_than_asked(void **state)
{
    room *const r = *state;
    kd_job job;
    bool taken = true;
    const int64_t began = kd_mono_ms();
    CHECK_OK(kd_jobs_take(r->a, "train", "w", 300, &job, &taken, &r->err), r->err);
    CHECK(!taken);
    CHECK(kd_mono_ms() - began >= 300);
}

/* The connection's time-out is shorter than the wait: the blocking read must allow for both. */
static void test_store_worker__a_wait_beyond_the_time_out_is_no_fault(void **state)
{
    room *const r = *state;
    kd_store *store = NULL;
    kd_job job;
    bool taken = true;
    CHECK_OK(kd_store_open(&store, r->redis.address, 400, &r->err), r->err);
    CHECK_OK(kd_jobs_take(store, "train", "w", 900, &job, &taken, &r->err), r->err);
    CHECK(!taken);
    kd_store_close(store);
}

typedef struct waiter {
    kd_store *store;
    kd_job job;
    bool taken;
    kd_status status;
    kd_error err;
} waiter;

static void *wait_for_job(void *arg)
{
    waiter *const w = arg;
    w->status = kd_jobs_take(w->store, "train", "w", 20000, &w->job, &w->taken, &w->err);
    return NULL;
}

static void test_store_worker__a_waiting_worker_gets_a_new_job_at_once(void **state)
{
    room *const r = *state;
    waiter w = {.store = r->b};
    pthread_t thread;
    char id[KD_JOB_ID_TEXT];
    CHECK_INT(0, pthread_create(&thread, NULL, wait_for_job, &w));
    const int64_t limit = kd_mono_ms() + 10000;
    bool blocked = false;
    while (!blocked && kd_mono_ms() < limit) {
        redisReply *const info = room_redis(r, "INFO clients");
        blocked = strstr(info->str, "blocked_clients:1") != NULL;
        freeReplyObject(info);
    }
    CHECK(blocked);
    submit(r, "x", id);
    const int64_t began = kd_mono_ms();
    CHECK_INT(0, pthread_join(thread, NULL));
    CHECK_OK(w.status, w.err);
    CHECK(w.taken);
    CHECK_STR(id, w.job.id);
    CHECK_INT(1, w.job.attempt);
    CHECK(kd_mono_ms() - began < 4000); /* not at the next look for stale ones */
    kd_job_clear(&w.job);
}

enum { JOBS = 200 };

typedef struct worker {
    kd_store *store;
    const char *name;
    int done[JOBS]; /* how often this one did each */
    int total;
    kd_status status;
    kd_error err;
} worker;

static void *work(void *arg)
{
    worker *const w = arg;
    for (;;) {
        kd_job job;
        bool taken = false;
        w->status = kd_jobs_take(w->store, "train", w->name, 0, &job, &taken, &w->err);
        if (w->status != KD_OK || !taken)
            return NULL;
        uint64_t number = 0;
        if (!kd_parse_u64((const char *)job.spec.data, 0, JOBS - 1, &number))
            abort();
        w->done[number]++;
        w->total++;
        w->status = kd_jobs_finish(w->store, &job, KD_JOB_DONE, NULL, 0, NULL, &w->err);
        kd_job_clear(&job);
        if (w->status != KD_OK)
            return NULL;
    }
}

static void test_store_worker__two_threads_do_each_job_once(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], spec[16];
    for (int i = 0; i < JOBS; i++) {
        (void)snprintf(spec, sizeof spec, "%d", i);
        submit(r, spec, id);
    }
    worker *const workers = calloc(2, sizeof *workers);
    CHECK(workers != NULL);
    workers[0].store = r->a;
    workers[0].name = "w";
    workers[1].store = r->b;
    workers[1].name = "v";
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK_INT(0, pthread_create(&threads[i], NULL, work, &workers[i]));
    for (int i = 0; i < 2; i++)
        CHECK_INT(0, pthread_join(threads[i], NULL));
    for (int i = 0; i < 2; i++)
        CHECK_OK(workers[i].status, workers[i].err);
    for (int i = 0; i < JOBS; i++)
        CHECK_INT(1, workers[0].done[i] + workers[1].done[i]);
    CHECK(workers[0].total > 0 && workers[1].total > 0);
    free(workers);
}

static void test_store_worker__an_entry_without_a_record_is_passed_over(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    freeReplyObject(room_redis(r, "XADD kindred:queue:train * job ghost"));
    submit(r, "x", id);
    kd_job job = take(r, r->a, "w");
    CHECK_STR(id, job.id);
    CHECK_INT(1, room_number(r, "XLEN kindred:queue:train"));
    kd_job_clear(&job);
}

/* Only the entry that the record names counts, so that no job runs twice. */
static void test_store_worker__a_second_entry_of_a_job_is_passed_over(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], command[128];
    submit(r, "x", id);
    (void)snprintf(command, sizeof command, "XADD kindred:queue:train * job %s", id);
    freeReplyObject(room_redis(r, command));
    kd_job job = take(r, r->a, "w");
    check_nothing_to_take(r, r->b, "v");
    CHECK_INT(1, room_number(r, "XLEN kindred:queue:train"));
    kd_job_clear(&job);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, room_setup, room_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_store_worker__take_progress_finish),
        TEST(test_store_worker__takes_in_the_order_of_submission),
        TEST(test_store_worker__a_job_that_is_renewed_stays_with_its_owner),
        TEST(test_store_worker__a_stale_owner_is_fenced_off),
        TEST(test_store_worker__an_owner_from_before_a_retry_is_fenced_off),
        TEST(test_store_worker__a_restarted_worker_takes_its_own_at_once),
        TEST(test_store_worker__cancelling_a_running_job_reaches_its_owner),
        TEST(test_store_worker__a_job_that_kills_its_workers_goes_to_the_dead_letters),
        TEST(test_store_worker__a_released_job_comes_again_with_the_same_attempt),
        TEST(test_store_worker__take_waits_no_longer_than_asked),
        TEST(test_store_worker__a_wait_beyond_the_time_out_is_no_fault),
        TEST(test_store_worker__a_waiting_worker_gets_a_new_job_at_once),
        TEST(test_store_worker__two_threads_do_each_job_once),
        TEST(test_store_worker__an_entry_without_a_record_is_passed_over),
        TEST(test_store_worker__a_second_entry_of_a_job_is_passed_over),
    };
    return cmocka_run_group_tests_name("store.worker", tests, room_start, room_stop);
}
