/* The cache's two sides, each a trip to Redis for all that waits: look-ups, and the writer, which
 * is out of the way of answers. Redis that fails costs each of the two one time-out, then it is
 * left alone for a while. */
#include <math.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "services/embedder/pipeline.h"

#define PAUSE_MS 1000

static kd_cache_entry entry_of(slot *s)
{
    return (kd_cache_entry){
        s->owner->cache_model, s->sha256, s->values, s->owner->model.dim, false};
}

/* ---- Look-ups ---- */

/* What was rounded is of length 1 again. */
static void normalise(float *values, size_t dim)
{
    double squares = 0;
    for (size_t i = 0; i < dim; i++)
        squares += (double)values[i] * (double)values[i];
    const float scale = squares > 0 ? (float)(1 / sqrt(squares)) : 1;
    for (size_t i = 0; i < dim; i++)
        values[i] *= scale;
}

void cache_ask(pipeline *p, cache_pause *pause, slot *const *slots, size_t n)
{
    kd_cache_entry entries[KD_EMBEDDER_CACHE_TRIP];
    kd_error err = KD_ERROR_INIT;
    if (n == 0 || !p->lookup_store || kd_mono_ms() < pause->again_ms)
        return;
    for (size_t i = 0; i < n; i++)
        entries[i] = entry_of(slots[i]);
    kd_counter_add(p->cache_trips, 1);
    if (kd_cache_get(p->lookup_store, p->cache_form, entries, n, &err) != KD_OK) {
        if (pause->again_ms == 0)
            kd_log_error(KD_LOG_WARN, "cache_lost", &err);
        pause->again_ms = kd_mono_ms() + PAUSE_MS;
        kd_counter_add(p->cache_errors, 1);
        return;
    }
    if (pause->again_ms != 0) {
        pause->again_ms = 0;
        KD_LOG(KD_LOG_INFO, "cache_back", KD_STR("redis", p->redis));
    }
    for (size_t i = 0; i < n; i++) {
        if (!entries[i].found)
            continue;
        if (p->cache_form == KD_CACHE_FLOAT16)
            normalise(slots[i]->values, entries[i].dim);
        slots[i]->cached = true;
        kd_counter_add(p->cached_total, 1);
    }
}

/* ---- The writer ---- */

typedef struct write_trip {
    kd_cache_entry entries[KD_EMBEDDER_CACHE_TRIP];
    request *requests[KD_EMBEDDER_CACHE_TRIP];
    size_t n, n_requests;
} write_trip;

/* What the request has computed itself. */
static void add(write_trip *trip, request *r)
{
    trip->requests[trip->n_requests++] = r;
    for (size_t i = 0; i < r->n; i++) {
        slot *const s = &r->slots[i];
        if (s->problem.status == KD_OK && !s->cached && !s->shared)
            trip->entries[trip->n++] = entry_of(s);
    }
}

static void write_all(pipeline *p, cache_pause *pause, write_trip *trip)
{
    kd_error err = KD_ERROR_INIT;
    /* A silent Redis would otherwise hold up what waits here, and with it the end of the process,
     * by a time-out for each trip. */
    if (kd_mono_ms() >= pause->again_ms) {
        kd_counter_add(p->cache_trips, 1);
        if (kd_cache_put(p->writer_store, p->cache_form, trip->entries, trip->n,
                KD_EMBEDDER_CACHE_TTL_S, &err) != KD_OK) {
            kd_counter_add(p->cache_errors, 1); /* the look-up side says so in the log */
            pause->again_ms = kd_mono_ms() + PAUSE_MS;
        }
    }
    for (size_t i = 0; i < trip->n_requests; i++)
        request_free(trip->requests[i]);
}

void *writer_main(void *arg)
{
    pipeline *const p = arg;
    cache_pause pause = {0};
    request *r;
    while ((r = kd_queue_pop(p->cache_writes, -1)) != NULL) {
        write_trip trip = {.n = 0};
        add(&trip, r);
        while (trip.n + KD_EMBEDDER_MAX_REQUEST_IMAGES <= KD_EMBEDDER_CACHE_TRIP &&
               (r = kd_queue_pop(p->cache_writes, 0)) != NULL)
            add(&trip, r);
        write_all(p, &pause, &trip);
    }
    return NULL;
}
