/* Checks a message's bytes against its descriptor before protobuf-c unpacks them: it takes invalid
 * UTF-8, cuts strings at NUL, and turns a few bytes into much memory. What that is is added up here
 * from how protobuf-c 1.4 and 1.5 allocate: a block for each message, string and bytes, an array
 * for each repeated field, and while a message is taken apart a note of each field in it. */
#include <string.h>

#include "lib/base/buf.h"
#include "lib/rpc/internal.h"

#define MAX_DEPTH                                                                                  \
    16 /* none of our messages refers to itself, so this is never reached honestly                 \
        */

typedef struct reader {
    const uint8_t *at, *end;
} reader;

#define BLOCK 16 /* malloc's own, each time */
#define NOTE 80  /* protobuf-c's ScannedMember of 40, its arrays at most half empty */

typedef struct check {
    size_t memory;
    kd_error *err;
} check;

static bool read_varint(reader *r, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->end; shift += 7) {
        const uint8_t byte = *r->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return true;
    }
    return false;
}

static bool skip(reader *r, uint64_t len)
{
    if (len > (uint64_t)(r->end - r->at))
        return false;
    r->at += len;
    return true;
}

static kd_status malformed(const check *c, const ProtobufCMessageDescriptor *type)
{
    return kd_error_set(
        c->err, KD_INVALID_ARGUMENT, "the request's bytes are not a %s", type->name);
}

static kd_status count(check *c, size_t bytes)
{
    c->memory += bytes;
    if (bytes > KD_RPC_MAX_UNPACKED || c->memory > KD_RPC_MAX_UNPACKED)
        return kd_error_set(c->err, KD_RESOURCE_EXHAUSTED,
            "the request takes more than %u MiB of memory", KD_RPC_MAX_UNPACKED >> 20);
    return KD_OK;
}

static kd_status check_message(
    check *c, const ProtobufCMessageDescriptor *type, reader r, unsigned depth);

/* A length-delimited field whose bytes are inner. */
static kd_status check_block(check *c, const ProtobufCMessageDescriptor *owner,
    const ProtobufCFieldDescriptor *field, reader inner, unsigned depth)
{
    const size_t len = (size_t)(inner.end - inner.at);
    if (!field)
        return KD_OK;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        if (!kd_utf8_valid(inner.at, len))
            return kd_error_set(c->err, KD_INVALID_ARGUMENT, "%s of %s is not UTF-8 text",
                field->name, owner->short_name);
        return count(c, len + 1 + BLOCK);
    case PROTOBUF_C_TYPE_MESSAGE:
        return check_message(c, field->descriptor, inner, depth + 1);
    case PROTOBUF_C_TYPE_BYTES:
        return count(c, len + BLOCK);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return count(c, len);
    default: /* packed varints: a byte at least, eight at most when unpacked */
        return len > KD_RPC_MAX_UNPACKED ? count(c, len) : count(c, len * 8);
    }
}

static kd_status check_message(
    check *c, const ProtobufCMessageDescriptor *type, reader r, unsigned depth)
{
    if (depth > MAX_DEPTH)
        return malformed(c, type);
    kd_status status = count(c, type->sizeof_message + BLOCK);
    if (status != KD_OK)
        return status;
    while (r.at < r.end) {
        uint64_t key, value;
        status = count(c, NOTE + sizeof(ProtobufCBinaryData)); /* an element's place, at most */
        if (status != KD_OK)
            return status;
        if (!read_varint(&r, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX >> 3)
            return malformed(c, type);
        const ProtobufCFieldDescriptor *const field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3));
        const uint8_t *const content = r.at;
        bool fine = true;
        switch (key & 7) {
        case 0:
            fine = read_varint(&r, &value);
            break;
        case 1:
            fine = skip(&r, 8);
            break;
        case 5:
            fine = skip(&r, 4);
            break;
        case 2: {
            fine = read_varint(&r, &value);
            const reader inner = {
                r.at, r.at + (fine && value <= (uint64_t)(r.end - r.at) ? value : 0)};
            fine = fine && skip(&r, value);
            if (fine)
                status = check_block(c, type, field, inner, depth);
            break;
        }
        default:
            fine = false;
        }
        if (!fine)
            return malformed(c, type);
        if (status == KD_OK && !field) /* protobuf-c keeps a copy */
            status =
                count(c, (size_t)(r.at - content) + sizeof(ProtobufCMessageUnknownField) + BLOCK);
        if (status != KD_OK)
            return status;
    }
    return KD_OK;
}

kd_status kd_wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len,
    size_t *memory, kd_error *err)
{
    check c = {0, err};
    const kd_status status = check_message(&c, type, (reader){bytes, bytes + len}, 0);
    *memory = c.memory;
    return status;
}
