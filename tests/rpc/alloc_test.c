/* Each allocation of lib/rpc failing in turn, on both sides of a call: a client is told
 * RESOURCE_EXHAUSTED or UNAVAILABLE and never left waiting, and the server goes on. The core's own
 * are left alone: it aborts without memory. */
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "grpc/reflection/v1/reflection.pb-c.h"

#include "tests/rpc/echo.h"
#include "tests/support/alloc.h"

#define CALL_MS 20000 /* a call that takes as long hangs */

int __real_pthread_create(
    pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(
    pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg);
int __wrap_pthread_create(
    pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
    return alloc_refuse() ? EAGAIN : __real_pthread_create(thread, attr, start, arg);
}

BIO *__real_BIO_new_mem_buf(const void *bytes, int len);
BIO *__wrap_BIO_new_mem_buf(const void *bytes, int len);
BIO *__wrap_BIO_new_mem_buf(const void *bytes, int len)
{
    return alloc_refuse() ? NULL : __real_BIO_new_mem_buf(bytes, len);
}

/* ---- Two servers: the back answers, the front passes on, and asks the back itself for Act ---- */

typedef struct place {
    kd_server *back, *front;
    kd_channel *to_back, *to_front;
} place;

static void echo(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const echo_request *const request = (const void *)message;
    echo_response response = ECHO_RESPONSE;
    (void)state;
    response.text = request->text;
    response.data = request->data;
    kd_call_reply(call, &response.base);
}

static void repeat(void *state, kd_call *call, const ProtobufCMessage *message)
{
    echo_response response = ECHO_RESPONSE;
    (void)state;
    for (uint32_t i = 0; i < ((const echo_request *)(const void *)message)->times; i++) {
        if (kd_call_write(call, &response.base, true) != KD_OK)
            break;
    }
    kd_call_finish(call, NULL);
}

static void collect_next(void *arg, kd_call *call, ProtobufCMessage *message, const kd_error *error)
{
    echo_response response = ECHO_RESPONSE;
    if (message) {
        kd_message_free(message);
        kd_call_read(call, collect_next, arg);
    } else if (error->status != KD_OK) {
        kd_call_fail(call, error);
    } else {
        kd_call_reply(call, &response.base);
    }
}

static void collect(void *state, kd_call *call, const ProtobufCMessage *none)
{
    (void)none;
    kd_call_read(call, collect_next, state);
}

static void pass_back(void *arg, const ProtobufCMessage *response, const kd_error *error)
{
    if (response)
        kd_call_reply(arg, response);
    else
        kd_call_fail(arg, error);
}

static void act(void *state, kd_call *call, const ProtobufCMessage *request)
{
    const place *const p = state;
    kd_call_ask(call, p->to_back, ECHO, "Echo", request, pass_back, call);
}

static kd_status open_channel(kd_channel **out, uint16_t port, kd_error *err)
{
    const kd_channel_options options = {.descriptors = &echo_set};
    char address[32];
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    return kd_channel_open(out, address, &options, err);
}

static void close_place(place *p)
{
    kd_channel_close(p->to_front);
    kd_server_free(p->front); /* before the channel that it passes calls on to */
    kd_channel_close(p->to_back);
    kd_server_free(p->back);
    *p = (place){0};
}

static kd_status open_place(place *p, kd_error *err)
{
    static const kd_method of_back[] = {
        {"Echo", echo, true}, {"Repeat", repeat, true}, {"Collect", collect, true}};
    static const kd_method of_front[] = {{"Act", act, false}};
    kd_server_options options = KD_SERVER_OPTIONS_INIT;
    uint16_t port = 0;
    options.descriptors = &echo_set;
    *p = (place){0};
    kd_status status = kd_server_new(&p->back, &options, err);
    if (status == KD_OK)
        status = kd_server_add(p->back, ECHO, of_back, 3, NULL, err);
    if (status == KD_OK)
        status = kd_server_start(p->back, "127.0.0.1:0", &port, err);
    if (status == KD_OK)
        status = open_channel(&p->to_back, port, err);
    if (status == KD_OK)
        status = kd_server_new(&p->front, &options, err);
    if (status == KD_OK)
        status = kd_server_add(p->front, ECHO, of_front, 1, p, err);
    if (status == KD_OK)
        status = kd_server_add_proxy(p->front, ECHO, p->to_back, err);
    if (status == KD_OK)
        status = kd_server_start(p->front, "127.0.0.1:0", &port, err);
    if (status == KD_OK)
        status = open_channel(&p->to_front, port, err);
    if (status != KD_OK)
        close_place(p);
    return status;
}

/* ---- Making, starting and ending ---- */

static kd_status run_servers(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    place p;
    (void)arg;
    RUN(&first, open_place(&p, err), err);
    RUN(&first, kd_health_check(p.to_back, CALL_MS, err), err);
    close_place(&p);
    return first;
}

static void test_rpc_alloc__servers(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "servers", .run = run_servers, .threads = true});
}

/* ---- Calls ---- */

static kd_status call(kd_channel *channel, const char *method, kd_error *err)
{
    const kd_call_options options = {.timeout_ms = CALL_MS};
    uint8_t bytes[] = {1, 2, 3};
    echo_request request = ECHO_REQUEST;
    ProtobufCMessage *response = NULL;
    request.text = (char *)"text";
    request.data = (ProtobufCBinaryData){sizeof bytes, bytes};
    const kd_status status =
        kd_channel_call(channel, ECHO, method, &request.base, &options, &response, err);
    CHECK((response == NULL) == (status != KD_OK));
    if (response)
        CHECK_STR("text", ((const echo_response *)(const void *)response)->text);
    kd_message_free(response);
    return status;
}

/* To the end; *n counts the messages. */
static kd_status read_all(kd_stream *stream, unsigned *n, kd_error *err)
{
    ProtobufCMessage *message = NULL;
    bool waiting;
    kd_status status;
    *n = 0;
    while ((status = kd_stream_read(stream, -1, &message, &waiting, err)) == KD_OK && message) {
        kd_message_free(message);
        ++*n;
    }
    assert_null(message);
    return status;
}

static kd_status call_repeat(kd_channel *channel, kd_error *err)
{
    const kd_call_options options = {.timeout_ms = CALL_MS};
    echo_request request = ECHO_REQUEST;
    kd_stream *stream = NULL;
    unsigned n = 0;
    request.times = 3;
    kd_status status =
        kd_stream_open(&stream, channel, ECHO, "Repeat", &request.base, &options, err);
    CHECK((stream == NULL) == (status != KD_OK));
    if (status == KD_OK)
        status = read_all(stream, &n, err);
    CHECK(status != KD_OK || n == 3);
    kd_stream_close(stream);
    return status;
}

static kd_status call_collect(kd_channel *channel, kd_error *err)
{
    const kd_call_options options = {.timeout_ms = CALL_MS};
    echo_request request = ECHO_REQUEST;
    kd_stream *stream = NULL;
    unsigned n = 0;
    kd_status status = kd_stream_open(&stream, channel, ECHO, "Collect", NULL, &options, err);
    if (status != KD_OK)
        return status;
    for (unsigned i = 0; i < 3 && status == KD_OK; i++)
        status = kd_stream_write(stream, &request.base, err);
    if (status == KD_OK)
        kd_stream_end(stream);
    status = read_all(stream, &n, err); /* says why a write failed */
    CHECK(status != KD_OK || n == 1);
    kd_stream_close(stream);
    return status;
}

static kd_status run_calls(void *arg, kd_error *err)
{
    const place *const p = arg;
    kd_status first = KD_OK;
    RUN(&first, call(p->to_back, "Echo", err), err);
    RUN(&first, call(p->to_front, "Echo", err), err);
    RUN(&first, call(p->to_front, "Act", err), err);
    return first;
}

static kd_status run_streams(void *arg, kd_error *err)
{
    const place *const p = arg;
    kd_status first = KD_OK;
    RUN(&first, call_repeat(p->to_back, err), err);
    RUN(&first, call_repeat(p->to_front, err), err);
    RUN(&first, call_collect(p->to_back, err), err);
    RUN(&first, call_collect(p->to_front, err), err);
    return first;
}

/* A list of services. */
static kd_status reflect(kd_channel *channel, kd_error *err)
{
    typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
    typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;
    const kd_call_options options = {.timeout_ms = CALL_MS};
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    reflection_response *response = NULL;
    kd_stream *stream = NULL;
    request.list_services = (char *)"";
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    bool waiting;
    kd_status status =
        kd_stream_open(&stream, channel, &grpc__reflection__v1__server_reflection__descriptor,
            "ServerReflectionInfo", &request.base, &options, err);
    if (status == KD_OK)
        status = kd_stream_read(stream, -1, (ProtobufCMessage **)&response, &waiting, err);
    if (status == KD_OK &&
        response->message_response_case ==
            GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE)
        status = kd_error_set(err, (kd_status)response->error_response->error_code, "%s",
            response->error_response->error_message);
    kd_message_free(response);
    kd_stream_close(stream);
    return status;
}

static kd_status run_own_services(void *arg, kd_error *err)
{
    const place *const p = arg;
    kd_status first = KD_OK;
    RUN(&first, kd_health_check(p->to_back, CALL_MS, err), err);
    RUN(&first, reflect(p->to_back, err), err);
    return first;
}

static void test_rpc_alloc__calls(void **state)
{
    kd_error err = KD_ERROR_INIT;
    place p;
    (void)state;
    CHECK_OK(open_place(&p, &err), err);
    alloc_replay(&(alloc_scenario){.name = "calls", .run = run_calls, .arg = &p, .threads = true});
    alloc_replay(
        &(alloc_scenario){.name = "streams", .run = run_streams, .arg = &p, .threads = true});
    alloc_replay(&(alloc_scenario){
        .name = "own services", .run = run_own_services, .arg = &p, .threads = true});
    close_place(&p);
}

/* ---- TLS ---- */

/* A certificate that signs itself, and its key, in two files. */
static void write_pair(const char *cert_path, const char *key_path)
{
    EVP_PKEY *const key = EVP_EC_gen("P-256");
    X509 *const cert = X509_new();
    FILE *const cert_file = fopen(cert_path, "w"), *const key_file = fopen(key_path, "w");
    assert_non_null(key);
    assert_non_null(cert);
    assert_non_null(cert_file);
    assert_non_null(key_file);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(cert), 0) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(cert), 3600) != NULL);
    CHECK_INT(1, X509_set_pubkey(cert, key));
    CHECK(X509_sign(cert, key, EVP_sha256()) > 0);
    CHECK_INT(1, PEM_write_X509(cert_file, cert));
    CHECK_INT(1, PEM_write_PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL));
    CHECK_INT(0, fclose(cert_file));
    CHECK_INT(0, fclose(key_file));
    X509_free(cert);
    EVP_PKEY_free(key);
}

static kd_status open_secure(const kd_tls *tls, kd_error *err)
{
    kd_server_options options = KD_SERVER_OPTIONS_INIT;
    const kd_channel_options of_channel = {.tls = tls, .descriptors = &echo_set};
    kd_server *server = NULL;
    kd_channel *channel = NULL;
    uint16_t port = 0;
    options.tls = tls;
    options.descriptors = &echo_set;
    kd_status status = kd_server_new(&server, &options, err);
    if (status == KD_OK)
        status = kd_server_start(server, "127.0.0.1:0", &port, err);
    if (status == KD_OK)
        status = kd_channel_open(&channel, "127.0.0.1:1", &of_channel, err);
    kd_channel_close(channel);
    kd_server_free(server);
    return status;
}

static kd_status run_tls(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    RUN(&first, open_secure(arg, err), err);
    return first;
}

static void test_rpc_alloc__tls(void **state)
{
    char cert[] = "kd-alloc-cert.pem", key[] = "kd-alloc-key.pem";
    kd_tls tls = {.ca = cert, .cert = cert, .key = key};
    (void)state;
    write_pair(cert, key);
    alloc_replay(&(alloc_scenario){.name = "TLS", .run = run_tls, .arg = &tls, .threads = true});
    (void)unlink(cert);
    (void)unlink(key);
}

/* ---- JSON ---- */

static kd_status to_json(const ProtobufCMessage *message, json_t **out, kd_error *err)
{
    *out = kd_message_json(message);
    return *out ? KD_OK : kd_error_memory(err, "JSON");
}

static kd_status run_json(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    json_t *json = NULL;
    RUN(&first, to_json(arg, &json, err), err);
    CHECK_STR("fruit", json_string_value(json_object_get(json, "valid_host")));
    json_t *const list = json_object_get(json, "list_services_response");
    CHECK_INT(2, json_array_size(json_object_get(list, "service")));
    json_decref(json);
    return first;
}

static kd_status run_from_json(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    ProtobufCMessage *message = NULL;
    RUN_NEW(&first, &message,
        kd_message_from_json(
            &message, &grpc__reflection__v1__server_reflection_response__descriptor, arg, err),
        err);
    const Grpc__Reflection__V1__ServerReflectionResponse *const response = (const void *)message;
    CHECK_INT(2, response->list_services_response->n_service);
    CHECK_STR("apple", response->list_services_response->service[1]->name);
    kd_message_free(message);
    return first;
}

/* jansson takes its memory from us, so that none of its blocks is missed. */
static void test_rpc_alloc__json(void **state)
{
    Grpc__Reflection__V1__ServerReflectionResponse message =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ListServiceResponse list =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse service = GRPC__REFLECTION__V1__SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse *services[] = {&service, &service};
    echo_response bytes = ECHO_RESPONSE;
    uint8_t data[] = {1, 2, 3};
    json_t *json = NULL;
    kd_error err = KD_ERROR_INIT;
    (void)state;
    service.name = (char *)"apple";
    list.n_service = 2;
    list.service = services;
    message.valid_host = (char *)"fruit";
    message.list_services_response = &list;
    message.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    bytes.data = (ProtobufCBinaryData){3, data};
    json_set_alloc_funcs(alloc_malloc, alloc_free);
    alloc_replay(&(alloc_scenario){.name = "JSON", .run = run_json, .arg = &message});
    CHECK_OK(to_json(&message.base, &json, &err), err);
    alloc_replay(&(alloc_scenario){.name = "from JSON", .run = run_from_json, .arg = json});
    json_decref(json);
    CHECK_OK(to_json(&bytes.base, &json, &err), err);
    CHECK_STR("AQID", json_string_value(json_object_get(json, "data")));
    json_decref(json);
    json_set_alloc_funcs(malloc, free);
}

static int setup(void **state)
{
    echo_room room = {0};
    (void)state;
    kd_rpc_init();
    echo_start(&room, NULL, NULL); /* for echo_set */
    echo_end(&room);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kd_rpc_shutdown();
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_alloc__servers),
        cmocka_unit_test(test_rpc_alloc__calls),
        cmocka_unit_test(test_rpc_alloc__tls),
        cmocka_unit_test(test_rpc_alloc__json),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
