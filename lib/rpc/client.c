/* Calls that a client waits for, each on a completion queue of its own: the waiting thread does the
 * core's polling itself. */
#include <stdlib.h>
#include <string.h>

#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "lib/rpc/internal.h"

kd_status kd_channel_open(kd_channel **out, const char *address, kd_error *err)
{
    *out = NULL;
    kd_channel *channel = calloc(1, sizeof *channel);
    if (!channel || !(channel->address = strdup(address))) {
        free(channel);
        return kd_error_memory(err, "a channel");
    }
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
            .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
            .value.integer = (int)KD_RPC_MAX_MESSAGE},
        {.type = GRPC_ARG_INTEGER,
            .key = (char *)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
            .value.integer = 100},
        {.type = GRPC_ARG_INTEGER,
            .key = (char *)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
            .value.integer = 100},
        {.type = GRPC_ARG_INTEGER,
            .key = (char *)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS,
            .value.integer = 2000},
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0},
    };
    const grpc_channel_args all = {sizeof args / sizeof args[0], args};
    grpc_channel_credentials *const plain = grpc_insecure_credentials_create();
    channel->grpc = grpc_channel_create(address, plain, &all);
    grpc_channel_credentials_release(plain);
    *out = channel;
    return KD_OK;
}

void kd_channel_close(kd_channel *channel)
{
    if (!channel)
        return;
    grpc_channel_destroy(channel->grpc);
    free(channel->address);
    free(channel);
}

const char *kd_channel_address(const kd_channel *channel)
{
    return channel->address;
}

gpr_timespec kd_deadline(int64_t timeout_ms)
{
    if (timeout_ms <= 0)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(
        gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(timeout_ms, GPR_TIMESPAN));
}

struct kd_stream {
    kd_channel *channel;
    const ProtobufCMethodDescriptor *method;
    grpc_completion_queue *queue;
    grpc_call *call;
    grpc_byte_buffer *request, *received;
    grpc_metadata trace;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
    bool reading, status_known;
    char begin_tag, read_tag, status_tag; /* their addresses are the tags */
};

static void start(kd_stream *stream, const grpc_op *ops, size_t n, void *tag)
{
    KD_TSAN_RELEASE(tag);
    (void)grpc_call_start_batch(stream->call, ops, n, tag, NULL);
}

/* Waits for tag until the time; false on time-out. */
static bool pluck(kd_stream *stream, void *tag, int64_t wait_ms)
{
    const gpr_timespec until = wait_ms < 0 ? gpr_inf_future(GPR_CLOCK_MONOTONIC)
                                           : gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                                 gpr_time_from_millis(wait_ms, GPR_TIMESPAN));
    const grpc_event event = grpc_completion_queue_pluck(stream->queue, tag, until, NULL);
    KD_TSAN_ACQUIRE(tag);
    return event.type == GRPC_OP_COMPLETE;
}

kd_status kd_stream_open(kd_stream **out, kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    const kd_call_options *options, kd_error *err)
{
    *out = NULL;
    kd_stream *stream = calloc(1, sizeof *stream);
    char *path = kd_format("/%s/%s", service->name, method);
    if (!stream || !path) {
        free(path);
        free(stream);
        return kd_error_memory(err, "a call");
    }
    char trace[KD_TRACE_TEXT];
    if (options && options->trace)
        (void)kd_copy(trace, sizeof trace, options->trace);
    else
        kd_trace_make(trace);
    stream->channel = channel;
    stream->method = protobuf_c_service_descriptor_get_method_by_name(service, method);
    stream->trace = kd_trace_metadata(trace);
    stream->details = grpc_empty_slice();
    grpc_metadata_array_init(&stream->initial);
    grpc_metadata_array_init(&stream->trailing);
    stream->queue = grpc_completion_queue_create_for_pluck(NULL);
    const grpc_slice path_slice = grpc_slice_from_copied_string(path);
    free(path);
    grpc_call *const parent = options && options->parent ? options->parent->grpc : NULL;
    stream->call = grpc_channel_create_call(channel->grpc, parent, GRPC_PROPAGATE_DEFAULTS,
        stream->queue, path_slice, NULL, kd_deadline(options ? options->timeout_ms : 0), NULL);
    grpc_slice_unref(path_slice);
    stream->request = kd_pack(request);

    grpc_op ops[4];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.count = 1;
    ops[0].data.send_initial_metadata.metadata = &stream->trace;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = stream->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &stream->initial;
    start(stream, ops, 4, &stream->begin_tag);
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[0].data.recv_status_on_client.trailing_metadata = &stream->trailing;
    ops[0].data.recv_status_on_client.status = &stream->code;
    ops[0].data.recv_status_on_client.status_details = &stream->details;
    start(stream, ops, 1, &stream->status_tag);
    *out = stream;
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
        op.op = GRPC_OP_RECV_MESSAGE;
        op.data.recv_message.recv_message = &stream->received;
        stream->reading = true;
        start(stream, &op, 1, &stream->read_tag);
    }
    if (!pluck(stream, &stream->read_tag, wait_ms)) {
        *waiting = true;
        return kd_error_set(
            err, KD_DEADLINE_EXCEEDED, "nothing from %s yet", stream->channel->address);
    }
    stream->reading = false;
    if (stream->received) {
        kd_error fault = KD_ERROR_INIT;
        const kd_status status =
            kd_unpack(stream->received, stream->method->output, message, &fault);
        grpc_byte_buffer_destroy(stream->received);
        stream->received = NULL;
        if (status != KD_OK)
            return kd_error_set(err, KD_INTERNAL, "%s answered what can't be read: %s",
                stream->channel->address, fault.message);
        return KD_OK;
    }
    if (!stream->status_known) { /* no more messages: the status is here or about to be */
        (void)pluck(stream, &stream->status_tag, -1);
        stream->status_known = true;
    }
    if (stream->code == GRPC_STATUS_OK)
        return KD_OK;
    return kd_error_from_grpc(err, stream->code, stream->details, stream->channel->address);
}

void kd_stream_close(kd_stream *stream)
{
    if (!stream)
        return;
    if (!stream->status_known)
        (void)grpc_call_cancel(stream->call, NULL);
    (void)pluck(stream, &stream->begin_tag, -1);
    if (stream->reading)
        (void)pluck(stream, &stream->read_tag, -1);
    if (!stream->status_known)
        (void)pluck(stream, &stream->status_tag, -1);
    grpc_call_unref(stream->call);
    grpc_completion_queue_shutdown(stream->queue);
    grpc_completion_queue_destroy(stream->queue);
    grpc_byte_buffer_destroy(stream->request);
    grpc_byte_buffer_destroy(stream->received);
    grpc_metadata_array_destroy(&stream->initial);
    grpc_metadata_array_destroy(&stream->trailing);
    grpc_slice_unref(stream->trace.value);
    grpc_slice_unref(stream->details);
    free(stream);
}

/* A unary call is a stream of one message. */
kd_status kd_channel_call(kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, const kd_call_options *options,
    ProtobufCMessage **response, kd_error *err)
{
    kd_stream *stream = NULL;
    ProtobufCMessage *rest = NULL;
    bool waiting;
    *response = NULL;
    kd_status status = kd_stream_open(&stream, channel, service, method, request, options, err);
    if (!stream)
        return status;
    status = kd_stream_read(stream, -1, response, &waiting, err);
    if (status == KD_OK && *response)
        status = kd_stream_read(stream, -1, &rest, &waiting, err); /* the status behind it */
    if (status == KD_OK && (!*response || rest))
        status = kd_error_set(err, KD_INTERNAL, "%s sent %s answer to %s", channel->address,
            rest ? "more than one" : "no", method);
    if (status != KD_OK) {
        kd_message_free(*response);
        *response = NULL;
    }
    kd_message_free(rest);
    kd_stream_close(stream);
    return status;
}
