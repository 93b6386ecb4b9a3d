/* services/embedder/pipeline.h: from images to embeddings, in stages with bounded queues:
 *
 *   RPC thread -> look-up (model, SHA-256, cache) -> decode pool -> runner (batch, forward) ->
 * reply
 *                                                                        \-> cache writer
 *
 * No stage waits on another's lock, no thread belongs to a request. What a call asks for is counted
 * when it comes in: over KD_EMBEDDER_MAX_IMAGES it is refused at once. */
#ifndef KD_EMBEDDER_PIPELINE_H
#define KD_EMBEDDER_PIPELINE_H

#include <pthread.h>
#include <stdatomic.h>

#include "kindred/v1/embedder.pb-c.h"

#include "lib/base/hash.h"
#include "lib/base/metrics.h"
#include "lib/base/thread.h"
#include "lib/models/models.h"
#include "lib/nn/nn.h"
#include "lib/rpc/rpc.h"
#include "lib/store/store.h"

#define KD_EMBEDDER_MAX_REQUEST_IMAGES 64u
#define KD_EMBEDDER_MAX_IMAGES 512 /* in all stages together */
#define KD_EMBEDDER_MAX_DECODED 96 /* that wait for the forward, 600 kB each at 224 × 224 */
#define KD_EMBEDDER_MAX_BATCH 32u
#define KD_EMBEDDER_MAX_DELAY_MS 5 /* a batch waits so long for images that are being decoded */
#define KD_EMBEDDER_MAX_MODELS 4u  /* in memory; the least recently used makes room */
#define KD_EMBEDDER_CACHE_TTL_S (7u * 24 * 3600)

typedef struct pipeline pipeline;
typedef struct request request;

/* One image of a request. */
typedef struct slot {
    request *owner;
    const uint8_t *bytes; /* of the request's message, borrowed */
    size_t len;
    uint8_t sha256[KD_SHA256_BYTES];
    float *pixels;               /* owned, from decoding until the batch is filled */
    float values[KD_NN_MAX_DIM]; /* the model's dim of them */
    bool cached;
    kd_error problem; /* KD_OK: there are values */
} slot;

struct request {
    pipeline *pipeline;
    kd_call *call;
    kd_model model;
    kd_error error; /* set by the stage that fails it as a whole, before it lets its slots go */
    atomic_size_t pending; /* slots that are still on their way */
    size_t n;
    slot slots[];
};

/* What the runner gets: an image, or an order about a model. */
typedef struct work {
    enum { WORK_IMAGE, WORK_LOAD, WORK_UNLOAD } type;
    slot *image;
    kd_call *call; /* load, unload: to be answered */
    kd_model model;
} work;

struct pipeline {
    char *models_dir; /* owned */
    kd_pool *decoders;
    kd_queue *lookups;      /* of request */
    kd_queue *ready;        /* of work */
    kd_queue *cache_writes; /* of request, whose answer is out of the way */
    pthread_t lookup_thread, runner_thread, writer_thread;
    bool lookup_started, runner_started, writer_started;
    kd_store *lookup_store, *writer_store;
    const char *redis;
    atomic_int images;   /* in all stages */
    atomic_int decoding; /* handed to the decoders, not yet ready */

    pthread_mutex_t mutex; /* guards loaded and n_loaded for those who list them */
    struct loaded_model {
        kd_model model;
        kd_forward *forward; /* the runner's alone */
        int64_t used_ns;
    } loaded[KD_EMBEDDER_MAX_MODELS];
    size_t n_loaded;

    kd_counter *images_total, *cached_total, *broken_total, *cache_errors;
    kd_histogram *forward_seconds;
    kd_counter *batches_total;
    kd_gauge *queued, *models;
};

/* threads: for decoding; the forward uses what kd_nn_set_threads was told. models_dir is taken
 * over. */
KD_MUST_CHECK kd_status pipeline_new(pipeline **out, char *models_dir, const char *redis,
    unsigned threads, kd_metrics *metrics, kd_error *err);
void pipeline_free(pipeline *p); /* once no call is in flight */

/* Answers the call, now or later. */
void pipeline_embed(pipeline *p, kd_call *call, const Kindred__V1__EmbedRequest *message);
void pipeline_load(pipeline *p, kd_call *call, const char *model);
void pipeline_unload(pipeline *p, kd_call *call, const char *model);
/* Copies of the models in memory, most recently used first; room for KD_EMBEDDER_MAX_MODELS. The
 * training text is left out. */
size_t pipeline_loaded(pipeline *p, kd_model *models);

/* ---- Between the pipeline's own files ---- */
/* A slot has its values or its problem; the last one sends the answer. */
void pipeline_slot_done(slot *s);
void *runner_main(void *arg); /* runner.c: the forward thread; arg is the pipeline */
void runner_unload_all(pipeline *p);

#endif
