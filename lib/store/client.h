/* lib/store/client.h: the connection behind a kd_store; for lib/store alone. */
#ifndef KD_STORE_CLIENT_H
#define KD_STORE_CLIENT_H

#include <hiredis/hiredis.h>

#include "lib/store/store.h"

struct kd_store {
    char *address; /* as given, for sentences */
    char *host;
    int port;
    uint32_t timeout_ms;
    uint32_t stale_ms;
    redisContext *context; /* NULL: not connected */
    /* Names what kd_jobs_take asks for until it has heard of a job; empty: none yet. */
    char token[17];
};

/* Connects where there is no connection, or where the one there is was closed by the other side
 * since the last call. So a Redis that was restarted between two calls costs neither of them. */
KD_MUST_CHECK kd_status kd_store_connect(kd_store *store, kd_error *err);

/* Closes the connection after a failure (its replies are out of step) and says why: KD_UNAVAILABLE,
 * or KD_RESOURCE_EXHAUSTED when it was memory that hiredis lacked. */
kd_status kd_store_lost(kd_store *store, kd_error *err);

/* The status and sentence of an error reply. */
kd_status kd_store_refused(const kd_store *store, const redisReply *reply, kd_error *err);
kd_status kd_store_odd_reply(const kd_store *store, const char *command, kd_error *err);

/* One command in hiredis's format (%s, %b with a size_t). extra_ms is added to the time allowed:
 * what the command itself may block. *out is freed by the caller (freeReplyObject) and is never an
 * error reply. */
KD_MUST_CHECK kd_status kd_store_command(
    kd_store *store, redisReply **out, uint32_t extra_ms, kd_error *err, const char *format, ...);

/* ---- Job records ---- */
#define KD_JOB_KEY "kindred:job:"
#define KD_JOBS_KEY "kindred:jobs" /* sorted set: created ms, id */
#define KD_DEAD_KEY "kindred:dead" /* the same, of dead letters */
#define KD_QUEUE_KEY "kindred:queue:"
#define KD_REQUEST_KEY "kindred:request:" /* the job that a request made; for a day */
#define KD_QUEUE_GROUP "workers"

/* The fields of a record, in the order that kd_job_parse expects. */
#define KD_JOB_FIELDS                                                                              \
    "kind queue state attempt cancel dead created started finished spec progress result "          \
    "error_status error_message entry"
#define KD_JOB_FIELD_COUNT 15u

/* Lua that every script on jobs begins with: read(id) gives the fields of a record in order, or
 * false; now() is Redis's wall clock in ms, so that all workers share one clock; drop() takes an
 * entry off its queue. */
#define KD_JOB_LUA                                                                                 \
    "local fields = {}\n"                                                                          \
    "for f in string.gmatch('" KD_JOB_FIELDS "', '%S+') do fields[#fields + 1] = f end\n"          \
    "local function read(id)\n"                                                                    \
    "  local values = redis.call('HMGET', '" KD_JOB_KEY "' .. id, unpack(fields))\n"               \
    "  return values[1] and values\n"                                                              \
    "end\n"                                                                                        \
    "local function now()\n"                                                                       \
    "  local t = redis.call('TIME')\n"                                                             \
    "  return t[1] * 1000 + math.floor(t[2] / 1000)\n"                                             \
    "end\n"                                                                                        \
    "local function drop(stream, entry)\n"                                                         \
    "  redis.call('XACK', stream, '" KD_QUEUE_GROUP "', entry)\n"                                  \
    "  redis.call('XDEL', stream, entry)\n"                                                        \
    "end\n"

/* values: KD_JOB_FIELD_COUNT replies. On failure *out is all zero. */
KD_MUST_CHECK kd_status kd_job_parse(
    const char *id, redisReply *const *values, size_t n, kd_job *out, kd_error *err);
/* All that needs no memory: what an owner shows. False: the record is damaged. */
bool kd_job_parse_owner(const char *id, redisReply *const *values, size_t n, kd_job *out);

#endif
