/* Decoding, the way in, and the pipeline's life. */
#include "services/embedder/pipeline.h"

#include <stdlib.h>

#include "lib/base/log.h"
#include "services/embedder/service.h"

#define CACHE_TIMEOUT_MS 100  /* a look-up that takes longer costs more than it saves */
#define CACHE_WRITE_QUEUE 256 /* requests; more are answered without being cached */
/* Requests that may wait for their look-up, and images for their decoding: all there can be. */
#define PLACES (KD_EMBEDDER_MAX_IMAGES + KD_EMBEDDER_MAX_STREAMS * KD_EMBEDDER_STREAM_IMAGES)

/* ---- The way in ---- */

/* Makes the message's request. */
static kd_status make_request(pipeline *p, kd_call *call, const Kindred__V1__EmbedRequest *message,
    request **out, kd_error *err)
{
    const size_t n_images = message->n_images, n = n_images + message->n_pixels;
    *out = NULL;
    if (n == 0 || n > KD_EMBEDDER_MAX_REQUEST_IMAGES) {
        (void)kd_error_set(err, KD_INVALID_ARGUMENT,
            "the request has %zu images, allowed are 1 to %u", n, KD_EMBEDDER_MAX_REQUEST_IMAGES);
        return KD_INVALID_ARGUMENT;
    }
    const kd_status status = request_new(out, p, call, n, message->vector_format, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        slot *const s = &(*out)->slots[i];
        if (i < n_images) {
            s->bytes = message->images[i].data;
            s->len = message->images[i].len;
        } else {
            s->pixels = message->pixels[i - n_images];
        }
    }
    return pipeline_find_model(p, message->model, &(*out)->model, err);
}

/* How long images that come now would wait for n of unary calls before them. */
static int64_t wait_ms(pipeline *p, int n)
{
    const int parked = atomic_load(&p->parked), streamed = atomic_load(&p->streamed);
    const int between = n / 3 + (int)(KD_EMBEDDER_BATCHES * KD_EMBEDDER_MAX_BATCH);
    const int ahead = n - (parked < n ? parked : n) + (streamed < between ? streamed : between);
    return ahead * atomic_load(&p->image_ns) / 1000000;
}

/* Takes n images in, or says why not. */
static kd_status admit(pipeline *p, int n, kd_error *err)
{
    const int before = atomic_fetch_add(&p->images, n);
    const int64_t wait = wait_ms(p, before);
    kd_gauge_add(p->queued, n);
    if (before + n > KD_EMBEDDER_MAX_IMAGES)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "%d images are in work already; try again later", KD_EMBEDDER_MAX_IMAGES);
    if (before >= KD_EMBEDDER_UNSHED && wait > p->max_wait_ms)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the images would wait for %.1f s, the limit is %.1f; try again later",
            (double)wait / 1000, (double)p->max_wait_ms / 1000);
    return KD_OK;
}

void pipeline_embed(pipeline *p, kd_call *call, const Kindred__V1__EmbedRequest *message)
{
    kd_error err = KD_ERROR_INIT;
    request *r = NULL;
    if (make_request(p, call, message, &r, &err) != KD_OK) {
        kd_call_fail(call, &err);
        request_free(r);
        return;
    }
    const int n = (int)r->n;
    kd_status status = admit(p, n, &err);
    if (status == KD_OK && kd_queue_try_push(p->lookups, r))
        return;
    if (status == KD_OK) /* the counts leave room */
        status = kd_error_set(&err, KD_UNAVAILABLE, "the embedder is shutting down");
    if (status == KD_RESOURCE_EXHAUSTED)
        kd_counter_add(p->shed_total, (uint64_t)n);
    atomic_fetch_sub(&p->images, n);
    kd_gauge_add(p->queued, -n);
    kd_call_fail(call, &err);
    request_free(r);
}

/* ---- Orders about models ---- */

kd_status pipeline_find_model(pipeline *p, const char *name, kd_model *out, kd_error *err)
{
    const kd_status status = kd_models_find(p->models_dir, name, out, err);
    if (status == KD_OK)
        model_set_stand_in(p->models, name, out);
    return status;
}

typedef struct load_order {
    model_wait wait;
    pipeline *p;
    kd_call *call;
    kd_model model;
} load_order;

static void on_loaded(model_wait *wait, served_model *model, const kd_error *why)
{
    load_order *const o = wait->arg;
    if (model) {
        service_reply_loaded(o->call, &o->model);
        model_set_release(o->p->models, model);
    } else {
        kd_call_fail(o->call, why);
    }
    kd_model_clear(&o->model);
    free(o);
}

void pipeline_load(pipeline *p, kd_call *call, const char *model)
{
    kd_error err = KD_ERROR_INIT;
    served_model *served = NULL;
    load_order *const o = calloc(1, sizeof *o);
    kd_status status = o ? kd_models_find(p->models_dir, model, &o->model, &err)
                         : kd_error_memory(&err, "a request");
    if (status == KD_OK) {
        o->wait.done = on_loaded;
        o->wait.arg = o;
        o->p = p;
        o->call = call;
        status = model_set_use(p->models, &o->model, &o->wait, &served, &err);
        if (status == KD_OK && !served)
            return; /* it waits */
    }
    if (status == KD_OK) {
        on_loaded(&o->wait, served, &err);
        return;
    }
    kd_call_fail(call, &err);
    if (o)
        kd_model_clear(&o->model);
    free(o);
}

/* Also of a model that the registry has no longer. */
void pipeline_unload(pipeline *p, kd_call *call, const char *model)
{
    kd_error err = KD_ERROR_INIT;
    if (model_set_unload(p->models, model)) {
        service_reply_unloaded(call);
        return;
    }
    (void)kd_error_set(&err, KD_NOT_FOUND, "model '%s' is not in memory", model);
    kd_call_fail(call, &err);
}

/* ---- Life ---- */

static void make_metrics(pipeline *p, kd_metrics *m)
{
    p->images_total = kd_metrics_counter(m, "kindred_embed_images_total", "", "Images taken");
    p->cached_total =
        kd_metrics_counter(m, "kindred_embed_cache_hits_total", "", "Images found in the cache");
    p->shared_total = kd_metrics_counter(m, "kindred_embed_shared_total", "",
        "Images that got the result of the same image, which was in work already");
    p->computed_total = kd_metrics_counter(
        m, "kindred_embed_computed_total", "", "Images that went through the forward");
    p->dropped_total = kd_metrics_counter(m, "kindred_embed_dropped_total", "",
        "Images whose clients had gone or whose deadlines had passed before they were computed");
    p->broken_total =
        kd_metrics_counter(m, "kindred_embed_broken_total", "", "Images that could not be decoded");
    p->cache_errors = kd_metrics_counter(
        m, "kindred_embed_cache_errors_total", "", "Cache look-ups and writes that failed");
    p->cache_trips = kd_metrics_counter(m, "kindred_embed_cache_trips_total", "",
        "Round trips to Redis, each for the images of all requests that waited");
    p->shed_total = kd_metrics_counter(
        m, "kindred_embed_shed_total", "", "Images that were refused, as too many were in work");
    p->batches_total = kd_metrics_counter(m, "kindred_embed_batches_total", "", "Forward passes");
    p->forward_seconds =
        kd_metrics_histogram(m, "kindred_embed_forward_seconds", "", "Time of one forward pass");
    p->batch_images =
        kd_metrics_sizes(m, "kindred_embed_batch_images", "", "Images of one forward pass");
    p->queued = kd_metrics_gauge(m, "kindred_embed_queue_images", "", "Images in all stages");
}

static kd_status start_thread(pthread_t *thread, bool *started, void *(*run)(void *), pipeline *p,
    const char *name, kd_error *err)
{
    if (pthread_create(thread, NULL, run, p) != 0)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the %s thread", name);
    (void)pthread_setname_np(*thread, name);
    *started = true;
    return KD_OK;
}

kd_status pipeline_new(
    pipeline **out, char *models_dir, const pipeline_options *options, kd_error *err)
{
    const char *const redis = options->redis;
    *out = NULL;
    pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        free(models_dir);
        return kd_error_memory(err, "the pipeline");
    }
    p->models_dir = models_dir;
    p->redis = redis;
    p->cache_form = options->cache_form;
    p->precision = options->precision;
    p->max_wait_ms = options->max_wait_ms;
    pthread_mutex_init(&p->streams_mutex, NULL);
    make_metrics(p, options->metrics);
    kd_status status = kd_pool_new(&p->decoders, "decode", options->threads, PLACES, err);
    if (status == KD_OK)
        status = flights_new(&p->flights, err);
    if (status == KD_OK)
        status = kd_queue_new(&p->lookups, PLACES, err);
    if (status == KD_OK)
        status = kd_queue_new(&p->urgent, PLACES, err);
    if (status == KD_OK)
        status = kd_queue_new(&p->bulk, PLACES, err);
    if (status == KD_OK)
        status = batches_new(&p->batches, err);
    if (status == KD_OK)
        status = model_set_new(&p->models,
            &(model_set_options){.dir = models_dir,
                .precision = options->precision,
                .memory = options->model_memory,
                .max_batch = KD_EMBEDDER_MAX_BATCH,
                .metrics = options->metrics},
            err);
    if (status == KD_OK)
        status = kd_queue_new(&p->cache_writes, CACHE_WRITE_QUEUE, err);
    if (status == KD_OK && redis)
        status = kd_store_open(&p->lookup_store, redis, CACHE_TIMEOUT_MS, err);
    if (status == KD_OK && redis)
        status = kd_store_open(&p->writer_store, redis, CACHE_TIMEOUT_MS * 10, err);
    if (status == KD_OK)
        status = start_thread(&p->lookup_thread, &p->lookup_started, lookup_main, p, "lookup", err);
    if (status == KD_OK)
        status =
            start_thread(&p->runner_thread, &p->runner_started, runner_main, p, "forward", err);
    if (status == KD_OK && redis)
        status = start_thread(
            &p->writer_thread, &p->writer_started, writer_main, p, "cache-writer", err);
    if (status != KD_OK)
        pipeline_free(p);
    else
        *out = p;
    return status;
}

void pipeline_drain(pipeline *p)
{
    streams_drain(p);
}

/* Stage by stage, in the order of the flow: each drains what it has. */
void pipeline_free(pipeline *p)
{
    if (!p)
        return;
    if (p->lookups)
        kd_queue_close(p->lookups);
    if (p->lookup_started)
        pthread_join(p->lookup_thread, NULL);
    if (p->models)
        model_set_close(p->models);
    kd_pool_free(p->decoders);
    if (p->batches)
        batches_close(p->batches);
    if (p->runner_started)
        pthread_join(p->runner_thread, NULL);
    if (p->cache_writes)
        kd_queue_close(p->cache_writes);
    if (p->writer_started)
        pthread_join(p->writer_thread, NULL);
    model_set_free(p->models);
    batches_free(p->batches);
    flights_free(p->flights);
    kd_queue_free(p->lookups);
    kd_queue_free(p->urgent);
    kd_queue_free(p->bulk);
    kd_queue_free(p->cache_writes);
    kd_store_close(p->lookup_store);
    kd_store_close(p->writer_store);
    pthread_mutex_destroy(&p->streams_mutex);
    free(p->models_dir);
    free(p);
}
