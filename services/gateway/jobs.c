/* Jobs: records out of Redis as messages, and the calls about them. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "services/gateway/gateway.h"

#define DEFAULT_PAGE 50u
#define MAX_PAGE 1000u
#define MAX_QUEUED 1000u /* jobs that may wait in one queue */
#define MAX_REQUEST_ID 64u

void job_message_make(job_message *out, const kd_job *job)
{
    kindred__v1__job__init(&out->job);
    kindred__v1__problem__init(&out->problem);
    out->job.id = (char *)job->id;
    out->job.kind = (char *)job->kind;
    out->job.state = (Kindred__V1__JobState)job->state;
    out->job.attempt = job->attempt;
    out->job.created_unix_ms = job->created_ms;
    out->job.started_unix_ms = job->started_ms;
    out->job.finished_unix_ms = job->finished_ms;
    out->job.dead = job->dead;
    /* What can't be read (of another version) is left out. */
    out->job.spec = kindred__v1__job_spec__unpack(NULL, job->spec.len, job->spec.data);
    if (job->progress.len > 0)
        out->job.progress =
            kindred__v1__job_progress__unpack(NULL, job->progress.len, job->progress.data);
    if (job->result.len > 0)
        out->job.result = kindred__v1__job_result__unpack(NULL, job->result.len, job->result.data);
    if (job->error_status != KD_OK) {
        out->problem.code = (uint32_t)job->error_status;
        out->problem.message = (char *)job->error_message;
        out->job.error = &out->problem;
    }
}

void job_message_clear(job_message *out)
{
    kd_message_free(out->job.spec);
    kd_message_free(out->job.progress);
    kd_message_free(out->job.result);
}

/* Every response about one job is a message with a job as its first field. */
static void reply_job(kd_call *call, const kd_job *job, Kindred__V1__GetJobResponse *response)
{
    job_message message;
    job_message_make(&message, job);
    response->job = &message.job;
    kd_call_reply(call, &response->base);
    response->job = NULL; /* was borrowed */
    job_message_clear(&message);
}

static kd_status no_job(const char *id, kd_error *err)
{
    return kd_error_set(err, KD_INVALID_ARGUMENT, "'%.40s' is not a job's id", id);
}

/* Gets, or first does something to, the job named by the request, then answers it. */
static void about_job(gateway *g, kd_call *call, const char *id,
    kd_status (*act)(kd_store *store, const char *id, kd_error *err),
    const ProtobufCMessageDescriptor *type)
{
    kd_error err = KD_ERROR_INIT;
    kd_job job = {0};
    kd_store *const store = store_take(g);
    kd_status status = strlen(id) >= KD_JOB_ID_TEXT || id[0] == '\0' ? no_job(id, &err) : KD_OK;
    if (status == KD_OK && act)
        status = act(store, id, &err);
    if (status == KD_OK)
        status = kd_jobs_get(store, id, &job, &err);
    store_give(g, store);
    if (status == KD_OK) {
        /* The four responses have one layout: base and job. */
        Kindred__V1__GetJobResponse response = KINDRED__V1__GET_JOB_RESPONSE__INIT;
        response.base.descriptor = type;
        reply_job(call, &job, &response);
    } else {
        kd_call_fail(call, &err);
    }
    kd_job_clear(&job);
}

void get_job(void *state, kd_call *call, const ProtobufCMessage *message)
{
    about_job(state, call, ((const Kindred__V1__GetJobRequest *)message)->job_id, NULL,
        &kindred__v1__get_job_response__descriptor);
}

void cancel_job(void *state, kd_call *call, const ProtobufCMessage *message)
{
    about_job(state, call, ((const Kindred__V1__CancelJobRequest *)message)->job_id, kd_jobs_cancel,
        &kindred__v1__cancel_job_response__descriptor);
}

void retry_job(void *state, kd_call *call, const ProtobufCMessage *message)
{
    about_job(state, call, ((const Kindred__V1__RetryJobRequest *)message)->job_id, kd_jobs_retry,
        &kindred__v1__retry_job_response__descriptor);
}

/* So that what runs wild fills no memory; the number is a little soft. */
static kd_status check_room(kd_store *store, const char *queue, kd_error *err)
{
    uint64_t depth;
    const kd_status status = kd_jobs_depth(store, queue, &depth, err);
    if (status != KD_OK || depth < MAX_QUEUED)
        return status;
    return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
        "%u jobs wait in the %s queue already: cancel some, or try again later", MAX_QUEUED, queue);
}

/* What names the request: its id and what it asks for, so that an id that is used again for other
 * work does not hide that work. */
static kd_status request_key(
    const Kindred__V1__SubmitJobRequest *request, kd_buf *key, kd_error *err)
{
    kd_buf spec = KD_BUF_INIT;
    uint8_t digest[KD_SHA256_BYTES];
    char text[KD_SHA256_TEXT];
    if (strlen(request->request_id) > MAX_REQUEST_ID)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the request_id has more than %u bytes", MAX_REQUEST_ID);
    if (request->request_id[0] == '\0' || !request->spec)
        return KD_OK;
    uint8_t *const at =
        kd_buf_reserve(&spec, kindred__v1__job_spec__get_packed_size(request->spec));
    if (!at)
        return kd_error_memory(err, "a job");
    spec.len = kindred__v1__job_spec__pack(request->spec, at);
    kd_status status = kd_sha256(spec.data, spec.len, digest, err);
    if (status == KD_OK) {
        kd_hex(digest, sizeof digest, text);
        kd_buf_printf(key, "%s:%s", text, request->request_id);
        status = kd_buf_ok(key) ? KD_OK : kd_error_memory(err, "a job");
    }
    kd_buf_free(&spec);
    return status;
}

static const char *key_text(const kd_buf *key)
{
    return key->data ? (const char *)key->data : "";
}

/* Queues what was checked; a job that the same request made is found first, whatever the queue and
 * the world are like by now. */
static kd_status find_or_queue(gateway *g, kd_call *call,
    const Kindred__V1__SubmitJobRequest *request, kd_job *job, kd_error *err)
{
    const char *queue = NULL, *kind = NULL;
    char id[KD_JOB_ID_TEXT] = "";
    kd_buf spec = KD_BUF_INIT, key = KD_BUF_INIT;
    kd_store *store = store_take(g);
    kd_status status = request_key(request, &key, err);
    if (status == KD_OK && key.len > 0)
        status = kd_jobs_find(store, key_text(&key), id, err);
    store_give(g, store);
    const bool there = id[0] != '\0';
    if (status == KD_OK && !there)
        status = submit_check(g, call, request->spec, &spec, &queue, &kind, err);
    store = store_take(g);
    if (status == KD_OK && !there)
        status = check_room(store, queue, err);
    if (status == KD_OK && !there)
        status = kd_jobs_submit(store, queue, kind, spec.data, spec.len, key_text(&key), id, err);
    if (status == KD_OK)
        status = kd_jobs_get(store, id, job, err);
    store_give(g, store);
    if (status == KD_OK && !there)
        KD_LOG(KD_LOG_INFO, "job_queued", KD_STR("job", id), KD_STR("kind", kind),
            KD_STR("trace", kd_call_trace(call)));
    kd_buf_free(&key);
    kd_buf_free(&spec);
    return status;
}

void submit_job(void *state, kd_call *call, const ProtobufCMessage *message)
{
    kd_error err = KD_ERROR_INIT;
    kd_job job = {0};
    const kd_status status =
        find_or_queue(state, call, (const Kindred__V1__SubmitJobRequest *)message, &job, &err);
    if (status == KD_OK) {
        Kindred__V1__GetJobResponse response = KINDRED__V1__GET_JOB_RESPONSE__INIT;
        response.base.descriptor = &kindred__v1__submit_job_response__descriptor;
        reply_job(call, &job, &response);
    } else {
        kd_call_fail(call, &err);
    }
    kd_job_clear(&job);
}

static void reply_page(kd_call *call, const kd_job *jobs, size_t n, bool more)
{
    Kindred__V1__ListJobsResponse response = KINDRED__V1__LIST_JOBS_RESPONSE__INIT;
    job_message *const messages = calloc(n ? n : 1, sizeof *messages);
    Kindred__V1__Job **const list = calloc(n ? n : 1, sizeof(Kindred__V1__Job *));
    kd_error err = KD_ERROR_INIT;
    if (messages && list) {
        for (size_t i = 0; i < n; i++) {
            job_message_make(&messages[i], &jobs[i]);
            list[i] = &messages[i].job;
        }
        response.n_jobs = n;
        response.jobs = list;
        if (more)
            response.next_page_token = (char *)jobs[n - 1].id;
        kd_call_reply(call, &response.base);
        for (size_t i = 0; i < n; i++)
            job_message_clear(&messages[i]);
    } else {
        (void)kd_error_memory(&err, "the jobs");
        kd_call_fail(call, &err);
    }
    free(list);
    free(messages);
}

void list_jobs(void *state, kd_call *call, const ProtobufCMessage *message)
{
    gateway *const g = state;
    const Kindred__V1__ListJobsRequest *const request =
        (const Kindred__V1__ListJobsRequest *)message;
    size_t size = request->page_size ? request->page_size : DEFAULT_PAGE, n = 0;
    kd_error err = KD_ERROR_INIT;
    kd_job *jobs = NULL;
    size = size > MAX_PAGE ? MAX_PAGE : size;
    kd_status status = KD_OK;
    if (strlen(request->page_token) >= KD_JOB_ID_TEXT)
        status = kd_error_set(&err, KD_INVALID_ARGUMENT, "the page token is not one of ours");
    else if (!protobuf_c_enum_descriptor_get_value(
                 &kindred__v1__job_state__descriptor, (int)request->state))
        status = kd_error_set(
            &err, KD_INVALID_ARGUMENT, "no state of a job has the number %d", (int)request->state);
    kd_store *const store = store_take(g);
    if (status == KD_OK) /* one more than asked for tells whether there is a next page */
        status = kd_jobs_list(store, (int)request->state, request->kind, request->dead,
            request->page_token, size + 1, &jobs, &n, &err);
    store_give(g, store);
    if (status == KD_OK)
        reply_page(call, jobs, n > size ? size : n, n > size);
    else
        kd_call_fail(call, &err);
    kd_jobs_free(jobs, n);
}
