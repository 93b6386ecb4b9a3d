/* Look-up: what an image is, whether the same one is in work, whether the cache has it. And the
 * cache's writer, which is out of the way of answers. Redis that fails costs each of the two one
 * time-out, then it is left alone for a while. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "services/embedder/pipeline.h"

#define CACHE_PAUSE_MS 1000

typedef uint8_t keys[KD_EMBEDDER_MAX_REQUEST_IMAGES][KD_SHA256_BYTES];

typedef struct lookup {
    pipeline *p;
    int64_t cache_again_ms; /* the cache failed: not before this time */
} lookup;

/* ---- What an image is ---- */

/* Of pixels the complement of the digest of their size and bytes: no encoded image can be made that
 * has the same. */
static kd_status hash_pixels(
    const Kindred__V1__Pixels *pixels, uint8_t sha256[KD_SHA256_BYTES], kd_error *err)
{
    kd_hasher *hasher;
    const uint32_t size[2] = {pixels->width, pixels->height};
    const kd_status status = kd_hasher_new(&hasher, err);
    if (status != KD_OK)
        return status;
    kd_hasher_update(hasher, size, sizeof size);
    kd_hasher_update(hasher, pixels->rgb.data, pixels->rgb.len);
    kd_hasher_finish(hasher, sha256);
    for (size_t i = 0; i < KD_SHA256_BYTES; i++)
        sha256[i] = (uint8_t)~sha256[i];
    return KD_OK;
}

static kd_status hash(request *r, kd_error *err)
{
    kd_status status = KD_OK;
    for (size_t i = 0; i < r->n && status == KD_OK; i++) {
        slot *const s = &r->slots[i];
        status = s->pixels ? hash_pixels(s->pixels, s->sha256, err)
                           : kd_sha256(s->bytes, s->len, s->sha256, err);
        s->flight.model = r->model.id;
        s->flight.sha256 = s->sha256;
    }
    return status;
}

/* ---- The cache ---- */

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

/* Fills those of the slots that the cache knows, and marks them cached. */
static void ask_cache(lookup *l, const char *model, size_t dim, slot *const *slots, size_t n)
{
    pipeline *const p = l->p;
    keys of;
    bool found[KD_EMBEDDER_MAX_REQUEST_IMAGES];
    kd_error err = KD_ERROR_INIT;
    if (n == 0 || kd_mono_ms() < l->cache_again_ms)
        return;
    float *const vectors = malloc(n * dim * sizeof *vectors);
    if (!vectors)
        return;
    for (size_t i = 0; i < n; i++)
        memcpy(of[i], slots[i]->sha256, KD_SHA256_BYTES);
    if (kd_cache_get(p->lookup_store, p->cache_form, model, n,
            (const uint8_t(*)[KD_SHA256_BYTES])of, dim, vectors, found, &err) != KD_OK) {
        memset(found, 0, sizeof found);
        if (l->cache_again_ms == 0)
            kd_log_error(KD_LOG_WARN, "cache_lost", &err);
        l->cache_again_ms = kd_mono_ms() + CACHE_PAUSE_MS;
        kd_counter_add(p->cache_errors, 1);
    } else if (l->cache_again_ms != 0) {
        l->cache_again_ms = 0;
        KD_LOG(KD_LOG_INFO, "cache_back", KD_STR("redis", p->redis));
    }
    for (size_t i = 0; i < n; i++) {
        if (!found[i])
            continue;
        memcpy(slots[i]->values, vectors + i * dim, dim * sizeof *vectors);
        if (p->cache_form == KD_CACHE_FLOAT16)
            normalise(slots[i]->values, dim);
        slots[i]->cached = true;
        kd_counter_add(p->cached_total, 1);
    }
    free(vectors);
}

/* ---- The look-up ---- */

/* Joins the same image, if it is in work. Afterwards the slot may be done. */
static bool join(slot *s, bool (*by)(flights *f, flight *one), bool joined_is)
{
    pipeline *const p = s->owner->pipeline;
    s->shared = true; /* before: it may be landed at once */
    if (by(p->flights, &s->flight) != joined_is) {
        s->shared = false;
        return false;
    }
    kd_counter_add(p->shared_total, 1);
    return true;
}

/* An image that nobody knows: it is decoded, unless the same one began meanwhile. */
static void begin(slot *s)
{
    pipeline *const p = s->owner->pipeline;
    if (join(s, flights_begin, false))
        return;
    atomic_fetch_add(&p->decoding, 1);
    if (!kd_pool_try_run(p->decoders, decode_task, s)) { /* no memory: the counts leave room */
        atomic_fetch_sub(&p->decoding, 1);
        (void)kd_error_set(&s->problem, KD_RESOURCE_EXHAUSTED, "too many images wait already");
        pipeline_land(s, NULL);
    }
}

static void lookup_request(lookup *l, request *r)
{
    pipeline *const p = l->p;
    slot *unknown[KD_EMBEDDER_MAX_REQUEST_IMAGES];
    size_t n = 0;
    if (kd_call_cancelled(r->call)) {
        kd_counter_add(p->dropped_total, r->n);
        (void)kd_error_set(&r->error, KD_CANCELLED, "the client has gone");
        request_finish(r);
        return;
    }
    if (hash(r, &r->error) != KD_OK) {
        request_finish(r);
        return;
    }
    /* Counted before the first goes on, so that the request can't end under our hands: one more for
     * ourselves. */
    atomic_store(&r->pending, r->n + 1);
    kd_counter_add(p->images_total, r->n);
    for (size_t i = 0; i < r->n; i++)
        if (!join(&r->slots[i], flights_join, true))
            unknown[n++] = &r->slots[i];
    ask_cache(l, r->model.id, r->model.dim, unknown, n);
    for (size_t i = 0; i < n; i++) {
        if (unknown[i]->cached)
            pipeline_slot_done(unknown[i]);
        else
            begin(unknown[i]);
    }
    if (atomic_fetch_sub(&r->pending, 1) == 1)
        request_finish(r);
}

void *lookup_main(void *arg)
{
    lookup l = {arg, 0};
    request *r;
    while ((r = kd_queue_pop(l.p->lookups, -1)) != NULL)
        lookup_request(&l, r);
    return NULL;
}

/* ---- The writer ---- */

/* *again_ms: as for look-ups. A silent Redis would otherwise hold up what waits here, and with it
 * the end of the process, by a time-out for each request. */
static void write_cache(pipeline *p, const request *r, int64_t *again_ms)
{
    const size_t dim = r->model.dim;
    keys of;
    size_t n = 0;
    kd_error err = KD_ERROR_INIT;
    if (kd_mono_ms() < *again_ms)
        return;
    float *const vectors = malloc(r->n * dim * sizeof *vectors);
    if (!vectors)
        return;
    for (size_t i = 0; i < r->n; i++) {
        const slot *const s = &r->slots[i];
        if (s->problem.status != KD_OK || s->cached || s->shared)
            continue;
        memcpy(of[n], s->sha256, KD_SHA256_BYTES);
        memcpy(vectors + n * dim, s->values, dim * sizeof *vectors);
        n++;
    }
    if (n > 0 && kd_cache_put(p->writer_store, p->cache_form, r->model.id, n,
                     (const uint8_t(*)[KD_SHA256_BYTES])of, dim, vectors, KD_EMBEDDER_CACHE_TTL_S,
                     &err) != KD_OK) {
        kd_counter_add(p->cache_errors, 1); /* the look-up side says so in the log */
        *again_ms = kd_mono_ms() + CACHE_PAUSE_MS;
    }
    free(vectors);
}

void *writer_main(void *arg)
{
    pipeline *const p = arg;
    int64_t again_ms = 0;
    request *r;
    while ((r = kd_queue_pop(p->cache_writes, -1)) != NULL) {
        write_cache(p, r, &again_ms);
        request_free(r);
    }
    return NULL;
}
