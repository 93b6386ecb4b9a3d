/* What one client can't do to the others: hold memory, calls or threads for ever. */
#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"

#include "lib/rpc/internal.h"
#include "tests/rpc/echo.h"

#define MIB ((size_t)1 << 20)

static echo_room g_room;

static void start_room(int64_t stall_ms)
{
    const kd_server_options options = {.threads = 2,
        .workers = 8,
        .queue = 4,
        .max_calls = 16,
        .max_bytes = 8 * MIB,
        .stall_ms = stall_ms};
    kd_rpc_init();
    memset(&g_room, 0, sizeof g_room);
    echo_start(&g_room, &options, NULL);
    echo_open(&g_room);
}

static int setup(void **state)
{
    (void)state;
    start_room(0);
    return 0;
}

#define STALL_MS 1200
static int setup_impatient(void **state)
{
    (void)state;
    start_room(STALL_MS);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    echo_end(&g_room);
    kd_rpc_shutdown();
    return 0;
}

typedef struct caller {
    pthread_t thread;
    size_t bytes;
    kd_status status;
    kd_error err;
} caller;

static void *call_large(void *arg)
{
    caller *const c = arg;
    const kd_call_options options = {.timeout_ms = 20000};
    echo_request request = ECHO_REQUEST;
    ProtobufCMessage *response = NULL;
    request.data.len = c->bytes;
    request.data.data = calloc(1, c->bytes + 1);
    c->status =
        kd_channel_call(g_room.channel, ECHO, "Echo", &request.base, &options, &response, &c->err);
    free(request.data.data);
    kd_message_free(response);
    return NULL;
}

static void start_call(caller *c, size_t bytes)
{
    c->bytes = bytes;
    assert_int_equal(pthread_create(&c->thread, NULL, call_large, c), 0);
}

static void test_rpc_limits__requests_in_work_have_a_budget_of_bytes(void **state)
{
    caller held[2], more = {0};
    (void)state;
    atomic_store(&g_room.taken, 0);
    atomic_store(&g_room.hold, true);
    for (size_t i = 0; i < 2; i++)
        start_call(&held[i], 3 * MIB);
    WAIT_FOR(atomic_load(&g_room.taken) == 2);
    more.bytes = 3 * MIB;
    (void)call_large(&more);
    CHECK_INT(KD_RESOURCE_EXHAUSTED, more.status);
    CHECK_HAS("8 MiB of requests", more.err.message);
    CHECK_INT(2, atomic_load(&g_room.taken));
    atomic_store(&g_room.hold, false);
    for (size_t i = 0; i < 2; i++) {
        pthread_join(held[i].thread, NULL);
        CHECK_OK(held[i].status, held[i].err);
    }
    (void)call_large(&more); /* there is room again */
    CHECK_OK(more.status, more.err);
    WAIT_FOR(atomic_load(&g_room.server->bytes) == 0);
}

static void test_rpc_limits__over_the_queue_calls_are_refused_at_once(void **state)
{
    caller held[12], more = {0};
    (void)state;
    atomic_store(&g_room.taken, 0);
    atomic_store(&g_room.hold, true);
    for (size_t i = 0; i < 12; i++) { /* eight that are worked on, four that wait */
        start_call(&held[i], 1);
        WAIT_FOR(atomic_load(&g_room.server->in_flight) == i + 1);
        WAIT_FOR(atomic_load(&g_room.taken) == (i < 8 ? i + 1 : 8)); /* out of the queue */
    }
    const int64_t since = kd_mono_ms();
    (void)call_large(&more);
    CHECK_INT(KD_RESOURCE_EXHAUSTED, more.status);
    assert_in_range(kd_mono_ms() - since, 0, 5000);
    atomic_store(&g_room.hold, false);
    for (size_t i = 0; i < 12; i++) {
        pthread_join(held[i].thread, NULL);
        CHECK_OK(held[i].status, held[i].err);
    }
}

static void test_rpc_limits__over_max_calls_too(void **state)
{
    kd_stream *streams[16];
    kd_error err;
    (void)state;
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    for (size_t i = 0; i < 16; i++)
        CHECK_OK(
            kd_stream_open(&streams[i], g_room.channel, ECHO, "Collect", NULL, NULL, &err), err);
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 16);
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, echo_once(&g_room, "one more", 5000), g_room.err);
    CHECK_HAS("too many calls in flight", g_room.err.message);
    for (size_t i = 0; i < 16; i++)
        kd_stream_close(streams[i]);
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    CHECK_OK(echo_once(&g_room, "one more", 5000), g_room.err);
}

static void test_rpc_limits__a_client_that_reads_nothing_is_given_up(void **state)
{
    kd_stream *stream = NULL;
    echo_request request = ECHO_REQUEST;
    kd_error err;
    (void)state;
    atomic_store(&g_room.gone, 0);
    request.data.len = MIB;
    request.data.data = calloc(1, MIB);
    request.times = 1000;
    CHECK_OK(
        kd_stream_open(&stream, g_room.channel, ECHO, "Repeat", &request.base, NULL, &err), err);
    WAIT_FOR(atomic_load(&g_room.gone) == 1); /* the handler's write gave up */
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    kd_stream_close(stream);
    free(request.data.data);
}

/* One that reads slowly, but reads, is not. */
static void test_rpc_limits__a_slow_reader_gets_it_all(void **state)
{
    kd_stream *stream = NULL;
    echo_request request = ECHO_REQUEST;
    kd_error err;
    ProtobufCMessage *message = NULL;
    bool waiting;
    uint32_t n = 0;
    kd_status status;
    (void)state;
    atomic_store(&g_room.gone, 0);
    request.data.len = MIB / 4;
    request.data.data = calloc(1, request.data.len);
    request.times = 100;
    CHECK_OK(
        kd_stream_open(&stream, g_room.channel, ECHO, "Repeat", &request.base, NULL, &err), err);
    while ((status = kd_stream_read(stream, -1, &message, &waiting, &err)) == KD_OK && message) {
        n++;
        kd_message_free(message);
        kd_sleep_ms(20); /* slower than the server, for longer than stall_ms in all */
    }
    CHECK_OK(status, err);
    CHECK_INT(100, n);
    CHECK_INT(0, atomic_load(&g_room.gone));
    kd_stream_close(stream);
    free(request.data.data);
}

/* HTTP/2 by hand (RFC 9113): preface, empty SETTINGS, HEADERS. */
static size_t header(uint8_t *to, const char *name, const char *value)
{
    const size_t n = strlen(name), v = strlen(value);
    to[0] = 0; /* literal, not indexed */
    to[1] = (uint8_t)n;
    memcpy(to + 2, name, n);
    to[2 + n] = (uint8_t)v;
    memcpy(to + 3 + n, value, v);
    return 3 + n + v;
}

/* Returns the socket of a call that has begun, with one more header if name is not NULL. */
static int begin_by_hand(uint16_t port, const char *name, const char *value)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    uint8_t frame[512] = {0, 0, 0, 1, 4, 0, 0, 0, 1}; /* HEADERS, END_HEADERS, stream 1 */
    size_t len = 9;
    struct sockaddr_in to = {.sin_family = AF_INET};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    len += header(frame + len, ":method", "POST");
    len += header(frame + len, ":scheme", "http");
    len += header(frame + len, ":path", "/kindred.test.v1.EchoService/Echo");
    len += header(frame + len, ":authority", "localhost");
    len += header(frame + len, "te", "trailers");
    len += header(frame + len, "content-type", "application/grpc");
    if (name)
        len += header(frame + len, name, value);
    frame[1] = (uint8_t)((len - 9) >> 8);
    frame[2] = (uint8_t)(len - 9);
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(write(fd, preface, 24 + 9), 24 + 9);
    assert_int_equal(write(fd, frame, len), (ssize_t)len);
    return fd;
}

static void test_rpc_limits__a_request_that_never_comes_is_given_up(void **state)
{
    (void)state;
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    const int64_t since = kd_mono_ms();
    const int fd = begin_by_hand(g_room.port, NULL, NULL);
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 1);
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    assert_in_range(kd_mono_ms() - since, STALL_MS, 10000);
    (void)close(fd);
}

/* Values that the core takes in but refuses to send on. */
static void test_rpc_limits__odd_headers_wedge_no_proxy(void **state)
{
    static const char *const odd[][2] = {
        {"x-note", "a\001b"}, {"x-note", "caf\303\251"}, {"x@y", "z"}, {"x-fine", "fine"}};
    static const uint8_t data[] = {0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0}; /* an empty message */
    echo_room front;
    (void)state;
    memset(&front, 0, sizeof front);
    echo_front(&front, &g_room);
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        char bytes[512];
        const int fd = begin_by_hand(front.port, odd[i][0], odd[i][1]);
        assert_int_equal(write(fd, data, sizeof data), (ssize_t)sizeof data);
        /* An answer of some kind, and nothing that stays. */
        CHECK(read(fd, bytes, sizeof bytes) > 0);
        WAIT_FOR(atomic_load(&front.server->in_flight) == 0);
        (void)close(fd);
    }
    echo_end(&front);
}

static void test_rpc_limits__a_health_watch_holds_no_request(void **state)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    kd_stream *stream = NULL;
    ProtobufCMessage *message = NULL;
    char *const name = malloc(MIB + 1);
    bool waiting;
    kd_error err;
    (void)state;
    memset(name, 'x', MIB);
    name[MIB] = '\0';
    request.service = name;
    CHECK_OK(kd_stream_open(&stream, g_room.channel, &grpc__health__v1__health__descriptor, "Watch",
                 &request.base, NULL, &err),
        err);
    CHECK_OK(kd_stream_read(stream, -1, &message, &waiting, &err), err);
    WAIT_FOR(atomic_load(&g_room.server->bytes) == 0);
    kd_message_free(message);
    kd_stream_close(stream);
    free(name);
}

/* … and is over when its client has gone; so is a reflection stream that nobody uses. */
static void test_rpc_limits__idle_streams_end(void **state)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    kd_stream *watch = NULL, *reflection = NULL;
    ProtobufCMessage *message = NULL;
    bool waiting;
    kd_error err;
    (void)state;
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    CHECK_OK(kd_stream_open(&watch, g_room.channel, &grpc__health__v1__health__descriptor, "Watch",
                 &request.base, NULL, &err),
        err);
    CHECK_OK(kd_stream_read(watch, -1, &message, &waiting, &err), err);
    kd_message_free(message);
    kd_stream_close(watch);
    CHECK_OK(kd_stream_open(&reflection, g_room.channel,
                 &grpc__reflection__v1__server_reflection__descriptor, "ServerReflectionInfo", NULL,
                 NULL, &err),
        err);
    CHECK_FAILS(
        KD_DEADLINE_EXCEEDED, kd_stream_read(reflection, -1, &message, &waiting, &err), err);
    kd_stream_close(reflection);
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_limits__requests_in_work_have_a_budget_of_bytes),
        cmocka_unit_test(test_rpc_limits__over_the_queue_calls_are_refused_at_once),
        cmocka_unit_test(test_rpc_limits__over_max_calls_too),
        cmocka_unit_test(test_rpc_limits__odd_headers_wedge_no_proxy),
        cmocka_unit_test(test_rpc_limits__a_health_watch_holds_no_request),
    };
    const struct CMUnitTest impatient[] = {
        cmocka_unit_test(test_rpc_limits__a_client_that_reads_nothing_is_given_up),
        cmocka_unit_test(test_rpc_limits__a_slow_reader_gets_it_all),
        cmocka_unit_test(test_rpc_limits__a_request_that_never_comes_is_given_up),
        cmocka_unit_test(test_rpc_limits__idle_streams_end),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    const int failed = cmocka_run_group_tests(tests, setup, teardown);
    return failed + cmocka_run_group_tests(impatient, setup_impatient, teardown);
}
