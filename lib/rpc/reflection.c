/* grpc.reflection.v1 and its former name v1alpha (https://grpc.io/docs/guides/reflection/). */
#include <stdlib.h>
#include <string.h>

#include "grpc/reflection/v1/reflection.pb-c.h"

#include "lib/rpc/descriptors.h"
#include "lib/rpc/internal.h"

typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

#define MAX_FILES 64 /* one answer's: a file and its imports */

static void read_next(kd_server *server, kd_call *call);

static void say_error(reflection_response *response, Grpc__Reflection__V1__ErrorResponse *error,
    kd_status status, char *text)
{
    error->error_code = (int32_t)status;
    error->error_message = text;
    response->error_response = error;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
}

/* Adds what file imports, then file, each once. */
static size_t collect(
    const kd_descriptors *set, const kd_file *file, const kd_file *files[MAX_FILES], size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (files[i] == file)
            return n;
    if (!file || n == MAX_FILES)
        return n;
    for (size_t i = 0; i < file->n_dependency; i++)
        n = collect(set, kd_descriptors_file(set, file->dependency[i]), files, n);
    if (n < MAX_FILES)
        files[n++] = file;
    return n;
}

/* The file first, and each before what it imports: a client that takes them from the end never
 * meets an import that it has not seen. */
static size_t in_order(const kd_descriptors *set, const kd_file *file, const kd_file **files)
{
    const size_t n = collect(set, file, files, 0);
    for (size_t i = 0; i < n / 2; i++) {
        const kd_file *const held = files[i];
        files[i] = files[n - 1 - i];
        files[n - 1 - i] = held;
    }
    return n;
}

/* False without memory. */
static bool pack_files(const kd_file **files, size_t n, ProtobufCBinaryData *packed)
{
    for (size_t i = 0; i < n; i++) {
        packed[i].len = protobuf_c_message_get_packed_size(&files[i]->base);
        packed[i].data = malloc(packed[i].len);
        if (!packed[i].data)
            return false;
        (void)protobuf_c_message_pack(&files[i]->base, packed[i].data);
    }
    return true;
}

static kd_status send_files(
    const kd_descriptors *set, const kd_file *file, kd_call *call, reflection_response *response)
{
    Grpc__Reflection__V1__FileDescriptorResponse answer =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    const kd_file *files[MAX_FILES];
    ProtobufCBinaryData packed[MAX_FILES] = {0};
    const size_t n = in_order(set, file, files);
    if (pack_files(files, n, packed)) {
        answer.n_file_descriptor_proto = n;
        answer.file_descriptor_proto = packed;
        response->file_descriptor_response = &answer;
        response->message_response_case =
            GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    } else {
        say_error(response, &error, KD_RESOURCE_EXHAUSTED, (char *)"no memory for the files");
    }
    const kd_status status = kd_call_write(call, &response->base, false);
    for (size_t i = 0; i < n; i++)
        free(packed[i].data);
    return status;
}

static kd_status send_error(kd_call *call, reflection_response *response, kd_status code,
    const char *what, const char *name)
{
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    char text[300];
    (void)snprintf(text, sizeof text, "%s '%.200s'", what, name);
    say_error(response, &error, code, text);
    return kd_call_write(call, &response->base, false);
}

/* Endpoints are sorted by path, so a service's methods follow each other. */
static kd_status send_services(
    const kd_server *server, kd_call *call, reflection_response *response)
{
    Grpc__Reflection__V1__ListServiceResponse answer =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse *const services =
        calloc(server->n_endpoints, sizeof *services);
    Grpc__Reflection__V1__ServiceResponse **const list =
        calloc(server->n_endpoints, sizeof(void *));
    char **const names = calloc(server->n_endpoints, sizeof(char *));
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    bool fine = services && list && names;
    size_t n = 0;
    for (size_t i = 0; fine && i < server->n_endpoints; i++) {
        const char *const path = server->endpoints[i].path + 1;
        const size_t len = strcspn(path, "/");
        if (n > 0 && strncmp(names[n - 1], path, len) == 0 && names[n - 1][len] == '\0')
            continue;
        fine = (names[n] = strndup(path, len)) != NULL;
        grpc__reflection__v1__service_response__init(&services[n]);
        services[n].name = names[n];
        list[n] = &services[n];
        n += fine;
    }
    answer.service = list;
    answer.n_service = n;
    response->list_services_response = &answer;
    response->message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    if (!fine)
        say_error(response, &error, KD_RESOURCE_EXHAUSTED, (char *)"no memory for the list");
    const kd_status status = kd_call_write(call, &response->base, false);
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
    free(list);
    free(services);
    return status;
}

static kd_status answer(kd_server *server, kd_call *call, reflection_request *request)
{
    const kd_descriptors *const set = server->descriptors;
    reflection_response response = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    const kd_file *file = NULL;
    response.valid_host = request->host;
    response.original_request = request;
    switch (request->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return send_services(server, call, &response);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        file = kd_descriptors_file(set, request->file_by_filename);
        return file ? send_files(set, file, call, &response)
                    : send_error(
                          call, &response, KD_NOT_FOUND, "no file", request->file_by_filename);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        file = kd_descriptors_symbol(set, request->file_containing_symbol);
        return file ? send_files(set, file, call, &response)
                    : send_error(call, &response, KD_NOT_FOUND, "no symbol",
                          request->file_containing_symbol);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_EXTENSION:
        return send_error(call, &response, KD_NOT_FOUND, "no extension of",
            request->file_containing_extension->containing_type);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_ALL_EXTENSION_NUMBERS_OF_TYPE:
        return send_error(call, &response, KD_NOT_FOUND, "no extension of",
            request->all_extension_numbers_of_type);
    default:
        return send_error(call, &response, KD_INVALID_ARGUMENT,
            "the request asks for nothing of host", request->host);
    }
}

static void on_message(void *arg, kd_call *call, ProtobufCMessage *message, const kd_error *error)
{
    kd_server *const server = arg;
    kd_error fault = KD_ERROR_INIT;
    if (!message) { /* the client's end, or why there is no message */
        kd_call_finish(call, error);
        return;
    }
    const kd_status status = answer(server, call, (reflection_request *)message);
    kd_message_free(message);
    if (status == KD_OK) {
        read_next(server, call);
        return;
    }
    (void)kd_error_set(&fault, status,
        status == KD_CANCELLED ? "the client has gone" : "the client doesn't read its answers");
    kd_call_fail(call, &fault);
}

static void read_next(kd_server *server, kd_call *call)
{
    kd_call_read(call, on_message, server);
}

static void reflect(void *state, kd_call *call, const ProtobufCMessage *none)
{
    (void)none;
    read_next(state, call);
}

kd_status kd_reflection_add(kd_server *server, kd_error *err)
{
    static const char *const names[] = {
        "grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"};
    const ProtobufCMethodDescriptor *const method =
        &grpc__reflection__v1__server_reflection__descriptor.methods[0];
    for (size_t i = 0; i < 2; i++) {
        kd_endpoint *const endpoint = kd_server_endpoint(server, names[i], method);
        if (!endpoint)
            return kd_error_memory(err, "a method");
        endpoint->handler = reflect;
        endpoint->state = server;
        endpoint->takes_stream = true;
        endpoint->idle_ends = true;
    }
    return KD_OK;
}
