/* Jobs and queues as metrics. Redis is asked now and then, not by who reads the metrics: it may be
 * slow, or away. */
#include <stdio.h>

#include "lib/base/clock.h"
#include "services/gateway/gateway.h"

#define LOOK_EVERY_MS 5000

static const char *const queues[2] = {TRAINER_QUEUE, GATEWAY_QUEUE};

void gauges_init(gauges *g, kd_metrics *metrics)
{
    char labels[64];
    *g = (gauges){.redis_up = kd_metrics_gauge(
                      metrics, "kindred_redis_up", "", "Whether Redis answered the last time")};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(labels, sizeof labels, "queue=\"%s\"", queues[i]);
        g->waiting[i] =
            kd_metrics_gauge(metrics, "kindred_queue_jobs", labels, "Jobs that wait for a worker");
    }
    for (int state = KD_JOB_QUEUED; state <= KD_JOB_CANCELLED; state++) {
        (void)snprintf(labels, sizeof labels, "state=\"%s\"", kd_job_state_name(state));
        g->jobs[state] =
            kd_metrics_gauge(metrics, "kindred_jobs", labels, "Jobs on record, by state");
    }
}

int64_t gauges_look(gauges *g, kd_store *store)
{
    uint64_t counts[KD_JOB_CANCELLED + 1], depths[2];
    kd_error err;
    const int64_t now = kd_mono_ms();
    if (now < g->next_ms)
        return g->next_ms - now;
    kd_status status = kd_jobs_count(store, counts, &err);
    for (size_t i = 0; i < 2 && status == KD_OK; i++)
        status = kd_jobs_depth(store, queues[i], &depths[i], &err);
    kd_gauge_set(g->redis_up, status == KD_OK);
    for (size_t i = 0; i < 2 && status == KD_OK; i++)
        kd_gauge_set(g->waiting[i], (double)depths[i]);
    for (int state = KD_JOB_QUEUED; state <= KD_JOB_CANCELLED && status == KD_OK; state++)
        kd_gauge_set(g->jobs[state], (double)counts[state]);
    g->next_ms = kd_mono_ms() + LOOK_EVERY_MS;
    return LOOK_EVERY_MS;
}
