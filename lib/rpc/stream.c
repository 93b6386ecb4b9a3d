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
    kd_side side;
    const ProtobufCMethodDescriptor *method;
    const atomic_bool *stop; /* NULL: nobody will ask */
    grpc_completion_queue *queue;
    grpc_metadata metadata[1 + KD_RPC_CALL_METADATA + KD_SIDE_KEY]; /* the trace first */
    size_t n_owned; /* of it; the rest is borrowed */
    bool reading, status_known, ended;
    char begin_tag, read_tag, write_tag, status_tag; /* their addresses are the tags */
};

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
                stream->side.grpc, GRPC_STATUS_CANCELLED, "the caller is asked to stop", NULL);
            look = false;
        }
    }
    KD_TSAN_ACQUIRE(tag);
    return event;
}

static void stream_free(kd_stream *stream)
{
    kd_side_clear(&stream->side);
    if (stream->queue) {
        grpc_completion_queue_shutdown(stream->queue);
        grpc_completion_queue_destroy(stream->queue);
    }
    for (size_t i = 0; i < stream->n_owned; i++) {
        grpc_slice_unref(stream->metadata[i].key);
        grpc_slice_unref(stream->metadata[i].value);
    }
    free(stream);
}

static kd_status add_metadata(kd_stream *stream, const kd_call_options *options, kd_error *err)
{
    char trace[KD_TRACE_TEXT];
    if (options && options->trace)
        (void)kd_copy(trace, sizeof trace, options->trace);
    else
        kd_trace_make(trace);
    stream->metadata[stream->side.n_metadata++] = kd_trace_metadata(trace);
    stream->n_owned = 1;
    const size_t n = options ? options->n_metadata : 0;
    assert(n <= KD_RPC_CALL_METADATA);
    for (size_t i = 0; i < n; i++) {
        grpc_metadata *const to = &stream->metadata[stream->side.n_metadata++];
        stream->n_owned++;
        to->key = grpc_slice_from_copied_string(options->metadata[i].key);
        to->value = grpc_slice_from_copied_string(options->metadata[i].value);
        if (!grpc_header_key_is_legal(to->key) || !grpc_header_nonbin_value_is_legal(to->value))
            return kd_error_set(err, KD_INVALID_ARGUMENT, "'%s: %s' can't be a call's metadata",
                options->metadata[i].key, options->metadata[i].value);
    }
    kd_side_add_key(&stream->side, options ? options->parent : NULL);
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
    kd_side_init(&stream->side, channel, stream->metadata);
    stream->method = protobuf_c_service_descriptor_get_method_by_name(service, method);
    assert(stream->method);
    stream->stop = options ? options->stop : NULL;
    const kd_status status = add_metadata(stream, options, err);
    if (status == KD_OK) {
        const grpc_slice slice = grpc_slice_from_copied_string(path);
        stream->queue = grpc_completion_queue_create_for_pluck(NULL);
        stream->side.grpc = grpc_channel_create_call(channel->grpc,
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
    stream->side.request = kd_pack(request);
    memset(ops, 0, sizeof ops);
    grpc_op *const end = kd_side_add_status(
        &stream->side, kd_side_add_receive(&stream->side, kd_side_add_begin(&stream->side, ops)));
    kd_start_batch(stream->side.grpc, ops, (size_t)(end - ops), &stream->begin_tag);
    (void)pluck(stream, &stream->begin_tag, -1);
    status = kd_side_answer(&stream->side, stream->method->output, response, err);
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
    stream->side.request = request ? kd_pack(request) : NULL;
    stream->ended = request != NULL;
    memset(ops, 0, sizeof ops);
    const grpc_op *const end = kd_side_add_begin(&stream->side, ops);
    kd_start_batch(stream->side.grpc, ops, (size_t)(end - ops), &stream->begin_tag);
    memset(ops, 0, sizeof ops);
    (void)kd_side_add_status(&stream->side, ops);
    kd_start_batch(stream->side.grpc, ops, 1, &stream->status_tag);
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
        (void)kd_side_add_receive(&stream->side, &op);
        stream->reading = true;
        kd_start_batch(stream->side.grpc, &op, 1, &stream->read_tag);
    }
    if (pluck(stream, &stream->read_tag, wait_ms).type != GRPC_OP_COMPLETE) {
        *waiting = true;
        return kd_error_set(
            err, KD_DEADLINE_EXCEEDED, "nothing from %s yet", stream->side.channel->address);
    }
    stream->reading = false;
    if (stream->side.received)
        return kd_side_unpack(&stream->side, stream->method->output, message, err);
    if (!stream->status_known) { /* no more messages: the status is here or about to be */
        (void)pluck(stream, &stream->status_tag, -1);
        stream->status_known = true;
    }
    if (stream->side.code == GRPC_STATUS_OK)
        return KD_OK;
    return kd_side_error(&stream->side, err);
}

kd_status kd_stream_write(kd_stream *stream, const ProtobufCMessage *message, kd_error *err)
{
    grpc_op op;
    assert(!stream->ended);
    grpc_byte_buffer *const bytes = kd_pack(message);
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = bytes;
    kd_start_batch(stream->side.grpc, &op, 1, &stream->write_tag);
    const grpc_event event = pluck(stream, &stream->write_tag, -1);
    grpc_byte_buffer_destroy(bytes);
    if (event.success)
        return KD_OK;
    return kd_error_set(err, KD_CANCELLED, "%s has ended the call", stream->side.channel->address);
}

void kd_stream_end(kd_stream *stream)
{
    grpc_op op;
    if (stream->ended)
        return;
    stream->ended = true;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    kd_start_batch(stream->side.grpc, &op, 1, &stream->write_tag);
    (void)pluck(stream, &stream->write_tag, -1);
}

void kd_stream_close(kd_stream *stream)
{
    if (!stream)
        return;
    if (!stream->status_known)
        (void)grpc_call_cancel(stream->side.grpc, NULL);
    stream->stop = NULL;
    (void)pluck(stream, &stream->begin_tag, -1);
    if (stream->reading)
        (void)pluck(stream, &stream->read_tag, -1);
    if (!stream->status_known)
        (void)pluck(stream, &stream->status_tag, -1);
    stream_free(stream);
}
