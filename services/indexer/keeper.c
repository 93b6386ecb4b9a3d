#include "services/indexer/keeper.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "services/indexer/collection_work.h"

enum {
    THREADS = 3,
    IDLE_MS = 100, /* between looks while nothing is due */
};

typedef struct worker {
    keeper *of;
    bool (*step)(collection *c, int64_t *next_ms);
    const char *name;
    bool nice, started;
    pthread_t thread;
} worker;

struct keeper {
    registry *registry;
    pthread_mutex_t lock; /* of stopping */
    pthread_cond_t stopped;
    bool stopping;
    worker workers[THREADS];
};

static bool tidy(collection *c, int64_t *next_ms)
{
    (void)next_ms;
    return collection_tidy(c) || collection_verify(c);
}

static bool build(collection *c, int64_t *next_ms)
{
    (void)next_ms;
    return collection_build(c);
}

/* One step for each collection; true when any did something. */
static bool round_of(const worker *w, int64_t *next_ms)
{
    char name[COLLECTION_NAME_SIZE] = "";
    bool any = false;
    for (collection *c; (c = registry_after(w->of->registry, name));) {
        any |= w->step(c, next_ms);
        collection_release(c);
    }
    return any;
}

/* False: it is over. */
static bool wait_until(keeper *k, int64_t next_ms)
{
    pthread_mutex_lock(&k->lock);
    for (int64_t left; !k->stopping && (left = next_ms - kd_mono_ms()) > 0;) {
        const struct timespec until = kd_mono_after(left);
        pthread_cond_timedwait(&k->stopped, &k->lock, &until);
    }
    const bool on = !k->stopping;
    pthread_mutex_unlock(&k->lock);
    return on;
}

static void *work(void *arg)
{
    const worker *const w = arg;
    if (w->nice)
        kd_thread_background();
    int64_t next_ms = 0;
    while (wait_until(w->of, next_ms)) {
        next_ms = kd_mono_ms() + IDLE_MS;
        if (round_of(w, &next_ms))
            next_ms = 0;
    }
    return NULL;
}

kd_status keeper_start(keeper **out, registry *r, kd_error *err)
{
    *out = NULL;
    keeper *const k = calloc(1, sizeof *k);
    if (!k)
        return kd_error_memory(err, "the threads of the collections");
    k->registry = r;
    pthread_mutex_init(&k->lock, NULL);
    kd_cond_init(&k->stopped);
    k->workers[0] = (worker){.of = k, .step = tidy, .name = "segments"};
    k->workers[1] = (worker){.of = k, .step = build, .name = "indexes"};
    k->workers[2] = (worker){.of = k, .step = collection_sync, .name = "sync"};
    k->workers[0].nice = k->workers[1].nice = true;
    for (size_t i = 0; i < THREADS; i++) {
        worker *const w = &k->workers[i];
        if (pthread_create(&w->thread, NULL, work, w) != 0) {
            keeper_stop(k);
            return kd_error_memory(err, "a thread of the collections");
        }
        w->started = true;
        (void)pthread_setname_np(w->thread, w->name);
    }
    *out = k;
    return KD_OK;
}

void keeper_stop(keeper *k)
{
    if (!k)
        return;
    char name[COLLECTION_NAME_SIZE] = "";
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    pthread_cond_broadcast(&k->stopped);
    pthread_mutex_unlock(&k->lock);
    for (collection *c; (c = registry_after(k->registry, name));) {
        collection_stop_work(c);
        collection_release(c);
    }
    for (size_t i = 0; i < THREADS; i++)
        if (k->workers[i].started)
            pthread_join(k->workers[i].thread, NULL);
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->stopped);
    free(k);
}
