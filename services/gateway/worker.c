/* The job thread: takes index and evaluate jobs off the queue, one at a time, and sees them to
 * their end. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/vector/vector.h"
#include "services/gateway/gateway.h"

#define CONSUMER "gateway-0" /* stable: after a restart its own pending job comes first */
#define TAKE_WAIT_MS 1000
#define WRITE_EVERY_MS 400
#define PATIENCE_MS 120000 /* for a peer that restarts */

struct worker {
    gateway *gateway;
    kd_store *store; /* the job thread's */
    pthread_t thread;
    bool started;
    atomic_bool stopping;
};

/* ---- What a running job does about itself ---- */

void job_phase(running_job *r, const char *phase)
{
    (void)kd_copy(r->phase, sizeof r->phase, phase);
    r->rate_since_ms = kd_mono_ms();
    r->rate_since_done = atomic_load(&r->done);
    r->last_write_ms = 0; /* shown at the next step */
}

/* Images a second since the phase began or, later, over the last half minute. */
static void update_rate(running_job *r, int64_t now, uint64_t done)
{
    const double seconds = (double)(now - r->rate_since_ms) / 1e3;
    if (seconds > 0.5)
        r->rate = (double)(done - r->rate_since_done) / seconds;
    if (seconds > 30) {
        r->rate_since_ms = now;
        r->rate_since_done = done;
    }
}

static kd_status stop_job(running_job *r, kd_status reason, kd_error *err)
{
    r->stop_reason = reason;
    atomic_store(&r->stop, true);
    return kd_error_set(err, reason,
        reason == KD_CANCELLED ? "the job was cancelled"
        : reason == KD_ABORTED ? "another attempt at the job has begun"
                               : "the gateway is shutting down");
}

kd_status job_step(running_job *r, kd_error *err)
{
    const int64_t now = kd_mono_ms();
    bool cancelled = false;
    if (atomic_load(&r->stop))
        return stop_job(r, r->stop_reason, err);
    if (atomic_load(&r->worker->stopping))
        return stop_job(r, KD_UNAVAILABLE, err);
    if (now - r->last_write_ms < WRITE_EVERY_MS)
        return KD_OK;
    r->last_write_ms = now;
    const uint64_t done = atomic_load(&r->done);
    update_rate(r, now, done);
    Kindred__V1__JobProgress progress = KINDRED__V1__JOB_PROGRESS__INIT;
    progress.phase = r->phase;
    progress.done = done;
    progress.total = r->total;
    progress.rate = r->rate;
    uint8_t bytes[512];
    kd_error fault = KD_ERROR_INIT;
    const size_t len = kindred__v1__job_progress__pack(&progress, bytes);
    const kd_status status =
        kd_jobs_progress(r->worker->store, r->job, CONSUMER, bytes, len, &cancelled, &fault);
    if (status == KD_ABORTED)
        return stop_job(r, KD_ABORTED, err);
    if (status != KD_OK) /* Redis is away: the work goes on, its progress is told later */
        kd_log_error(KD_LOG_DEBUG, "progress_not_written", &fault);
    return cancelled ? stop_job(r, KD_CANCELLED, err) : KD_OK;
}

/* Worth another try: the peer is away, restarting, busy or slow. */
static bool passing(kd_status status)
{
    return status == KD_UNAVAILABLE || status == KD_RESOURCE_EXHAUSTED ||
           status == KD_DEADLINE_EXCEEDED;
}

kd_status job_ask(running_job *r, kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, void *response, kd_error *err)
{
    const kd_call_options options = {.timeout_ms = 60000, .stop = &r->worker->stopping};
    const int64_t until = kd_mono_ms() + PATIENCE_MS;
    int64_t pause_ms = 50;
    for (;;) {
        const kd_status status =
            kd_channel_call(channel, service, method, request, &options, response, err);
        if (!passing(status) || kd_mono_ms() > until)
            return status;
        KD_LOG(
            KD_LOG_DEBUG, "trying_again", KD_STR("method", method), KD_STR("error", err->message));
        for (int64_t waited = 0; waited < pause_ms;
            waited += 50) { /* short naps: a stop is soon seen */
            if (atomic_load(&r->stop) || atomic_load(&r->worker->stopping))
                return kd_error_set(err, KD_CANCELLED, "the job was stopped");
            kd_sleep_ms(50);
        }
        pause_ms = pause_ms < 2000 ? pause_ms * 2 : 2000;
    }
}

/* ---- One job ---- */

static kd_status run(running_job *r, Kindred__V1__JobResult *result, kd_error *err)
{
    switch (r->spec->spec_case) {
    case KINDRED__V1__JOB_SPEC__SPEC_INDEX:
        return run_index(r, result, err);
    case KINDRED__V1__JOB_SPEC__SPEC_EVALUATE:
        return run_evaluate(r, result, err);
    default:
        return kd_error_set(
            err, KD_INTERNAL, "a job of kind '%s' is not the gateway's", r->job->kind);
    }
}

static void count_end(gateway *g, const kd_job *job, kd_job_state state)
{
    char labels[64];
    (void)snprintf(labels, sizeof labels, "kind=\"%s\",state=\"%s\"", job->kind,
        state == KD_JOB_DONE     ? "done"
        : state == KD_JOB_FAILED ? "failed"
                                 : "cancelled");
    kd_counter_add(kd_metrics_counter(g->process->metrics, "kindred_jobs_total", labels,
                       "Jobs ended, by kind and state"),
        1);
}

/* Writes the end, with patience: Redis may be restarting, and work that is done should count as
 * done. */
static void finish(
    worker *w, const kd_job *job, kd_job_state state, const kd_buf *result, const kd_error *why)
{
    const int64_t until = kd_mono_ms() + PATIENCE_MS;
    kd_error err = KD_ERROR_INIT;
    kd_status status;
    for (;;) {
        status = kd_jobs_finish(w->store, job, state, result->data, result->len, why, &err);
        /* Gone, or out of memory or disk: both pass. */
        if ((status != KD_UNAVAILABLE && status != KD_RESOURCE_EXHAUSTED) || kd_mono_ms() > until ||
            atomic_load(&w->stopping))
            break;
        kd_sleep_ms(200);
    }
    if (status != KD_OK) /* it stays pending and runs again; its work is idempotent */
        kd_log_error(KD_LOG_WARN, "end_not_written", &err);
    else
        count_end(w->gateway, job, state);
    if (state == KD_JOB_DONE)
        KD_LOG(KD_LOG_INFO, "job_done", KD_STR("job", job->id), KD_STR("kind", job->kind));
    else
        KD_LOG(KD_LOG_WARN, state == KD_JOB_FAILED ? "job_failed" : "job_cancelled",
            KD_STR("job", job->id), KD_STR("kind", job->kind), KD_STR("error", why->message));
}

static void leave(worker *w, const running_job *r, const kd_error *why)
{
    kd_error err = KD_ERROR_INIT;
    KD_LOG(KD_LOG_INFO, "job_left", KD_STR("job", r->job->id), KD_STR("reason", why->message));
    if (r->stop_reason == KD_UNAVAILABLE && kd_jobs_release(w->store, r->job, &err) != KD_OK)
        kd_log_error(KD_LOG_WARN, "release_failed", &err); /* then the attempt counts */
}

static void run_job(worker *w, kd_job *job)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf packed = KD_BUF_INIT;
    Kindred__V1__JobResult result = KINDRED__V1__JOB_RESULT__INIT;
    Kindred__V1__JobSpec *const spec =
        kindred__v1__job_spec__unpack(NULL, job->spec.len, job->spec.data);
    running_job r = {.gateway = w->gateway, .worker = w, .job = job, .spec = spec};
    atomic_init(&r.stop, false);
    atomic_init(&r.done, 0);
    KD_LOG(KD_LOG_INFO, "job_begun", KD_STR("job", job->id), KD_STR("kind", job->kind),
        KD_INT("attempt", job->attempt));
    kd_status status = spec
                           ? run(&r, &result, &err)
                           : kd_error_set(&err, KD_INTERNAL, "the job's description can't be read");
    if (status == KD_OK) {
        uint8_t *const at =
            kd_buf_reserve(&packed, kindred__v1__job_result__get_packed_size(&result));
        if (at)
            packed.len = kindred__v1__job_result__pack(&result, at);
        else
            status = kd_error_memory(&err, "the job's result");
    }
    /* A call that the stop cut short says so by its status alone. */
    if (status != KD_OK && atomic_load(&w->stopping) && !atomic_load(&r.stop))
        (void)stop_job(&r, KD_UNAVAILABLE, &err);
    if (status == KD_OK)
        finish(w, job, KD_JOB_DONE, &packed, NULL);
    else if (atomic_load(&r.stop) && r.stop_reason == KD_CANCELLED)
        finish(w, job, KD_JOB_CANCELLED, &packed, &err);
    else if (atomic_load(&r.stop)) /* superseded, or to go on after our restart */
        leave(w, &r, &err);
    else
        finish(w, job, KD_JOB_FAILED, &packed, &err);
    result_clear(&result);
    kd_message_free(spec);
    kd_buf_free(&packed);
}

static void *worker_main(void *arg)
{
    worker *const w = arg;
    bool lost = false;
    while (!atomic_load(&w->stopping)) {
        kd_job job = {0};
        bool taken = false;
        kd_error err = KD_ERROR_INIT;
        const kd_status status =
            kd_jobs_take(w->store, GATEWAY_QUEUE, CONSUMER, TAKE_WAIT_MS, &job, &taken, &err);
        if (status != KD_OK) {
            if (!lost)
                kd_log_error(KD_LOG_WARN, "queue_lost", &err);
            lost = true;
            kd_sleep_ms(500);
            continue;
        }
        if (lost)
            KD_LOG(KD_LOG_INFO, "queue_back", KD_STR("redis", w->gateway->process->redis));
        lost = false;
        if (taken)
            run_job(w, &job);
        kd_job_clear(&job);
    }
    return NULL;
}

kd_status worker_new(worker **out, gateway *g, kd_error *err)
{
    *out = NULL;
    worker *w = calloc(1, sizeof *w);
    if (!w)
        return kd_error_memory(err, "the job thread");
    w->gateway = g;
    atomic_init(&w->stopping, false);
    *out = w;
    kd_status status = kd_store_open(&w->store, g->process->redis, 2000, err);
    if (status == KD_OK && pthread_create(&w->thread, NULL, worker_main, w) != 0)
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the job thread");
    else if (status == KD_OK)
        w->started = true;
    return status;
}

void worker_stop(worker *w)
{
    if (!w)
        return;
    atomic_store(&w->stopping, true);
}

void worker_free(worker *w)
{
    if (!w)
        return;
    worker_stop(w);
    if (w->started)
        pthread_join(w->thread, NULL);
    kd_store_close(w->store);
    free(w);
}
