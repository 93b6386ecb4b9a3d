/* Calls that a server makes on behalf of a call it has: questions to another service (kd_call_ask)
 * and calls passed on whole (proxies). They are children of that call in the core, so that its
 * deadline and its cancellation hold for them, and their events come on the server's own threads.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "lib/rpc/internal.h"

typedef struct outgoing {
    kd_call *call; /* the caller's, kept by the duty to answer it */
    kd_channel *channel;
    grpc_call *grpc;
    grpc_byte_buffer *request, *received;
    grpc_metadata trace;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
    kd_tag on_done, on_request, on_received, on_status;
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
    if (o->grpc)
        grpc_call_unref(o->grpc);
    grpc_byte_buffer_destroy(o->request);
    grpc_byte_buffer_destroy(o->received);
    grpc_metadata_array_destroy(&o->initial);
    grpc_metadata_array_destroy(&o->trailing);
    grpc_slice_unref(o->trace.value);
    grpc_slice_unref(o->details);
    pthread_mutex_destroy(&o->mutex);
    free(o);
}

static outgoing *outgoing_new(kd_call *call, kd_channel *channel, grpc_slice path)
{
    outgoing *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->call = call;
    o->channel = channel;
    o->details = grpc_empty_slice();
    o->trace = kd_trace_metadata(call->trace);
    grpc_metadata_array_init(&o->initial);
    grpc_metadata_array_init(&o->trailing);
    pthread_mutex_init(&o->mutex, NULL);
    atomic_init(&o->refs, 1);
    o->grpc = grpc_channel_create_call(channel->grpc, call->grpc, GRPC_PROPAGATE_DEFAULTS,
        call->server->queue, path, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return o;
}

static void start(outgoing *o, const grpc_op *ops, size_t n, kd_tag *tag)
{
    atomic_fetch_add(&o->refs, 1);
    KD_TSAN_RELEASE(tag);
    const grpc_call_error error = grpc_call_start_batch(o->grpc, ops, n, tag, NULL);
    assert(error == GRPC_CALL_OK);
    (void)error;
}

static grpc_op *add_start(outgoing *o, grpc_op *op)
{
    op->op = GRPC_OP_SEND_INITIAL_METADATA;
    op->data.send_initial_metadata.count = 1;
    op->data.send_initial_metadata.metadata = &o->trace;
    op++;
    op->op = GRPC_OP_SEND_MESSAGE;
    op->data.send_message.send_message = o->request;
    op++;
    op->op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    op++;
    op->op = GRPC_OP_RECV_INITIAL_METADATA;
    op->data.recv_initial_metadata.recv_initial_metadata = &o->initial;
    return op + 1;
}

static grpc_op *add_receive(outgoing *o, grpc_op *op)
{
    op->op = GRPC_OP_RECV_MESSAGE;
    op->data.recv_message.recv_message = &o->received;
    return op + 1;
}

static grpc_op *add_status(outgoing *o, grpc_op *op)
{
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &o->trailing;
    op->data.recv_status_on_client.status = &o->code;
    op->data.recv_status_on_client.status_details = &o->details;
    return op + 1;
}

/* ---- Questions ---- */

static void on_answer(void *owner, bool ok)
{
    outgoing *const o = owner;
    ProtobufCMessage *response = NULL;
    kd_error error = KD_ERROR_INIT;
    (void)ok; /* the status tells */
    if (o->code != GRPC_STATUS_OK) {
        (void)kd_error_from_grpc(&error, o->code, o->details, o->channel->address);
    } else if (!o->received) {
        (void)kd_error_set(&error, KD_INTERNAL, "%s sent no answer", o->channel->address);
    } else {
        kd_error fault = KD_ERROR_INIT;
        if (kd_unpack(o->received, o->type, &response, &fault) != KD_OK)
            (void)kd_error_set(&error, KD_INTERNAL, "%s answered what can't be read: %s",
                o->channel->address, fault.message);
    }
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
    outgoing *const o = path ? outgoing_new(call, channel, slice) : NULL;
    free(path);
    grpc_slice_unref(slice);
    if (!o) {
        kd_error error;
        (void)kd_error_memory(&error, "a call");
        done(arg, NULL, &error);
        return;
    }
    o->request = kd_pack(request);
    o->type = descriptor->output;
    o->done = done;
    o->done_arg = arg;
    o->on_done = (kd_tag){on_answer, o};
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    grpc_op *const end = add_status(o, add_receive(o, add_start(o, ops)));
    start(o, ops, (size_t)(end - ops), &o->on_done);
    outgoing_unref(o);
}

/* ---- Proxies: request bytes out, messages back one by one, then the status ---- */

static void proxy_receive(outgoing *o)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    (void)add_receive(o, &op);
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
    if (o->code != GRPC_STATUS_OK)
        (void)kd_error_from_grpc(&error, o->code, o->details, o->channel->address);
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
    grpc_byte_buffer *const bytes = ok ? o->received : NULL;
    o->received = NULL;
    bool over = bytes == NULL;
    if (bytes) {
        atomic_fetch_add(&o->refs, 1); /* for proxy_wrote */
        if (kd_call_send(o->call, bytes, false) != KD_OK) {
            (void)grpc_call_cancel(o->grpc, NULL);
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

static void on_proxy_request(void *owner, bool ok)
{
    outgoing *const o = owner;
    kd_call *const call = o->call;
    (void)ok;
    o->request = call->request_bytes;
    call->request_bytes = NULL;
    if (!o->request) {
        kd_call_end(call, KD_INVALID_ARGUMENT,
            "the call has no request, or one that is larger than the server's limit");
        (void)grpc_call_cancel(o->grpc, NULL);
        outgoing_unref(o);
        outgoing_unref(o); /* NOLINT(clang-analyzer-unix.Malloc): the start's own, never begun */
        kd_call_unref(call);
        return;
    }
    /* One message is on its way at a time, so that a slow caller slows the other side down. */
    pthread_mutex_lock(&call->mutex);
    call->wrote = proxy_wrote;
    call->wrote_arg = o;
    pthread_mutex_unlock(&call->mutex);
    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    grpc_op *const end = add_start(o, ops);
    start(o, ops, (size_t)(end - ops), &o->on_done);
    memset(ops, 0, sizeof ops);
    (void)add_status(o, ops);
    start(o, ops, 1, &o->on_status);
    proxy_receive(o);
    outgoing_unref(o);
    outgoing_unref(o); /* NOLINT(clang-analyzer-unix.Malloc): the beginning's, see kd_proxy_begin */
    kd_call_unref(call);
}

void kd_proxy_begin(kd_call *call, kd_channel *channel)
{
    outgoing *const o = outgoing_new(call, channel, call->details.method);
    if (!o) {
        kd_call_end(call, KD_RESOURCE_EXHAUSTED, "no memory for a call");
        return;
    }
    o->on_done = (kd_tag){on_proxy_started, o};
    o->on_status = (kd_tag){on_proxy_status, o};
    o->on_received = (kd_tag){on_proxy_received, o};
    o->on_request = (kd_tag){on_proxy_request, o};
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->request_bytes;
    atomic_fetch_add(&o->refs, 1);
    atomic_fetch_add(&call->refs, 1);
    KD_TSAN_RELEASE(&o->on_request);
    (void)grpc_call_start_batch(call->grpc, &op, 1, &o->on_request, NULL);
}
