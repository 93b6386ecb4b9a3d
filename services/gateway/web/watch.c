/* A job's changes as server-sent events: one thread reads all the watches' streams from our own
 * server and hands on what comes. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "services/gateway/web/web.h"

#define LOOK_MS 100

typedef struct web_watch_item {
    struct web_watch_item *next;
    kd_channel *channel;
    kd_stream *from;
    kd_http_stream *to;
} web_watch_item;

struct web_watches {
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    web_watch_item *fresh; /* not yet the thread's */
    bool ending;
};

static void item_end(web_watch_item *item)
{
    kd_stream_close(item->from);
    kd_channel_close(item->channel);
    kd_http_stream_end(item->to);
    free(item);
}

static void send_event(const web_watch_item *item, const char *event, json_t *data)
{
    char *const text = data ? json_dumps(data, JSON_COMPACT) : NULL;
    if (text) /* else the next change tells more */
        (void)kd_http_stream_send(item->to, event, text);
    free(text);
    json_decref(data);
}

/* Hands on all that is there. True when the watch is over. */
static bool look(const web_watch_item *item)
{
    for (;;) {
        Kindred__V1__WatchJobResponse *response = NULL;
        kd_error err = KD_ERROR_INIT;
        bool waiting;
        if (!kd_http_stream_open(item->to))
            return true;
        const kd_status status =
            kd_stream_read(item->from, 0, (ProtobufCMessage **)&response, &waiting, &err);
        if (waiting)
            return false;
        if (status != KD_OK)
            send_event(item, "error",
                json_pack("{s:s, s:s}", "code", kd_status_name(status), "message", err.message));
        if (!response)
            return true;
        send_event(item, "job", kd_message_json(&response->job->base));
        kd_message_free(response);
    }
}

static web_watch_item *look_at_all(web_watch_item *list)
{
    web_watch_item *kept = NULL;
    while (list) {
        web_watch_item *const item = list;
        list = item->next;
        if (look(item)) {
            item_end(item);
        } else {
            item->next = kept;
            kept = item;
        }
    }
    return kept;
}

static void *watch_main(void *arg)
{
    web_watches *const all = arg;
    web_watch_item *list = NULL;
    pthread_mutex_lock(&all->mutex);
    while (!all->ending) {
        while (all->fresh) {
            web_watch_item *const item = all->fresh;
            all->fresh = item->next;
            item->next = list;
            list = item;
        }
        pthread_mutex_unlock(&all->mutex);
        list = look_at_all(list);
        pthread_mutex_lock(&all->mutex);
        const struct timespec until = kd_mono_after(LOOK_MS);
        if (!list && !all->fresh && !all->ending)
            pthread_cond_wait(&all->changed, &all->mutex);
        else if (!all->fresh && !all->ending)
            (void)pthread_cond_timedwait(&all->changed, &all->mutex, &until);
    }
    pthread_mutex_unlock(&all->mutex);
    for (web_watch_item *next; list; list = next) {
        next = list->next;
        item_end(list);
    }
    return NULL;
}

/* False when the thread is to end: the item stays the caller's. */
static bool add(web_watches *all, web_watch_item *item)
{
    pthread_mutex_lock(&all->mutex);
    const bool goes_on = !all->ending;
    if (goes_on) {
        item->next = all->fresh;
        all->fresh = item;
        pthread_cond_signal(&all->changed);
    }
    pthread_mutex_unlock(&all->mutex);
    return goes_on;
}

kd_status web_watches_new(web_watches **out, kd_error *err)
{
    *out = NULL;
    web_watches *const all = calloc(1, sizeof *all);
    if (!all)
        return kd_error_memory(err, "the watches");
    pthread_mutex_init(&all->mutex, NULL);
    kd_cond_init(&all->changed);
    if (pthread_create(&all->thread, NULL, watch_main, all) != 0) {
        web_watches_free(all);
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the page's watch thread");
    }
    all->started = true;
    (void)pthread_setname_np(all->thread, "web-watch");
    *out = all;
    return KD_OK;
}

static void end_thread(web_watches *all)
{
    pthread_mutex_lock(&all->mutex);
    all->ending = true;
    pthread_cond_signal(&all->changed);
    pthread_mutex_unlock(&all->mutex);
    if (all->started)
        pthread_join(all->thread, NULL);
    all->started = false;
    for (web_watch_item *next; all->fresh; all->fresh = next) {
        next = all->fresh->next;
        item_end(all->fresh);
    }
}

void web_watches_drain(web_watches *all)
{
    if (all)
        end_thread(all);
}

void web_watches_free(web_watches *all)
{
    if (!all)
        return;
    end_thread(all);
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->mutex);
    free(all);
}

void web_watch(void *state, kd_http_request *request, kd_http_answer *answer)
{
    web *const w = state;
    Kindred__V1__GetJobRequest get = KINDRED__V1__GET_JOB_REQUEST__INIT;
    Kindred__V1__WatchJobRequest watch = KINDRED__V1__WATCH_JOB_REQUEST__INIT;
    Kindred__V1__GetJobResponse *got = NULL;
    kd_caller caller = {.id = ""};
    kd_error err = KD_ERROR_INIT;
    web_trip trip;
    web_trip_begin(&trip, request, answer);
    web_watch_item *const item = calloc(1, sizeof *item);
    kd_status status = item ? KD_OK : kd_error_memory(&err, "a watch");
    get.job_id = watch.job_id = (char *)(uintptr_t)kd_http_part(request, 0);
    if (status == KD_OK) /* so that what is wrong is an answer, not an event */
        status = web_ask(w, &trip, GATEWAY, "GetJob", &get.base, &got, &err);
    trip.options.timeout_ms = 0; /* it lasts as long as the job */
    if (status == KD_OK)
        status =
            web_open(w, &trip, GATEWAY, "WatchJob", &watch.base, &item->channel, &item->from, &err);
    /* Whose it is: the key's, or without one the address's. */
    if (status == KD_OK)
        status = kd_access_look(w->gateway->process->access,
            kd_http_header(request, "Authorization"), KD_SCOPE_READ, &caller, &err);
    if (status == KD_OK)
        status = kd_http_stream_new(&item->to, request, caller.id, &err);
    if (status == KD_OK) {
        answer->stream = item->to;
        if (!add(w->watches, item))
            item_end(item);
    } else {
        kd_http_fail(answer, &err);
        if (item) {
            kd_stream_close(item->from);
            kd_channel_close(item->channel);
        }
        free(item);
    }
    kd_message_free(got);
}
