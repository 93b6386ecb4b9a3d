/* Jobs as their worker sees them: take, progress, finish. */
#include <assert.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "lib/store/client.h"

/* While a worker waits for new jobs it looks this often for stale ones. */
#define LOOK_MS KD_JOB_RENEW_MS

/* Finds the next entry and makes its job this consumer's, in one step: between a claim and the
 * higher attempt no old owner can renew. Answers {id, fields} or false. The entry that a blocking
 * read delivered before is among the consumer's own. A job that this token took already is one
 * whose answer was given up, as Redis was silent: nobody began it, so the attempt stays. */
static const char take_script[] = KD_JOB_LUA
    "local stream, consumer, idle, most = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])\n"
    "local token = ARGV[4]\n"
    "local group = '" KD_QUEUE_GROUP "'\n"
    "local function deliver(from)\n"
    "  local reply = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1,\n"
    "    'STREAMS', stream, from)\n"
    "  return reply and reply[1][2][1]\n"
    "end\n"
    "local function claim()\n"
    "  local stale = redis.call('XPENDING', stream, group, 'IDLE', idle, '-', '+', 1)[1]\n"
    "  if not stale then return false end\n"
    "  return redis.call('XCLAIM', stream, group, consumer, 0, stale[1])[1] or {stale[1]}\n"
    "end\n"
    "while true do\n"
    "  local entry = deliver('0') or claim() or deliver('>')\n"
    "  if not entry then return false end\n"
    "  local id = entry[2] and entry[2][2] or ''\n"
    "  local key = '" KD_JOB_KEY "' .. id\n"
    "  local job = redis.call('HMGET', key, 'state', 'attempt', 'cancel', 'entry', 'started',\n"
    "    'created', 'token')\n"
    "  if job[4] == entry[1] and (job[1] == '1' or job[1] == '2') then\n"
    "    if job[3] == '1' then\n"
    "      redis.call('HSET', key, 'state', 5, 'finished', now(),\n"
    "        'error_status', 1, 'error_message', 'cancelled')\n"
    "    elseif job[1] == '2' and job[7] == token then\n"
    "      return {id, read(id)}\n"
    "    elseif tonumber(job[2]) >= most then\n"
    "      redis.call('HSET', key, 'state', 4, 'dead', 1, 'finished', now(), 'error_status', 10,\n"
    "        'error_message', 'given up after ' .. job[2] ..\n"
    "        ' attempts: each time its worker went away')\n"
    "      redis.call('ZADD', '" KD_DEAD_KEY "', job[6], id)\n"
    "    else\n"
    "      redis.call('HSET', key, 'state', 2, 'attempt', job[2] + 1,\n"
    "        'started', job[5] == '0' and now() or job[5], 'token', token)\n"
    "      return {id, read(id)}\n"
    "    end\n"
    "  end\n"
    "  drop(stream, entry[1])\n"
    "end\n";

/* The group begins at the stream's first entry: jobs may be queued before any worker asks. */
static kd_status create_group(kd_store *store, const char *queue, kd_error *err)
{
    redisReply *reply = NULL;
    kd_error why = KD_ERROR_INIT;
    const kd_status status = kd_store_command(store, &reply, 0, &why,
        "XGROUP CREATE " KD_QUEUE_KEY "%s " KD_QUEUE_GROUP " 0 MKSTREAM", queue);
    freeReplyObject(reply);
    if (status != KD_OK && !strstr(why.message, "BUSYGROUP")) /* another worker was faster */
        return kd_error_set(err, status, "%s", why.message);
    return KD_OK;
}

/* Gives a job back whose record there was no memory to keep: the attempt must not count, or a few
 * such moments would bury a job that never ran. */
static void give_back(kd_store *store, const char *id, const redisReply *fields)
{
    kd_job job;
    kd_error err = KD_ERROR_INIT;
    if (!kd_job_parse_owner(id, fields->element, fields->elements, &job))
        return;
    if (kd_jobs_release(store, &job, &err) != KD_OK) /* it counts, then */
        kd_log_error(KD_LOG_WARN, "job_not_given_back", &err);
}

static kd_status make_token(kd_store *store, kd_error *err)
{
    uint8_t random[(sizeof store->token - 1) / 2];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return kd_error_set(err, KD_INTERNAL, "no random bytes for a worker's token");
    kd_hex(random, sizeof random, store->token);
    return KD_OK;
}

static kd_status take_once(kd_store *store, const char *queue, const char *consumer, kd_job *out,
    bool *taken, kd_error *err)
{
    redisReply *reply = NULL;
    kd_status status = kd_store_command(store, &reply, 0, err,
        "EVAL %s 1 " KD_QUEUE_KEY "%s %s %u %u %s", take_script, queue, consumer,
        (unsigned)store->stale_ms, KD_JOB_MAX_ATTEMPTS, store->token);
    if (status != KD_OK || reply->type == REDIS_REPLY_NIL)
        goto out;
    store->token[0] = '\0'; /* heard: who takes this job again begins it anew */
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_ARRAY) {
        status = kd_store_odd_reply(store, "take", err);
        goto out;
    }
    const redisReply *const fields = reply->element[1];
    status = kd_job_parse(reply->element[0]->str, fields->element, fields->elements, out, err);
    *taken = status == KD_OK;
    if (status == KD_RESOURCE_EXHAUSTED)
        give_back(store, reply->element[0]->str, fields);
out:
    freeReplyObject(reply);
    return status;
}

/* Waits until an entry was delivered, which makes it this consumer's pending one. */
static kd_status wait_for_entry(
    kd_store *store, const char *queue, const char *consumer, uint32_t wait_ms, kd_error *err)
{
    redisReply *reply = NULL;
    const kd_status status = kd_store_command(store, &reply, wait_ms, err,
        "XREADGROUP GROUP " KD_QUEUE_GROUP " %s COUNT 1 BLOCK %u STREAMS " KD_QUEUE_KEY "%s >",
        consumer, (unsigned)wait_ms, queue);
    freeReplyObject(reply);
    return status;
}

kd_status kd_jobs_take(kd_store *store, const char *queue, const char *consumer, uint32_t wait_ms,
    kd_job *out, bool *taken, kd_error *err)
{
    assert(store && queue && consumer && out && taken);
    *taken = false;
    *out = (kd_job){0};
    const int64_t until = kd_mono_ms() + wait_ms;
    const kd_status ready = *store->token ? KD_OK : make_token(store, err);
    if (ready != KD_OK)
        return ready;
    for (;;) {
        kd_error why = KD_ERROR_INIT;
        kd_status status = take_once(store, queue, consumer, out, taken, &why);
        const int64_t left = until - kd_mono_ms();
        if (status == KD_OK && (*taken || left <= 0))
            return KD_OK;
        if (status == KD_OK)
            status = wait_for_entry(
                store, queue, consumer, left < LOOK_MS ? (uint32_t)left : LOOK_MS, &why);
        if (status == KD_OK)
            continue;
        /* The first worker of a queue makes its group; so does the first after a lost data set. */
        if (!strstr(why.message, "NOGROUP"))
            return kd_error_set(err, status, "%s", why.message);
        status = create_group(store, queue, err);
        if (status != KD_OK)
            return status;
    }
}

/* What the scripts of an owner answer. */
#define ANSWER_MISSING (-1)
#define ANSWER_FENCED (-2)

/* Begins both scripts: job is state, attempt, entry, cancel; mine tells whether this attempt, of
 * this entry (a retried job counts its attempts anew), is the current one. */
#define OWNER_LUA                                                                                  \
    "local key, stream, entry, attempt = KEYS[1], KEYS[2], ARGV[1], ARGV[2]\n"                     \
    "local job = redis.call('HMGET', key, 'state', 'attempt', 'entry', 'cancel')\n"                \
    "if not job[1] then return -1 end\n"                                                           \
    "local mine = job[2] == attempt and job[3] == entry\n"

/* XCLAIM resets the idle time and makes sure whose pending entry it is. 1: cancel was asked for. */
static const char progress_script[] =
    OWNER_LUA "if not mine or job[1] ~= '2' then return -2 end\n"
              "if ARGV[4] ~= '' then redis.call('HSET', key, 'progress', ARGV[4]) end\n"
              "redis.call('XCLAIM', stream, '" KD_QUEUE_GROUP "', ARGV[3], 0, entry, 'JUSTID')\n"
              "return tonumber(job[4])\n";

/* Again with the same end is fine: the first answer may have been lost with the connection. */
static const char finish_script[] = KD_JOB_LUA OWNER_LUA
    "if mine and job[1] == ARGV[3] then return 0 end\n"
    "if not mine or job[1] ~= '2' then return -2 end\n"
    "redis.call('HSET', key, 'state', ARGV[3], 'finished', now(), 'result', ARGV[4],\n"
    "  'error_status', ARGV[5], 'error_message', ARGV[6])\n"
    "drop(stream, entry)\n"
    "return 0\n";

/* The entry stays pending, so that the consumer's next life takes it first. The attempt's number is
 * given out again: the one who had it has let go. */
static const char release_script[] =
    OWNER_LUA "if job[1] == '1' and tonumber(job[2]) == tonumber(attempt) - 1 and job[3] == entry\n"
              "then return 0 end\n"
              "if not mine or job[1] ~= '2' then return -2 end\n"
              "redis.call('HSET', key, 'state', 1, 'attempt', attempt - 1)\n"
              "return 0\n";

/* Frees reply. *value: what the script answered, where that is 0 or more. */
static kd_status owner_answer(
    const kd_store *store, redisReply *reply, const kd_job *job, long long *value, kd_error *err)
{
    const bool odd = reply->type != REDIS_REPLY_INTEGER;
    *value = odd ? 0 : reply->integer;
    freeReplyObject(reply);
    if (odd)
        return kd_store_odd_reply(store, "a worker's script", err);
    if (*value == ANSWER_MISSING)
        return kd_error_set(err, KD_NOT_FOUND, "no job '%s'", job->id);
    if (*value == ANSWER_FENCED)
        return kd_error_set(err, KD_ABORTED,
            "attempt %u of job '%s' is over: the job has ended or a newer attempt runs",
            (unsigned)job->attempt, job->id);
    return KD_OK;
}

kd_status kd_jobs_progress(kd_store *store, const kd_job *job, const char *consumer,
    const void *progress, size_t len, bool *cancel_requested, kd_error *err)
{
    assert(store && job && consumer && cancel_requested && (progress || len == 0));
    *cancel_requested = false;
    redisReply *reply = NULL;
    kd_status status = kd_store_command(store, &reply, 0, err,
        "EVAL %s 2 " KD_JOB_KEY "%s " KD_QUEUE_KEY "%s %s %u %s %b", progress_script, job->id,
        job->queue, job->entry, (unsigned)job->attempt, consumer, progress, len);
    if (status != KD_OK)
        return status;
    long long cancel = 0;
    status = owner_answer(store, reply, job, &cancel, err);
    *cancel_requested = status == KD_OK && cancel == 1;
    return status;
}

kd_status kd_jobs_finish(kd_store *store, const kd_job *job, kd_job_state state, const void *result,
    size_t len, const kd_error *why, kd_error *err)
{
    assert(store && job && (result || len == 0));
    assert(state == KD_JOB_DONE || state == KD_JOB_FAILED || state == KD_JOB_CANCELLED);
    assert(why || state == KD_JOB_DONE);
    const kd_status end = state == KD_JOB_DONE ? KD_OK : why->status;
    const char *const sentence = state == KD_JOB_DONE ? "" : why->message;
    redisReply *reply = NULL;
    kd_status status = kd_store_command(store, &reply, 0, err,
        "EVAL %s 2 " KD_JOB_KEY "%s " KD_QUEUE_KEY "%s %s %u %d %b %d %s", finish_script, job->id,
        job->queue, job->entry, (unsigned)job->attempt, (int)state, result, len, (int)end,
        sentence);
    if (status != KD_OK)
        return status;
    long long value = 0;
    return owner_answer(store, reply, job, &value, err);
}

kd_status kd_jobs_release(kd_store *store, const kd_job *job, kd_error *err)
{
    assert(store && job);
    redisReply *reply = NULL;
    kd_status status = kd_store_command(store, &reply, 0, err,
        "EVAL %s 2 " KD_JOB_KEY "%s " KD_QUEUE_KEY "%s %s %u", release_script, job->id, job->queue,
        job->entry, (unsigned)job->attempt);
    if (status != KD_OK)
        return status;
    long long value = 0;
    return owner_answer(store, reply, job, &value, err);
}
