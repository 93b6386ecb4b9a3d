/* tests/store/room.h: what the tests of lib/store share: one Redis for the file, emptied for each
 * test, and two stores that stand for two processes. */
#ifndef KD_TESTS_STORE_ROOM_H
#define KD_TESTS_STORE_ROOM_H

#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdlib.h>

#include "lib/store/store.h"
#include "tests/support/check.h"
#include "tests/support/redis.h"

#define TIMEOUT_MS 10000

typedef struct room {
    test_redis redis;
    kd_store *a, *b;
    kd_error err;
} room;

static inline int room_start(void **state)
{
    (void)signal(SIGPIPE, SIG_IGN);
    room *const r = calloc(1, sizeof *r);
    *state = r;
    return r && test_redis_start(&r->redis) ? 0 : -1;
}

static inline int room_stop(void **state)
{
    room *const r = *state;
    if (r)
        test_redis_stop(&r->redis);
    free(r);
    return 0;
}

/* A command beside the library, to arrange and to look behind it. */
static inline redisReply *room_redis(room *r, const char *command)
{
    redisContext *const context = redisConnect("127.0.0.1", r->redis.port);
    redisReply *const reply = context && !context->err ? redisCommand(context, command) : NULL;
    redisFree(context);
    if (!reply || reply->type == REDIS_REPLY_ERROR)
        fail_msg("%s: %s", command, reply ? reply->str : "no reply");
    return reply;
}

static inline long long room_number(room *r, const char *command)
{
    redisReply *const reply = room_redis(r, command);
    const long long value =
        reply->type == REDIS_REPLY_ARRAY ? (long long)reply->elements : reply->integer;
    freeReplyObject(reply);
    return value;
}

static inline int room_setup(void **state)
{
    room *const r = *state;
    r->err = (kd_error)KD_ERROR_INIT;
    (void)room_number(r, "FLUSHALL");
    if (kd_store_open(&r->a, r->redis.address, TIMEOUT_MS, &r->err) != KD_OK ||
        kd_store_open(&r->b, r->redis.address, TIMEOUT_MS, &r->err) != KD_OK)
        return -1;
    return 0;
}

static inline int room_teardown(void **state)
{
    room *const r = *state;
    kd_store_close(r->a);
    kd_store_close(r->b);
    r->a = r->b = NULL;
    return 0;
}

static inline void submit(room *r, const char *spec, char id[KD_JOB_ID_TEXT])
{
    CHECK_OK(kd_jobs_submit(r->a, "train", "train", spec, strlen(spec), "", id, &r->err), r->err);
}

/* Cache entries of n keys and the rows of vectors, n × dim; the caller frees them. */
static inline kd_cache_entry *room_entries(
    const char *model, size_t n, const uint8_t (*keys)[KD_SHA256_BYTES], size_t dim, float *vectors)
{
    kd_cache_entry *const entries = calloc(n, sizeof *entries);
    if (!entries)
        abort();
    for (size_t i = 0; i < n; i++)
        entries[i] = (kd_cache_entry){model, keys[i], vectors + i * dim, dim, false};
    return entries;
}

static inline kd_status get_rows(kd_store *store, kd_cache_form form, const char *model, size_t n,
    const uint8_t (*keys)[KD_SHA256_BYTES], size_t dim, float *vectors, bool *found, kd_error *err)
{
    kd_cache_entry *const entries = room_entries(model, n, keys, dim, vectors);
    const kd_status status = kd_cache_get(store, form, entries, n, err);
    for (size_t i = 0; i < n; i++)
        found[i] = entries[i].found;
    free(entries);
    return status;
}

static inline kd_status put_rows(kd_store *store, kd_cache_form form, const char *model, size_t n,
    const uint8_t (*keys)[KD_SHA256_BYTES], size_t dim, float *vectors, uint32_t ttl_seconds,
    kd_error *err)
{
    kd_cache_entry *const entries = room_entries(model, n, keys, dim, vectors);
    const kd_status status = kd_cache_put(store, form, entries, n, ttl_seconds, err);
    free(entries);
    return status;
}

/* Takes what must be there; the caller clears it. */
static inline kd_job take(room *r, kd_store *store, const char *consumer)
{
    kd_job job;
    bool taken = false;
    CHECK_OK(kd_jobs_take(store, "train", consumer, 0, &job, &taken, &r->err), r->err);
    if (!taken)
        fail_msg("no job for %s", consumer);
    return job;
}

static inline void check_nothing_to_take(room *r, kd_store *store, const char *consumer)
{
    kd_job job;
    bool taken = true;
    CHECK_OK(kd_jobs_take(store, "train", consumer, 0, &job, &taken, &r->err), r->err);
    if (taken)
        fail_msg("%s took job %s", consumer, job.id);
}

static inline void check_state(room *r, const char *id, kd_job_state state)
{
    kd_job job;
    CHECK_OK(kd_jobs_get(r->a, id, &job, &r->err), r->err);
    CHECK_STR(kd_job_state_name(state), kd_job_state_name(job.state));
    kd_job_clear(&job);
}

#endif
