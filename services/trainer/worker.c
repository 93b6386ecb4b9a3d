#include "services/trainer/worker.h"

#include <stdlib.h>

#include "kindred/v1/gateway.pb-c.h"

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"
#include "lib/store/store.h"
#include "services/trainer/result.h"
#include "services/trainer/train.h"

#define QUEUE "train"
#define CONSUMER "trainer-0" /* stable: a restarted trainer takes its own jobs up again at once */
#define TAKE_MS 1000
#define REDIS_TIMEOUT_MS 5000
#define PROGRESS_MS 500
#define RETRY_LEAST_MS 200
#define RETRY_MOST_MS 5000
#define LATER_MS 500 /* doubled with each attempt: 15 s in all */

struct worker {
    trainer *trainer; /* borrowed */
    kd_store *store;  /* the thread's */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    bool stop; /* under the lock */
    bool redis_down;
};

/* Why the job at hand was left. */
typedef enum job_end {
    END_RUN,       /* it wasn't: the run itself ended, well or not */
    END_CANCELLED, /* someone asked for it */
    END_FENCED,    /* it is another worker's now, or its record is gone */
    END_STOPPED,   /* this process ends */
    END_LATER,     /* the machine is in no state for it: it stays ours, to be taken up again */
} job_end;

/* The job at hand. */
typedef struct task {
    worker *worker;
    kd_job *job;
    int64_t next_ms; /* when progress is due */
    job_end end;
} task;

/* ---- Waiting ---- */

static bool stopping(worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    const bool stop = w->stop;
    (void)pthread_mutex_unlock(&w->lock);
    return stop;
}

/* Waits, less when asked to stop; doubles *delay_ms up to the most. */
static void back_off(worker *w, int64_t *delay_ms)
{
    const struct timespec until = kd_mono_after(*delay_ms);
    (void)pthread_mutex_lock(&w->lock);
    while (!w->stop && pthread_cond_timedwait(&w->asked, &w->lock, &until) == 0)
        ;
    (void)pthread_mutex_unlock(&w->lock);
    *delay_ms = *delay_ms * 2 < RETRY_MOST_MS ? *delay_ms * 2 : RETRY_MOST_MS;
}

/* Logs the loss of Redis and its return, once each. */
static void note_redis(worker *w, kd_status status, const kd_error *err)
{
    const bool down = status == KD_UNAVAILABLE;
    if (down && !w->redis_down)
        kd_log_error(KD_LOG_WARN, "redis_gone", err);
    if (!down && w->redis_down)
        KD_LOG(KD_LOG_INFO, "redis_back", KD_STR("address", w->trainer->process->redis));
    w->redis_down = down;
}

/* ---- A job ---- */

static kd_status send_progress(
    task *t, const train_progress *p, bool *cancel_requested, kd_error *err)
{
    Kindred__V1__JobProgress message = KINDRED__V1__JOB_PROGRESS__INIT;
    message.phase = (char *)p->phase;
    message.detail = (char *)p->detail;
    message.done = p->done;
    message.total = p->total;
    message.rate = p->rate;
    const size_t size = kindred__v1__job_progress__get_packed_size(&message);
    uint8_t *const bytes = malloc(size + 1);
    if (!bytes)
        return kd_error_memory(err, "the progress");
    (void)kindred__v1__job_progress__pack(&message, bytes);
    const kd_status status =
        kd_jobs_progress(t->worker->store, t->job, CONSUMER, bytes, size, cancel_requested, err);
    free(bytes);
    return status;
}

/* The run's tick: reports, renews, and learns whether to go on. A run doesn't need Redis: while it
 * is gone the run goes on, and should the job be claimed meanwhile, its next report says so. */
static kd_status job_tick(void *arg, const train_progress *progress, kd_error *err)
{
    task *const t = arg;
    bool cancel_requested = false;
    kd_error why = KD_ERROR_INIT;
    if (stopping(t->worker)) {
        t->end = END_STOPPED;
        return kd_error_set(err, KD_UNAVAILABLE, "the trainer ends");
    }
    if (kd_mono_ms() < t->next_ms)
        return KD_OK;
    const kd_status status = send_progress(t, progress, &cancel_requested, &why);
    note_redis(t->worker, status, &why);
    t->next_ms = kd_mono_ms() + (status == KD_OK ? PROGRESS_MS : KD_JOB_RENEW_MS);
    if (status == KD_ABORTED || status == KD_NOT_FOUND) {
        t->end = END_FENCED;
        return kd_error_set(err, status, "%s", why.message);
    }
    if (status != KD_OK && status != KD_UNAVAILABLE)
        kd_log_error(KD_LOG_WARN, "progress_lost", &why);
    if (cancel_requested) {
        t->end = END_CANCELLED;
        return kd_error_set(err, KD_CANCELLED, "cancelled");
    }
    return KD_OK;
}

static kd_status run_job(task *t, kd_model *model, kd_error *err)
{
    kd_job *const job = t->job;
    Kindred__V1__JobSpec *const spec =
        kindred__v1__job_spec__unpack(NULL, job->spec.len, job->spec.data);
    kd_status status;
    if (spec && spec->spec_case == KINDRED__V1__JOB_SPEC__SPEC_TRAIN) {
        const train_hooks hooks = {job_tick, t};
        status = train_job(t->worker->trainer, job->id, spec->train, &hooks, model, err);
    } else {
        status = kd_error_set(
            err, KD_INVALID_ARGUMENT, "job %s has no train spec that can be read", job->id);
    }
    kindred__v1__job_spec__free_unpacked(spec, NULL);
    return status;
}

/* Until Redis has it, or until the process ends: then the next one runs the job again, which finds
 * what this run has left. */
static void finish(task *t, kd_job_state state, const kd_bytes *result, const kd_error *why)
{
    worker *const w = t->worker;
    kd_error err = KD_ERROR_INIT;
    for (int64_t delay_ms = RETRY_LEAST_MS;;) {
        const kd_status status =
            kd_jobs_finish(w->store, t->job, state, result->data, result->len, why, &err);
        note_redis(w, status, &err);
        if (status != KD_OK && status != KD_UNAVAILABLE)
            kd_log_error(KD_LOG_WARN, "finish_refused", &err);
        /* Gone, or out of memory or disk: both pass. */
        if ((status != KD_UNAVAILABLE && status != KD_RESOURCE_EXHAUSTED) || stopping(w))
            return;
        back_off(w, &delay_ms);
    }
}

/* Once is enough: without it the attempt counts. */
static void release(worker *w, const kd_job *job)
{
    kd_error err = KD_ERROR_INIT;
    if (kd_jobs_release(w->store, job, &err) != KD_OK)
        kd_log_error(KD_LOG_WARN, "release_failed", &err);
}

static void count_job(worker *w, kd_job_state state)
{
    static const char *const labels[] = {[KD_JOB_DONE] = "kind=\"train\",state=\"done\"",
        [KD_JOB_FAILED] = "kind=\"train\",state=\"failed\"",
        [KD_JOB_CANCELLED] = "kind=\"train\",state=\"cancelled\""};
    kd_counter_add(kd_metrics_counter(w->trainer->process->metrics, "kindred_jobs_total",
                       labels[state], "Jobs that ended."),
        1);
}

static void handle(worker *w, kd_job *job)
{
    task t = {.worker = w, .job = job};
    kd_model model = {0};
    kd_bytes result = {NULL, 0};
    kd_error err = KD_ERROR_INIT;
    KD_LOG(KD_LOG_INFO, "job_taken", KD_STR("job", job->id), KD_INT("attempt", job->attempt));
    kd_status status = run_job(&t, &model, &err);
    if (status == KD_OK)
        status = job_result_pack(&model, &result, &err);
    if (status == KD_UNAVAILABLE && t.end == END_RUN && job->attempt < KD_JOB_MAX_ATTEMPTS)
        t.end = END_LATER;
    if (t.end == END_STOPPED)
        release(w, job);
    if (t.end == END_FENCED || t.end == END_STOPPED || t.end == END_LATER) {
        KD_LOG(KD_LOG_WARN, "job_left", KD_STR("job", job->id), KD_STR("reason", err.message));
    } else {
        const kd_job_state state = status == KD_OK          ? KD_JOB_DONE
                                   : t.end == END_CANCELLED ? KD_JOB_CANCELLED
                                                            : KD_JOB_FAILED;
        KD_LOG(state == KD_JOB_FAILED ? KD_LOG_ERROR : KD_LOG_INFO, "job_ended",
            KD_STR("job", job->id), KD_STR("state", kd_job_state_name(state)),
            KD_STR("reason", err.message));
        finish(&t, state, &result, &err);
        count_job(w, state);
    }
    free(result.data);
    kd_model_clear(&model);
    int64_t delay_ms = (int64_t)LATER_MS << job->attempt;
    if (t.end == END_LATER) /* then it is the first that we take; its attempts count */
        back_off(w, &delay_ms);
}

/* ---- Life ---- */

static void *work(void *arg)
{
    worker *const w = arg;
    int64_t delay_ms = RETRY_LEAST_MS;
    while (!stopping(w)) {
        kd_job job = {0};
        bool taken = false;
        kd_error err = KD_ERROR_INIT;
        const kd_status status =
            kd_jobs_take(w->store, QUEUE, CONSUMER, TAKE_MS, &job, &taken, &err);
        note_redis(w, status, &err);
        if (status == KD_OK) {
            delay_ms = RETRY_LEAST_MS;
            if (taken)
                handle(w, &job);
        } else {
            if (status != KD_UNAVAILABLE)
                kd_log_error(KD_LOG_ERROR, "queue_failed", &err);
            back_off(w, &delay_ms);
        }
        kd_job_clear(&job);
    }
    return NULL;
}

kd_status worker_start(worker **out, trainer *t, kd_error *err)
{
    *out = NULL;
    worker *const made = calloc(1, sizeof *made);
    if (!made)
        return kd_error_memory(err, "the worker");
    made->trainer = t;
    (void)pthread_mutex_init(&made->lock, NULL);
    kd_cond_init(&made->asked);
    kd_status status = kd_store_open(&made->store, t->process->redis, REDIS_TIMEOUT_MS, err);
    if (status == KD_OK && pthread_create(&made->thread, NULL, work, made) != 0)
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the worker's thread");
    if (status != KD_OK) {
        kd_store_close(made->store);
        free(made);
        return status;
    }
    (void)pthread_setname_np(made->thread, "train");
    *out = made;
    return KD_OK;
}

void worker_ask_stop(worker *w)
{
    (void)pthread_mutex_lock(&w->lock);
    w->stop = true;
    (void)pthread_cond_broadcast(&w->asked);
    (void)pthread_mutex_unlock(&w->lock);
}

void worker_stop(worker *w)
{
    if (!w)
        return;
    worker_ask_stop(w);
    (void)pthread_join(w->thread, NULL);
    kd_store_close(w->store);
    (void)pthread_cond_destroy(&w->asked);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}
