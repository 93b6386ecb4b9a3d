/* JSON as messages, by their descriptors: as strictly as bytes are taken, with the field named that
 * is wrong. */
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "lib/base/buf.h"
#include "lib/rpc/internal.h"

/* Where in the JSON: "conditions[3].range.min". */
typedef struct place {
    const struct place *above;
    const char *name;
    size_t index; /* of an array's element, from 1; 0: none */
} place;

/* Cut when there is not enough room, the innermost names last. */
static size_t write_place(const place *at, char *text, size_t size)
{
    size_t len = at->above ? write_place(at->above, text, size) : 0;
    int n;
    if (at->index > 0)
        n = snprintf(text + len, size - len, "[%zu]", at->index - 1);
    else
        n = snprintf(text + len, size - len, "%s%s", len > 0 ? "." : "", at->name);
    len += n > 0 ? (size_t)n : 0;
    return len < size ? len : size - 1;
}

static kd_status KD_PRINTF(3, 4) wrong(const place *at, kd_error *err, const char *format, ...)
{
    char where[200] = "", what[200];
    va_list args;
    if (at)
        (void)write_place(at, where, sizeof where);
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    return kd_error_set(err, KD_INVALID_ARGUMENT, "%s%s%s", where, at ? " " : "", what);
}

/* ---- Numbers ---- */

static kd_status take_integer(
    const place *at, const json_t *value, int64_t min, int64_t max, int64_t *out, kd_error *err)
{
    if (!json_is_integer(value))
        return wrong(at, err, "is not a whole number");
    *out = json_integer_value(value);
    if (*out < min || *out > max)
        return wrong(at, err, "is %lld, allowed are %lld to %lld", (long long)*out, (long long)min,
            (long long)max);
    return KD_OK;
}

/* Of 64 bits: as text too, since many readers of JSON round such numbers. */
static kd_status take_int64(const place *at, const json_t *value, int64_t *out, kd_error *err)
{
    const char *const text = json_string_value(value);
    char *end;
    if (!text)
        return take_integer(at, value, INT64_MIN, INT64_MAX, out, err);
    errno = 0;
    *out = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end || !strchr("-0123456789", text[0]))
        return wrong(at, err, "is not a whole number of 64 bits");
    return KD_OK;
}

static kd_status take_uint64(const place *at, const json_t *value, uint64_t *out, kd_error *err)
{
    const char *const text = json_string_value(value);
    int64_t number = 0;
    if (text)
        return kd_parse_u64(text, 0, UINT64_MAX, out)
                   ? KD_OK
                   : wrong(at, err, "is not a whole number of 64 bits, zero or more");
    const kd_status status = take_integer(at, value, 0, INT64_MAX, &number, err);
    *out = (uint64_t)number;
    return status;
}

static kd_status take_real(
    const place *at, const json_t *value, double most, double *out, kd_error *err)
{
    if (!json_is_number(value))
        return wrong(at, err, "is not a number");
    *out = json_number_value(value);
    if (!(fabs(*out) <= most))
        return wrong(at, err, "is %g, which is out of range", *out);
    return KD_OK;
}

/* ---- The rest ---- */

static kd_status take_enum(const place *at, const ProtobufCEnumDescriptor *type,
    const json_t *value, int *out, kd_error *err)
{
    const char *const text = json_string_value(value);
    char words[160] = "", word[KD_ENUM_WORD];
    size_t len = 0;
    for (unsigned i = 0; i < type->n_values; i++) {
        kd_enum_word(type, &type->values[i], word);
        if (text && strcmp(text, word) == 0) {
            *out = type->values[i].value;
            return KD_OK;
        }
        const int n = snprintf(words + len, sizeof words - len, "%s%s", len > 0 ? ", " : "", word);
        len += n > 0 && len + (size_t)n < sizeof words ? (size_t)n : 0;
    }
    return wrong(at, err, "is none of these words: %s", words);
}

static kd_status take_string(const place *at, const json_t *value, char **out, kd_error *err)
{
    if (!json_is_string(value))
        return wrong(at, err, "is not a text");
    char *const copy =
        strdup(json_string_value(value)); /* UTF-8 without NUL: the parser sees to it */
    if (!copy)
        return kd_error_memory(err, "a message");
    *out = copy;
    return KD_OK;
}

/* How many bytes the text stands for; SIZE_MAX: it is no base64. */
static size_t base64_size(const char *text, size_t len)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t pads = 0;
    while (pads < 2 && pads < len && text[len - 1 - pads] == '=')
        pads++;
    if (len % 4 != 0 || len > INT32_MAX || strspn(text, letters) != len - pads)
        return SIZE_MAX;
    return len / 4 * 3 - pads;
}

static kd_status take_bytes(
    const place *at, const json_t *value, ProtobufCBinaryData *out, kd_error *err)
{
    const char *const text = json_string_value(value);
    const size_t len = json_string_length(value), size = text ? base64_size(text, len) : SIZE_MAX;
    if (size == SIZE_MAX)
        return wrong(at, err, "is not a text of base64");
    if (size == 0)
        return KD_OK;
    uint8_t *const bytes = malloc(len / 4 * 3); /* the padding's places are written too */
    if (!bytes)
        return kd_error_memory(err, "a message");
    if (EVP_DecodeBlock(bytes, (const unsigned char *)text, (int)len) < 0) {
        free(bytes);
        return wrong(at, err, "is not a text of base64");
    }
    *out = (ProtobufCBinaryData){size, bytes};
    return KD_OK;
}

static kd_status take_message(const place *at, const ProtobufCMessageDescriptor *type,
    const json_t *object, ProtobufCMessage **out, kd_error *err);

static kd_status take_value(const place *at, const ProtobufCFieldDescriptor *field,
    const json_t *value, void *to, kd_error *err)
{
    kd_status status;
    int64_t integer = 0;
    double real = 0;
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        status = take_integer(at, value, INT32_MIN, INT32_MAX, &integer, err);
        *(int32_t *)to = (int32_t)integer;
        return status;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        status = take_integer(at, value, 0, UINT32_MAX, &integer, err);
        *(uint32_t *)to = (uint32_t)integer;
        return status;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return take_int64(at, value, to, err);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return take_uint64(at, value, to, err);
    case PROTOBUF_C_TYPE_FLOAT:
        status = take_real(at, value, (double)FLT_MAX, &real, err);
        *(float *)to = (float)real;
        return status;
    case PROTOBUF_C_TYPE_DOUBLE:
        return take_real(at, value, DBL_MAX, to, err);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_is_boolean(value))
            return wrong(at, err, "is neither true nor false");
        *(protobuf_c_boolean *)to = json_is_true(value);
        return KD_OK;
    case PROTOBUF_C_TYPE_ENUM:
        return take_enum(at, field->descriptor, value, to, err);
    case PROTOBUF_C_TYPE_STRING:
        return take_string(at, value, to, err);
    case PROTOBUF_C_TYPE_BYTES:
        return take_bytes(at, value, to, err);
    case PROTOBUF_C_TYPE_MESSAGE:
        return take_message(at, field->descriptor, value, to, err);
    }
    return kd_error_set(err, KD_INTERNAL, "a field of unknown type");
}

/* At each moment the message can be freed: an element counts once it is whole. */
static kd_status take_list(const place *at, const ProtobufCFieldDescriptor *field,
    const json_t *value, size_t *n, void **elements, kd_error *err)
{
    const size_t size = kd_element_size(field->type);
    if (!json_is_array(value))
        return wrong(at, err, "is not a list");
    if (json_array_size(value) == 0)
        return KD_OK;
    uint8_t *const list = calloc(json_array_size(value), size);
    if (!list)
        return kd_error_memory(err, "a message");
    *elements = list;
    kd_status status = KD_OK;
    for (size_t i = 0; status == KD_OK && i < json_array_size(value); i++) {
        const place inner = {at, NULL, i + 1};
        status = take_value(&inner, field, json_array_get(value, i), list + i * size, err);
        *n += status == KD_OK;
    }
    return status;
}

/* "image and vector": which field of the message's oneof is set already. */
static const char *name_of(const ProtobufCMessageDescriptor *type, uint32_t id)
{
    const ProtobufCFieldDescriptor *const field = protobuf_c_message_descriptor_get_field(type, id);
    return field ? field->name : "another";
}

static kd_status take_field(const place *above, ProtobufCMessage *message, const char *name,
    const json_t *value, kd_error *err)
{
    const ProtobufCMessageDescriptor *const type = message->descriptor;
    const ProtobufCFieldDescriptor *const field =
        protobuf_c_message_descriptor_get_field_by_name(type, name);
    const place at = {above, name, 0};
    uint8_t *const base = (uint8_t *)message;
    if (!field)
        return wrong(&at, err, "is no field of a %s", type->short_name);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return take_list(&at, field, value, (size_t *)(base + field->quantifier_offset),
            (void **)(base + field->offset), err);
    if (!(field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
        return take_value(&at, field, value, base + field->offset, err);
    uint32_t *const which = (uint32_t *)(base + field->quantifier_offset);
    if (*which != 0)
        return wrong(
            &at, err, "is given beside %s: only one of them may be", name_of(type, *which));
    const kd_status status = take_value(&at, field, value, base + field->offset, err);
    if (status == KD_OK)
        *which = field->id;
    return status;
}

static kd_status take_message(const place *at, const ProtobufCMessageDescriptor *type,
    const json_t *object, ProtobufCMessage **out, kd_error *err)
{
    if (!json_is_object(object))
        return wrong(at, err, at ? "is not an object" : "the request is not a JSON object");
    ProtobufCMessage *const message = malloc(type->sizeof_message);
    if (!message)
        return kd_error_memory(err, "a message");
    protobuf_c_message_init(type, message);
    kd_status status = KD_OK;
    for (void *at_field = json_object_iter((json_t *)(uintptr_t)object);
        at_field && status == KD_OK;
        at_field = json_object_iter_next((json_t *)(uintptr_t)object, at_field))
        status = take_field(
            at, message, json_object_iter_key(at_field), json_object_iter_value(at_field), err);
    if (status == KD_OK)
        *out = message;
    else
        kd_message_free(message);
    return status;
}

kd_status kd_message_from_json(ProtobufCMessage **out, const ProtobufCMessageDescriptor *type,
    const json_t *object, kd_error *err)
{
    *out = NULL;
    return take_message(NULL, type, object, out, err);
}

/* ---- Text ---- */

kd_status kd_json_parse(json_t **out, const void *text, size_t len, kd_error *err)
{
    json_error_t fault = {.text = ""};
    size_t values = 1;
    *out = NULL;
    /* Each takes far more memory than its two bytes of text. */
    for (const char *p = text, *const end = p + len; p < end; p++)
        values += *p == ',' || *p == '[' || *p == '{';
    if (values > KD_JSON_MAX_VALUES)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the request's JSON has more than %u values: send pictures as they are, or gRPC",
            KD_JSON_MAX_VALUES);
    *out = json_loadb(text ? text : "", len, JSON_REJECT_DUPLICATES, &fault);
    if (*out && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the request is not a JSON object");
    }
    if (!*out && (fault.text[0] == '\0' || json_error_code(&fault) == json_error_out_of_memory))
        return kd_error_memory(err, "a request");
    if (!*out) /* the parser quotes what may be no UTF-8 */
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the request is not JSON: line %d, column %d%s", fault.line, fault.column,
            json_error_code(&fault) == json_error_duplicate_key ? ": a key comes twice" : "");
    return KD_OK;
}

/* A scalar as JSON; NULL when text is none, or without memory. */
static json_t *scalar(const ProtobufCFieldDescriptor *field, const char *text)
{
    double real;
    uint64_t magnitude;
    const bool minus = text[0] == '-';
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_ENUM:
        return json_string(text);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return kd_parse_double(text, -DBL_MAX, DBL_MAX, &real) ? json_real(real) : NULL;
    case PROTOBUF_C_TYPE_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
            return json_true();
        return strcmp(text, "false") == 0 || strcmp(text, "0") == 0 ? json_false() : NULL;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return kd_parse_u64(text, 0, UINT64_MAX, &magnitude) ? json_string(text) : NULL;
    case PROTOBUF_C_TYPE_MESSAGE:
        return NULL;
    default:
        if (!kd_parse_u64(text + minus, 0, INT64_MAX, &magnitude))
            return NULL;
        return json_integer(minus ? -(json_int_t)magnitude : (json_int_t)magnitude);
    }
}

static bool is_number_message(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *const type = field->descriptor;
    return field->type == PROTOBUF_C_TYPE_MESSAGE && type->n_fields == 1 &&
           type->fields[0].type == PROTOBUF_C_TYPE_DOUBLE;
}

kd_status kd_json_set_text(json_t *object, const ProtobufCMessageDescriptor *type, const char *name,
    const char *text, kd_error *err)
{
    const ProtobufCFieldDescriptor *const field =
        protobuf_c_message_descriptor_get_field_by_name(type, name);
    if (!field)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "%.100s is no field of a %s", name, type->short_name);
    const ProtobufCMessageDescriptor *const inner =
        is_number_message(field) ? field->descriptor : NULL;
    json_t *value = scalar(inner ? &inner->fields[0] : field, text);
    if (!value)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s can't be '%.100s'", name, text);
    if (inner)
        value = json_pack("{s:o}", inner->fields[0].name, value);
    json_t *const there = json_object_get(object, name);
    if (field->label == PROTOBUF_C_LABEL_REPEATED && json_is_array(there)) {
        if (json_array_append_new(there, value) == 0)
            return KD_OK;
    } else if (there) {
        json_decref(value);
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is given twice", name);
    } else if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        if (json_object_set_new(object, name, json_pack("[o]", value)) == 0)
            return KD_OK;
    } else if (json_object_set_new(object, name, value) == 0) {
        return KD_OK;
    }
    return kd_error_memory(err, "a request");
}
