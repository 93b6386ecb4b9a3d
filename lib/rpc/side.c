/* The client's side of a call, whoever waits for it: a thread (stream.c) or a call on a server
 * (proxy.c). */
#include <stdlib.h>
#include <string.h>

#include <grpc/slice.h>

#include "lib/base/log.h"
#include "lib/rpc/internal.h"

void kd_start_batch(grpc_call *call, const grpc_op *ops, size_t n, void *tag)
{
    KD_TSAN_RELEASE(tag);
    const grpc_call_error error = grpc_call_start_batch(call, ops, n, tag, NULL);
    if (error == GRPC_CALL_OK)
        return;
    KD_LOG(KD_LOG_ERROR, "batch_refused", KD_STR("error", grpc_call_error_to_string(error)));
    abort();
}

void kd_side_init(kd_side *side, kd_channel *channel, grpc_metadata *metadata)
{
    side->channel = channel;
    side->metadata = metadata;
    side->details = grpc_empty_slice();
    grpc_metadata_array_init(&side->initial);
    grpc_metadata_array_init(&side->trailing);
}

void kd_side_clear(kd_side *side)
{
    if (side->grpc)
        grpc_call_unref(side->grpc);
    grpc_byte_buffer_destroy(side->request);
    grpc_byte_buffer_destroy(side->received);
    grpc_metadata_array_destroy(&side->initial);
    grpc_metadata_array_destroy(&side->trailing);
    grpc_slice_unref(side->details);
}

static void add_header(kd_side *side, const char *key, grpc_slice value)
{
    grpc_metadata *const header = &side->metadata[side->n_metadata++];
    memset(header, 0, sizeof *header);
    header->key = grpc_slice_from_static_string(key);
    header->value = value;
}

/* The caller's own, as it came; nothing when it sent none, or what the core refuses to send. */
static void pass_header(kd_side *side, const kd_call *caller, const char *key)
{
    for (size_t i = 0; i < caller->metadata.count; i++) {
        const grpc_metadata *const header = &caller->metadata.metadata[i];
        if (grpc_slice_str_cmp(header->key, key) != 0)
            continue;
        if (grpc_header_nonbin_value_is_legal(header->value))
            add_header(side, key, header->value);
        return;
    }
}

void kd_side_add_key(kd_side *side, const kd_call *caller)
{
    if (!side->channel->has_key && caller) {
        pass_header(side, caller, "authorization");
        pass_header(side, caller, KD_ON_BEHALF);
    } else if (side->channel->has_key) {
        add_header(side, "authorization", side->channel->authorization);
        if (caller)
            add_header(side, KD_ON_BEHALF,
                grpc_slice_from_static_string(kd_scope_name(caller->caller.scope)));
    }
}

grpc_op *kd_side_add_begin(kd_side *side, grpc_op *op)
{
    op->op = GRPC_OP_SEND_INITIAL_METADATA;
    op->data.send_initial_metadata.count = side->n_metadata;
    op->data.send_initial_metadata.metadata = side->metadata;
    op++;
    if (side->request) {
        op->op = GRPC_OP_SEND_MESSAGE;
        op->data.send_message.send_message = side->request;
        op++;
        op->op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
        op++;
    }
    op->op = GRPC_OP_RECV_INITIAL_METADATA;
    op->data.recv_initial_metadata.recv_initial_metadata = &side->initial;
    return op + 1;
}

grpc_op *kd_side_add_receive(kd_side *side, grpc_op *op)
{
    op->op = GRPC_OP_RECV_MESSAGE;
    op->data.recv_message.recv_message = &side->received;
    return op + 1;
}

grpc_op *kd_side_add_status(kd_side *side, grpc_op *op)
{
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &side->trailing;
    op->data.recv_status_on_client.status = &side->code;
    op->data.recv_status_on_client.status_details = &side->details;
    return op + 1;
}

kd_status kd_side_unpack(
    kd_side *side, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out, kd_error *err)
{
    kd_error fault = KD_ERROR_INIT;
    const kd_status status = kd_unpack(side->received, type, NULL, out, &fault);
    grpc_byte_buffer_destroy(side->received);
    side->received = NULL;
    if (status == KD_RESOURCE_EXHAUSTED)
        return kd_error_set(
            err, status, "the answer of %s: %s", side->channel->address, fault.message);
    if (status != KD_OK)
        return kd_error_set(err, KD_INTERNAL, "%s answered what can't be read: %s",
            side->channel->address, fault.message);
    return KD_OK;
}

kd_status kd_side_answer(
    kd_side *side, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out, kd_error *err)
{
    *out = NULL;
    if (side->code != GRPC_STATUS_OK)
        return kd_side_error(side, err);
    if (!side->received)
        return kd_error_set(err, KD_INTERNAL, "%s sent no answer", side->channel->address);
    return kd_side_unpack(side, type, out, err);
}

/* Our servers send this with every UNAVAILABLE of their own; the core has none in what it makes up
 * about a connection. */
static bool has_answered(const grpc_metadata_array *trailing)
{
    for (size_t i = 0; i < trailing->count; i++)
        if (grpc_slice_str_cmp(trailing->metadata[i].key, "grpc-retry-pushback-ms") == 0)
            return true;
    return false;
}

kd_status kd_side_error(const kd_side *side, kd_error *err)
{
    const char *const address = side->channel->address;
    const int len = (int)GRPC_SLICE_LENGTH(side->details);
    const char *const text = (const char *)GRPC_SLICE_START_PTR(side->details);
    const kd_status status =
        (unsigned)side->code <= KD_UNAUTHENTICATED ? (kd_status)side->code : KD_UNKNOWN;
    /* The core's own sentence about a lost or refused connection does not say whose. */
    const bool lost = status == KD_UNAVAILABLE && !has_answered(&side->trailing);
    if (lost)
        kd_channel_missed(side->channel);
    if (lost && !memmem(text, (size_t)len, address, strlen(address)))
        return kd_error_set(err, status, "no answer from %s: %.*s", address, len, text);
    if (status == KD_DEADLINE_EXCEEDED)
        return kd_error_set(err, status, "%s did not answer in time", address);
    return kd_error_set(err, status, "%.*s", len, text);
}
