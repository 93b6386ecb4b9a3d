/* Calls that a client waits for, each on a completion queue of its own: the waiting thread does the
 * core's polling itself. A unary call is one batch; a stream has one for its beginning, one for its
 * status and one for each message. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "lib/rpc/internal.h"

#define LOOK_MS 100 /* between two looks at options.stop */

struct kd_stream {
    kd_channel *channel;
    const ProtobufCMethodDescriptor *method;
    const atomic_bool *stop; /* NULL: nobody will ask */
    grpc_completion_queue *queue;
    grpc_call *call;
    grpc_byte_buffer *request, *received;
    grpc_metadata metadata[1 + KD_RPC_CALL_METADATA]; /* the trace first */
    size_t n_metadata;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
    bool reading, status_known, ended;
    char begin_tag, read_tag, write_tag, status_tag; /* their addresses are the tags */
};

static void start(kd_stream *stream, const grpc_op *ops, size_t n, void *tag)
{
    KD_TSAN_RELEASE(tag);
    const grpc_call_error error = grpc_call_start_batch(stream->call, ops, n, tag, NULL);
    if (error != GRPC_CALL_OK)
        kd_start_failed(error);
}

/* Waits for tag until the time (-1: for good). A stop cancels the call, after which the tag soon
 * comes. */
static grpc_event pluck(kd_stream *stream, void *tag, int64_t wait_ms)
{
    const gpr_timespec until = wait_ms < 0 ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                                           : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                                 gpr_time_from_millis(wait_ms, GPR_TIMESPAN));
    grpc_event event;
    for (bool look = stream->stop != NULL;;) {
        gpr_timespec next = until;
        if (look)
            next = gpr_time_min(until, gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                           gpr_time_from_millis(LOOK_MS, GPR_TIMESPAN)));
        event = grpc_completion_queue_pluck(stream->queue, tag, next, NULL);
        if (event.type == GRPC_OP_COMPLETE || gpr_time_cmp(next, until) == 0)
            break;
        if (atomic_load(stream->stop)) {
            (void)grpc_call_cancel_with_status(
                stream->call, GRPC_STATUS_CANCELLED, "the caller is asked to stop", NULL);
            look = false;
        }
    }
    KD_TSAN_ACQUIRE(tag);
    return event;
}

static void stream_free(kd_stream *stream)
{
    if (stream->call)
        grpc_call_unref(stream->call);
    if (stream->queue) {
        grpc_completion_queue_shutdown(stream->queue);
        grpc_completion_queue_destroy(stream->queue);
    }
    grpc_byte_buffer_destroy(stream->request);
    grpc_byte_buffer_destroy(stream->received);
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    for (size_t i = 0; i < stream->n_metadata; i++) {
        grpc_slice_unref(stream->metadata[i].key);
        grpc_slice_unref(stream->metadata[i].value);
    }
    grpc_slice_unref(stream->details);
    free(stream);
}

static kd_status add_metadata(kd_stream *stream, const kd_call_options *options, kd_error *err)
{
    char trace[KD_TRACE_TEXT];
    if (options && options->trace)
        (void)kd_copy(trace, sizeof trace, options->trace);
    else
        kd_trace_make(trace);
    stream->metadata[stream->n_metadata++] = kd_trace_metadata(trace);
    const size_t n = options ? options->n_metadata : 0;
    assert(n <= KD_RPC_CALL_METADATA);
    for (size_t i = 0; i < n; i++) {
        grpc_metadata *const to = &stream->metadata[stream->n_metadata++];
        to->key = grpc_slice_from_copied_string(options->metadata[i].key);
        to->value = grpc_slice_from_copied_string(options->metadata[i].value);
        if (!grpc_header_key_is_legal(to->key) || !grpc_header_nonbin_value_is_legal(to->value))
            return kd_error_set(err, KD_INVALID_ARGUMENT, "'%s: %s' can't be a call's metadata",
                options->metadata[i].key, options->metadata[i].value);
    }
    return KD_OK;
}

static gpr_timespec deadline_of(const kd_call_options *options)
{
    if (!options || options->timeout_ms <= 0)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(
        gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(options->timeout_ms, GPR_TIMESPAN));
}

/* All but its first batch. */
static kd_status stream_new(kd_stream **out, kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const kd_call_options *options,
    kd_error *err)
{
    *out = NULL;
    char *const path = kd_format("/%s/%s", service->name, method);
    kd_stream *const stream = path ? calloc(1, sizeof *stream) : NULL;
    if (!stream) {
        free(path);
        return kd_error_memory(err, "a call");
    }
    stream->channel = channel;
    stream->method = protobuf_c_service_descriptor_get_method_by_name(service, method);
    assert(stream->method);
    stream->stop = options ? options->stop : NULL;
    stream->details = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    const kd_status status = add_metadata(stream, options, err);
    if (status == KD_OK) {
        const grpc_slice slice = grpc_slice_from_copied_string(path);
        stream->queue = grpc_completion_queue_create_for_pluck(NULL);
        stream->call = grpc_channel_create_call(channel->grpc,
            options && options->parent ? options->parent->grpc : NULL, GRPC_PROPAGATE_DEFAULTS,
            stream->queue, slice, NULL, deadline_of(options), NULL);
        grpc_slice_unref(slice);
        *out = stream;
    } else {
        stream_free(stream);
    }
    free(path);
    return status;
}

/* ---- Parts of batches; each returns the place behind ---- */

static grpc_op *add_begin(kd_stream *stream, grpc_op *op)
{
    op->op = GRPC_OP_SEND_INITIAL_METADATA;
    op->data.send_initial_metadata.count = stream->n_metadata;
    op->data.send_initial_metadata.metadata = stream->metadata;
    op++;
    if (stream->request) {
        op->op = GRPC_OP_SEND_MESSAGE;
        op->data.send_message.send_message = stream->request;
        op++;
        op->op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        op++;
    }
    op->op = GRPC_OP_RECV_INITIAL_METADATA;
    op->data.recv_initial_metadata.recv_initial_metadata = &stream->initial;
    return op + 1;
}

static grpc_op *add_receive(kd_stream *stream, grpc_op *op)
{
    op->op = GRPC_OP_RECV_MESSAGE;
    op->data.recv_message.recv_message = &stream->received;
    return op + 1;
}

static grpc_op *add_status(kd_stream *stream, grpc_op *op)
{
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &stream->trailing;
    op->data.recv_status_on_client.status = &stream->code;
    op->data.recv_status_on_client.status_details = &stream->details;
    return op + 1;
}

static kd_status unpack_received(kd_stream *stream, ProtobufCMessage **message, kd_error *err)
{
    kd_error fault = KD_ERROR_INIT;
    const kd_status status =
        kd_unpack(stream->received, stream->method->output, NULL, message, &fault);
    grpc_byte_buffer_destroy(stream->received);
    stream->received = NULL;
    if (status == KD_RESOURCE_EXHAUSTED)
        return kd_error_set(
            err, status, "the answer of %s: %s", stream->channel->address, fault.message);
    if (status != KD_OK)
        return kd_error_set(err, KD_INTERNAL, "%s answered what can't be read: %s",
            stream->channel->address, fault.message);
    return KD_OK;
}

/* ---- Unary ---- */

kd_status kd_channel_call(kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, const kd_call_options *options,
    ProtobufCMessage **response, kd_error *err)
{
    kd_stream *stream = NULL;
    grpc_op ops[6];
    *response = NULL;
    kd_status status = stream_new(&stream, channel, service, method, options, err);
    if (status != KD_OK)
        return status;
    stream->request = kd_pack(request);
    memset(ops, 0, sizeof ops);
    grpc_op *const end = add_status(stream, add_receive(stream, add_begin(stream, ops)));
    start(stream, ops, (size_t)(end - ops), &stream->begin_tag);
    (void)pluck(stream, &stream->begin_tag, -1);
    if (stream->code != GRPC_STATUS_OK)
        status = kd_error_from_grpc(err, stream->code, stream->details, &stream->trailing, channel);
    else if (!stream->received)
        status =
            kd_error_set(err, KD_INTERNAL, "%s sent no answer to %s", channel->address, method);
    else
        status = unpack_received(stream, response, err);
    stream_free(stream);
    return status;
}

/* ---- Streams ---- */

kd_status kd_stream_open(kd_stream **out, kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    const kd_call_options *options, kd_error *err)
{
    grpc_op ops[4];
    const kd_status status = stream_new(out, channel, service, method, options, err);
    if (status != KD_OK)
        return status;
    kd_stream *const stream = *out;
    stream->request = request ? kd_pack(request) : NULL;
    stream->ended = request != NULL;
    memset(ops, 0, sizeof ops);
    const grpc_op *const end = add_begin(stream, ops);
    start(stream, ops, (size_t)(end - ops), &stream->begin_tag);
    memset(ops, 0, sizeof ops);
    (void)add_status(stream, ops);
    start(stream, ops, 1, &stream->status_tag);
    return KD_OK;
}

kd_status kd_stream_read(
    kd_stream *stream, int64_t wait_ms, ProtobufCMessage **message, bool *waiting, kd_error *err)
{
    *message = NULL;
    *waiting = false;
    if (!stream->reading) {
        grpc_op op;
        memset(&op, 0, sizeof op);
        (void)add_receive(stream, &op);
        stream->reading = true;
        start(stream, &op, 1, &stream->read_tag);
    }
    if (pluck(stream, &stream->read_tag, wait_ms).type != GRPC_OP_COMPLETE) {
        *waiting = true;
        return kd_error_set(
            err, KD_DEADLINE_EXCEEDED, "nothing from %s yet", stream->channel->address);
    }
    stream->reading = false;
    if (stream->received)
        return unpack_received(stream, message, err);
    if (!stream->status_known) { /* no more messages: the status is here or about to be */
        (void)pluck(stream, &stream->status_tag, -1);
        stream->status_known = true;
    }
    if (stream->code == GRPC_STATUS_OK)
        return KD_OK;
    return kd_error_from_grpc(
        err, stream->code, stream->details, &stream->trailing, stream->channel);
}

kd_status kd_stream_write(kd_stream *stream, const ProtobufCMessage *message, kd_error *err)
{
    grpc_op op;
    assert(!stream->ended);
    grpc_byte_buffer *const bytes = kd_pack(message);
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = bytes;
    start(stream, &op, 1, &stream->write_tag);
    const grpc_event event = pluck(stream, &stream->write_tag, -1);
    grpc_byte_buffer_destroy(bytes);
    if (event.success)
        return KD_OK;
    return kd_error_set(err, KD_CANCELLED, "%s has ended the call", stream->channel->address);
}

void kd_stream_end(kd_stream *stream)
{
    grpc_op op;
    if (stream->ended)
        return;
    stream->ended = true;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    start(stream, &op, 1, &stream->write_tag);
    (void)pluck(stream, &stream->write_tag, -1);
}

void kd_stream_close(kd_stream *stream)
{
    if (!stream)
        return;
    if (!stream->status_known)
        (void)grpc_call_cancel(stream->call, NULL);
    stream->stop = NULL;
    (void)pluck(stream, &stream->begin_tag, -1);
    if (stream->reading)
        (void)pluck(stream, &stream->read_tag, -1);
    if (!stream->status_known)
        (void)pluck(stream, &stream->status_tag, -1);
    stream_free(stream);
}
