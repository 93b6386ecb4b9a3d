/* services/embedder/pipeline.h: from images to embeddings, in stages with bounded queues:
 *
 *   RPC thread -> look-up (SHA-256, same image in work, cache) -> decode pool -> runner (batch,
 *                                                        forward) -> answer \-> cache writer
 *
 * No stage waits on another's lock, no thread belongs to a request. What calls ask for is counted
 * when it comes in: over KD_EMBEDDER_MAX_IMAGES it is refused at once; streams have places of their
 * own, and are not read on while theirs are taken. An image whose clients have all gone, or whose
 * deadlines have passed, is dropped before its look-up, its decoding and its forward. */
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
#include "services/embedder/flights.h"

#define KD_EMBEDDER_MAX_REQUEST_IMAGES 64u
#define KD_EMBEDDER_MAX_IMAGES 512           /* of unary calls, in all stages together */
#define KD_EMBEDDER_MAX_STREAMS 8            /* each with… */
#define KD_EMBEDDER_STREAM_IMAGES 64u        /* …so many images that are not answered… */
#define KD_EMBEDDER_STREAM_BYTES (32u << 20) /* …and what they take, the last one not counted */
#define KD_EMBEDDER_STREAM_IDLE_MS 10000     /* then another stream may have its place */
#define KD_EMBEDDER_MAX_DECODED 96 /* that wait for the forward, 600 kB each at 224 × 224 */
#define KD_EMBEDDER_MAX_BATCH 32u
#define KD_EMBEDDER_MAX_DELAY_MS 5 /* a batch waits so long for images that are being decoded */
#define KD_EMBEDDER_MAX_MODELS 4u  /* in memory; the least recently used makes room */
#define KD_EMBEDDER_CACHE_TTL_S (7u * 24 * 3600)

typedef struct pipeline pipeline;
typedef struct request request;
typedef struct embed_stream embed_stream;

/* One image of a request. */
typedef struct slot {
    flight flight; /* first: one is made from the other */
    request *owner;
    const uint8_t *bytes; /* of the request's message, borrowed */
    size_t len;
    const Kindred__V1__Pixels *pixels; /* likewise; NULL: bytes are an encoded image */
    uint8_t sha256[KD_SHA256_BYTES];
    float *input;                /* owned, from decoding until the batch is filled */
    float values[KD_NN_MAX_DIM]; /* the model's dim of them */
    bool cached;                 /* they came from the cache… */
    bool shared;                 /* …or from the same image, which was in work already */
    kd_error problem;            /* KD_OK: there are values */
} slot;

/* The images of a unary call, or one of a stream. */
struct request {
    pipeline *pipeline;
    kd_call *call;
    embed_stream *stream; /* NULL: the call is unary. Of a stream: */
    uint64_t id;
    ProtobufCMessage *message; /* owned */
    size_t bytes;              /* that it takes */
    request *next;             /* of those that are done */

    bool float16; /* how the values are asked for */
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
    flights *flights;       /* of the slots between look-up and answer that are not cached */
    pthread_t lookup_thread, runner_thread, writer_thread;
    bool lookup_started, runner_started, writer_started;
    kd_store *lookup_store, *writer_store;
    kd_cache_form cache_form;
    const char *redis;
    atomic_int images;   /* of unary calls, in all stages */
    atomic_int decoding; /* handed to the decoders, not yet ready */

    pthread_mutex_t mutex; /* guards loaded and n_loaded for those who list them */
    struct loaded_model {
        kd_model model;
        kd_forward *forward; /* the runner's alone */
        int64_t used_ns;
    } loaded[KD_EMBEDDER_MAX_MODELS];
    size_t n_loaded;

    pthread_mutex_t streams_mutex; /* guards what follows; a stream's own may be taken under it */
    embed_stream
        *streams[KD_EMBEDDER_MAX_STREAMS]; /* those that are not over; NULL: a free place */
    bool draining;

    kd_counter *images_total, *cached_total, *shared_total, *computed_total, *dropped_total;
    kd_counter *broken_total, *cache_errors, *batches_total;
    kd_histogram *forward_seconds;
    kd_gauge *queued, *models;
};

typedef struct pipeline_options {
    const char *redis;        /* borrowed */
    kd_cache_form cache_form; /* how it keeps embeddings */
    unsigned threads;         /* that decode; the forward uses what kd_nn_set_threads was told */
    kd_metrics *metrics;
} pipeline_options;

/* models_dir is taken over. */
KD_MUST_CHECK kd_status pipeline_new(
    pipeline **out, char *models_dir, const pipeline_options *options, kd_error *err);
void pipeline_drain(pipeline *p); /* the service ends: streams take no more */
void pipeline_free(pipeline *p);  /* once no call is in flight */

/* Answers the call, now or later. */
void pipeline_embed(pipeline *p, kd_call *call, const Kindred__V1__EmbedRequest *message);
void pipeline_embed_stream(pipeline *p, kd_call *call); /* stream.c */
void pipeline_load(pipeline *p, kd_call *call, const char *model);
void pipeline_unload(pipeline *p, kd_call *call, const char *model);
/* Copies of the models in memory, most recently used first; room for KD_EMBEDDER_MAX_MODELS. The
 * training text is left out. */
size_t pipeline_loaded(pipeline *p, kd_model *models);

/* ---- Between the pipeline's own files ---- */
/* answer.c. A request with n empty slots. */
KD_MUST_CHECK kd_status request_new(request **out, pipeline *p, kd_call *call, size_t n,
    Kindred__V1__VectorFormat format, kd_error *err);
void request_free(request *r);
/* All slots have their values or problems, or the request its error: answers. */
void request_finish(request *r);
/* It is answered: hands it to the cache writer, if there is anything new. */
void request_over(request *r);
/* An embedding as it is sent; its parts are borrowed from it and from the slot. */
typedef struct answer_part {
    Kindred__V1__Embedding embedding;
    Kindred__V1__Problem problem;
    uint8_t halves[KD_NN_MAX_DIM * 2];
} answer_part;
void answer_fill(answer_part *part, slot *s);
/* A slot has its values or its problem; the last one sends the answer. */
void pipeline_slot_done(slot *s);
/* The same for a slot that is the first of its flight: those who wait get what it has. whole, if
 * not NULL, fails their requests as well; only the runner may. */
void pipeline_land(slot *first, const kd_error *whole);
/* False: nobody waits for the image any more. Its problem says so; it is to be landed. */
bool pipeline_wanted(slot *first);

void decode_task(void *first); /* pipeline.c: of the decode pool; arg is the slot */

/* lookup.c: threads; arg is the pipeline. */
void *lookup_main(void *arg);
void *writer_main(void *arg);

void stream_done(request *r); /* stream.c: request_finish of a stream's */
void streams_drain(pipeline *p);

void *runner_main(void *arg); /* runner.c: the forward thread; arg is the pipeline */
void runner_unload_all(pipeline *p);

#endif
