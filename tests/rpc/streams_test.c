/* Streams both ways, what travels with a call, and calls that are sent again. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#include "grpc/reflection/v1/reflection.pb-c.h"

#include "lib/rpc/internal.h"
#include "tests/rpc/echo.h"

#define REFLECTION &grpc__reflection__v1__server_reflection__descriptor
#define ANSWERS GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_

/* The front passes all on to the room's server. */
static echo_room g_room, g_front;

static int setup(void **state)
{
    (void)state;
    kd_rpc_init();
    memset(&g_room, 0, sizeof g_room);
    memset(&g_front, 0, sizeof g_front);
    echo_start(&g_room, NULL, NULL);
    echo_open(&g_room);
    echo_front(&g_front, &g_room);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    echo_end(&g_front);
    echo_end(&g_room);
    kd_rpc_shutdown();
    return 0;
}

static kd_stream *begin(echo_room *room, const char *method)
{
    kd_stream *stream = NULL;
    CHECK_OK(
        kd_stream_open(&stream, room->channel, ECHO, method, NULL, NULL, &room->err), room->err);
    return stream;
}

static kd_status say(echo_room *room, kd_stream *stream, const char *text, uint32_t times)
{
    echo_request request = ECHO_REQUEST;
    request.text = (char *)text;
    request.times = times;
    return kd_stream_write(stream, &request.base, &room->err);
}

static void collect_through(echo_room *room)
{
    kd_stream *const stream = begin(room, "Collect");
    echo_response *response = NULL;
    for (uint32_t i = 1; i <= 1000; i++)
        CHECK_OK(say(room, stream, "", i), room->err);
    kd_stream_end(stream);
    CHECK_OK(echo_hear(room, stream, &response), room->err);
    CHECK_INT(500500, response->times);
    kd_message_free(response);
    CHECK_OK(echo_hear(room, stream, &response), room->err);
    assert_null(response);
    kd_stream_close(stream);
}

static void test_rpc_streams__a_client_sends_many(void **state)
{
    (void)state;
    collect_through(&g_room);
    collect_through(&g_front);
}

static void chat_through(echo_room *room)
{
    kd_stream *const stream = begin(room, "Chat");
    echo_response *response = NULL;
    for (uint32_t i = 0; i < 200; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "n%u", i);
        CHECK_OK(say(room, stream, text, 0), room->err);
        CHECK_OK(echo_hear(room, stream, &response), room->err);
        CHECK_STR(text, response->text);
        CHECK_INT(i, response->times);
        kd_message_free(response);
    }
    kd_stream_end(stream);
    CHECK_OK(echo_hear(room, stream, &response), room->err);
    assert_null(response);
    kd_stream_close(stream);
}

static void test_rpc_streams__both_sides_talk(void **state)
{
    (void)state;
    chat_through(&g_room);
    chat_through(&g_front);
}

/* One thread writes while another reads. */
static void *write_all(void *arg)
{
    for (uint32_t i = 0; i < 2000; i++)
        CHECK_OK(say(&g_front, arg, "x", i), g_front.err);
    kd_stream_end(arg);
    return NULL;
}

static void test_rpc_streams__one_thread_reads_while_another_writes(void **state)
{
    pthread_t writer;
    kd_stream *const stream = begin(&g_front, "Chat");
    echo_response *response = NULL;
    uint32_t n = 0;
    (void)state;
    assert_int_equal(pthread_create(&writer, NULL, write_all, stream), 0);
    kd_status status;
    while ((status = echo_hear(&g_room, stream, &response)) == KD_OK && response) {
        CHECK_INT(n++, response->times);
        kd_message_free(response);
    }
    pthread_join(writer, NULL);
    CHECK_OK(status, g_room.err);
    CHECK_INT(2000, n);
    kd_stream_close(stream);
}

static void stop_through(echo_room *room)
{
    kd_stream *const stream = begin(room, "Chat");
    echo_response *response = NULL;
    CHECK_OK(say(room, stream, "stop", 0), room->err);
    kd_status status = KD_OK;
    for (int i = 0; status == KD_OK && i < 1000000; i++)
        status = say(room, stream, "more", 0);
    CHECK_INT(KD_CANCELLED, status);
    CHECK_FAILS(KD_OUT_OF_RANGE, echo_hear(room, stream, &response), room->err);
    CHECK_STR("asked to stop", room->err.message);
    kd_stream_close(stream);
}

static void test_rpc_streams__a_server_may_end_a_stream_first(void **state)
{
    (void)state;
    stop_through(&g_room);
    stop_through(&g_front);
}

static void leave(echo_room *room, const char *method)
{
    kd_stream *const stream = begin(room, method);
    CHECK_OK(say(room, stream, "hello", 1), room->err);
    if (strcmp(method, "Chat") == 0) { /* until it is there */
        echo_response *response = NULL;
        CHECK_OK(echo_hear(room, stream, &response), room->err);
        kd_message_free(response);
    }
    kd_stream_close(stream);
}

/* One that left is not taken for one that sent all it had. */
static void test_rpc_streams__a_client_may_leave(void **state)
{
    (void)state;
    atomic_store(&g_room.answered, 0);
    for (int i = 0; i < 50; i++) {
        leave(&g_room, "Chat");
        leave(&g_front, "Chat");
        leave(&g_room, "Collect");
        leave(&g_front, "Collect");
    }
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    WAIT_FOR(atomic_load(&g_front.server->in_flight) == 0);
    CHECK_INT(0, atomic_load(&g_room.answered));
    CHECK_INT(0, atomic_load(&g_room.server->bytes));
}

/* Through a handler that may not wait for its reader. */
static kd_stream *begin_pour(echo_room *room, uint32_t times)
{
    kd_stream *stream = NULL;
    echo_request request = ECHO_REQUEST;
    request.times = times;
    CHECK_OK(kd_stream_open(&stream, room->channel, ECHO, "Pour", &request.base, NULL, &room->err),
        room->err);
    return stream;
}

static void pour_through(echo_room *room)
{
    enum { TIMES = 5000 };
    echo_response *response = NULL;
    kd_stream *const stream = begin_pour(room, TIMES);
    kd_sleep_ms(20); /* as many as there is room for wait by now */
    for (uint32_t i = 0; i < TIMES; i++) {
        CHECK_OK(echo_hear(room, stream, &response), room->err);
        CHECK_INT(i, response->times);
        kd_message_free(response);
    }
    CHECK_OK(echo_hear(room, stream, &response), room->err);
    assert_null(response);
    kd_stream_close(stream);
}

static void test_rpc_streams__a_handler_that_may_not_wait_is_told_of_room(void **state)
{
    (void)state;
    pour_through(&g_room);
    pour_through(&g_front);
    for (int i = 0; i < 50; i++) {
        echo_room *const room = i % 2 ? &g_room : &g_front;
        echo_response *response = NULL;
        kd_stream *const stream = begin_pour(room, UINT32_MAX);
        for (int heard = 0; heard < i; heard++) {
            CHECK_OK(echo_hear(room, stream, &response), room->err);
            kd_message_free(response);
        }
        kd_stream_close(stream);
    }
    WAIT_FOR(atomic_load(&g_room.poured) >= 2 + 48); /* the others left before they came */
    /* Each is let go of, once. One that its client had left may come only now. */
    WAIT_FOR(atomic_load(&g_room.poured) == atomic_load(&g_room.let_go));
}

static void test_rpc_streams__a_message_that_is_none_ends_them(void **state)
{
    kd_stream *stream = begin(&g_room, "Chat");
    echo_response *response = NULL;
    (void)state;
    CHECK_OK(say(&g_room, stream, "\xff", 0), g_room.err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, echo_hear(&g_room, stream, &response), g_room.err);
    CHECK_HAS("text of EchoRequest is not UTF-8", g_room.err.message);
    kd_stream_close(stream);

    echo_request large = ECHO_REQUEST;
    large.data.len = KD_RPC_MAX_MESSAGE;
    large.data.data = calloc(1, large.data.len);
    stream = begin(&g_room, "Chat");
    const kd_status written = kd_stream_write(stream, &large.base, &g_room.err);
    assert_true(written == KD_OK || written == KD_CANCELLED);
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, echo_hear(&g_room, stream, &response), g_room.err);
    kd_stream_close(stream);
    free(large.data.data);
}

/* ---- What travels with a call ---- */

static kd_status ask_header(
    echo_room *room, const char *key, const kd_metadata *metadata, size_t n, char answer[64])
{
    const kd_call_options options = {.timeout_ms = 5000, .metadata = metadata, .n_metadata = n};
    echo_request request = ECHO_REQUEST;
    char text[64];
    ProtobufCMessage *message = NULL;
    (void)snprintf(text, sizeof text, "header %s", key);
    request.text = text;
    const kd_status status =
        kd_channel_call(room->channel, ECHO, "Echo", &request.base, &options, &message, &room->err);
    if (status == KD_OK)
        (void)kd_copy(answer, 64, ((const echo_response *)(void *)message)->text);
    kd_message_free(message);
    return status;
}

static void test_rpc_call__metadata_reaches_the_last_hop(void **state)
{
    static const kd_metadata metadata[] = {{"tenant", "shop 7"}, {"x-other", "1"}};
    static const kd_metadata upper[] = {{"Tenant", "x"}};
    static const kd_metadata line[] = {{"tenant", "two\nlines"}};
    char answer[64];
    (void)state;
    CHECK_OK(ask_header(&g_room, "tenant", metadata, 2, answer), g_room.err);
    CHECK_STR("shop 7", answer);
    CHECK_OK(ask_header(&g_front, "tenant", metadata, 2, answer), g_front.err);
    CHECK_STR("shop 7", answer);
    CHECK_OK(ask_header(&g_front, "absent", metadata, 2, answer), g_front.err);
    CHECK_STR("none", answer);
    CHECK_FAILS(KD_INVALID_ARGUMENT, ask_header(&g_room, "tenant", upper, 1, answer), g_room.err);
    CHECK_HAS("Tenant", g_room.err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, ask_header(&g_room, "tenant", line, 1, answer), g_room.err);
}

static void test_rpc_call__metadata_has_a_limit(void **state)
{
    char *const value = malloc(4 * KD_RPC_MAX_METADATA + 1);
    kd_metadata metadata = {"tenant", value};
    char answer[64];
    (void)state;
    memset(value, 'x', 4 * KD_RPC_MAX_METADATA);
    value[4 * KD_RPC_MAX_METADATA] = '\0';
    CHECK_FAILS(
        KD_RESOURCE_EXHAUSTED, ask_header(&g_room, "tenant", &metadata, 1, answer), g_room.err);
    free(value);
    CHECK_OK(echo_once(&g_room, "after", 5000), g_room.err);
}

static void *stop_soon(void *arg)
{
    WAIT_FOR(atomic_load(&g_room.taken) > 0);
    atomic_store((atomic_bool *)arg, true);
    return NULL;
}

static void test_rpc_call__ends_when_its_caller_is_asked_to_stop(void **state)
{
    atomic_bool stop = false;
    const kd_call_options options = {.timeout_ms = 60000, .stop = &stop};
    echo_request request = ECHO_REQUEST;
    ProtobufCMessage *response = NULL;
    pthread_t thread;
    (void)state;
    atomic_store(&g_room.taken, 0);
    atomic_store(&g_room.hold, true);
    assert_int_equal(pthread_create(&thread, NULL, stop_soon, &stop), 0);
    CHECK_FAILS(KD_CANCELLED,
        kd_channel_call(
            g_front.channel, ECHO, "Echo", &request.base, &options, &response, &g_front.err),
        g_front.err);
    pthread_join(thread, NULL);
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0); /* it reached the last hop */
    atomic_store(&g_room.hold, false);
}

/* ---- Sent again ---- */

static kd_status call_with(echo_room *room, const char *method, const char *text)
{
    const kd_call_options options = {.timeout_ms = 10000};
    static uint8_t data[1 << 20]; /* more than the core keeps for another try unless told */
    echo_request request = ECHO_REQUEST;
    ProtobufCMessage *response = NULL;
    request.text = (char *)text;
    request.data = (ProtobufCBinaryData){sizeof data, data};
    atomic_store(&g_room.taken, 0);
    const kd_status status = kd_channel_call(
        room->channel, ECHO, method, &request.base, &options, &response, &room->err);
    kd_message_free(response);
    return status;
}

static void test_rpc_call__what_may_be_sent_twice_is_sent_again(void **state)
{
    (void)state;
    atomic_store(&g_room.drops, 2);
    CHECK_OK(call_with(&g_room, "Echo", "x"), g_room.err);
    CHECK_INT(3, atomic_load(&g_room.taken));
    atomic_store(&g_room.drops, 3);
    CHECK_FAILS(KD_UNAVAILABLE, call_with(&g_room, "Echo", "x"), g_room.err);
    CHECK_INT(3, atomic_load(&g_room.taken));
}

static void test_rpc_call__what_may_not_is_sent_once(void **state)
{
    (void)state;
    atomic_store(&g_room.drops, 1);
    CHECK_FAILS(KD_UNAVAILABLE, call_with(&g_room, "Act", "x"), g_room.err);
    CHECK_INT(1, atomic_load(&g_room.taken));
    atomic_store(&g_room.drops, 0);
}

/* Each hop tries again for itself; were the answer "try again", two hops would try nine times. */
static void test_rpc_call__who_was_refused_further_on_is_not_sent_again(void **state)
{
    (void)state;
    CHECK_FAILS(KD_UNAVAILABLE, call_with(&g_room, "Echo", "refuse"), g_room.err);
    CHECK_INT(1, atomic_load(&g_room.taken));
    CHECK_STR(
        "the one behind is away", g_room.err.message); /* the server's words, not the core's */
    CHECK_FAILS(KD_UNAVAILABLE, call_with(&g_front, "Echo", "refuse"), g_front.err);
    CHECK_STR("the one behind is away", g_front.err.message);
    CHECK_INT(1, atomic_load(&g_room.taken));
    atomic_store(&g_room.drops, 100);
    CHECK_FAILS(KD_UNAVAILABLE, call_with(&g_front, "Echo", "x"), g_front.err);
    CHECK_INT(3, atomic_load(&g_room.taken));
    atomic_store(&g_room.drops, 0);
}

/* ---- Reflection ---- */

static Grpc__Reflection__V1__ServerReflectionResponse *reflect(
    kd_stream *stream, Grpc__Reflection__V1__ServerReflectionRequest *request)
{
    ProtobufCMessage *message = NULL;
    bool waiting;
    CHECK_OK(kd_stream_write(stream, &request->base, &g_room.err), g_room.err);
    CHECK_OK(kd_stream_read(stream, 5000, &message, &waiting, &g_room.err), g_room.err);
    assert_non_null(message);
    return (void *)message;
}

static void test_rpc_reflection__lists_services_and_their_files(void **state)
{
    kd_stream *stream = NULL;
    Grpc__Reflection__V1__ServerReflectionRequest request =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    (void)state;
    CHECK_OK(kd_stream_open(&stream, g_room.channel, REFLECTION, "ServerReflectionInfo", NULL, NULL,
                 &g_room.err),
        g_room.err);
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    request.list_services = (char *)"";
    Grpc__Reflection__V1__ServerReflectionResponse *response = reflect(stream, &request);
    CHECK_INT(4, response->list_services_response->n_service);
    CHECK_STR("kindred.test.v1.EchoService", response->list_services_response->service[3]->name);
    kd_message_free(response);

    static const char *const there[] = {"kindred.test.v1.EchoService",
        "kindred.test.v1.EchoService.Chat", "kindred.test.v1.EchoRequest",
        "kindred.test.v1.EchoRequest.text"};
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL;
    for (size_t i = 0; i < sizeof there / sizeof there[0]; i++) {
        request.file_containing_symbol = (char *)there[i];
        response = reflect(stream, &request);
        CHECK_INT(4, response->message_response_case);
        CHECK_INT(1, response->file_descriptor_response->n_file_descriptor_proto);
        kd_message_free(response);
    }
    static const char *const absent[] = {"kindred.test.v1.EchoServ",
        "kindred.test.v1.EchoService.Sing", "kindred.test.v1", "",
        "kindred.test.v1.EchoRequest.text.more"};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        request.file_containing_symbol = (char *)absent[i];
        response = reflect(stream, &request);
        CHECK_INT(7, response->message_response_case);
        CHECK_INT(KD_NOT_FOUND, response->error_response->error_code);
        kd_message_free(response);
    }
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST__NOT_SET;
    response = reflect(stream, &request);
    CHECK_INT(KD_INVALID_ARGUMENT, response->error_response->error_code);
    kd_message_free(response);
    kd_stream_close(stream);
}

/* A client that keeps its reflection stream open holds no shutdown up. */
static void test_rpc_reflection__an_idle_stream_ends_with_the_server(void **state)
{
    echo_room room;
    kd_stream *stream = NULL;
    ProtobufCMessage *message = NULL;
    bool waiting;
    (void)state;
    memset(&room, 0, sizeof room);
    echo_start(&room, NULL, NULL);
    echo_open(&room);
    CHECK_OK(kd_stream_open(
                 &stream, room.channel, REFLECTION, "ServerReflectionInfo", NULL, NULL, &room.err),
        room.err);
    Grpc__Reflection__V1__ServerReflectionRequest request =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    request.message_request_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES;
    request.list_services = (char *)"";
    kd_message_free(reflect(stream, &request));
    const int64_t since = kd_mono_ms();
    kd_server_drain(room.server, 20000);
    assert_in_range(kd_mono_ms() - since, 0, 10000);
    CHECK_FAILS(
        KD_UNAVAILABLE, kd_stream_read(stream, -1, &message, &waiting, &room.err), room.err);
    kd_stream_close(stream);
    echo_end(&room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_streams__a_client_sends_many),
        cmocka_unit_test(test_rpc_streams__both_sides_talk),
        cmocka_unit_test(test_rpc_streams__one_thread_reads_while_another_writes),
        cmocka_unit_test(test_rpc_streams__a_server_may_end_a_stream_first),
        cmocka_unit_test(test_rpc_streams__a_client_may_leave),
        cmocka_unit_test(test_rpc_streams__a_handler_that_may_not_wait_is_told_of_room),
        cmocka_unit_test(test_rpc_streams__a_message_that_is_none_ends_them),
        cmocka_unit_test(test_rpc_call__metadata_reaches_the_last_hop),
        cmocka_unit_test(test_rpc_call__metadata_has_a_limit),
        cmocka_unit_test(test_rpc_call__ends_when_its_caller_is_asked_to_stop),
        cmocka_unit_test(test_rpc_call__what_may_be_sent_twice_is_sent_again),
        cmocka_unit_test(test_rpc_call__what_may_not_is_sent_once),
        cmocka_unit_test(test_rpc_call__who_was_refused_further_on_is_not_sent_again),
        cmocka_unit_test(test_rpc_reflection__lists_services_and_their_files),
        cmocka_unit_test(test_rpc_reflection__an_idle_stream_ends_with_the_server),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
