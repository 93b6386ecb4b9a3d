#include "lib/rpc/descriptors.h"

#include <string.h>

#include "kindred/v1/access.pb-c.h"

#include "lib/rpc/internal.h"

extern const unsigned char kd_descriptor_set_bytes[];
extern const size_t kd_descriptor_set_bytes_len;

#define MAX_NAME 512

kd_status kd_descriptors_new(kd_descriptors **out, const kd_descriptor_set *set, kd_error *err)
{
    const kd_descriptor_set own = {kd_descriptor_set_bytes, kd_descriptor_set_bytes_len};
    bool no_memory;
    if (!set)
        set = &own;
    *out = (kd_descriptors *)kd_unpack_bytes(
        &google__protobuf__file_descriptor_set__descriptor, set->bytes, set->len, &no_memory);
    if (*out)
        return KD_OK;
    return no_memory ? kd_error_memory(err, "the description of the services")
                     : kd_error_set(err, KD_INVALID_ARGUMENT,
                           "the description of the services is not a FileDescriptorSet");
}

/* "package.name", or name where there is no package. */
static void join(char full[MAX_NAME], const char *package, const char *name)
{
    (void)snprintf(
        full, MAX_NAME, "%s%s%s", package ? package : "", package && *package ? "." : "", name);
}

/* NULL: not in the set. */
static const Google__Protobuf__MethodDescriptorProto *find_method(
    const kd_descriptors *set, const char *service, const char *method)
{
    char full[MAX_NAME];
    for (size_t f = 0; f < set->n_file; f++) {
        const kd_file *const file = set->file[f];
        for (size_t s = 0; s < file->n_service; s++) {
            join(full, file->package, file->service[s]->name);
            if (strcmp(full, service) != 0)
                continue;
            for (size_t m = 0; m < file->service[s]->n_method; m++)
                if (strcmp(file->service[s]->method[m]->name, method) == 0)
                    return file->service[s]->method[m];
        }
    }
    return NULL;
}

bool kd_descriptors_takes_stream(const kd_descriptors *set, const char *service, const char *method)
{
    const Google__Protobuf__MethodDescriptorProto *const found = find_method(set, service, method);
    return found && found->client_streaming;
}

#define SCOPE_OPTION 50001u /* proto/kindred/v1/access.proto */

kd_scope kd_descriptors_scope(const kd_descriptors *set, const char *service, const char *method)
{
    if (strncmp(service, "grpc.health.", 12) == 0)
        return KD_SCOPE_OPEN;
    if (strncmp(service, "grpc.reflection.", 16) == 0)
        return KD_SCOPE_READ;
    const Google__Protobuf__MethodDescriptorProto *const found = find_method(set, service, method);
    const ProtobufCMessage *const options = found && found->options ? &found->options->base : NULL;
    /* protobuf-c knows no extensions: ours is a field that it could not name. */
    for (unsigned i = 0; options && i < options->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *const field = &options->unknown_fields[i];
        if (field->tag != SCOPE_OPTION || field->len != 1) /* a varint */
            continue;
        if (field->data[0] == KINDRED__V1__SCOPE__SCOPE_READ)
            return KD_SCOPE_READ;
        if (field->data[0] == KINDRED__V1__SCOPE__SCOPE_WRITE)
            return KD_SCOPE_WRITE;
    }
    return KD_SCOPE_ADMIN;
}

void kd_descriptors_config(const kd_descriptors *set, kd_buf *json)
{
    const char *comma = "";
    char full[MAX_NAME];
    kd_buf_puts(json, "{\"methodConfig\":[{\"name\":[");
    for (size_t f = 0; f < set->n_file; f++) {
        const kd_file *const file = set->file[f];
        for (size_t s = 0; s < file->n_service; s++) {
            join(full, file->package, file->service[s]->name);
            for (size_t m = 0; m < file->service[s]->n_method; m++) {
                const Google__Protobuf__MethodDescriptorProto *const method =
                    file->service[s]->method[m];
                if (!method->options || method->options->idempotency_level == 0)
                    continue;
                kd_buf_printf(
                    json, "%s{\"service\":\"%s\",\"method\":\"%s\"}", comma, full, method->name);
                comma = ",";
            }
        }
    }
    kd_buf_puts(json,
        "],\"retryPolicy\":{\"maxAttempts\":3,\"initialBackoff\":\"0.1s\",\"maxBackoff\":\"1s\","
        "\"backoffMultiplier\":3,\"retryableStatusCodes\":[\"UNAVAILABLE\"]}}]}");
}

const kd_file *kd_descriptors_file(const kd_descriptors *set, const char *name)
{
    for (size_t f = 0; f < set->n_file; f++)
        if (strcmp(set->file[f]->name, name) == 0)
            return set->file[f];
    return NULL;
}

/* What is left of name behind scope, or NULL when it isn't in it: "A.B" in "A" is "B". */
static const char *within(const char *name, const char *scope)
{
    const size_t len = strlen(scope);
    if (strncmp(name, scope, len) != 0)
        return NULL;
    return name[len] == '.' ? name + len + 1 : name[len] == '\0' ? name + len : NULL;
}

/* rest is what follows the enum's name; its values are siblings of the enum in the language, but
 * are asked for in both ways. */
static bool enum_has(const Google__Protobuf__EnumDescriptorProto *type, const char *rest)
{
    for (size_t i = 0; i < type->n_value; i++)
        if (strcmp(type->value[i]->name, rest) == 0)
            return true;
    return *rest == '\0';
}

static bool message_has(const Google__Protobuf__DescriptorProto *type, const char *rest)
{
    const char *inner;
    if (*rest == '\0')
        return true;
    for (size_t i = 0; i < type->n_field; i++)
        if (strcmp(type->field[i]->name, rest) == 0)
            return true;
    for (size_t i = 0; i < type->n_enum_type; i++)
        if ((inner = within(rest, type->enum_type[i]->name)) != NULL &&
            enum_has(type->enum_type[i], inner))
            return true;
    for (size_t i = 0; i < type->n_nested_type; i++)
        if ((inner = within(rest, type->nested_type[i]->name)) != NULL &&
            message_has(type->nested_type[i], inner)) /* as deep as the proto was written */
            return true;
    return false;
}

static bool service_has(const Google__Protobuf__ServiceDescriptorProto *service, const char *rest)
{
    for (size_t i = 0; i < service->n_method; i++)
        if (strcmp(service->method[i]->name, rest) == 0)
            return true;
    return *rest == '\0';
}

static bool file_has(const kd_file *file, const char *name)
{
    const char *inner;
    const char *const rest = file->package && *file->package ? within(name, file->package) : name;
    if (!rest)
        return false;
    for (size_t i = 0; i < file->n_service; i++)
        if ((inner = within(rest, file->service[i]->name)) != NULL &&
            service_has(file->service[i], inner))
            return true;
    for (size_t i = 0; i < file->n_message_type; i++)
        if ((inner = within(rest, file->message_type[i]->name)) != NULL &&
            message_has(file->message_type[i], inner))
            return true;
    for (size_t i = 0; i < file->n_enum_type; i++)
        if ((inner = within(rest, file->enum_type[i]->name)) != NULL &&
            enum_has(file->enum_type[i], inner))
            return true;
    return false;
}

const kd_file *kd_descriptors_symbol(const kd_descriptors *set, const char *name)
{
    for (size_t f = 0; f < set->n_file; f++)
        if (file_has(set->file[f], name))
            return set->file[f];
    return NULL;
}
