/* Channels: to a server that came back, and to the server of this process. */
#include <signal.h>
#include <string.h>

#include "tests/rpc/echo.h"

static echo_room g_room;

static int setup(void **state)
{
    (void)state;
    kd_rpc_init();
    memset(&g_room, 0, sizeof g_room);
    echo_start(&g_room, NULL, NULL);
    echo_open(&g_room);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    echo_end(&g_room);
    kd_rpc_shutdown();
    return 0;
}

static void test_rpc_channel__finds_a_server_that_came_back(void **state)
{
    char address[32];
    echo_room room;
    (void)state;
    memset(&room, 0, sizeof room);
    echo_start(&room, NULL, NULL);
    echo_open(&room);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", room.port);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(echo_once(&room, "there", 5000), room.err);
        kd_server_free(room.server);
        room.server = NULL;
        CHECK_FAILS(KD_UNAVAILABLE, echo_once(&room, "away", 5000), room.err);
        echo_start(&room, NULL, address);
        const int64_t since = kd_mono_ms();
        WAIT_FOR(echo_once(&room, "back", 5000) == KD_OK);
        assert_in_range(kd_mono_ms() - since, 0, 3000);
    }
    echo_end(&room);
}

static void test_rpc_channel__to_the_server_of_this_process(void **state)
{
    static const kd_metadata metadata[] = {{"authorization", "Bearer k"}};
    const kd_call_options options = {.timeout_ms = 10000, .metadata = metadata, .n_metadata = 1};
    kd_channel *channel = NULL;
    echo_request request = ECHO_REQUEST;
    echo_response *response = NULL;
    kd_stream *stream = NULL;
    (void)state;
    CHECK_OK(kd_server_connect(g_room.server, &channel, &g_room.err), g_room.err);
    request.text = (char *)"a";
    request.times = 3;
    CHECK_OK(kd_channel_call(channel, ECHO, "Echo", &request.base, &options,
                 (ProtobufCMessage **)&response, &g_room.err),
        g_room.err);
    CHECK_STR("a", response->text);
    kd_message_free(response);
    CHECK_OK(kd_stream_open(&stream, channel, ECHO, "Repeat", &request.base, NULL, &g_room.err),
        g_room.err);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_OK(echo_hear(&g_room, stream, &response), g_room.err);
        assert_non_null(response);
        kd_message_free(response);
    }
    kd_stream_close(stream);
    kd_channel_close(channel);

    /* It ends with the server, and there is none before or behind. */
    echo_room other;
    memset(&other, 0, sizeof other);
    echo_start(&other, NULL, NULL);
    CHECK_OK(kd_server_connect(other.server, &channel, &other.err), other.err);
    kd_server_drain(other.server, 5000);
    CHECK_FAILS(KD_UNAVAILABLE,
        kd_channel_call(channel, ECHO, "Echo", &request.base, &options,
            (ProtobufCMessage **)&response, &other.err),
        other.err);
    kd_channel_close(channel);
    CHECK_FAILS(KD_UNAVAILABLE, kd_server_connect(other.server, &channel, &other.err), other.err);
    assert_null(channel);
    echo_end(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_channel__finds_a_server_that_came_back),
        cmocka_unit_test(test_rpc_channel__to_the_server_of_this_process),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
