/* The way out: requests, their slots' ends, and unary answers. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/half.h"
#include "services/embedder/pipeline.h"

/* ---- Requests ---- */

kd_status request_new(request **out, pipeline *p, kd_call *call, size_t n,
    Kindred__V1__VectorFormat format, kd_error *err)
{
    *out = NULL;
    if (format != KINDRED__V1__VECTOR_FORMAT__VECTOR_FORMAT_UNSPECIFIED &&
        format != KINDRED__V1__VECTOR_FORMAT__VECTOR_FORMAT_FLOAT32 &&
        format != KINDRED__V1__VECTOR_FORMAT__VECTOR_FORMAT_FLOAT16)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "no vector format %d", (int)format);
    request *const r = calloc(1, sizeof *r + n * sizeof r->slots[0]);
    if (!r)
        return kd_error_memory(err, "a request");
    r->pipeline = p;
    r->call = call;
    r->float16 = format == KINDRED__V1__VECTOR_FORMAT__VECTOR_FORMAT_FLOAT16;
    r->n = n;
    for (size_t i = 0; i < n; i++)
        r->slots[i].owner = r;
    *out = r;
    return KD_OK;
}

void request_free(request *r)
{
    if (!r)
        return;
    kd_model_clear(&r->model);
    kd_message_free(r->message);
    free(r);
}

void request_over(request *r)
{
    pipeline *const p = r->pipeline;
    bool fresh = false;
    for (size_t i = 0; i < r->n && r->error.status == KD_OK; i++) {
        const slot *const s = &r->slots[i];
        fresh = fresh || (s->problem.status == KD_OK && !s->cached && !s->shared);
    }
    atomic_fetch_sub(r->stream ? &p->streamed : &p->images, (int)r->n);
    kd_gauge_add(p->queued, -(double)r->n);
    if (!fresh || !p->writer_store || !kd_queue_try_push(p->cache_writes, r))
        request_free(r);
}

/* ---- Answers ---- */

void answer_fill(answer_part *part, slot *s)
{
    const request *const r = s->owner;
    kindred__v1__embedding__init(&part->embedding);
    if (s->problem.status != KD_OK) {
        kindred__v1__problem__init(&part->problem);
        part->problem.code = (uint32_t)s->problem.status;
        part->problem.message = s->problem.message;
        part->embedding.problem = &part->problem;
        return;
    }
    part->embedding.cached = s->cached;
    if (r->float16) {
        kd_half_pack(s->values, r->model.dim, part->halves);
        part->embedding.values_f16 = (ProtobufCBinaryData){2 * (size_t)r->model.dim, part->halves};
    } else {
        part->embedding.n_values = r->model.dim;
        part->embedding.values = s->values;
    }
}

static void send_answer(request *r)
{
    Kindred__V1__EmbedResponse response = KINDRED__V1__EMBED_RESPONSE__INIT;
    answer_part parts[KD_EMBEDDER_MAX_REQUEST_IMAGES];
    Kindred__V1__Embedding *list[KD_EMBEDDER_MAX_REQUEST_IMAGES];
    for (size_t i = 0; i < r->n; i++) {
        answer_fill(&parts[i], &r->slots[i]);
        list[i] = &parts[i].embedding;
    }
    response.model_id = r->model.id;
    response.dim = r->model.dim;
    response.n_embeddings = r->n;
    response.embeddings = list;
    kd_call_reply(r->call, &response.base);
}

void request_finish(request *r)
{
    if (r->stream) {
        stream_done(r);
        return;
    }
    if (r->error.status != KD_OK)
        kd_call_fail(r->call, &r->error);
    else
        send_answer(r);
    request_over(r);
}

/* ---- Slots ---- */

void pipeline_slot_done(slot *s)
{
    request *const r = s->owner;
    if (s->problem.status == KD_INVALID_ARGUMENT)
        kd_counter_add(r->pipeline->broken_total, 1);
    else if (s->problem.status == KD_CANCELLED)
        kd_counter_add(r->pipeline->dropped_total, 1);
    if (atomic_fetch_sub(&r->pending, 1) == 1)
        request_finish(r);
}

/* One slot more that has its end. */
static void land_one(slot *s, const kd_error *whole)
{
    if (whole) {
        s->problem = *whole;
        if (!atomic_exchange(&s->owner->failed, true))
            s->owner->error = *whole;
    }
    pipeline_slot_done(s);
}

void pipeline_land(slot *first, const kd_error *whole)
{
    pipeline *const p = first->owner->pipeline;
    const size_t dim = first->owner->model.dim;
    if (first->served)
        model_set_release(p->models, first->served);
    flight *next = flights_land(p->flights, &first->flight);
    while (next) {
        slot *const s = (slot *)next;
        next = next->next;
        s->problem = first->problem;
        if (first->problem.status == KD_OK)
            memcpy(s->values, first->values, dim * sizeof *s->values);
        land_one(s, whole);
    }
    land_one(first, whole); /* last: the others read it */
}

static bool waits(const flight *one)
{
    return !kd_call_cancelled(((const slot *)one)->owner->call);
}

bool pipeline_wanted(slot *first)
{
    if (flights_wanted(first->owner->pipeline->flights, &first->flight, waits))
        return true;
    (void)kd_error_set(&first->problem, KD_CANCELLED, "the client has gone");
    return false;
}
