/* WatchJob: one thread looks at the watched jobs' records and sends what has changed. No watch has
 * a thread of its own, and a client that reads slowly misses steps in between, never the end. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "services/gateway/gateway.h"

#define LOOK_EVERY_MS 200
#define MAX_WATCHES 256

typedef struct watch {
    struct watch *next;
    kd_call *call;
    char id[KD_JOB_ID_TEXT];
    kd_buf sent; /* the last message, packed */
} watch;

struct watcher {
    kd_store *store;
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    watch *watches;
    size_t n;
    atomic_bool draining;
};

static void watch_end(watch *w, const kd_error *error)
{
    kd_call_finish(w->call, error);
    kd_buf_free(&w->sent);
    free(w);
}

/* Sends the job if it differs from what was sent. True when the watch has ended (and is freed). */
static bool look(watcher *all, watch *w)
{
    kd_error err = KD_ERROR_INIT;
    kd_job job = {0};
    if (kd_call_cancelled(w->call)) {
        watch_end(w, NULL);
        return true;
    }
    if (kd_jobs_get(all->store, w->id, &job, &err) != KD_OK) {
        if (err.status == KD_UNAVAILABLE)
            return false; /* Redis is away: it comes back, or the client's patience ends */
        watch_end(w, &err);
        return true;
    }
    Kindred__V1__WatchJobResponse response = KINDRED__V1__WATCH_JOB_RESPONSE__INIT;
    job_message message;
    job_message_make(&message, &job);
    response.job = &message.job;
    kd_buf packed = KD_BUF_INIT;
    const size_t len = kindred__v1__watch_job_response__get_packed_size(&response);
    uint8_t *const at = kd_buf_reserve(&packed, len);
    if (at)
        packed.len = kindred__v1__watch_job_response__pack(&response, at);
    const bool same = at && packed.len == w->sent.len && w->sent.data &&
                      memcmp(packed.data, w->sent.data, packed.len) == 0;
    bool over = job.state >= KD_JOB_DONE;
    if (!same || over) {
        const kd_status sent = kd_call_write(w->call, &response.base, false);
        if (sent == KD_OK) {
            kd_buf_free(&w->sent);
            w->sent = packed;
            packed = (kd_buf)KD_BUF_INIT;
        } else if (sent == KD_RESOURCE_EXHAUSTED) {
            over = false; /* slow reader: this message, or a later one, next time */
        }
    }
    kd_buf_free(&packed);
    job_message_clear(&message);
    kd_job_clear(&job);
    if (over)
        watch_end(w, NULL);
    return over;
}

/* Mutex not held: the list is this thread's while it looks. */
static watch *look_at_all(watcher *all, watch *list, size_t *ended)
{
    watch *kept = NULL;
    while (list) {
        watch *const w = list;
        list = w->next;
        if (!atomic_load(&all->draining) && look(all, w)) {
            (*ended)++;
        } else {
            w->next = kept;
            kept = w;
        }
    }
    return kept;
}

static void *watch_main(void *arg)
{
    watcher *const all = arg;
    pthread_mutex_lock(&all->mutex);
    while (!all->draining) {
        if (!all->watches) {
            pthread_cond_wait(&all->changed, &all->mutex);
            continue;
        }
        watch *list = all->watches;
        all->watches = NULL;
        pthread_mutex_unlock(&all->mutex);
        size_t ended = 0;
        list = look_at_all(all, list, &ended);
        pthread_mutex_lock(&all->mutex);
        all->n -= ended;
        while (list) { /* new ones may have come meanwhile */
            watch *const w = list;
            list = w->next;
            w->next = all->watches;
            all->watches = w;
        }
        if (all->draining)
            break;
        const struct timespec until = kd_mono_after(LOOK_EVERY_MS);
        (void)pthread_cond_timedwait(&all->changed, &all->mutex, &until);
    }
    pthread_mutex_unlock(&all->mutex);
    return NULL;
}

void watch_job(void *state, kd_call *call, const ProtobufCMessage *message)
{
    watcher *const all = ((gateway *)state)->watcher;
    const char *const id = ((const Kindred__V1__WatchJobRequest *)message)->job_id;
    kd_error err = KD_ERROR_INIT;
    watch *const w = calloc(1, sizeof *w);
    if (!w) {
        (void)kd_error_memory(&err, "a watch");
        kd_call_fail(call, &err);
        return;
    }
    if (id[0] == '\0' || !kd_copy(w->id, sizeof w->id, id))
        (void)kd_error_set(&err, KD_INVALID_ARGUMENT, "'%.40s' is not a job's id", id);
    else
        w->call = call;
    pthread_mutex_lock(&all->mutex);
    if (err.status == KD_OK && atomic_load(&all->draining))
        (void)kd_error_set(&err, KD_UNAVAILABLE, "the gateway is shutting down");
    else if (err.status == KD_OK && all->n == MAX_WATCHES)
        (void)kd_error_set(&err, KD_RESOURCE_EXHAUSTED, "%d jobs are watched already", MAX_WATCHES);
    if (err.status == KD_OK) {
        w->next = all->watches;
        all->watches = w;
        all->n++;
        pthread_cond_signal(&all->changed);
    }
    pthread_mutex_unlock(&all->mutex);
    if (err.status != KD_OK) {
        free(w);
        kd_call_fail(call, &err);
    }
}

kd_status watcher_new(watcher **out, const char *redis, kd_error *err)
{
    *out = NULL;
    watcher *all = calloc(1, sizeof *all);
    if (!all)
        return kd_error_memory(err, "the watcher");
    pthread_mutex_init(&all->mutex, NULL);
    kd_cond_init(&all->changed);
    kd_status status = kd_store_open(&all->store, redis, 2000, err);
    if (status == KD_OK && pthread_create(&all->thread, NULL, watch_main, all) != 0)
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the watch thread");
    else if (status == KD_OK)
        all->started = true;
    *out = all;
    return status;
}

void watcher_drain(watcher *all)
{
    kd_error gone;
    if (!all)
        return;
    pthread_mutex_lock(&all->mutex);
    atomic_store(&all->draining, true);
    pthread_cond_broadcast(&all->changed);
    pthread_mutex_unlock(&all->mutex);
    if (all->started)
        pthread_join(all->thread, NULL);
    all->started = false;
    (void)kd_error_set(&gone, KD_UNAVAILABLE, "the gateway is shutting down");
    while (all->watches) {
        watch *const w = all->watches;
        all->watches = w->next;
        watch_end(w, &gone);
    }
}

void watcher_free(watcher *all)
{
    if (!all)
        return;
    watcher_drain(all);
    kd_store_close(all->store);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->mutex);
    free(all);
}
