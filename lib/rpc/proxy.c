/* Calls that a server makes on behalf of a call it has: questions to another service (kd_call_ask)
 * and calls passed on (proxies: headers and messages, and the status back; not the other side's
 * headers). They are children of that call in the core, so that its deadline and its cancellation
 * hold for them, and their events come on the server's own threads. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "lib/rpc/internal.h"

#define ASK_MS 60000

typedef struct outgoing {
    kd_call *call; /* the caller's, held */
    kd_side side;  /* metadata, owned: the trace and, from a proxy, what came in */
    kd_tag on_done, on_request, on_received, on_status, on_forwarded, on_ended;
    atomic_uint refs;

    const ProtobufCMessageDescriptor *type; /* ask: of the response */
    kd_done done;
    void *done_arg;

    pthread_mutex_t mutex; /* proxy: guards what follows */
    bool reading_over, status_known, finished;
} outgoing;

static void outgoing_unref(outgoing *o)
{
    if (atomic_fetch_sub(&o->refs, 1) != 1)
        return;
    kd_side_clear(&o->side);
    if (o->side.n_metadata > 0)
        grpc_slice_unref(o->side.metadata[0].value); /* the trace; the others are borrowed */
    free(o->side.metadata);
    pthread_mutex_destroy(&o->mutex);
    kd_call_unref(o->call);
    free(o);
}

/* No later than call's own deadline, which the core sees to. */
static outgoing *outgoing_new(kd_call *call, kd_channel *channel, grpc_slice path,
    gpr_timespec deadline, size_t room_for_metadata)
{
    outgoing *o = calloc(1, sizeof *o);
    grpc_metadata *const metadata = calloc(1 + KD_SIDE_KEY + room_for_metadata, sizeof *metadata);
    if (!o || !metadata) {
        free(metadata);
        free(o);
        return NULL;
    }
    o->call = call;
    atomic_fetch_add(&call->refs, 1);
    kd_side_init(&o->side, channel, metadata);
    o->side.metadata[o->side.n_metadata++] = kd_trace_metadata(call->trace);
    kd_side_add_key(&o->side, call);
    pthread_mutex_init(&o->mutex, NULL);
    atomic_init(&o->refs, 1);
    o->side.grpc = grpc_channel_create_call(channel->grpc, call->grpc, GRPC_PROPAGATE_DEFAULTS,
        call->thread->queue, path, NULL, deadline, NULL);
    return o;
}

static void start(outgoing *o, const grpc_op *ops, size_t n, kd_tag *tag)
{
    atomic_fetch_add(&o->refs, 1);
    kd_start_batch(o->side.grpc, ops, n, tag);
}

/* ---- Questions ---- */

static void on_answer(void *owner, bool ok)
{
    outgoing *const o = owner;
    ProtobufCMessage *response = NULL;
    kd_error error = KD_ERROR_INIT;
    (void)ok; /* the status tells */
    if (kd_side_answer(&o->side, o->type, &response, &error) != KD_OK)
        response = NULL; /* the error tells */
    o->done(o->done_arg, response, &error);
    kd_message_free(response);
    outgoing_unref(o);
}

void kd_call_ask(kd_call *call, kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, kd_done done, void *arg)
{
    const ProtobufCMethodDescriptor *const descriptor =
        protobuf_c_service_descriptor_get_method_by_name(service, method);
    char *const path = kd_format("/%s/%s", service->name, method);
    const grpc_slice slice = grpc_slice_from_copied_string(path ? path : "/");
    outgoing *const o = path ? outgoing_new(call, channel, slice,
                                   gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                       gpr_time_from_millis(ASK_MS, GPR_TIMESPAN)),
                                   0)
                             : NULL;
    free(path);
    grpc_slice_unref(slice);
    if (!o) {
        kd_error error;
        (void)kd_error_memory(&error, "a call");
        done(arg, NULL, &error);
        return;
    }
    o->side.request = kd_pack(request);
    o->type = descriptor->output;
    o->done = done;
    o->done_arg = arg;
    o->on_done = (kd_tag){on_answer, o};
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    grpc_op *const end = kd_side_add_status(
        &o->side, kd_side_add_receive(&o->side, kd_side_add_begin(&o->side, ops)));
    start(o, ops, (size_t)(end - ops), &o->on_done);
    outgoing_unref(o);
}

/* ---- Proxies: requests out one by one, messages back one by one, then the status ---- */

/* Not: headers that are about the caller's own connection, those that we send anew (the key is
 * one), and what the core lets in but refuses to send. */
static bool passes_on(grpc_slice key, grpc_slice value)
{
    static const char *const own[] = {
        "traceparent", "authorization", KD_ON_BEHALF, "user-agent", "te", "content-type"};
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (grpc_slice_str_cmp(key, own[i]) == 0)
            return false;
    if (!grpc_header_key_is_legal(key) ||
        (!grpc_is_binary_header(key) && !grpc_header_nonbin_value_is_legal(value)))
        return false;
    return GRPC_SLICE_LENGTH(key) < 5 || memcmp(GRPC_SLICE_START_PTR(key), "grpc-", 5) != 0;
}

static void proxy_receive(outgoing *o)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    (void)kd_side_add_receive(&o->side, &op);
    start(o, &op, 1, &o->on_received);
}

/* Answers the caller once the last message and the status are in. */
static void proxy_finish(outgoing *o)
{
    pthread_mutex_lock(&o->mutex);
    const bool end = o->reading_over && o->status_known && !o->finished;
    o->finished = o->finished || end;
    pthread_mutex_unlock(&o->mutex);
    if (!end)
        return;
    kd_error error = KD_ERROR_INIT;
    if (o->side.code != GRPC_STATUS_OK)
        (void)kd_side_error(&o->side, &error);
    kd_call_finish(o->call, &error);
}

/* The message went out to the caller: ask for the next. */
static void proxy_wrote(void *arg)
{
    outgoing *const o = arg;
    proxy_receive(o);
    outgoing_unref(o);
}

static void on_proxy_received(void *owner, bool ok)
{
    outgoing *const o = owner;
    grpc_byte_buffer *const bytes = ok ? o->side.received : NULL;
    o->side.received = NULL;
    bool over = bytes == NULL;
    if (bytes) {
        atomic_fetch_add(&o->refs, 1); /* for proxy_wrote */
        if (kd_call_send(o->call, bytes, false) != KD_OK) {
            (void)grpc_call_cancel(o->side.grpc, NULL);
            atomic_fetch_sub(&o->refs, 1); /* never the last: this batch holds one */
            over = true;
        }
    }
    if (over) {
        pthread_mutex_lock(&o->mutex);
        o->reading_over = true;
        pthread_mutex_unlock(&o->mutex);
        proxy_finish(o);
    }
    outgoing_unref(o);
}

static void on_proxy_status(void *owner, bool ok)
{
    outgoing *const o = owner;
    (void)ok;
    pthread_mutex_lock(&o->mutex);
    o->status_known = true;
    pthread_mutex_unlock(&o->mutex);
    proxy_finish(o);
    outgoing_unref(o);
}

static void on_proxy_started(void *owner, bool ok)
{
    (void)ok;
    outgoing_unref(owner);
}

/* Asks the caller for a message; it comes to o->on_request, which holds both by then. */
static void proxy_request(outgoing *o)
{
    kd_call *const call = o->call;
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->request_bytes;
    atomic_fetch_add(&o->refs, 1);
    kd_call_start(call, &op, 1, &o->on_request);
}

/* Begins the call to the other side. One message is on its way to the caller at a time, so that a
 * slow caller slows the other side down. */
static void proxy_start(outgoing *o)
{
    kd_call *const call = o->call;
    grpc_op ops[4];
    pthread_mutex_lock(&call->mutex);
    call->wrote = proxy_wrote;
    call->watch_arg = o;
    pthread_mutex_unlock(&call->mutex);
    memset(ops, 0, sizeof ops);
    grpc_op *const end = kd_side_add_begin(&o->side, ops);
    start(o, ops, (size_t)(end - ops), &o->on_done);
    memset(ops, 0, sizeof ops);
    (void)kd_side_add_status(&o->side, ops);
    start(o, ops, 1, &o->on_status);
    proxy_receive(o);
}

/* The only request. */
static void on_proxy_request(void *owner, bool ok)
{
    outgoing *const o = owner;
    kd_call *const call = o->call;
    atomic_store(&call->receiving_ms, 0);
    o->side.request = call->request_bytes;
    call->request_bytes = NULL;
    if (o->side.request) {
        proxy_start(o);
    } else {
        (void)grpc_call_cancel(o->side.grpc, NULL);
        if (!ok || atomic_load(&call->cancelled))
            kd_call_end(call, KD_CANCELLED, KD_CLIENT_GONE);
        else
            kd_call_end(call, KD_INVALID_ARGUMENT, "the call has no request");
    }
    outgoing_unref(o); /* the batch's */
    outgoing_unref(o); /* NOLINT(clang-analyzer-unix.Malloc): kd_proxy_begin's */
    kd_call_unref(call);
}

static void proxy_close(outgoing *o)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    start(o, &op, 1, &o->on_done);
}

/* As for a call of our own: the headers went out, so the caller has ended and not left. */
static void on_proxy_ended(void *owner, bool ok)
{
    outgoing *const o = owner;
    kd_call *const call = o->call;
    if (ok && !atomic_load(&call->cancelled))
        proxy_close(o);
    else
        (void)grpc_call_cancel(o->side.grpc, NULL);
    kd_call_unref(call); /* the batch's; o has its own */
    outgoing_unref(o);
}

/* One of several: it goes out, and the next is asked for once it is on its way. */
static void on_proxy_message(void *owner, bool ok)
{
    outgoing *const o = owner;
    kd_call *const call = o->call;
    grpc_op op;
    memset(&op, 0, sizeof op);
    grpc_byte_buffer_destroy(o->side.request);
    o->side.request = call->request_bytes;
    call->request_bytes = NULL;
    if (o->side.request) {
        op.op = GRPC_OP_SEND_MESSAGE;
        op.data.send_message.send_message = o->side.request;
        start(o, &op, 1, &o->on_forwarded);
    } else if (ok && !atomic_load(&call->cancelled)) {
        atomic_fetch_add(&o->refs, 1);
        if (!kd_call_send_headers(call, &o->on_ended)) { /* they are out: nothing to learn */
            atomic_fetch_sub(&o->refs, 1);
            proxy_close(o);
        }
    } else { /* gone, or a message over the limit: its own end tells the caller */
        (void)grpc_call_cancel(o->side.grpc, NULL);
    }
    outgoing_unref(o);
    kd_call_unref(call);
}

static void on_proxy_forwarded(void *owner, bool ok)
{
    outgoing *const o = owner;
    if (ok) /* else the other side has ended the call */
        proxy_request(o);
    outgoing_unref(o);
}

void kd_proxy_begin(kd_call *call, kd_channel *channel)
{
    outgoing *const o = outgoing_new(call, channel, call->details.method,
        gpr_inf_future(GPR_CLOCK_MONOTONIC), call->metadata.count);
    if (!o) {
        kd_call_end(call, KD_RESOURCE_EXHAUSTED, "no memory for a call");
        return;
    }
    for (size_t i = 0; i < call->metadata.count; i++)
        if (passes_on(call->metadata.metadata[i].key, call->metadata.metadata[i].value))
            o->side.metadata[o->side.n_metadata++] = call->metadata.metadata[i];
    o->on_done = (kd_tag){on_proxy_started, o};
    o->on_status = (kd_tag){on_proxy_status, o};
    o->on_received = (kd_tag){on_proxy_received, o};
    o->on_forwarded = (kd_tag){on_proxy_forwarded, o};
    o->on_ended = (kd_tag){on_proxy_ended, o};
    if (call->endpoint->takes_stream) {
        o->on_request = (kd_tag){on_proxy_message, o};
        proxy_start(o);
        proxy_request(o);
        outgoing_unref(o);
    } else {
        o->on_request = (kd_tag){on_proxy_request, o};
        atomic_store(&call->receiving_ms, call->begun_ns / 1000000);
        proxy_request(o);
    }
}
