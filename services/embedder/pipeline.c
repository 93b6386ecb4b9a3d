#include "services/embedder/pipeline.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/image/image.h"

#define CACHE_TIMEOUT_MS 100 /* a look-up that takes longer costs more than it saves */
#define CACHE_PAUSE_MS 1000  /* after a failure the cache is left alone for so long */
#define LOOKUP_QUEUE 512
#define CACHE_WRITE_QUEUE 256 /* requests; more are answered without being cached */

/* ---- The way out ---- */

static void request_free(request *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->slots[i].pixels);
    kd_model_clear(&r->model);
    free(r);
}

static void send_answer(request *r)
{
    Kindred__V1__EmbedResponse response = KINDRED__V1__EMBED_RESPONSE__INIT;
    Kindred__V1__Embedding embeddings[KD_EMBEDDER_MAX_REQUEST_IMAGES];
    Kindred__V1__Embedding *list[KD_EMBEDDER_MAX_REQUEST_IMAGES];
    Kindred__V1__Problem problems[KD_EMBEDDER_MAX_REQUEST_IMAGES];
    for (size_t i = 0; i < r->n; i++) {
        slot *const s = &r->slots[i];
        list[i] = &embeddings[i];
        kindred__v1__embedding__init(&embeddings[i]);
        if (s->problem.status == KD_OK) {
            embeddings[i].n_values = r->model.dim;
            embeddings[i].values = s->values;
            embeddings[i].cached = s->cached;
        } else {
            kindred__v1__problem__init(&problems[i]);
            problems[i].code = (uint32_t)s->problem.status;
            problems[i].message = s->problem.message;
            embeddings[i].problem = &problems[i];
        }
    }
    response.model_id = r->model.id;
    response.dim = r->model.dim;
    response.n_embeddings = r->n;
    response.embeddings = list;
    kd_call_reply(r->call, &response.base);
}

/* The request is over: answers it and hands it to the cache writer, if there is anything new. */
static void request_finish(request *r)
{
    pipeline *const p = r->pipeline;
    bool fresh = false;
    if (r->error.status != KD_OK) {
        kd_call_fail(r->call, &r->error);
    } else {
        for (size_t i = 0; i < r->n; i++)
            fresh = fresh || (r->slots[i].problem.status == KD_OK && !r->slots[i].cached);
        send_answer(r);
    }
    atomic_fetch_sub(&p->images, (int)r->n);
    if (!fresh || !kd_queue_try_push(p->cache_writes, r))
        request_free(r);
}

void pipeline_slot_done(slot *s)
{
    request *const r = s->owner;
    if (s->problem.status == KD_INVALID_ARGUMENT)
        kd_counter_add(r->pipeline->broken_total, 1);
    if (atomic_fetch_sub(&r->pending, 1) == 1)
        request_finish(r);
}

/* Fails the request before any of its slots went on. */
static void request_fail(request *r)
{
    atomic_store(&r->pending, 0);
    request_finish(r);
}

/* ---- Decode ---- */

static void decode_slot(slot *s)
{
    request *const r = s->owner;
    const kd_preprocess *const preprocess = &r->model.preprocess;
    const size_t side = preprocess->image_size;
    if (kd_call_cancelled(r->call)) {
        (void)kd_error_set(&s->problem, KD_CANCELLED, "the client has gone");
        return;
    }
    s->pixels = malloc(side * side * 3 * sizeof *s->pixels);
    if (!s->pixels)
        (void)kd_error_memory(&s->problem, "an image");
    else if (kd_preprocess_run(preprocess, s->bytes, s->len, s->pixels, &s->problem) == KD_OK)
        s->problem.status = KD_OK;
}

static void decode_task(void *arg)
{
    slot *const s = arg;
    pipeline *const p = s->owner->pipeline;
    decode_slot(s);
    work *const w = s->problem.status == KD_OK ? calloc(1, sizeof *w) : NULL;
    if (!w) {
        if (s->problem.status == KD_OK)
            (void)kd_error_memory(&s->problem, "an image");
        atomic_fetch_sub(&p->decoding, 1);
        pipeline_slot_done(s);
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
        pipeline_slot_done(s);
    }
}

/* ---- Look-up ---- */

typedef struct lookup {
    pipeline *p;
    int64_t cache_again_ms; /* the cache failed: not before this time */
} lookup;

/* Fills the slots that the cache knows; found[i], false before, tells. A cache that fails costs one
 * time-out, then it is left alone for a while. */
static void ask_cache(lookup *l, request *r, bool *found)
{
    pipeline *const p = l->p;
    const size_t dim = r->model.dim;
    uint8_t keys[KD_EMBEDDER_MAX_REQUEST_IMAGES][KD_SHA256_BYTES];
    kd_error err = KD_ERROR_INIT;
    if (r->n == 0 || kd_mono_ms() < l->cache_again_ms)
        return;
    float *const vectors = malloc(r->n * dim * sizeof *vectors);
    if (!vectors)
        return;
    for (size_t i = 0; i < r->n; i++)
        memcpy(keys[i], r->slots[i].sha256, KD_SHA256_BYTES);
    if (kd_cache_get(p->lookup_store, KD_CACHE_FLOAT32, r->model.id, r->n, (const uint8_t(*)[KD_SHA256_BYTES])keys,
            dim, vectors, found, &err) != KD_OK) {
        memset(found, 0, r->n * sizeof *found);
        if (l->cache_again_ms == 0)
            kd_log_error(KD_LOG_WARN, "cache_lost", &err);
        l->cache_again_ms = kd_mono_ms() + CACHE_PAUSE_MS;
        kd_counter_add(p->cache_errors, 1);
    } else if (l->cache_again_ms != 0) {
        l->cache_again_ms = 0;
        KD_LOG(KD_LOG_INFO, "cache_back", KD_STR("redis", p->redis));
    }
    for (size_t i = 0; i < r->n; i++)
        if (found[i])
            memcpy(r->slots[i].values, vectors + i * dim, dim * sizeof *vectors);
    free(vectors);
}

static void lookup_request(lookup *l, request *r)
{
    pipeline *const p = l->p;
    bool found[KD_EMBEDDER_MAX_REQUEST_IMAGES] = {false};
    if (kd_call_cancelled(r->call)) {
        (void)kd_error_set(&r->error, KD_CANCELLED, "the client has gone");
        request_fail(r);
        return;
    }
    for (size_t i = 0; i < r->n; i++) {
        if (kd_sha256(r->slots[i].bytes, r->slots[i].len, r->slots[i].sha256, &r->error) != KD_OK) {
            request_fail(r);
            return;
        }
    }
    ask_cache(l, r, found);
    /* Counted before the first goes on, so that the request can't end under our hands: one more for
     * ourselves. */
    atomic_store(&r->pending, r->n + 1);
    kd_counter_add(p->images_total, r->n);
    for (size_t i = 0; i < r->n; i++) {
        slot *const s = &r->slots[i];
        if (found[i]) {
            s->cached = true;
            kd_counter_add(p->cached_total, 1);
            pipeline_slot_done(s);
            continue;
        }
        atomic_fetch_add(&p->decoding, 1);
        if (!kd_pool_try_run(p->decoders, decode_task, s)) { /* the count of images forbids it */
            atomic_fetch_sub(&p->decoding, 1);
            (void)kd_error_set(&s->problem, KD_RESOURCE_EXHAUSTED, "too many images wait already");
            pipeline_slot_done(s);
        }
    }
    if (atomic_fetch_sub(&r->pending, 1) == 1)
        request_finish(r);
}

static void *lookup_main(void *arg)
{
    lookup l = {arg, 0};
    request *r;
    while ((r = kd_queue_pop(l.p->lookups, -1)) != NULL)
        lookup_request(&l, r);
    return NULL;
}

/* ---- The way in ---- */

void pipeline_embed(pipeline *p, kd_call *call, const Kindred__V1__EmbedRequest *message)
{
    kd_error err = KD_ERROR_INIT;
    const size_t n = message->n_images;
    if (n == 0 || n > KD_EMBEDDER_MAX_REQUEST_IMAGES) {
        (void)kd_error_set(&err, KD_INVALID_ARGUMENT,
            "the request has %zu images, allowed are 1 to %u", n, KD_EMBEDDER_MAX_REQUEST_IMAGES);
        kd_call_fail(call, &err);
        return;
    }
    request *const r = calloc(1, sizeof *r + n * sizeof r->slots[0]);
    if (!r) {
        (void)kd_error_memory(&err, "a request");
        kd_call_fail(call, &err);
        return;
    }
    r->pipeline = p;
    r->call = call;
    r->n = n;
    for (size_t i = 0; i < n; i++) {
        r->slots[i].owner = r;
        r->slots[i].bytes = message->images[i].data;
        r->slots[i].len = message->images[i].len;
    }
    if (kd_models_find(p->models_dir, message->model, &r->model, &err) != KD_OK) {
        kd_call_fail(call, &err);
        request_free(r);
        return;
    }
    if (atomic_fetch_add(&p->images, (int)n) + (int)n > KD_EMBEDDER_MAX_IMAGES ||
        !kd_queue_try_push(p->lookups, r)) {
        atomic_fetch_sub(&p->images, (int)n);
        (void)kd_error_set(&err, KD_RESOURCE_EXHAUSTED,
            "%d images are in work already; try again later", KD_EMBEDDER_MAX_IMAGES);
        kd_call_fail(call, &err);
        request_free(r);
    }
    kd_gauge_set(p->queued, atomic_load(&p->images));
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

/* ---- Cache writer ---- */

/* *again_ms: as for look-ups. A silent Redis would otherwise hold up what waits here, and with it
 * the end of the process, by a time-out for each request. */
static void write_cache(pipeline *p, const request *r, int64_t *again_ms)
{
    const size_t dim = r->model.dim;
    uint8_t keys[KD_EMBEDDER_MAX_REQUEST_IMAGES][KD_SHA256_BYTES];
    size_t n = 0;
    kd_error err = KD_ERROR_INIT;
    if (kd_mono_ms() < *again_ms)
        return;
    float *const vectors = malloc(r->n * dim * sizeof *vectors);
    if (!vectors)
        return;
    for (size_t i = 0; i < r->n; i++) {
        const slot *const s = &r->slots[i];
        if (s->problem.status != KD_OK || s->cached)
            continue;
        memcpy(keys[n], s->sha256, KD_SHA256_BYTES);
        memcpy(vectors + n * dim, s->values, dim * sizeof *vectors);
        n++;
    }
    if (n > 0 &&
        kd_cache_put(p->writer_store, KD_CACHE_FLOAT32, r->model.id, n, (const uint8_t(*)[KD_SHA256_BYTES])keys, dim,
            vectors, KD_EMBEDDER_CACHE_TTL_S, &err) != KD_OK) {
        kd_counter_add(p->cache_errors, 1); /* the look-up side says so in the log */
        *again_ms = kd_mono_ms() + CACHE_PAUSE_MS;
    }
    free(vectors);
}

static void *writer_main(void *arg)
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

/* ---- Life ---- */

static void make_metrics(pipeline *p, kd_metrics *m)
{
    p->images_total = kd_metrics_counter(m, "kindred_embed_images_total", "", "Images taken");
    p->cached_total =
        kd_metrics_counter(m, "kindred_embed_cache_hits_total", "", "Images found in the cache");
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

kd_status pipeline_new(pipeline **out, char *models_dir, const char *redis, unsigned threads,
    kd_metrics *metrics, kd_error *err)
{
    *out = NULL;
    pipeline *p = calloc(1, sizeof *p);
    if (!p) {
        free(models_dir);
        return kd_error_memory(err, "the pipeline");
    }
    p->models_dir = models_dir;
    p->redis = redis;
    pthread_mutex_init(&p->mutex, NULL);
    make_metrics(p, metrics);
    kd_status status = kd_pool_new(&p->decoders, "decode", threads, KD_EMBEDDER_MAX_IMAGES, err);
    if (status == KD_OK)
        status = kd_queue_new(&p->lookups, LOOKUP_QUEUE, err);
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
    kd_queue_free(p->lookups);
    kd_queue_free(p->ready);
    kd_queue_free(p->cache_writes);
    kd_store_close(p->lookup_store);
    kd_store_close(p->writer_store);
    pthread_mutex_destroy(&p->mutex);
    free(p->models_dir);
    free(p);
}
