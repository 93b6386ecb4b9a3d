/* Look-up: what images are, whether the same ones are in work, whether the cache has them. All
 * requests that wait are looked up together, with one trip to the cache; a lone one does not wait
 * for company. */
#include <stdio.h>

#include "services/embedder/pipeline.h"

typedef struct lookup {
    pipeline *p;
    cache_pause pause;
    request *requests[KD_EMBEDDER_CACHE_TRIP];
    slot *unknown[KD_EMBEDDER_CACHE_TRIP]; /* the cache is asked for */
    size_t n_requests, n_unknown, n_images;
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

/* bfloat16 gives other values than float32. */
static void name_for_cache(request *r)
{
    (void)snprintf(r->cache_model, sizeof r->cache_model, "%s%s", r->model.id,
        r->pipeline->precision == KD_PRECISION_BFLOAT16 ? ":bf16" : "");
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

/* ---- An image that nobody knows ---- */

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

/* By the loader. */
static void on_model(model_wait *wait, served_model *model, const kd_error *why)
{
    slot *const s = wait->arg;
    atomic_fetch_sub(&s->owner->pipeline->parked, 1);
    s->served = model;
    if (model)
        decode_submit(s);
    else
        pipeline_land(s, why);
}

/* It is decoded once its model is there, unless the same one began meanwhile. */
static void begin(slot *s)
{
    pipeline *const p = s->owner->pipeline;
    served_model *served;
    kd_error err = KD_ERROR_INIT;
    if (join(s, flights_begin, false))
        return;
    s->wait.done = on_model;
    s->wait.arg = s;
    atomic_fetch_add(&p->parked, 1); /* before: it may be told at once */
    const kd_status status = model_set_use(p->models, &s->owner->model, &s->wait, &served, &err);
    if (status == KD_OK && !served)
        return;
    atomic_fetch_sub(&p->parked, 1);
    s->served = served;
    if (status == KD_OK)
        decode_submit(s);
    else
        pipeline_land(s, &err);
}

/* ---- All that waits ---- */

static void take_in(lookup *l, request *r)
{
    pipeline *const p = l->p;
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
    name_for_cache(r);
    /* Counted before the first goes on, so that the request can't end under our hands: one more for
     * ourselves. */
    atomic_store(&r->pending, r->n + 1);
    kd_counter_add(p->images_total, r->n);
    l->requests[l->n_requests++] = r;
    l->n_images += r->n;
    for (size_t i = 0; i < r->n; i++)
        if (!join(&r->slots[i], flights_join, true))
            l->unknown[l->n_unknown++] = &r->slots[i];
}

static void let_out(lookup *l)
{
    cache_ask(l->p, &l->pause, l->unknown, l->n_unknown);
    for (size_t i = 0; i < l->n_unknown; i++) {
        slot *const s = l->unknown[i];
        if (s->cached)
            pipeline_slot_done(s);
        else
            begin(s);
    }
    for (size_t i = 0; i < l->n_requests; i++) {
        request *const r = l->requests[i];
        if (atomic_fetch_sub(&r->pending, 1) == 1)
            request_finish(r);
    }
    l->n_requests = l->n_unknown = l->n_images = 0;
}

void *lookup_main(void *arg)
{
    lookup l = {.p = arg};
    request *r;
    while ((r = kd_queue_pop(l.p->lookups, -1)) != NULL) {
        take_in(&l, r);
        while (l.n_images + KD_EMBEDDER_MAX_REQUEST_IMAGES <= KD_EMBEDDER_CACHE_TRIP &&
               (r = kd_queue_pop(l.p->lookups, 0)) != NULL)
            take_in(&l, r);
        let_out(&l);
    }
    return NULL;
}
