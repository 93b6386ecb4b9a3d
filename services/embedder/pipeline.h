/* services/embedder/pipeline.h: from images to embeddings, in stages with bounded queues:
 *
 *   RPC thread -> look-up (SHA-256, same image in work, cache) -> decode pool -> runner (batch,
 *                                     \-> loader -/                forward) -> answer \-> cache
 * writer
 *
 * No stage waits on another's lock, no thread belongs to a request. What calls ask for is counted
 * when it comes in: over KD_EMBEDDER_MAX_IMAGES, or where it would wait too long, it is refused at
 * once; streams have places of their own, and are not read on while theirs are taken. Calls' images
 * are decoded before those of streams, which get each fourth turn. An image whose clients have all
 * gone, or whose deadlines have passed, is dropped before its look-up, its decoding and its
 * forward. */
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
#include "services/embedder/batches.h"
#include "services/embedder/flights.h"
#include "services/embedder/models.h"

#define KD_EMBEDDER_MAX_REQUEST_IMAGES 64u
#define KD_EMBEDDER_MAX_IMAGES 512           /* of unary calls, in all stages together */
#define KD_EMBEDDER_UNSHED 64                /* two batches may be in work however long they take */
#define KD_EMBEDDER_MAX_STREAMS 8            /* each with… */
#define KD_EMBEDDER_STREAM_IMAGES 64u        /* …so many images that are not answered… */
#define KD_EMBEDDER_STREAM_BYTES (32u << 20) /* …and what they take, the last one not counted */
#define KD_EMBEDDER_STREAM_IDLE_MS 10000     /* then another stream may have its place */
#define KD_EMBEDDER_MAX_DELAY_MS 5 /* a batch waits so long for images that are being decoded */
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
    model_wait wait;             /* while the model is being loaded */
    served_model *served;        /* the model, in use from here until the landing */
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
    char cache_model[KD_MODEL_ID_TEXT + 8]; /* what the cache knows the model by */
    atomic_bool failed;                     /* whoever set it, before it lets a slot go, sets… */
    kd_error error;                         /* …what fails the request as a whole */
    atomic_size_t pending;                  /* slots that are still on their way */
    size_t n;
    slot slots[];
};

struct pipeline {
    char *models_dir; /* owned */
    model_set *models;
    kd_pool *decoders;       /* of tokens, one for each image in… */
    kd_queue *urgent, *bulk; /* …these, of slot: of calls, of streams */
    atomic_uint turns;
    batches *batches;
    kd_queue *lookups;      /* of request */
    kd_queue *cache_writes; /* of request, whose answer is out of the way */
    flights *flights;       /* of the slots between look-up and answer that are not cached */
    pthread_t lookup_thread, runner_thread, writer_thread;
    bool lookup_started, runner_started, writer_started;
    kd_store *lookup_store, *writer_store; /* NULL: there is no cache */
    kd_cache_form cache_form;
    kd_precision precision;
    const char *redis;
    int64_t max_wait_ms;
    atomic_int images;   /* of unary calls, in all stages */
    atomic_int streamed; /* of streams, likewise */
    atomic_int parked;   /* of both, those that wait for their model */
    _Atomic int64_t
        image_ns; /* an image costs so much of late, while there is work; 0: not known */

    pthread_mutex_t streams_mutex; /* guards what follows; a stream's own may be taken under it */
    embed_stream
        *streams[KD_EMBEDDER_MAX_STREAMS]; /* those that are not over; NULL: a free place */
    bool draining;

    kd_counter *images_total, *cached_total, *shared_total, *computed_total, *dropped_total;
    kd_counter *broken_total, *cache_errors, *cache_trips, *batches_total, *shed_total;
    kd_histogram *forward_seconds, *batch_images;
    kd_gauge *queued;
};

typedef struct pipeline_options {
    const char *redis;        /* borrowed; NULL: no cache */
    kd_cache_form cache_form; /* how it keeps embeddings */
    kd_precision precision;   /* of the forward */
    uint64_t model_memory;    /* bytes */
    int64_t max_wait_ms;      /* images of unary calls that would wait longer are refused */
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

/* ---- Between the pipeline's own files ---- */
/* pipeline.c: the model that answers to the name now; see model_set_stand_in. */
KD_MUST_CHECK kd_status pipeline_find_model(
    pipeline *p, const char *name, kd_model *out, kd_error *err);

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
 * not NULL, fails their requests as well. */
void pipeline_land(slot *first, const kd_error *whole);
/* False: nobody waits for the image any more. Its problem says so; it is to be landed. */
bool pipeline_wanted(slot *first);

/* decode.c: an image whose model is in use goes to the decoders. */
void decode_submit(slot *s);

/* lookup.c: thread; arg is the pipeline. */
void *lookup_main(void *arg);

/* cache.c. Up to so many in a trip to Redis. */
#define KD_EMBEDDER_CACHE_TRIP (2 * KD_EMBEDDER_MAX_REQUEST_IMAGES)
typedef struct cache_pause {
    int64_t again_ms; /* Redis failed: not before this time; 0: all is well */
} cache_pause;
/* Fills those of the slots that the cache knows, and marks them cached. */
void cache_ask(pipeline *p, cache_pause *pause, slot *const *slots, size_t n);
void *writer_main(void *arg); /* thread; arg is the pipeline */

void stream_done(request *r); /* stream.c: request_finish of a stream's */
void streams_drain(pipeline *p);

void *runner_main(void *arg); /* runner.c: the forward thread; arg is the pipeline */

#endif
