/* A real server and real channels over loopback. The methods of two of our services stand in for
 * any: IndexerService answers with what its name says, TrainerService streams. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"

#include "lib/base/clock.h"
#include "lib/rpc/rpc.h"
#include "tests/support/check.h"

#define INDEXER &kindred__v1__indexer_service__descriptor
#define TRAINER &kindred__v1__trainer_service__descriptor

static kd_server *g_server, *g_front;
static kd_channel *g_channel, *g_front_channel;
static kd_metrics *g_metrics;
static kd_error g_err;
static atomic_bool g_saw_cancel;

/* GetCollection: answers the name; some names ask for something else. */
static void get_collection(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__GetCollectionRequest *request = (const void *)message;
    (void)state;
    if (strcmp(request->name, "absent") == 0) {
        kd_error error;
        (void)kd_error_set(&error, KD_NOT_FOUND, "no collection '%s'", request->name);
        kd_call_fail(call, &error);
        return;
    }
    if (strcmp(request->name, "slow") == 0) {
        const int64_t until = kd_mono_ms() + 20000;
        while (!kd_call_cancelled(call) && kd_mono_ms() < until)
            kd_sleep_ms(1);
        atomic_store(&g_saw_cancel, kd_call_cancelled(call));
    }
    Kindred__V1__Collection collection = KINDRED__V1__COLLECTION__INIT;
    Kindred__V1__GetCollectionResponse response = KINDRED__V1__GET_COLLECTION_RESPONSE__INIT;
    collection.name = request->name;
    response.collection = &collection;
    kd_call_reply(call, &response.base);
}

/* ListCollections: from another thread, later. */
static void *answer_later(void *arg)
{
    Kindred__V1__ListCollectionsResponse response = KINDRED__V1__LIST_COLLECTIONS_RESPONSE__INIT;
    char trace[KD_TRACE_TEXT];
    (void)strcpy(trace, kd_call_trace(arg));
    response.next_page_token = trace;
    kd_call_reply(arg, &response.base);
    return NULL;
}

static void list_collections(void *state, kd_call *call, const ProtobufCMessage *message)
{
    pthread_t thread;
    (void)state;
    (void)message;
    assert_int_equal(pthread_create(&thread, NULL, answer_later, call), 0);
    pthread_detach(thread);
}

/* ExportModel: `format` times a piece. */
static void export_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__ExportModelRequest *request = (const void *)message;
    Kindred__V1__ExportModelResponse piece = KINDRED__V1__EXPORT_MODEL_RESPONSE__INIT;
    const long n = strtol(request->format, NULL, 10);
    kd_error error = KD_ERROR_INIT;
    (void)state;
    piece.total_bytes = (uint64_t)n;
    for (long i = 0; i < n; i++) {
        piece.data = (ProtobufCBinaryData){sizeof i, (uint8_t *)&i};
        if (kd_call_write(call, &piece.base, true) != KD_OK)
            break;
    }
    if (strcmp(request->model, "bad") == 0)
        (void)kd_error_set(&error, KD_DATA_LOSS, "model bad is damaged");
    kd_call_finish(call, &error);
}

/* GetModel on the front: asks the back for a collection and answers its name. */
static void got_collection(void *arg, const ProtobufCMessage *message, const kd_error *error)
{
    if (!message) {
        kd_call_fail(arg, error);
        return;
    }
    const Kindred__V1__GetCollectionResponse *answer = (const void *)message;
    Kindred__V1__Model model = KINDRED__V1__MODEL__INIT;
    Kindred__V1__GetModelResponse response = KINDRED__V1__GET_MODEL_RESPONSE__INIT;
    model.name = answer->collection->name;
    response.model = &model;
    kd_call_reply(arg, &response.base);
}

static void get_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__GetModelRequest *request = (const void *)message;
    Kindred__V1__GetCollectionRequest ask = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    ask.name = request->model;
    kd_call_ask(call, state, INDEXER, "GetCollection", &ask.base, got_collection, call);
}

/* DeleteModel on the front: waits for the back's answer, on the caller's behalf. */
static void delete_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__DeleteModelRequest *request = (const void *)message;
    Kindred__V1__GetCollectionRequest ask = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__DeleteModelResponse response = KINDRED__V1__DELETE_MODEL_RESPONSE__INIT;
    const kd_call_options options = {.timeout_ms = 20000, .parent = call};
    ProtobufCMessage *answer = NULL;
    kd_error error = KD_ERROR_INIT;
    ask.name = request->model;
    if (kd_channel_call(state, INDEXER, "GetCollection", &ask.base, &options, &answer, &error) ==
        KD_OK)
        kd_call_reply(call, &response.base);
    else
        kd_call_fail(call, &error);
    kd_message_free(answer);
}

static char *address_of(uint16_t port)
{
    static char text[32];
    (void)snprintf(text, sizeof text, "127.0.0.1:%u", port);
    return text;
}

static int setup(void **state)
{
    static const kd_method indexer[] = {
        {"GetCollection", get_collection, true}, {"ListCollections", list_collections, false}};
    static const kd_method trainer[] = {{"ExportModel", export_model, true}};
    static const kd_method front[] = {
        {"GetModel", get_model, false}, {"DeleteModel", delete_model, true}};
    kd_server_options options = KD_SERVER_OPTIONS_INIT;
    uint16_t port;
    (void)state;
    kd_rpc_init();
    CHECK_OK(kd_metrics_new(&g_metrics, &g_err), g_err);
    options.metrics = g_metrics;
    CHECK_OK(kd_server_new(&g_server, &options, &g_err), g_err);
    CHECK_OK(kd_server_add(g_server, INDEXER, indexer, 2, NULL, &g_err), g_err);
    CHECK_OK(kd_server_add(g_server, TRAINER, trainer, 1, NULL, &g_err), g_err);
    CHECK_OK(kd_server_start(g_server, "127.0.0.1:0", &port, &g_err), g_err);
    CHECK_OK(kd_channel_open(&g_channel, address_of(port), NULL, &g_err), g_err);

    CHECK_OK(kd_server_new(&g_front, &options, &g_err), g_err);
    CHECK_OK(kd_server_add(g_front, TRAINER, front, 2, g_channel, &g_err), g_err);
    CHECK_OK(kd_server_add_proxy(g_front, TRAINER, g_channel, &g_err), g_err);
    CHECK_OK(kd_server_add_proxy(g_front, INDEXER, g_channel, &g_err), g_err);
    CHECK_OK(kd_server_start(g_front, "127.0.0.1:0", &port, &g_err), g_err);
    CHECK_OK(kd_channel_open(&g_front_channel, address_of(port), NULL, &g_err), g_err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kd_channel_close(g_front_channel);
    kd_server_free(g_front);
    kd_channel_close(g_channel);
    kd_server_free(g_server);
    kd_metrics_free(g_metrics);
    kd_rpc_shutdown();
    return 0;
}

static kd_status ask_name(
    kd_channel *channel, const char *name, int64_t timeout_ms, char *answer, size_t size)
{
    Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    const kd_call_options options = {.timeout_ms = timeout_ms};
    request.name = (char *)name;
    const kd_status status = kd_channel_call(
        channel, INDEXER, "GetCollection", &request.base, &options, &response, &g_err);
    if (status == KD_OK)
        (void)snprintf(answer, size, "%s",
            ((Kindred__V1__GetCollectionResponse *)(void *)response)->collection->name);
    kd_message_free(response);
    return status;
}

static void test_rpc_server__answers(void **state)
{
    char name[64];
    (void)state;
    CHECK_OK(ask_name(g_channel, "café", 5000, name, sizeof name), g_err);
    CHECK_STR("café", name);
}

static void test_rpc_server__sends_code_and_sentence(void **state)
{
    (void)state;
    CHECK_FAILS(KD_NOT_FOUND, ask_name(g_channel, "absent", 5000, NULL, 0), g_err);
    CHECK_STR("no collection 'absent'", g_err.message);
    kd_buf text = KD_BUF_INIT;
    kd_metrics_print(g_metrics, &text);
    CHECK_HAS("kindred_rpc_requests_total{method=\"kindred.v1.IndexerService/"
              "GetCollection\",code=\"NOT_FOUND\"} ",
        (const char *)text.data);
    kd_buf_free(&text);
}

static void test_rpc_server__an_unknown_method_is_unimplemented(void **state)
{
    Kindred__V1__SetAliasRequest request = KINDRED__V1__SET_ALIAS_REQUEST__INIT;
    ProtobufCMessage *response;
    (void)state;
    CHECK_FAILS(KD_UNIMPLEMENTED,
        kd_channel_call(g_channel, INDEXER, "SetAlias", &request.base, NULL, &response, &g_err),
        g_err);
    CHECK_HAS("/kindred.v1.IndexerService/SetAlias", g_err.message);
}

static void test_rpc_server__a_deadline_reaches_the_handler(void **state)
{
    (void)state;
    atomic_store(&g_saw_cancel, false);
    CHECK_FAILS(KD_DEADLINE_EXCEEDED, ask_name(g_channel, "slow", 100, NULL, 0), g_err);
    const int64_t until = kd_mono_ms() + 10000;
    while (!atomic_load(&g_saw_cancel) && kd_mono_ms() < until)
        kd_sleep_ms(1);
    CHECK(atomic_load(&g_saw_cancel));
}

static void test_rpc_server__a_deadline_reaches_the_last_hop(void **state)
{
    (void)state;
    atomic_store(&g_saw_cancel, false);
    CHECK_FAILS(KD_DEADLINE_EXCEEDED, ask_name(g_front_channel, "slow", 100, NULL, 0), g_err);
    const int64_t until = kd_mono_ms() + 10000;
    while (!atomic_load(&g_saw_cancel) && kd_mono_ms() < until)
        kd_sleep_ms(1);
    CHECK(atomic_load(&g_saw_cancel));
}

static void test_rpc_server__a_handler_may_answer_later_and_trace_goes_through(void **state)
{
    static const char trace[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    Kindred__V1__ListCollectionsRequest request = KINDRED__V1__LIST_COLLECTIONS_REQUEST__INIT;
    Kindred__V1__ListCollectionsResponse *response = NULL;
    const kd_call_options options = {.timeout_ms = 5000, .trace = trace};
    (void)state;
    CHECK_OK(kd_channel_call(g_front_channel, INDEXER, "ListCollections", &request.base, &options,
                 (ProtobufCMessage **)(void *)&response, &g_err),
        g_err);
    CHECK_STR(trace, response->next_page_token);
    kd_message_free(response);
}

/* Reads the stream to its end; returns its status and counts the messages, which must be in order.
 */
static kd_status read_pieces(kd_channel *channel, const char *model, const char *n, long *got)
{
    Kindred__V1__ExportModelRequest request = KINDRED__V1__EXPORT_MODEL_REQUEST__INIT;
    kd_stream *stream;
    ProtobufCMessage *message;
    bool waiting;
    kd_status status;
    request.model = (char *)model;
    request.format = (char *)n;
    *got = 0;
    CHECK_OK(kd_stream_open(&stream, channel, TRAINER, "ExportModel", &request.base, NULL, &g_err),
        g_err);
    while ((status = kd_stream_read(stream, -1, &message, &waiting, &g_err)) == KD_OK && message) {
        const Kindred__V1__ExportModelResponse *const piece = (const void *)message;
        long i;
        memcpy(&i, piece->data.data, sizeof i);
        CHECK_INT(*got, i);
        (*got)++;
        kd_message_free(message);
    }
    kd_stream_close(stream);
    return status;
}

static void test_rpc_server__streams_in_order_to_their_end(void **state)
{
    long got;
    (void)state;
    CHECK_OK(read_pieces(g_channel, "good", "1000", &got), g_err);
    CHECK_INT(1000, got);
    CHECK_OK(read_pieces(g_channel, "good", "0", &got), g_err);
    CHECK_INT(0, got);
    CHECK_FAILS(KD_DATA_LOSS, read_pieces(g_channel, "bad", "3", &got), g_err);
    CHECK_INT(3, got);
}

static void test_rpc_server__a_stream_can_be_left(void **state)
{
    Kindred__V1__ExportModelRequest request = KINDRED__V1__EXPORT_MODEL_REQUEST__INIT;
    (void)state;
    for (int i = 0; i < 20; i++) {
        kd_stream *stream;
        ProtobufCMessage *message;
        bool waiting;
        request.model = (char *)"good";
        request.format = (char *)"100000";
        CHECK_OK(kd_stream_open(&stream, i % 2 ? g_channel : g_front_channel, TRAINER,
                     "ExportModel", &request.base, NULL, &g_err),
            g_err);
        if (i % 3)
            CHECK_OK(kd_stream_read(stream, -1, &message, &waiting, &g_err), g_err);
        if (i % 3)
            kd_message_free(message);
        kd_stream_close(stream);
    }
}

static void test_rpc_proxy__passes_calls_and_errors_on(void **state)
{
    char name[64];
    long got;
    (void)state;
    CHECK_OK(ask_name(g_front_channel, "front", 5000, name, sizeof name), g_err);
    CHECK_STR("front", name);
    CHECK_FAILS(KD_NOT_FOUND, ask_name(g_front_channel, "absent", 5000, NULL, 0), g_err);
    CHECK_STR("no collection 'absent'", g_err.message);
    CHECK_OK(read_pieces(g_front_channel, "good", "500", &got), g_err);
    CHECK_INT(500, got);
    CHECK_FAILS(KD_DATA_LOSS, read_pieces(g_front_channel, "bad", "3", &got), g_err);
    CHECK_INT(3, got);
}

static void test_rpc_server__asks_on_behalf_of_a_call(void **state)
{
    Kindred__V1__GetModelRequest request = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *response = NULL;
    (void)state;
    request.model = (char *)"asked";
    CHECK_OK(kd_channel_call(g_front_channel, TRAINER, "GetModel", &request.base, NULL,
                 (ProtobufCMessage **)(void *)&response, &g_err),
        g_err);
    CHECK_STR("asked", response->model->name);
    kd_message_free(response);
    request.model = (char *)"absent";
    CHECK_FAILS(KD_NOT_FOUND,
        kd_channel_call(g_front_channel, TRAINER, "GetModel", &request.base, NULL,
            (ProtobufCMessage **)(void *)&response, &g_err),
        g_err);
}

static void test_rpc_server__a_call_that_a_handler_waits_for_ends_with_its_caller(void **state)
{
    Kindred__V1__DeleteModelRequest request = KINDRED__V1__DELETE_MODEL_REQUEST__INIT;
    const kd_call_options options = {.timeout_ms = 100};
    ProtobufCMessage *response = NULL;
    (void)state;
    atomic_store(&g_saw_cancel, false);
    request.model = (char *)"slow";
    CHECK_FAILS(KD_DEADLINE_EXCEEDED,
        kd_channel_call(
            g_front_channel, TRAINER, "DeleteModel", &request.base, &options, &response, &g_err),
        g_err);
    const int64_t until = kd_mono_ms() + 5000; /* the handler's own limit is four times that */
    while (!atomic_load(&g_saw_cancel) && kd_mono_ms() < until)
        kd_sleep_ms(1);
    CHECK(atomic_load(&g_saw_cancel));
}

static void test_rpc_server__refuses_text_that_is_not_utf8(void **state)
{
    char name[64];
    (void)state;
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, ask_name(g_channel, "\xff\xfe", 5000, name, sizeof name), g_err);
    CHECK_HAS("name of GetCollectionRequest is not UTF-8", g_err.message);
}

static void test_rpc_server__refuses_a_message_over_the_limit(void **state)
{
    const size_t len = KD_RPC_MAX_MESSAGE + 1;
    char *const name = malloc(len + 1);
    char answer[8];
    (void)state;
    memset(name, 'x', len);
    name[len] = '\0';
    CHECK_FAILS(
        KD_RESOURCE_EXHAUSTED, ask_name(g_channel, name, 20000, answer, sizeof answer), g_err);
    free(name);
    CHECK_OK(ask_name(g_channel, "after", 5000, answer, sizeof answer), g_err);
}

static void test_rpc_server__says_when_a_port_is_in_use(void **state)
{
    const kd_server_options options = KD_SERVER_OPTIONS_INIT;
    kd_server *second;
    uint16_t port;
    (void)state;
    CHECK_OK(kd_server_new(&second, &options, &g_err), g_err);
    CHECK_FAILS(KD_UNAVAILABLE,
        kd_server_start(second, kd_channel_address(g_channel), &port, &g_err), g_err);
    CHECK_HAS(kd_channel_address(g_channel), g_err.message);
    kd_server_free(second);
}

static void test_rpc_client__names_an_address_where_nobody_is(void **state)
{
    kd_channel *channel;
    (void)state;
    CHECK_OK(kd_channel_open(&channel, "127.0.0.1:1", NULL, &g_err), g_err);
    CHECK_FAILS(KD_UNAVAILABLE, ask_name(channel, "x", 5000, NULL, 0), g_err);
    CHECK_HAS("127.0.0.1:1", g_err.message);
    kd_channel_close(channel);
}

static void test_rpc_health__tells_and_drain_answers_what_was_taken(void **state)
{
    static const kd_method methods[] = {{"GetCollection", get_collection, true}};
    const kd_server_options options = KD_SERVER_OPTIONS_INIT;
    kd_server *server;
    kd_channel *channel;
    uint16_t port;
    char name[16];
    (void)state;
    CHECK_OK(kd_server_new(&server, &options, &g_err), g_err);
    CHECK_OK(kd_server_add(server, INDEXER, methods, 1, NULL, &g_err), g_err);
    CHECK_OK(kd_server_start(server, "127.0.0.1:0", &port, &g_err), g_err);
    CHECK_OK(kd_channel_open(&channel, address_of(port), NULL, &g_err), g_err);
    CHECK_OK(kd_health_check(channel, 5000, &g_err), g_err);
    CHECK_OK(ask_name(channel, "x", 5000, name, sizeof name), g_err);
    kd_server_drain(server, 1000);
    CHECK_FAILS(KD_UNAVAILABLE, kd_health_check(channel, 2000, &g_err), g_err);
    kd_server_free(server);
    kd_channel_close(channel);
}

/* Eight threads on one channel, calls and cancellations mixed. */
static void *hammer(void *arg)
{
    const long seed = (long)(intptr_t)arg;
    for (long i = 0; i < 200; i++) {
        Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
        ProtobufCMessage *response = NULL;
        kd_error err;
        const kd_call_options options = {.timeout_ms = (i + seed) % 7 == 0 ? 1 : 20000};
        char name[32];
        (void)snprintf(name, sizeof name, "n%ld", i);
        request.name = name;
        const kd_status status = kd_channel_call(i % 2 ? g_channel : g_front_channel, INDEXER,
            "GetCollection", &request.base, &options, &response, &err);
        if (status == KD_OK)
            assert_string_equal(
                ((Kindred__V1__GetCollectionResponse *)(void *)response)->collection->name, name);
        else
            assert_int_equal(status, KD_DEADLINE_EXCEEDED);
        kd_message_free(response);
    }
    return NULL;
}

static void test_rpc_client__threads_share_a_channel(void **state)
{
    pthread_t threads[8];
    (void)state;
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, (void *)(intptr_t)i), 0);
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_server__answers),
        cmocka_unit_test(test_rpc_server__sends_code_and_sentence),
        cmocka_unit_test(test_rpc_server__an_unknown_method_is_unimplemented),
        cmocka_unit_test(test_rpc_server__a_deadline_reaches_the_handler),
        cmocka_unit_test(test_rpc_server__a_deadline_reaches_the_last_hop),
        cmocka_unit_test(test_rpc_server__a_handler_may_answer_later_and_trace_goes_through),
        cmocka_unit_test(test_rpc_server__streams_in_order_to_their_end),
        cmocka_unit_test(test_rpc_server__a_stream_can_be_left),
        cmocka_unit_test(test_rpc_proxy__passes_calls_and_errors_on),
        cmocka_unit_test(test_rpc_server__asks_on_behalf_of_a_call),
        cmocka_unit_test(test_rpc_server__a_call_that_a_handler_waits_for_ends_with_its_caller),
        cmocka_unit_test(test_rpc_server__refuses_text_that_is_not_utf8),
        cmocka_unit_test(test_rpc_server__refuses_a_message_over_the_limit),
        cmocka_unit_test(test_rpc_server__says_when_a_port_is_in_use),
        cmocka_unit_test(test_rpc_client__names_an_address_where_nobody_is),
        cmocka_unit_test(test_rpc_health__tells_and_drain_answers_what_was_taken),
        cmocka_unit_test(test_rpc_client__threads_share_a_channel),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
