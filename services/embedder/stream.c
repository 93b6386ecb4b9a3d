/* EmbedStream: many images over one call. Each message becomes a request of one image; what the
 * pipeline has done waits here until the client has room for it, so that no stage ever waits for a
 * client. Nothing more is read while too much of the stream is in work. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "services/embedder/pipeline.h"

struct embed_stream {
    pipeline *p;
    kd_call *call;
    kd_model model; /* of whoever has read the message, one at a time */
    bool named;     /* the first message has named it */

    pthread_mutex_t mutex;     /* guards what follows; of other locks the call's is taken here */
    request *done, **done_end; /* to be answered, the oldest first */
    size_t in_work, bytes;     /* of messages that are not answered */
    size_t unsent;             /* answers that the call has, and the client not */
    int64_t idle_since_ms;     /* nothing is in work since then */
    bool reading;              /* a message is asked for */
    bool ended;                /* none will be any more… */
    kd_error error;            /* …for this reason; KD_OK: the client has ended */
    bool finished;             /* and all are answered: whoever set it ends the call */
};

typedef Kindred__V1__EmbedStreamRequest stream_message;

static void on_message(void *arg, kd_call *call, ProtobufCMessage *message, const kd_error *error);

/* ---- Out and in; mutex held ---- */

/* Writes the oldest answer; false when it has to wait for the client. */
static bool answer_one(embed_stream *s)
{
    request *const r = s->done;
    slot *const image = &r->slots[0];
    Kindred__V1__EmbedStreamResponse response = KINDRED__V1__EMBED_STREAM_RESPONSE__INIT;
    answer_part part;
    if (s->unsent == KD_RPC_CALL_WAITING && !kd_call_cancelled(s->call))
        return false;
    if (r->error.status != KD_OK)
        image->problem = r->error;
    answer_fill(&part, image);
    response.id = r->id;
    response.embedding = &part.embedding;
    response.model_id = r->model.id;
    if (kd_call_write(s->call, &response.base, false) == KD_OK)
        s->unsent++; /* else the client has gone */
    s->done = r->next;
    if (!s->done)
        s->done_end = &s->done;
    s->in_work--;
    s->bytes -= r->bytes;
    if (s->in_work == 0)
        s->idle_since_ms = kd_mono_ms();
    kd_message_free(r->message);
    r->message = NULL;
    request_over(r);
    return true;
}

/* Moves what can be moved. True once the stream is over: the caller finishes it, without the mutex,
 * and nobody touches its call any more. */
static bool move(embed_stream *s)
{
    while (s->done && answer_one(s))
        ;
    if (!s->ended && !s->reading && s->in_work < KD_EMBEDDER_STREAM_IMAGES &&
        s->bytes < KD_EMBEDDER_STREAM_BYTES) {
        s->reading = true;
        kd_call_read(s->call, on_message, s);
    }
    if (!s->ended || s->in_work > 0 || s->finished)
        return false;
    s->finished = true;
    return true;
}

/* Takes no further message. The first reason counts. */
static void end(embed_stream *s, const kd_error *why)
{
    if (s->ended)
        return;
    s->ended = true;
    s->error = *why;
}

/* ---- The end; no mutex held ---- */

static void finish(embed_stream *s)
{
    pipeline *const p = s->p;
    const kd_error error = s->error;
    pthread_mutex_lock(&p->streams_mutex);
    for (size_t i = 0; i < KD_EMBEDDER_MAX_STREAMS; i++)
        if (p->streams[i] == s)
            p->streams[i] = NULL;
    pthread_mutex_unlock(&p->streams_mutex);
    kd_call_finish(s->call, &error); /* the stream goes with it */
}

/* The call is freed, and nobody uses the stream any more. */
static void on_gone(void *arg)
{
    embed_stream *const s = arg;
    pthread_mutex_destroy(&s->mutex);
    kd_model_clear(&s->model);
    free(s);
}

/* ---- Messages in ---- */

/* The stream's model is the first message's. */
static kd_status find_model(embed_stream *s, const char *name, kd_error *err)
{
    const kd_status status = pipeline_find_model(s->p, name, &s->model, err);
    s->named = status == KD_OK;
    return status;
}

/* What is wrong with this message alone is its slot's problem. */
static void fill_slot(const embed_stream *s, const stream_message *message, slot *image)
{
    const bool same_model = *message->model == '\0' || strcmp(message->model, s->model.id) == 0 ||
                            strcmp(message->model, s->model.name) == 0;
    if (message->input_case == KINDRED__V1__EMBED_STREAM_REQUEST__INPUT_IMAGE) {
        image->bytes = message->image.data;
        image->len = message->image.len;
    } else if (message->input_case == KINDRED__V1__EMBED_STREAM_REQUEST__INPUT_PIXELS) {
        image->pixels = message->pixels;
    } else {
        (void)kd_error_set(&image->problem, KD_INVALID_ARGUMENT, "the message has no image");
    }
    if (!same_model)
        (void)kd_error_set(&image->problem, KD_INVALID_ARGUMENT,
            "the stream is one of model '%s'; another model needs another stream", s->model.name);
}

/* Takes the message over, also on failure, which is the stream's. */
static kd_status take(embed_stream *s, stream_message *message, request **out, kd_error *err)
{
    kd_status status = s->named ? KD_OK : find_model(s, message->model, err);
    if (status == KD_OK)
        status = request_new(out, s->p, s->call, 1, message->vector_format, err);
    if (status != KD_OK) {
        kd_message_free(message);
        return status;
    }
    request *const r = *out;
    r->stream = s;
    r->id = message->id;
    r->message = &message->base;
    r->bytes = protobuf_c_message_get_packed_size(&message->base);
    r->model = s->model;
    r->model.training = NULL; /* the stream's */
    fill_slot(s, message, &r->slots[0]);
    return KD_OK;
}

static void submit(request *r)
{
    pipeline *const p = r->pipeline;
    slot *const image = &r->slots[0];
    kd_gauge_add(p->queued, 1);
    atomic_fetch_add(&p->streamed, 1);
    if (image->problem.status == KD_OK && kd_queue_try_push(p->lookups, r))
        return;
    if (image->problem.status == KD_OK) /* the counts leave room */
        (void)kd_error_set(&image->problem, KD_UNAVAILABLE, "the embedder is shutting down");
    request_finish(r);
}

static void on_message(void *arg, kd_call *call, ProtobufCMessage *message, const kd_error *error)
{
    embed_stream *const s = arg;
    request *r = NULL;
    kd_error err = *error;
    (void)call;
    if (message && take(s, (stream_message *)message, &r, &err) != KD_OK)
        r = NULL; /* the error tells */
    pthread_mutex_lock(&s->mutex);
    s->reading = false;
    const bool wanted = !s->ended;
    if (r && wanted) {
        s->in_work++;
        s->bytes += r->bytes;
    } else {
        end(s, &err);
    }
    const bool over = move(s);
    pthread_mutex_unlock(&s->mutex);
    if (over)
        finish(s);
    else if (r && wanted)
        submit(r);
    if (!wanted)
        request_free(r);
}

/* ---- Answers out ---- */

void stream_done(request *r)
{
    embed_stream *const s = r->stream;
    pthread_mutex_lock(&s->mutex);
    r->next = NULL;
    *s->done_end = r;
    s->done_end = &r->next;
    const bool over = move(s);
    pthread_mutex_unlock(&s->mutex);
    if (over)
        finish(s);
}

static void on_wrote(void *arg)
{
    embed_stream *const s = arg;
    pthread_mutex_lock(&s->mutex);
    s->unsent--;
    const bool over = move(s);
    pthread_mutex_unlock(&s->mutex);
    if (over)
        finish(s);
}

/* ---- All streams ---- */

/* streams_mutex held. Ends one that has had nothing to do for long; true: the caller finishes it.
 */
static bool end_idle(embed_stream *s)
{
    kd_error why;
    bool over = false;
    (void)kd_error_set(&why, KD_DEADLINE_EXCEEDED,
        "no image came for %d s, and another stream needs the place",
        KD_EMBEDDER_STREAM_IDLE_MS / 1000);
    pthread_mutex_lock(&s->mutex);
    if (s->in_work == 0 && kd_mono_ms() - s->idle_since_ms >= KD_EMBEDDER_STREAM_IDLE_MS) {
        end(s, &why);
        over = move(s);
    }
    pthread_mutex_unlock(&s->mutex);
    return over;
}

/* A place for the stream, if need be that of one that does nothing, which is *over then. */
static kd_status place(pipeline *p, embed_stream *s, embed_stream **over, kd_error *err)
{
    kd_status status = kd_error_set(err, KD_RESOURCE_EXHAUSTED,
        "%d streams are open already; try again later", KD_EMBEDDER_MAX_STREAMS);
    pthread_mutex_lock(&p->streams_mutex);
    if (p->draining)
        status = kd_error_set(err, KD_UNAVAILABLE, "the embedder is shutting down");
    for (size_t i = 0; status == KD_RESOURCE_EXHAUSTED && i < KD_EMBEDDER_MAX_STREAMS; i++) {
        if (p->streams[i])
            continue;
        p->streams[i] = s;
        status = KD_OK;
    }
    for (size_t i = 0; status == KD_RESOURCE_EXHAUSTED && i < KD_EMBEDDER_MAX_STREAMS; i++) {
        if (!end_idle(p->streams[i]))
            continue;
        *over = p->streams[i];
        p->streams[i] = s;
        status = KD_OK;
    }
    pthread_mutex_unlock(&p->streams_mutex);
    return status;
}

void pipeline_embed_stream(pipeline *p, kd_call *call)
{
    kd_error err = KD_ERROR_INIT;
    embed_stream *over = NULL, *const s = calloc(1, sizeof *s);
    if (!s) {
        (void)kd_error_memory(&err, "a stream");
        kd_call_fail(call, &err);
        return;
    }
    s->p = p;
    s->call = call;
    s->done_end = &s->done;
    s->idle_since_ms = kd_mono_ms();
    pthread_mutex_init(&s->mutex, NULL);
    kd_call_watch(call, on_wrote, on_gone, s);
    if (place(p, s, &over, &err) != KD_OK) {
        kd_call_fail(call, &err);
        return;
    }
    if (over)
        finish(over);
    /* rpc keeps the call, and so the stream, until this returns. */
    pthread_mutex_lock(&s->mutex);
    const bool ends = move(s);
    pthread_mutex_unlock(&s->mutex);
    if (ends)
        finish(s);
}

void streams_drain(pipeline *p)
{
    embed_stream *over[KD_EMBEDDER_MAX_STREAMS];
    size_t n = 0;
    kd_error why;
    (void)kd_error_set(&why, KD_UNAVAILABLE, "the embedder is shutting down");
    pthread_mutex_lock(&p->streams_mutex);
    p->draining = true;
    for (size_t i = 0; i < KD_EMBEDDER_MAX_STREAMS; i++) {
        embed_stream *const s = p->streams[i];
        if (!s)
            continue;
        pthread_mutex_lock(&s->mutex);
        end(s, &why);
        if (move(s))
            over[n++] = s;
        pthread_mutex_unlock(&s->mutex);
    }
    pthread_mutex_unlock(&p->streams_mutex);
    for (size_t i = 0; i < n; i++)
        finish(over[i]);
}
