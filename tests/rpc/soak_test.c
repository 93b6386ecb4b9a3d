/* A hundred thousand calls, ten thousand cancelled ones, and a server that is told to end while
 * calls pour in: nothing is left, and what was taken is answered. */
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "lib/rpc/internal.h"
#include "tests/rpc/echo.h"

#define CALLS 100000
#define CANCELS 10000
#define THREADS 4

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

static void run_threads(void *(*work)(void *arg))
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, (void *)(intptr_t)i), 0);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void *call_many(void *arg)
{
    for (uint32_t i = 0; i < CALLS / THREADS; i++) {
        echo_request request = ECHO_REQUEST;
        ProtobufCMessage *response = NULL;
        kd_error err;
        request.times = i + (uint32_t)(intptr_t)arg;
        CHECK_OK(
            kd_channel_call(g_room.channel, ECHO, "Echo", &request.base, NULL, &response, &err),
            err);
        CHECK_INT(request.times, ((const echo_response *)(void *)response)->times);
        kd_message_free(response);
    }
    return NULL;
}

static void test_rpc_soak__a_hundred_thousand_calls(void **state)
{
    (void)state;
    atomic_store(&g_room.taken, 0);
    run_threads(call_many);
    CHECK_INT(CALLS, atomic_load(&g_room.taken));
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    CHECK_INT(0, atomic_load(&g_room.server->bytes));
}

static void *cancel_many(void *arg)
{
    static const char *const methods[] = {"Echo", "Act", "Repeat", "Collect", "Chat"};
    unsigned seed = 1 + (unsigned)(intptr_t)arg;
    for (int i = 0; i < CANCELS / THREADS; i++) {
        const char *const method = methods[rand_r(&seed) % 5];
        const bool writes = *method == 'C';
        kd_channel *const channel = rand_r(&seed) % 2 ? g_room.channel : g_front.channel;
        const struct timespec pause = {0, rand_r(&seed) % 500000};
        echo_request request = ECHO_REQUEST;
        kd_stream *stream = NULL;
        ProtobufCMessage *message = NULL;
        kd_error err;
        bool waiting;
        request.times = 1000;
        CHECK_OK(kd_stream_open(
                     &stream, channel, ECHO, method, writes ? NULL : &request.base, NULL, &err),
            err);
        for (int n = rand_r(&seed) % 3; writes && n > 0; n--)
            if (kd_stream_write(stream, &request.base, &err) != KD_OK)
                break;
        if (rand_r(&seed) % 4 == 0 && kd_stream_read(stream, 0, &message, &waiting, &err) == KD_OK)
            kd_message_free(message);
        (void)nanosleep(&pause, NULL);
        kd_stream_close(stream);
    }
    return NULL;
}

static void test_rpc_soak__ten_thousand_cancelled_calls_leave_nothing(void **state)
{
    (void)state;
    run_threads(cancel_many);
    WAIT_FOR(atomic_load(&g_room.server->in_flight) == 0);
    WAIT_FOR(atomic_load(&g_front.server->in_flight) == 0);
    CHECK_INT(0, atomic_load(&g_room.server->bytes));
    CHECK_OK(echo_once(&g_front, "all is well", 5000), g_front.err);
}

static atomic_uint g_ok, g_unavailable;

/* Act, as that is never sent twice. */
static void *call_until_refused(void *arg)
{
    (void)arg;
    for (;;) {
        echo_request request = ECHO_REQUEST;
        ProtobufCMessage *response = NULL;
        kd_error err;
        const kd_status status =
            kd_channel_call(g_room.channel, ECHO, "Act", &request.base, NULL, &response, &err);
        kd_message_free(response);
        if (status == KD_OK) {
            atomic_fetch_add(&g_ok, 1);
            continue;
        }
        if (status != KD_UNAVAILABLE)
            fail_msg("%s: %s", kd_status_name(status), err.message);
        atomic_fetch_add(&g_unavailable, 1);
        return NULL;
    }
}

static void test_rpc_soak__a_drain_under_load_answers_what_was_taken(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        pthread_t threads[THREADS];
        echo_end(&g_front);
        echo_end(&g_room);
        assert_int_equal(setup(NULL), 0);
        atomic_store(&g_ok, 0);
        atomic_store(&g_unavailable, 0);
        for (size_t i = 0; i < THREADS; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, call_until_refused, NULL), 0);
        WAIT_FOR(atomic_load(&g_ok) > 100);
        kd_server_drain(g_room.server, 10000);
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        CHECK_INT(atomic_load(&g_room.answered), atomic_load(&g_ok));
        CHECK_INT(THREADS, atomic_load(&g_unavailable));
        kd_rpc_shutdown(); /* setup's */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rpc_soak__a_hundred_thousand_calls),
        cmocka_unit_test(test_rpc_soak__ten_thousand_cancelled_calls_leave_nothing),
        cmocka_unit_test(test_rpc_soak__a_drain_under_load_answers_what_was_taken),
    };
    (void)signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, setup, teardown);
}
