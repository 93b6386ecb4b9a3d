/* Jobs as their submitter sees them. */
#include "tests/store/room.h"

static void test_store_jobs__submit_get_round_trip_is_binary_safe(void **state)
{
    room *const r = *state;
    const char spec[] = {'a', '\0', '\r', '\n', (char)0xff, ' ', '%', 's', '\0'};
    char id[KD_JOB_ID_TEXT];
    kd_job job;
    CHECK_OK(kd_jobs_submit(r->a, "gateway", "index", spec, sizeof spec, "", id, &r->err), r->err);
    CHECK_OK(kd_jobs_get(r->b, id, &job, &r->err), r->err);
    CHECK_STR(id, job.id);
    CHECK_STR("index", job.kind);
    CHECK_STR("gateway", job.queue);
    CHECK_INT(KD_JOB_QUEUED, job.state);
    CHECK_INT(0, job.attempt);
    CHECK_INT(sizeof spec, job.spec.len);
    CHECK(memcmp(spec, job.spec.data, sizeof spec) == 0);
    CHECK_INT(0, job.progress.len);
    CHECK(job.created_ms > 1600000000000 && job.started_ms == 0 && job.finished_ms == 0);
    CHECK(!job.cancel_requested && !job.dead);
    kd_job_clear(&job);
    CHECK(job.spec.data == NULL);
}

static void test_store_jobs__a_request_that_is_made_again_gives_its_job(void **state)
{
    room *const r = *state;
    char first[KD_JOB_ID_TEXT], again[KD_JOB_ID_TEXT], other[KD_JOB_ID_TEXT];
    uint64_t depth;
    CHECK_OK(kd_jobs_submit(r->a, "train", "train", "x", 1, "r1", first, &r->err), r->err);
    CHECK_OK(kd_jobs_submit(r->b, "train", "train", "x", 1, "r1", again, &r->err), r->err);
    CHECK_OK(kd_jobs_submit(r->b, "train", "train", "x", 1, "r2", other, &r->err), r->err);
    CHECK_STR(first, again);
    CHECK(strcmp(first, other) != 0);
    CHECK_OK(kd_jobs_find(r->a, "r1", again, &r->err), r->err);
    CHECK_STR(first, again);
    CHECK_OK(kd_jobs_find(r->a, "r3", again, &r->err), r->err);
    CHECK_STR("", again);
    CHECK_OK(kd_jobs_depth(r->a, "train", &depth, &r->err), r->err);
    CHECK_INT(2, depth);
}

static void test_store_jobs__an_empty_spec_is_fine(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    CHECK_OK(kd_jobs_submit(r->a, "train", "train", NULL, 0, "", id, &r->err), r->err);
    kd_job job = take(r, r->a, "w");
    CHECK_INT(0, job.spec.len);
    kd_job_clear(&job);
}

static void test_store_jobs__an_unknown_id_is_named(void **state)
{
    room *const r = *state;
    kd_job job;
    CHECK_FAILS(KD_NOT_FOUND, kd_jobs_get(r->a, "nosuch", &job, &r->err), r->err);
    CHECK_STR("no job 'nosuch'", r->err.message);
    CHECK_FAILS(KD_NOT_FOUND, kd_jobs_cancel(r->a, "nosuch", &r->err), r->err);
    CHECK_FAILS(KD_NOT_FOUND, kd_jobs_retry(r->a, "nosuch", &r->err), r->err);
}

static void test_store_jobs__a_damaged_record_is_data_loss(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], command[128];
    kd_job job;
    submit(r, "x", id);
    (void)snprintf(command, sizeof command, "HSET kindred:job:%s state nine", id);
    (void)room_number(r, command);
    CHECK_FAILS(KD_DATA_LOSS, kd_jobs_get(r->a, id, &job, &r->err), r->err);
    CHECK_HAS(id, r->err.message);
}

static void test_store_jobs__list_pages_newest_first(void **state)
{
    room *const r = *state;
    enum { N = 250, PAGE = 60 };
    char ids[N][KD_JOB_ID_TEXT];
    for (int i = 0; i < N; i++) {
        submit(r, "x", ids[i]);
        CHECK(i == 0 || strcmp(ids[i - 1], ids[i]) < 0);
    }
    char after[KD_JOB_ID_TEXT] = "";
    int next = N - 1;
    for (;;) {
        kd_job *jobs;
        size_t n;
        CHECK_OK(kd_jobs_list(r->a, 0, "", false, after, PAGE, &jobs, &n, &r->err), r->err);
        for (size_t i = 0; i < n; i++)
            CHECK_STR(ids[next--], jobs[i].id);
        if (n > 0)
            (void)snprintf(after, sizeof after, "%s", jobs[n - 1].id);
        kd_jobs_free(jobs, n);
        if (n < PAGE)
            break;
    }
    CHECK_INT(-1, next);
}

static void test_store_jobs__list_filters_by_state_across_pages(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT], cancelled[3][KD_JOB_ID_TEXT];
    for (int i = 0; i < 240; i++) {
        submit(r, "x", i % 80 == 0 ? cancelled[i / 80] : id);
        if (i % 80 == 0)
            CHECK_OK(kd_jobs_cancel(r->a, cancelled[i / 80], &r->err), r->err);
    }
    kd_job *jobs;
    size_t n;
    CHECK_OK(kd_jobs_list(r->a, KD_JOB_CANCELLED, "", false, "", 10, &jobs, &n, &r->err), r->err);
    CHECK_INT(3, n);
    for (size_t i = 0; i < n; i++)
        CHECK_STR(cancelled[2 - i], jobs[i].id);
    kd_jobs_free(jobs, n);
    CHECK_OK(kd_jobs_list(r->a, KD_JOB_CANCELLED, "", false, cancelled[2], 1, &jobs, &n, &r->err),
        r->err);
    CHECK_INT(1, n);
    CHECK_STR(cancelled[1], jobs[0].id);
    kd_jobs_free(jobs, n);
}

static void test_store_jobs__list_after_an_unknown_id_fails_and_an_empty_list_does_not(void **state)
{
    room *const r = *state;
    kd_job *jobs;
    size_t n = 9;
    CHECK_OK(kd_jobs_list(r->a, 0, "", false, "", 10, &jobs, &n, &r->err), r->err);
    CHECK_INT(0, n);
    kd_jobs_free(jobs, n);
    CHECK_FAILS(
        KD_NOT_FOUND, kd_jobs_list(r->a, 0, "", false, "zzz", 10, &jobs, &n, &r->err), r->err);
    CHECK_HAS("zzz", r->err.message);
    CHECK(jobs == NULL && n == 0);
}

static void test_store_jobs__cancelling_a_queued_job_ends_it_at_once(void **state)
{
    room *const r = *state;
    char first[KD_JOB_ID_TEXT], second[KD_JOB_ID_TEXT];
    submit(r, "1", first);
    submit(r, "2", second);
    CHECK_OK(kd_jobs_cancel(r->b, first, &r->err), r->err);
    check_state(r, first, KD_JOB_CANCELLED);
    kd_job job = take(r, r->a, "w");
    CHECK_STR(second, job.id);
    kd_job_clear(&job);
    check_nothing_to_take(r, r->b, "v");
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_jobs_cancel(r->b, first, &r->err), r->err);
    CHECK_HAS("is cancelled", r->err.message);
}

static void test_store_jobs__retry_counts_attempts_anew(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    submit(r, "again", id);
    kd_job job = take(r, r->a, "w");
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_jobs_retry(r->b, id, &r->err), r->err);
    const kd_error why = {KD_DATA_LOSS, "the shard is broken"};
    CHECK_OK(kd_jobs_finish(r->a, &job, KD_JOB_FAILED, NULL, 0, &why, &r->err), r->err);
    kd_job_clear(&job);
    CHECK_OK(kd_jobs_get(r->a, id, &job, &r->err), r->err);
    CHECK_INT(KD_JOB_FAILED, job.state);
    CHECK_INT(KD_DATA_LOSS, job.error_status);
    CHECK_STR("the shard is broken", job.error_message);
    kd_job_clear(&job);

    CHECK_OK(kd_jobs_retry(r->b, id, &r->err), r->err);
    check_state(r, id, KD_JOB_QUEUED);
    job = take(r, r->a, "w");
    CHECK_STR(id, job.id);
    CHECK_INT(1, job.attempt);
    CHECK_INT(KD_OK, job.error_status);
    CHECK_STR("", job.error_message);
    CHECK_INT(5, job.spec.len);
    kd_job_clear(&job);
}

static void test_store_jobs__depth_counts_those_that_wait(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    uint64_t depth = 9;
    CHECK_OK(kd_jobs_depth(r->a, "train", &depth, &r->err), r->err);
    CHECK_INT(0, depth);
    for (int i = 0; i < 3; i++)
        submit(r, "x", id);
    CHECK_OK(kd_jobs_depth(r->a, "train", &depth, &r->err), r->err);
    CHECK_INT(3, depth);
    kd_job job = take(r, r->a, "w");
    CHECK_OK(kd_jobs_cancel(r->a, id, &r->err), r->err);
    CHECK_OK(kd_jobs_depth(r->a, "train", &depth, &r->err), r->err);
    CHECK_INT(1, depth);
    CHECK_OK(kd_jobs_depth(r->a, "gateway", &depth, &r->err), r->err);
    CHECK_INT(0, depth);
    kd_job_clear(&job);
}

static void test_store_jobs__all_are_counted_by_state(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    kd_job_counts counts;
    CHECK_OK(kd_jobs_count(r->a, &counts, &r->err), r->err);
    for (int i = 0; i <= KD_JOB_CANCELLED; i++)
        CHECK_INT(0, counts.by_state[i]);
    CHECK_INT(0, counts.dead);
    for (int i = 0; i < 1100; i++) /* more than are read at a time */
        submit(r, "x", id);
    kd_job done = take(r, r->a, "w");
    CHECK_OK(kd_jobs_finish(r->a, &done, KD_JOB_DONE, "", 0, NULL, &r->err), r->err);
    kd_job running = take(r, r->a, "w");
    CHECK_OK(kd_jobs_cancel(r->a, id, &r->err), r->err);
    CHECK_OK(kd_jobs_count(r->a, &counts, &r->err), r->err);
    CHECK_INT(1097, counts.by_state[KD_JOB_QUEUED]);
    CHECK_INT(1, counts.by_state[KD_JOB_RUNNING]);
    CHECK_INT(1, counts.by_state[KD_JOB_DONE]);
    CHECK_INT(0, counts.by_state[KD_JOB_FAILED]);
    CHECK_INT(1, counts.by_state[KD_JOB_CANCELLED]);
    kd_job_clear(&done);
    kd_job_clear(&running);
}

static void test_store_jobs__a_refusing_redis_is_quoted_and_changes_nothing(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    freeReplyObject(room_redis(r, "CONFIG SET maxmemory 1"));
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED,
        kd_jobs_submit(r->a, "train", "train", "x", 1, "", id, &r->err), r->err);
    CHECK_HAS(r->redis.address, r->err.message);
    freeReplyObject(room_redis(r, "CONFIG SET maxmemory 0"));
    CHECK_INT(0, room_number(r, "DBSIZE"));
    submit(r, "x", id); /* the connection goes on */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, room_setup, room_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_store_jobs__submit_get_round_trip_is_binary_safe),
        TEST(test_store_jobs__a_request_that_is_made_again_gives_its_job),
        TEST(test_store_jobs__an_empty_spec_is_fine),
        TEST(test_store_jobs__an_unknown_id_is_named),
        TEST(test_store_jobs__a_damaged_record_is_data_loss),
        TEST(test_store_jobs__list_pages_newest_first),
        TEST(test_store_jobs__list_filters_by_state_across_pages),
        TEST(test_store_jobs__list_after_an_unknown_id_fails_and_an_empty_list_does_not),
        TEST(test_store_jobs__cancelling_a_queued_job_ends_it_at_once),
        TEST(test_store_jobs__retry_counts_attempts_anew),
        TEST(test_store_jobs__depth_counts_those_that_wait),
        TEST(test_store_jobs__all_are_counted_by_state),
        TEST(test_store_jobs__a_refusing_redis_is_quoted_and_changes_nothing),
    };
    return cmocka_run_group_tests_name("store.jobs", tests, room_start, room_stop);
}
