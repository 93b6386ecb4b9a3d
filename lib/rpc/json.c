/* Messages as JSON, by their descriptors. */
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "lib/base/buf.h"
#include "lib/rpc/internal.h"

static json_t *json_uint(uint64_t value)
{
    if (value <= INT64_MAX)
        return json_integer((json_int_t)value);
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return json_string(text); /* JSON readers lose such numbers */
}

static json_t *json_bytes(const ProtobufCBinaryData *bytes)
{
    char *const text = malloc(4 * (bytes->len / 3 + 1) + 1);
    if (!text || bytes->len > INT32_MAX) {
        free(text);
        return NULL;
    }
    const int len = EVP_EncodeBlock((unsigned char *)text, bytes->data, (int)bytes->len);
    json_t *const value = json_stringn(text, (size_t)len);
    free(text);
    return value;
}

/* JOB_STATE_DONE of kindred.v1.JobState becomes "done": the enum's own name in capitals is the
 * prefix. */
void kd_enum_word(
    const ProtobufCEnumDescriptor *type, const ProtobufCEnumValue *value, char word[KD_ENUM_WORD])
{
    const char *name = value->name;
    char prefix[KD_ENUM_WORD];
    size_t n = 0;
    for (const char *p = type->short_name; *p && n + 2 < sizeof prefix; p++) {
        if (isupper((unsigned char)*p) && p != type->short_name)
            prefix[n++] = '_';
        prefix[n++] = (char)toupper((unsigned char)*p);
    }
    prefix[n++] = '_';
    if (strncmp(name, prefix, n) == 0)
        name += n;
    size_t i = 0;
    for (; name[i] && i + 1 < KD_ENUM_WORD; i++)
        word[i] = (char)tolower((unsigned char)name[i]);
    word[i] = '\0';
}

static json_t *json_enum(const ProtobufCEnumDescriptor *type, int number)
{
    const ProtobufCEnumValue *const value = protobuf_c_enum_descriptor_get_value(type, number);
    char word[KD_ENUM_WORD];
    if (!value)
        return json_integer(number);
    kd_enum_word(type, value, word);
    return json_string(word);
}

size_t kd_element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    default:
        return 4;
    }
}

/* What is no number in JSON is null. */
static json_t *json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* What came in was checked; a message of ours may hold a file's name. */
static json_t *json_text(const char *text)
{
    return kd_utf8_valid(text, strlen(text)) ? json_string(text) : json_null();
}

/* NULL without memory. */
static json_t *json_value(const ProtobufCFieldDescriptor *field, const void *at)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)at);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return json_integer(*(const int64_t *)at);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)at);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_uint(*(const uint64_t *)at);
    case PROTOBUF_C_TYPE_FLOAT:
        return json_number((double)*(const float *)at);
    case PROTOBUF_C_TYPE_DOUBLE:
        return json_number(*(const double *)at);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)at);
    case PROTOBUF_C_TYPE_ENUM:
        return json_enum(field->descriptor, *(const int *)at);
    case PROTOBUF_C_TYPE_STRING:
        return json_text(*(char *const *)at ? *(char *const *)at : "");
    case PROTOBUF_C_TYPE_BYTES:
        return json_bytes(at);
    case PROTOBUF_C_TYPE_MESSAGE:
        return kd_message_json(*(ProtobufCMessage *const *)at);
    }
    return NULL;
}

static json_t *json_list(const ProtobufCFieldDescriptor *field, size_t n, const uint8_t *elements)
{
    json_t *const array = json_array();
    for (size_t i = 0; array && i < n; i++) {
        if (json_array_append_new(
                array, json_value(field, elements + i * kd_element_size(field->type))) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

static bool is_set(const ProtobufCFieldDescriptor *field, const uint8_t *message)
{
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) &&
        *(const uint32_t *)(message + field->quantifier_offset) != field->id)
        return false;
    return field->label == PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE ||
           *(ProtobufCMessage *const *)(message + field->offset);
}

json_t *kd_message_json(const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *const type = message->descriptor;
    const uint8_t *const base = (const uint8_t *)message;
    json_t *const object = json_object();
    for (unsigned i = 0; object && i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *const field = &type->fields[i];
        const uint8_t *const at = base + field->offset;
        if (!is_set(field, base))
            continue;
        json_t *const value =
            field->label == PROTOBUF_C_LABEL_REPEATED
                ? json_list(field, *(const size_t *)(base + field->quantifier_offset),
                      *(uint8_t *const *)at)
                : json_value(field, at);
        if (json_object_set_new(object, field->name, value) != 0) { /* of no value too */
            json_decref(object);
            return NULL;
        }
    }
    return object;
}
