#include "services/indexer/lots.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/thread.h"

typedef struct runner {
    lots *all;
    pthread_t thread;
    lot_call *running; /* a list, owned; NULL: none */
} runner;

struct lots {
    lots_options options;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed, gathered;
    lot_call *first, **last; /* a list, owned: what waits, the longest first */
    size_t n;
    bool closed;
    runner runners[LOTS_THREADS_MOST];
    size_t n_runners;
};

static bool alike(const lot_call *a, const lot_call *b)
{
    return !a->alone && !b->alone && a->hash == b->hash && a->key_len == b->key_len &&
           memcmp(a->key, b->key, a->key_len) == 0;
}

/* With mutex locked, as the next two. */
static bool is_running(const lots *l, const lot_call *call)
{
    for (size_t i = 0; i < l->n_runners; i++)
        if (l->runners[i].running && alike(call, l->runners[i].running))
            return true;
    return false;
}

/* Moves what *at leads to from what waits to the end of a list. */
static void move(lots *l, lot_call **at, lot_call ***end)
{
    lot_call *const call = *at;
    *at = call->next;
    if (l->last == &call->next)
        l->last = at;
    call->next = NULL;
    **end = call;
    *end = &call->next;
    l->n--;
}

/* The longest waiting of which none like it runs, and those like it behind; NULL: there is none. */
static lot_call *take(lots *l)
{
    lot_call *list = NULL, **end = &list;
    size_t weight = 0;
    for (lot_call **at = &l->first; *at;) {
        const size_t more = (*at)->weight;
        const bool fits =
            list ? alike(*at, list) && weight + more <= l->options.together : !is_running(l, *at);
        if (fits) {
            weight += more;
            move(l, at, &end);
        } else {
            at = &(*at)->next;
        }
    }
    return list;
}

static void free_list(lot_call *list)
{
    while (list) {
        lot_call *const next = list->next;
        free(list);
        list = next;
    }
}

/* Until as many calls like those of the lot wait as it had, or the time is over. They stay with r's
 * lot, so that no other thread takes them. */
static void gather(lots *l, const lot_call *lot, int64_t took_ns)
{
    const int64_t most = INT64_C(1000000) * LOTS_GATHER_MS;
    const int64_t ns = took_ns / 8 < most ? took_ns / 8 : most;
    struct timespec until = kd_mono_after(0);
    size_t n = 0;
    until.tv_nsec += (long)ns;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    for (const lot_call *call = lot; call; call = call->next)
        n++;
    while (n > 1 && !l->closed) {
        size_t there = 0;
        for (const lot_call *call = l->first; call; call = call->next)
            there += alike(call, lot);
        if (there >= n || pthread_cond_timedwait(&l->gathered, &l->mutex, &until) != 0)
            break;
    }
}

static void *run(void *arg)
{
    runner *const r = arg;
    lots *const l = r->all;
    pthread_mutex_lock(&l->mutex);
    for (;;) {
        lot_call *const list = take(l);
        if (list) {
            r->running = list;
            pthread_mutex_unlock(&l->mutex);
            const int64_t begun_ns = kd_mono_ns();
            l->options.run(l->options.state, list);
            const int64_t took_ns = kd_mono_ns() - begun_ns;
            pthread_mutex_lock(&l->mutex);
            gather(l, list, took_ns);
            r->running = NULL;
            free_list(list);
            if (l->first) /* may be like that one, and this thread may take another */
                pthread_cond_signal(&l->changed);
        } else if (l->closed && !l->first) {
            break;
        } else {
            pthread_cond_wait(&l->changed, &l->mutex);
        }
    }
    pthread_cond_broadcast(&l->changed); /* those that wait for this one's lot to end */
    pthread_mutex_unlock(&l->mutex);
    return NULL;
}

kd_status lots_new(lots **out, const lots_options *options, kd_error *err)
{
    *out = NULL;
    lots *const l = calloc(1, sizeof *l);
    if (!l)
        return kd_error_memory(err, options->what);
    l->options = *options;
    l->last = &l->first;
    pthread_mutex_init(&l->mutex, NULL);
    kd_cond_init(&l->changed);
    kd_cond_init(&l->gathered);
    for (size_t i = 0; i < options->threads; i++) {
        runner *const r = &l->runners[i];
        r->all = l;
        pthread_mutex_lock(&l->mutex); /* a thread looks at all runners */
        const bool started = pthread_create(&r->thread, NULL, run, r) == 0;
        l->n_runners += started;
        pthread_mutex_unlock(&l->mutex);
        if (!started) {
            lots_free(l);
            return kd_error_set(
                err, KD_RESOURCE_EXHAUSTED, "cannot start a thread for %s", options->what);
        }
        (void)pthread_setname_np(r->thread, options->what);
    }
    *out = l;
    return KD_OK;
}

void lots_free(lots *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->mutex);
    l->closed = true;
    pthread_cond_broadcast(&l->changed);
    pthread_cond_broadcast(&l->gathered);
    pthread_mutex_unlock(&l->mutex);
    for (size_t i = 0; i < l->n_runners; i++)
        pthread_join(l->runners[i].thread, NULL);
    pthread_cond_destroy(&l->changed);
    pthread_cond_destroy(&l->gathered);
    pthread_mutex_destroy(&l->mutex);
    free(l);
}

static lot_call *call_new(
    kd_call *call, const void *request, const ProtobufCMessage *rest, size_t weight)
{
    const size_t len = rest ? protobuf_c_message_get_packed_size(rest) : 0;
    lot_call *const made = malloc(sizeof *made + len);
    if (!made)
        return NULL;
    *made = (lot_call){
        .call = call, .request = request, .weight = weight, .alone = !rest, .key_len = len};
    if (rest)
        (void)protobuf_c_message_pack(rest, made->key);
    made->hash = kd_xxh3(made->key, len);
    return made;
}

void lots_add(
    lots *l, kd_call *call, const void *request, const ProtobufCMessage *rest, size_t weight)
{
    kd_error err = KD_ERROR_INIT;
    lot_call *const made = call_new(call, request, rest, weight);
    pthread_mutex_lock(&l->mutex);
    const bool fits = made && l->n < LOTS_WAITING;
    if (fits) {
        *l->last = made;
        l->last = &made->next;
        l->n++;
        pthread_cond_signal(&l->changed);
        pthread_cond_broadcast(&l->gathered);
    }
    pthread_mutex_unlock(&l->mutex);
    if (fits)
        return;
    if (made)
        (void)kd_error_set(&err, KD_RESOURCE_EXHAUSTED, "%u %s wait already, try later",
            LOTS_WAITING, l->options.what);
    else
        (void)kd_error_memory(&err, l->options.what);
    free(made);
    kd_call_fail(call, &err);
}
