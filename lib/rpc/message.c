#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>

#include "lib/base/buf.h"
#include "lib/rpc/internal.h"

grpc_byte_buffer *kd_pack(const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    grpc_slice slice = grpc_slice_malloc(len); /* the core aborts without memory */
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *const bytes = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return bytes;
}

/* protobuf-c only says that it failed: its allocator knows whether for want of memory. */
static void *note_alloc(void *no_memory, size_t size)
{
    void *const block = malloc(size);
    if (!block)
        *(bool *)no_memory = true;
    return block;
}

static void note_free(void *no_memory, void *block)
{
    (void)no_memory;
    free(block);
}

ProtobufCMessage *kd_unpack_bytes(
    const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len, bool *no_memory)
{
    ProtobufCAllocator allocator = {note_alloc, note_free, no_memory};
    *no_memory = false;
    return protobuf_c_message_unpack(type, &allocator, len, bytes);
}

kd_status kd_unpack(grpc_byte_buffer *bytes, const ProtobufCMessageDescriptor *type,
    kd_call *charge, ProtobufCMessage **out, kd_error *err)
{
    grpc_byte_buffer_reader reader;
    size_t memory = 0;
    *out = NULL;
    if (!grpc_byte_buffer_reader_init(&reader, bytes))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the request can't be decompressed");
    grpc_slice whole = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    const uint8_t *const at = GRPC_SLICE_START_PTR(whole);
    const size_t len = GRPC_SLICE_LENGTH(whole);
    kd_status status = kd_wire_check(type, at, len, &memory, err);
    if (status == KD_OK && charge && !kd_call_charge(charge, memory))
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the server works on %zu MiB of requests already; try again later",
            charge->server->options.max_bytes >> 20);
    if (status == KD_OK) {
        bool no_memory;
        *out = kd_unpack_bytes(type, at, len, &no_memory);
        if (!*out && no_memory)
            status = kd_error_memory(err, "a message");
        else if (!*out)
            status = kd_error_set(
                err, KD_INVALID_ARGUMENT, "the request's bytes are not a %s", type->name);
    }
    grpc_slice_unref(whole);
    return status;
}

void kd_message_free(void *message)
{
    ProtobufCAllocator allocator = {note_alloc, note_free, NULL};
    if (message)
        protobuf_c_message_free_unpacked(message, &allocator);
}
