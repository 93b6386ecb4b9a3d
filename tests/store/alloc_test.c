/* Each allocation of lib/store failing in turn. hiredis fails as a whole where a connection or a
 * command begins and where a reply is read: 0.14 itself aborts when it finds no memory. */
#include "lib/base/buf.h"
#include "tests/store/room.h"
#include "tests/support/alloc.h"

static bool refuse(redisContext *context)
{
    if (!alloc_refuse())
        return false;
    context->err = REDIS_ERR_OOM;
    (void)kd_copy(context->errstr, sizeof context->errstr, "Out of memory");
    return true;
}

redisContext *__real_redisConnectWithTimeout(const char *host, int port, struct timeval limit);
redisContext *__wrap_redisConnectWithTimeout(const char *host, int port, struct timeval limit);
redisContext *__wrap_redisConnectWithTimeout(const char *host, int port, struct timeval limit)
{
    return alloc_refuse() ? NULL : __real_redisConnectWithTimeout(host, port, limit);
}

void *__real_redisvCommand(redisContext *context, const char *format, va_list args);
void *__wrap_redisvCommand(redisContext *context, const char *format, va_list args);
void *__wrap_redisvCommand(redisContext *context, const char *format, va_list args)
{
    return refuse(context) ? NULL : __real_redisvCommand(context, format, args);
}

int __wrap_redisAppendCommand(redisContext *context, const char *format, ...);
int __wrap_redisAppendCommand(redisContext *context, const char *format, ...)
{
    if (refuse(context))
        return REDIS_ERR;
    va_list args;
    va_start(args, format);
    const int result = redisvAppendCommand(context, format, args);
    va_end(args);
    return result;
}

int __real_redisGetReply(redisContext *context, void **reply);
int __wrap_redisGetReply(redisContext *context, void **reply);
int __wrap_redisGetReply(redisContext *context, void **reply)
{
    return refuse(context) ? REDIS_ERR : __real_redisGetReply(context, reply);
}

static void open_store(room *r, kd_store **store, kd_status *first, kd_error *err)
{
    kd_store_facts facts;
    RUN_NEW(first, store, kd_store_open(store, r->redis.address, TIMEOUT_MS, err), err);
    RUN(first, kd_store_ping(*store, err), err);
    RUN(first, kd_store_describe(*store, &facts, err), err);
}

/* ---- Jobs ---- */

static kd_status get(kd_store *store, const char *id, kd_job *job, kd_error *err)
{
    const kd_status status = kd_jobs_get(store, id, job, err);
    CHECK((job->id[0] == '\0') == (status != KD_OK));
    CHECK(status == KD_OK || (!job->spec.data && !job->progress.data && !job->result.data));
    return status;
}

static kd_status list(kd_store *store, kd_job **jobs, size_t *n, kd_error *err)
{
    const kd_status status = kd_jobs_list(store, 0, "", false, "", 2, jobs, n, err);
    CHECK(status == KD_OK || (!*jobs && *n == 0));
    return status;
}

static kd_status take_one(kd_store *store, kd_job *job, kd_error *err)
{
    bool taken = true;
    const kd_status status = kd_jobs_take(store, "train", "w", 0, job, &taken, err);
    CHECK(taken == (status == KD_OK)); /* one is there */
    return status;
}

/* From its submission to its end, under a request's name of its own. */
static void run_one_job(
    kd_store *store, const char *request, char id[KD_JOB_ID_TEXT], kd_status *first, kd_error *err)
{
    kd_job job;
    bool cancel = true;
    RUN(first, kd_jobs_submit(store, "train", "train", "spec", 4, request, id, err), err);
    RUN(first, take_one(store, &job, err), err);
    CHECK_STR(id, job.id);
    CHECK_STR("spec", (const char *)job.spec.data);
    /* A try that nobody had the memory to begin does not count, where saying so was possible. */
    CHECK(job.attempt == 1 || (alloc_rest() && job.attempt == 2));
    RUN(first, kd_jobs_progress(store, &job, "w", "half", 4, &cancel, err), err);
    CHECK(!cancel);
    RUN(first, kd_jobs_finish(store, &job, KD_JOB_DONE, "fine", 4, NULL, err), err);
    kd_job_clear(&job);
}

static kd_status run_jobs(void *arg, kd_error *err)
{
    static unsigned runs;
    room *const r = arg;
    kd_status first = KD_OK;
    kd_store *store = NULL;
    kd_job job, *jobs = NULL;
    size_t n = 0;
    uint64_t depth = 9;
    kd_job_counts counts;
    char id[KD_JOB_ID_TEXT], request[24];
    (void)snprintf(request, sizeof request, "run-%u", runs++);

    open_store(r, &store, &first, err);
    run_one_job(store, request, id, &first, err);
    RUN(&first, get(store, id, &job, err), err);
    CHECK_STR("half", (const char *)job.progress.data);
    CHECK_STR("fine", (const char *)job.result.data);
    kd_job_clear(&job);
    RUN(&first, list(store, &jobs, &n, err), err);
    CHECK_INT(2, n); /* this run's and the one of test_store_alloc__jobs or of the last run */
    CHECK_STR(id, jobs[0].id);
    kd_jobs_free(jobs, n);
    RUN(&first, kd_jobs_depth(store, "train", &depth, err), err);
    RUN(&first, kd_jobs_count(store, &counts, err), err);
    CHECK_INT(0, depth);
    CHECK(counts.by_state[KD_JOB_DONE] >= 2); /* of all runs */
    kd_store_close(store);
    return first;
}

static void test_store_alloc__jobs(void **state)
{
    room *const r = *state;
    char id[KD_JOB_ID_TEXT];
    kd_status first = KD_OK;
    run_one_job(r->a, "before", id, &first, &r->err);
    CHECK_INT(KD_OK, first);
    alloc_replay(&(alloc_scenario){.name = "jobs", .run = run_jobs, .arg = r});
}

static kd_status run_ends(void *arg, kd_error *err)
{
    static unsigned runs;
    room *const r = arg;
    kd_status first = KD_OK;
    kd_store *store = NULL;
    kd_job job;
    bool cancel = false;
    char id[KD_JOB_ID_TEXT], request[24];
    const kd_error why = {KD_INTERNAL, "no reason"};

    (void)snprintf(request, sizeof request, "end-%u", runs++);
    open_store(r, &store, &first, err);
    RUN(&first, kd_jobs_submit(store, "train", "train", "spec", 4, request, id, err), err);
    RUN(&first, take_one(store, &job, err), err);
    RUN(&first, kd_jobs_release(store, &job, err), err);
    kd_job_clear(&job);
    RUN(&first, take_one(store, &job, err), err);
    RUN(&first, kd_jobs_cancel(store, id, err), err);
    RUN(&first, kd_jobs_progress(store, &job, "w", NULL, 0, &cancel, err), err);
    CHECK(cancel);
    RUN(&first, kd_jobs_finish(store, &job, KD_JOB_FAILED, NULL, 0, &why, err), err);
    RUN(&first, kd_jobs_retry(store, id, err), err);
    RUN(&first, kd_jobs_cancel(store, id, err), err);
    kd_job_clear(&job);
    kd_store_close(store);
    return first;
}

static void test_store_alloc__other_ends(void **state)
{
    alloc_replay(&(alloc_scenario){.name = "other ends", .run = run_ends, .arg = *state});
}

/* ---- Cache ---- */

enum { KEYS = 3, DIM = 40 };

static kd_status get_vectors(
    kd_store *store, kd_cache_form form, kd_cache_entry entries[KEYS], kd_error *err)
{
    const kd_status status = kd_cache_get(store, form, entries, KEYS, err);
    for (size_t i = 0; i < KEYS; i++)
        CHECK(entries[i].found == (status == KD_OK)); /* never a row that was not filled */
    return status;
}

static kd_status run_cache(void *arg, kd_error *err)
{
    room *const r = arg;
    kd_status first = KD_OK;
    kd_store *store = NULL;
    const uint8_t keys[KEYS][KD_SHA256_BYTES] = {{1}, {2}, {3}};
    float vectors[KEYS][DIM], back[KEYS][DIM];
    kd_cache_entry there[KEYS], here[KEYS];
    for (size_t i = 0; i < KEYS; i++) {
        for (size_t c = 0; c < DIM; c++)
            vectors[i][c] = (float)(i + c);
        there[i] = (kd_cache_entry){"model", keys[i], vectors[i], DIM, false};
        here[i] = (kd_cache_entry){"model", keys[i], back[i], DIM, false};
    }
    open_store(r, &store, &first, err);
    for (kd_cache_form form = KD_CACHE_FLOAT32; form <= KD_CACHE_FLOAT16; form++) {
        RUN(&first, kd_cache_put(store, form, there, KEYS, 60, err), err);
        RUN(&first, get_vectors(store, form, here, err), err);
        assert_memory_equal(vectors, back, sizeof vectors); /* small whole numbers: exact in both */
    }
    kd_store_close(store);
    return first;
}

static void test_store_alloc__cache(void **state)
{
    alloc_replay(&(alloc_scenario){.name = "cache", .run = run_cache, .arg = *state});
}

#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(test_store_alloc__##name, room_setup, room_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(jobs),
        TEST(other_ends),
        TEST(cache),
    };
    return cmocka_run_group_tests(tests, room_start, room_stop);
}
