/* Jobs as their submitter sees them: submit, look, cancel, retry. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base/buf.h"
#include "lib/store/client.h"

/* An id is 16 hexadecimal digits of Redis's clock in microseconds, moved on where needed so that a
 * later job always has the greater id, then 8 random ones that tell two Redises apart. */
static const char submit_script[] =
    "local stream, random, queue, kind, spec = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]\n"
    "local request = ARGV[5] ~= '' and '" KD_REQUEST_KEY "' .. ARGV[5]\n"
    "local there = request and redis.call('GET', request)\n"
    "if there then return there end\n"
    "local t = redis.call('TIME')\n"
    "local us = t[1] * 1000000 + t[2]\n"
    "local newest = redis.call('ZREVRANGE', '" KD_JOBS_KEY "', 0, 0)[1]\n"
    "if newest then us = math.max(us, tonumber(string.sub(newest, 1, 16), 16) + 1) end\n"
    "local id = string.format('%016x', us) .. random\n"
    "local created = string.format('%.0f', math.floor(us / 1000))\n"
    "local entry = redis.call('XADD', stream, '*', 'job', id)\n"
    "redis.call('HSET', '" KD_JOB_KEY "' .. id, 'kind', kind, 'queue', queue, 'state', 1,\n"
    "  'attempt', 0, 'cancel', 0, 'dead', 0, 'created', created, 'started', 0, 'finished', 0,\n"
    "  'spec', spec, 'progress', '', 'result', '', 'error_status', 0, 'error_message', '',\n"
    "  'entry', entry)\n"
    "redis.call('ZADD', '" KD_JOBS_KEY "', created, id)\n"
    "if request then redis.call('SET', request, id, 'EX', 86400) end\n"
    "return id\n";

kd_status kd_jobs_submit(kd_store *store, const char *queue, const char *kind, const void *spec,
    size_t spec_len, const char *request, char id[KD_JOB_ID_TEXT], kd_error *err)
{
    assert(store && queue && kind && request && (spec || spec_len == 0));
    assert(strlen(queue) < sizeof((kd_job *)NULL)->queue);
    assert(strlen(kind) < sizeof((kd_job *)NULL)->kind);
    uint32_t random = 0;
    if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
        return kd_error_set(err, KD_INTERNAL, "no random bytes for a job id");
    char text[9];
    (void)snprintf(text, sizeof text, "%08" PRIx32, random);
    redisReply *reply = NULL;
    kd_status status =
        kd_store_command(store, &reply, 0, err, "EVAL %s 1 " KD_QUEUE_KEY "%s %s %s %s %b %s",
            submit_script, queue, text, queue, kind, spec, spec_len, request);
    if (status == KD_OK &&
        (reply->type != REDIS_REPLY_STRING || !kd_copy(id, KD_JOB_ID_TEXT, reply->str)))
        status = kd_store_odd_reply(store, "submit", err);
    freeReplyObject(reply);
    return status;
}

kd_status kd_jobs_find(kd_store *store, const char *request, char id[KD_JOB_ID_TEXT], kd_error *err)
{
    assert(store && request && id);
    id[0] = '\0';
    redisReply *reply = NULL;
    kd_status status = kd_store_command(store, &reply, 0, err, "GET " KD_REQUEST_KEY "%s", request);
    if (status == KD_OK && reply->type != REDIS_REPLY_NIL &&
        (reply->type != REDIS_REPLY_STRING || !kd_copy(id, KD_JOB_ID_TEXT, reply->str)))
        status = kd_store_odd_reply(store, "GET", err);
    freeReplyObject(reply);
    return status;
}

static kd_status no_job(const char *id, kd_error *err)
{
    return kd_error_set(err, KD_NOT_FOUND, "no job '%s'", id);
}

kd_status kd_jobs_get(kd_store *store, const char *id, kd_job *out, kd_error *err)
{
    assert(store && id && out);
    *out = (kd_job){0};
    redisReply *reply = NULL;
    kd_status status =
        kd_store_command(store, &reply, 0, err, "HMGET " KD_JOB_KEY "%s " KD_JOB_FIELDS, id);
    if (status != KD_OK)
        return status;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != KD_JOB_FIELD_COUNT)
        status = kd_store_odd_reply(store, "HMGET", err);
    else if (reply->element[0]->type == REDIS_REPLY_NIL)
        status = no_job(id, err);
    else
        status = kd_job_parse(id, reply->element, reply->elements, out, err);
    freeReplyObject(reply);
    return status;
}

/* Pairs of id and fields; false when `after` is not a job of the set. */
static const char list_script[] = KD_JOB_LUA
    "local set, state, after, limit = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])\n"
    "local kind = ARGV[4]\n"
    "local at = 0\n"
    "if after ~= '' then\n"
    "  local rank = redis.call('ZREVRANK', set, after)\n"
    "  if not rank then return false end\n"
    "  at = rank + 1\n"
    "end\n"
    "local found = {}\n"
    "while #found < limit do\n"
    "  local ids = redis.call('ZREVRANGE', set, at, at + 99)\n"
    "  if #ids == 0 then break end\n"
    "  for _, id in ipairs(ids) do\n"
    "    local job = #found < limit and\n"
    "      (state == '0' or redis.call('HGET', '" KD_JOB_KEY "' .. id, 'state') == state) and\n"
    "      (kind == '' or redis.call('HGET', '" KD_JOB_KEY "' .. id, 'kind') == kind) and\n"
    "      read(id)\n"
    "    if job then found[#found + 1] = {id, job} end\n"
    "  end\n"
    "  at = at + #ids\n"
    "end\n"
    "return found\n";

static kd_status parse_list(
    const kd_store *store, const redisReply *reply, kd_job **jobs, size_t *n, kd_error *err)
{
    *jobs = calloc(reply->elements + 1, sizeof **jobs);
    if (!*jobs)
        return kd_error_memory(err, "a list of jobs");
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *const pair = reply->element[i];
        if (pair->type != REDIS_REPLY_ARRAY || pair->elements != 2 ||
            pair->element[0]->type != REDIS_REPLY_STRING ||
            pair->element[1]->type != REDIS_REPLY_ARRAY)
            return kd_store_odd_reply(store, "list", err);
        const redisReply *const fields = pair->element[1];
        const kd_status status = kd_job_parse(
            pair->element[0]->str, fields->element, fields->elements, &(*jobs)[i], err);
        if (status != KD_OK)
            return status;
        *n = i + 1;
    }
    return KD_OK;
}

kd_status kd_jobs_list(kd_store *store, int state, const char *kind, bool dead_only,
    const char *after, size_t limit, kd_job **jobs, size_t *n, kd_error *err)
{
    assert(store && kind && after && jobs && n && state >= 0 && state <= KD_JOB_CANCELLED);
    *jobs = NULL;
    *n = 0;
    char number[24];
    (void)snprintf(number, sizeof number, "%zu", limit);
    redisReply *reply = NULL;
    kd_status status = kd_store_command(store, &reply, 0, err, "EVAL %s 1 %s %d %s %s %s",
        list_script, dead_only ? KD_DEAD_KEY : KD_JOBS_KEY, state, after, number, kind);
    if (status != KD_OK)
        return status;
    if (reply->type == REDIS_REPLY_NIL)
        status = no_job(after, err);
    else if (reply->type != REDIS_REPLY_ARRAY)
        status = kd_store_odd_reply(store, "list", err);
    else
        status = parse_list(store, reply, jobs, n, err);
    if (status != KD_OK) {
        kd_jobs_free(*jobs, *n);
        *jobs = NULL;
        *n = 0;
    }
    freeReplyObject(reply);
    return status;
}

/* Entries leave a stream when their job ends; those that a worker holds are its pending ones. */
static const char depth_script[] =
    "local pending = redis.pcall('XPENDING', KEYS[1], '" KD_QUEUE_GROUP "')\n"
    "return redis.call('XLEN', KEYS[1]) - (pending.err and 0 or pending[1])\n";

kd_status kd_jobs_depth(kd_store *store, const char *queue, uint64_t *depth, kd_error *err)
{
    assert(store && queue && depth);
    *depth = 0;
    redisReply *reply = NULL;
    kd_status status = kd_store_command(
        store, &reply, 0, err, "EVAL %s 1 " KD_QUEUE_KEY "%s", depth_script, queue);
    if (status != KD_OK)
        return status;
    if (reply->type == REDIS_REPLY_INTEGER)
        *depth = reply->integer > 0 ? (uint64_t)reply->integer : 0;
    else
        status = kd_store_odd_reply(store, "depth", err);
    freeReplyObject(reply);
    return status;
}

static const char count_script[] =
    "local counts, at = {0, 0, 0, 0, 0, redis.call('ZCARD', KEYS[2])}, 0\n"
    "while true do\n"
    "  local ids = redis.call('ZRANGE', KEYS[1], at, at + 999)\n"
    "  if #ids == 0 then return counts end\n"
    "  for _, id in ipairs(ids) do\n"
    "    local state = tonumber(redis.call('HGET', '" KD_JOB_KEY "' .. id, 'state') or 0)\n"
    "    if state < 6 and counts[state] then counts[state] = counts[state] + 1 end\n"
    "  end\n"
    "  at = at + #ids\n"
    "end\n";

kd_status kd_jobs_count(kd_store *store, kd_job_counts *out, kd_error *err)
{
    redisReply *reply = NULL;
    *out = (kd_job_counts){.dead = 0};
    kd_status status = kd_store_command(
        store, &reply, 0, err, "EVAL %s 2 " KD_JOBS_KEY " " KD_DEAD_KEY, count_script);
    if (status != KD_OK)
        return status;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != KD_JOB_CANCELLED + 1)
        status = kd_store_odd_reply(store, "count", err);
    for (size_t i = 0; status == KD_OK && i < KD_JOB_CANCELLED; i++)
        out->by_state[i + 1] = (uint64_t)reply->element[i]->integer;
    if (status == KD_OK)
        out->dead = (uint64_t)reply->element[KD_JOB_CANCELLED]->integer;
    freeReplyObject(reply);
    return status;
}

/* Both scripts answer with the state that they found, 0 for no job; the caller knows which states
 * the change was made from. */
static const char cancel_script[] =
    KD_JOB_LUA "local key, id = KEYS[1], ARGV[1]\n"
               "local found = redis.call('HMGET', key, 'state', 'queue', 'entry')\n"
               "local state = tonumber(found[1] or 0)\n"
               "if state == 1 then\n"
               "  drop('" KD_QUEUE_KEY "' .. found[2], found[3])\n"
               "  redis.call('HSET', key, 'state', 5, 'cancel', 1, 'finished', now(),\n"
               "    'error_status', 1, 'error_message', 'cancelled before it began')\n"
               "elseif state == 2 then\n"
               "  redis.call('HSET', key, 'cancel', 1)\n"
               "end\n"
               "return state\n";

static const char retry_script[] =
    "local key, id = KEYS[1], ARGV[1]\n"
    "local found = redis.call('HMGET', key, 'state', 'queue')\n"
    "local state = tonumber(found[1] or 0)\n"
    "if state == 4 or state == 5 then\n"
    "  local entry = redis.call('XADD', '" KD_QUEUE_KEY "' .. found[2], '*', 'job', id)\n"
    "  redis.call('HSET', key, 'state', 1, 'attempt', 0, 'cancel', 0, 'dead', 0, 'started', 0,\n"
    "    'finished', 0, 'progress', '', 'result', '', 'error_status', 0, 'error_message', '',\n"
    "    'entry', entry)\n"
    "  redis.call('ZREM', '" KD_DEAD_KEY "', id)\n"
    "end\n"
    "return state\n";

/* Runs one of them; *state is what the job was. KD_NOT_FOUND without a job. */
static kd_status change_state(
    kd_store *store, const char *script, const char *id, kd_job_state *state, kd_error *err)
{
    redisReply *reply = NULL;
    kd_status status =
        kd_store_command(store, &reply, 0, err, "EVAL %s 1 " KD_JOB_KEY "%s %s", script, id, id);
    if (status != KD_OK)
        return status;
    if (reply->type != REDIS_REPLY_INTEGER)
        status = kd_store_odd_reply(store, "a change of state", err);
    else if (reply->integer == 0)
        status = no_job(id, err);
    else
        *state = (kd_job_state)reply->integer;
    freeReplyObject(reply);
    return status;
}

const char *kd_job_state_name(kd_job_state state)
{
    switch (state) {
    case KD_JOB_QUEUED:
        return "queued";
    case KD_JOB_RUNNING:
        return "running";
    case KD_JOB_DONE:
        return "done";
    case KD_JOB_FAILED:
        return "failed";
    case KD_JOB_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

kd_status kd_jobs_cancel(kd_store *store, const char *id, kd_error *err)
{
    assert(store && id);
    kd_job_state was = KD_JOB_QUEUED;
    const kd_status status = change_state(store, cancel_script, id, &was, err);
    if (status == KD_OK && was != KD_JOB_QUEUED && was != KD_JOB_RUNNING)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "job '%s' is %s: only a queued or running one can be cancelled", id,
            kd_job_state_name(was));
    return status;
}

kd_status kd_jobs_retry(kd_store *store, const char *id, kd_error *err)
{
    assert(store && id);
    kd_job_state was = KD_JOB_QUEUED;
    const kd_status status = change_state(store, retry_script, id, &was, err);
    if (status == KD_OK && was != KD_JOB_FAILED && was != KD_JOB_CANCELLED)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "job '%s' is %s: only a failed or cancelled one can be retried", id,
            kd_job_state_name(was));
    return status;
}
