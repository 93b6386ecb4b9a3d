/* Checks a message's bytes against its descriptor before protobuf-c unpacks them: it takes invalid
 * UTF-8, cuts strings at NUL, and turns a few bytes into many objects. */
#include <string.h>

#include "lib/base/buf.h"
#include "lib/rpc/internal.h"

#define MAX_DEPTH                                                                                  \
    16 /* none of our messages refers to itself, so this is never reached honestly                 \
        */

typedef struct reader {
    const uint8_t *at, *end;
} reader;

typedef struct check {
    size_t elements;
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

static kd_status count(check *c, size_t n)
{
    c->elements += n;
    if (n > KD_RPC_MAX_ELEMENTS || c->elements > KD_RPC_MAX_ELEMENTS)
        return kd_error_set(c->err, KD_RESOURCE_EXHAUSTED, "the request has more than %u elements",
            KD_RPC_MAX_ELEMENTS);
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
        return KD_OK;
    case PROTOBUF_C_TYPE_MESSAGE:
        return check_message(c, field->descriptor, inner, depth + 1);
    case PROTOBUF_C_TYPE_BYTES:
        return KD_OK;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return count(c, len / 4);
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return count(c, len / 8);
    default:
        return count(c, len); /* packed varints: at least a byte each */
    }
}

static kd_status check_message(
    check *c, const ProtobufCMessageDescriptor *type, reader r, unsigned depth)
{
    if (depth > MAX_DEPTH)
        return malformed(c, type);
    while (r.at < r.end) {
        uint64_t key, value;
        kd_status status = count(c, 1);
        if (status != KD_OK)
            return status;
        if (!read_varint(&r, &key) || key >> 3 == 0 || key >> 3 > UINT32_MAX >> 3)
            return malformed(c, type);
        const ProtobufCFieldDescriptor *const field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3));
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
        if (status != KD_OK)
            return status;
    }
    return KD_OK;
}

kd_status kd_wire_check(
    const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len, kd_error *err)
{
    check c = {0, err};
    return check_message(&c, type, (reader){bytes, bytes + len}, 0);
}
