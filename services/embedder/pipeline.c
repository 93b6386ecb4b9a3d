/* Decoding, the way in, and the pipeline's life. */
#include "services/embedder/pipeline.h"

#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/image/image.h"

#define CACHE_TIMEOUT_MS 100  /* a look-up that takes longer costs more than it saves */
#define CACHE_WRITE_QUEUE 256 /* requests; more are answered without being cached */
/* Requests that may wait for their look-up, and images for their decoding: all there can be. */
#define PLACES (KD_EMBEDDER_MAX_IMAGES + KD_EMBEDDER_MAX_STREAMS * KD_EMBEDDER_STREAM_IMAGES)

/* ---- Decode ---- */

/* Pixels come as the client says: they have no header that a decoder would check. */
static kd_status preprocess_pixels(
    const kd_preprocess *preprocess, const Kindred__V1__Pixels *pixels, float *input, kd_error *err)
{
    const uint32_t width = pixels->width, height = pixels->height;
    const size_t len = pixels->rgb.len;
    if (width == 0 || height == 0 || width > KD_IMAGE_MAX_SIDE || height > KD_IMAGE_MAX_SIDE)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the pixels are %u × %u, each side is 1 to %u", width, height, KD_IMAGE_MAX_SIDE);
    if (len != (size_t)width * height * 3)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the pixels have %zu bytes, %u × %u × 3 are %zu", len, width, height,
            (size_t)width * height * 3);
    if (len > KD_IMAGE_MAX_BYTES)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the pixels have %zu bytes, the limit is %u", len, KD_IMAGE_MAX_BYTES);
    const kd_image image = {pixels->rgb.data, width, height};
    return kd_preprocess_image(preprocess, &image, input, err);
}

static kd_status decode(slot *s, kd_error *err)
{
    const kd_preprocess *const preprocess = &s->owner->model.preprocess;
    const size_t side = preprocess->image_size;
    s->input = malloc(side * side * 3 * sizeof *s->input);
    if (!s->input)
        return kd_error_memory(err, "an image");
    return s->pixels ? preprocess_pixels(preprocess, s->pixels, s->input, err)
                     : kd_preprocess_run(preprocess, s->bytes, s->len, s->input, err);
}

void decode_task(void *first)
{
    slot *const s = first;
    pipeline *const p = s->owner->pipeline;
    work *w = NULL;
    if (pipeline_wanted(s) && decode(s, &s->problem) == KD_OK) {
        s->problem.status = KD_OK;
        w = calloc(1, sizeof *w);
        if (!w)
            (void)kd_error_memory(&s->problem, "an image");
    }
    if (!w) {
        atomic_fetch_sub(&p->decoding, 1);
        pipeline_land(s, NULL);
        return;
    }
    w->type = WORK_IMAGE;
    w->image = s;
    /* Waits when the forward is behind: that is what bounds the memory of decoded images. Counted
     * as decoding until it is in the queue, so that the runner knows that more is coming. */
    const bool pushed = kd_queue_push(p->ready, w);
    atomic_fetch_sub(&p->decoding, 1);
    if (!pushed) {
        free(w);
        (void)kd_error_set(&s->problem, KD_UNAVAILABLE, "the embedder is shutting down");
        pipeline_land(s, NULL);
    }
}

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
    return kd_models_find(p->models_dir, message->model, &(*out)->model, err);
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
    kd_gauge_add(p->queued, n);
    if (atomic_fetch_add(&p->images, n) + n > KD_EMBEDDER_MAX_IMAGES ||
        !kd_queue_try_push(p->lookups, r)) {
        atomic_fetch_sub(&p->images, n);
        kd_gauge_add(p->queued, -n);
        (void)kd_error_set(&err, KD_RESOURCE_EXHAUSTED,
            "%d images are in work already; try again later", KD_EMBEDDER_MAX_IMAGES);
        kd_call_fail(call, &err);
        request_free(r);
    }
}

/* Hands an order about a model to the runner. */
static void order(pipeline *p, kd_call *call, const char *model, int type)
{
    kd_error err = KD_ERROR_INIT;
    work *const w = calloc(1, sizeof *w);
    if (!w) {
        (void)kd_error_memory(&err, "a request");
    } else {
        w->type = type == WORK_LOAD ? WORK_LOAD : WORK_UNLOAD;
        w->call = call;
        if (kd_models_find(p->models_dir, model, &w->model, &err) == KD_OK) {
            if (kd_queue_try_push(p->ready, w))
                return;
            (void)kd_error_set(
                &err, KD_RESOURCE_EXHAUSTED, "the embedder is busy; try again later");
        }
        kd_model_clear(&w->model);
        free(w);
    }
    kd_call_fail(call, &err);
}

void pipeline_load(pipeline *p, kd_call *call, const char *model)
{
    order(p, call, model, WORK_LOAD);
}

void pipeline_unload(pipeline *p, kd_call *call, const char *model)
{
    order(p, call, model, WORK_UNLOAD);
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
    p->batches_total = kd_metrics_counter(m, "kindred_embed_batches_total", "", "Forward passes");
    p->forward_seconds =
        kd_metrics_histogram(m, "kindred_embed_forward_seconds", "", "Time of one forward pass");
    p->queued = kd_metrics_gauge(m, "kindred_embed_queue_images", "", "Images in all stages");
    p->models = kd_metrics_gauge(m, "kindred_embed_models", "", "Models in memory");
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
    pthread_mutex_init(&p->mutex, NULL);
    pthread_mutex_init(&p->streams_mutex, NULL);
    make_metrics(p, options->metrics);
    kd_status status = kd_pool_new(&p->decoders, "decode", options->threads, PLACES, err);
    if (status == KD_OK)
        status = flights_new(&p->flights, err);
    if (status == KD_OK)
        status = kd_queue_new(&p->lookups, PLACES, err);
    if (status == KD_OK)
        status = kd_queue_new(&p->ready, KD_EMBEDDER_MAX_DECODED, err);
    if (status == KD_OK)
        status = kd_queue_new(&p->cache_writes, CACHE_WRITE_QUEUE, err);
    if (status == KD_OK)
        status = kd_store_open(&p->lookup_store, redis, CACHE_TIMEOUT_MS, err);
    if (status == KD_OK)
        status = kd_store_open(&p->writer_store, redis, CACHE_TIMEOUT_MS * 10, err);
    if (status == KD_OK)
        status = start_thread(&p->lookup_thread, &p->lookup_started, lookup_main, p, "lookup", err);
    if (status == KD_OK)
        status =
            start_thread(&p->runner_thread, &p->runner_started, runner_main, p, "forward", err);
    if (status == KD_OK)
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
    kd_pool_free(p->decoders);
    if (p->ready)
        kd_queue_close(p->ready);
    if (p->runner_started)
        pthread_join(p->runner_thread, NULL);
    if (p->cache_writes)
        kd_queue_close(p->cache_writes);
    if (p->writer_started)
        pthread_join(p->writer_thread, NULL);
    runner_unload_all(p);
    flights_free(p->flights);
    kd_queue_free(p->lookups);
    kd_queue_free(p->ready);
    kd_queue_free(p->cache_writes);
    kd_store_close(p->lookup_store);
    kd_store_close(p->writer_store);
    pthread_mutex_destroy(&p->streams_mutex);
    pthread_mutex_destroy(&p->mutex);
    free(p->models_dir);
    free(p);
}
