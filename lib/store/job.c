/* One job's record, from Redis's reply to kd_job. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/store/client.h"

void kd_job_clear(kd_job *job)
{
    if (!job)
        return;
    free(job->spec.data);
    free(job->progress.data);
    free(job->result.data);
    *job = (kd_job){0};
}

void kd_jobs_free(kd_job *jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        kd_job_clear(&jobs[i]);
    free(jobs);
}

static bool parse_number(const redisReply *reply, uint64_t max, uint64_t *out)
{
    return reply->type == REDIS_REPLY_STRING && kd_parse_u64(reply->str, 0, max, out);
}

static bool parse_time(const redisReply *reply, int64_t *out)
{
    uint64_t value = 0;
    if (!parse_number(reply, INT64_MAX, &value))
        return false;
    *out = (int64_t)value;
    return true;
}

static bool parse_text(const redisReply *reply, char *to, size_t size)
{
    return reply->type == REDIS_REPLY_STRING && kd_copy(to, size, reply->str);
}

/* Empty bytes stay {NULL, 0}; others get a NUL behind, which len does not count. */
static kd_status copy_bytes(const redisReply *reply, kd_bytes *out, kd_error *err)
{
    if (reply->type != REDIS_REPLY_STRING || reply->len == 0)
        return KD_OK;
    out->data = malloc(reply->len + 1);
    if (!out->data)
        return kd_error_memory(err, "a job record");
    memcpy(out->data, reply->str, reply->len);
    out->data[reply->len] = 0;
    out->len = reply->len;
    return KD_OK;
}

/* All but the byte strings, in the order of KD_JOB_FIELDS. */
static bool parse_fields(redisReply *const *values, kd_job *out)
{
    uint64_t state = 0, attempt = 0, cancel = 0, dead = 0, error_status = 0;
    if (!parse_text(values[0], out->kind, sizeof out->kind) ||
        !parse_text(values[1], out->queue, sizeof out->queue) ||
        !parse_number(values[2], KD_JOB_CANCELLED, &state) || state < KD_JOB_QUEUED ||
        !parse_number(values[3], UINT32_MAX, &attempt) || !parse_number(values[4], 1, &cancel) ||
        !parse_number(values[5], 1, &dead) || !parse_time(values[6], &out->created_ms) ||
        !parse_time(values[7], &out->started_ms) || !parse_time(values[8], &out->finished_ms) ||
        !parse_number(values[12], KD_UNAUTHENTICATED, &error_status) ||
        !parse_text(values[13], out->error_message, sizeof out->error_message) ||
        !parse_text(values[14], out->entry, sizeof out->entry))
        return false;
    out->state = (kd_job_state)state;
    out->attempt = (uint32_t)attempt;
    out->cancel_requested = cancel != 0;
    out->dead = dead != 0;
    out->error_status = (kd_status)error_status;
    return true;
}

bool kd_job_parse_owner(const char *id, redisReply *const *values, size_t n, kd_job *out)
{
    *out = (kd_job){0};
    return n == KD_JOB_FIELD_COUNT && kd_copy(out->id, sizeof out->id, id) &&
           parse_fields(values, out);
}

kd_status kd_job_parse(
    const char *id, redisReply *const *values, size_t n, kd_job *out, kd_error *err)
{
    kd_status status = KD_OK;
    if (!kd_job_parse_owner(id, values, n, out)) {
        status = kd_error_set(err, KD_DATA_LOSS, "the record of job '%s' is damaged", id);
        goto out;
    }
    status = copy_bytes(values[9], &out->spec, err);
    if (status == KD_OK)
        status = copy_bytes(values[10], &out->progress, err);
    if (status == KD_OK)
        status = copy_bytes(values[11], &out->result, err);
out:
    if (status != KD_OK)
        kd_job_clear(out);
    return status;
}
