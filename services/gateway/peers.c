/* What the gateway depends on: one thread looks at Redis and the other services now and then, so
 * that since when one is away is known to who asks, and what Redis knows is there as metrics
 * without their reader having to wait for it. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "services/gateway/gateway.h"

#define LOOK_EVERY_MS 5000
#define HEALTH_MS 1000 /* for each service to answer */
#define REDIS_MS 2000

static const char *const queues[2] = {TRAINER_QUEUE, GATEWAY_QUEUE};

struct peers {
    const gateway *gateway;
    kd_store *store; /* the thread's own */
    kd_gauge *redis_up, *waiting[2], *jobs[KD_JOB_CANCELLED + 1];
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    bool ending;
    int64_t away_since_ms[PEERS]; /* wall clock; 0: it was there when last looked at */
};

void peers_saw(peers *p, peer_id which, bool serves)
{
    pthread_mutex_lock(&p->mutex);
    if (serves)
        p->away_since_ms[which] = 0;
    else if (p->away_since_ms[which] == 0)
        p->away_since_ms[which] = kd_wall_ms();
    pthread_mutex_unlock(&p->mutex);
}

int64_t peers_away_since(peers *p, peer_id which)
{
    pthread_mutex_lock(&p->mutex);
    const int64_t since_ms = p->away_since_ms[which];
    pthread_mutex_unlock(&p->mutex);
    return since_ms;
}

/* ---- Looking ---- */

static void add_gauges(peers *p, kd_metrics *metrics)
{
    char labels[64];
    p->redis_up =
        kd_metrics_gauge(metrics, "kindred_redis_up", "", "Whether Redis answered the last time");
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(labels, sizeof labels, "queue=\"%s\"", queues[i]);
        p->waiting[i] =
            kd_metrics_gauge(metrics, "kindred_queue_jobs", labels, "Jobs that wait for a worker");
    }
    for (int state = KD_JOB_QUEUED; state <= KD_JOB_CANCELLED; state++) {
        (void)snprintf(labels, sizeof labels, "state=\"%s\"", kd_job_state_name(state));
        p->jobs[state] =
            kd_metrics_gauge(metrics, "kindred_jobs", labels, "Jobs on record, by state");
    }
}

static void look_at_redis(peers *p)
{
    kd_job_counts counts;
    uint64_t depths[2];
    kd_error err;
    kd_status status = kd_jobs_count(p->store, &counts, &err);
    for (size_t i = 0; i < 2 && status == KD_OK; i++)
        status = kd_jobs_depth(p->store, queues[i], &depths[i], &err);
    peers_saw(p, PEER_REDIS, status == KD_OK);
    kd_gauge_set(p->redis_up, status == KD_OK);
    for (size_t i = 0; i < 2 && status == KD_OK; i++)
        kd_gauge_set(p->waiting[i], (double)depths[i]);
    for (int state = KD_JOB_QUEUED; state <= KD_JOB_CANCELLED && status == KD_OK; state++)
        kd_gauge_set(p->jobs[state], (double)counts.by_state[state]);
}

static bool is_ending(peers *p)
{
    pthread_mutex_lock(&p->mutex);
    const bool ending = p->ending;
    pthread_mutex_unlock(&p->mutex);
    return ending;
}

static void look_at_services(peers *p)
{
    kd_channel *const channels[] = {[PEER_EMBEDDER] = p->gateway->embedder,
        [PEER_INDEXER] = p->gateway->indexer,
        [PEER_TRAINER] = p->gateway->trainer};
    for (size_t i = 0; i < sizeof channels / sizeof channels[0] && !is_ending(p); i++) {
        kd_error err;
        peers_saw(p, (peer_id)i, kd_health_check(channels[i], HEALTH_MS, &err) == KD_OK);
    }
}

static void *peers_main(void *arg)
{
    peers *const p = arg;
    while (!is_ending(p)) {
        const struct timespec next = kd_mono_after(LOOK_EVERY_MS);
        look_at_redis(p);
        look_at_services(p);
        pthread_mutex_lock(&p->mutex);
        while (!p->ending && pthread_cond_timedwait(&p->changed, &p->mutex, &next) == 0)
            ;
        pthread_mutex_unlock(&p->mutex);
    }
    return NULL;
}

/* ---- Life ---- */

kd_status peers_new(peers **out, const gateway *g, kd_error *err)
{
    *out = NULL;
    peers *const p = calloc(1, sizeof *p);
    if (!p)
        return kd_error_memory(err, "a look at the other services");
    p->gateway = g;
    pthread_mutex_init(&p->mutex, NULL);
    kd_cond_init(&p->changed);
    add_gauges(p, g->process->metrics);
    kd_status status = kd_store_open(&p->store, g->process->redis, REDIS_MS, err);
    if (status == KD_OK && pthread_create(&p->thread, NULL, peers_main, p) != 0)
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the peers' thread");
    else if (status == KD_OK)
        p->started = true;
    if (p->started)
        (void)pthread_setname_np(p->thread, "peers");
    *out = p;
    return status;
}

void peers_drain(peers *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mutex);
    p->ending = true;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->mutex);
}

void peers_free(peers *p)
{
    if (!p)
        return;
    peers_drain(p);
    if (p->started)
        pthread_join(p->thread, NULL);
    kd_store_close(p->store);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    free(p);
}
