/* tests/rpc/echo.h: a server with a method of each kind, and the two ends that tests hold of it. */
#ifndef KD_TESTS_RPC_ECHO_H
#define KD_TESTS_RPC_ECHO_H

#include "echo.pb-c.h"

#include "lib/base/clock.h"
#include "lib/rpc/rpc.h"
#include "tests/support/check.h"

#define ECHO &kindred__test__v1__echo_service__descriptor

typedef Kindred__Test__V1__EchoRequest echo_request;
typedef Kindred__Test__V1__EchoResponse echo_response;
#define ECHO_REQUEST KINDRED__TEST__V1__ECHO_REQUEST__INIT
#define ECHO_RESPONSE KINDRED__TEST__V1__ECHO_RESPONSE__INIT

typedef struct echo_room {
    kd_server *server;
    kd_channel *channel;
    uint16_t port;
    atomic_uint taken; /* calls that reached a handler */
    atomic_uint answered;
    atomic_uint drops;          /* calls yet to end UNAVAILABLE, as if the connection had broken */
    atomic_uint gone;           /* streams whose client left */
    atomic_uint poured, let_go; /* Pour: begun, and over */
    atomic_bool hold;           /* Echo and Act wait for it to be false, or for cancellation */
    kd_error err;
} echo_room;

/* options may be NULL; descriptors are filled in. address NULL: a free port of 127.0.0.1. */
void echo_start(echo_room *room, const kd_server_options *options, const char *address);
/* A server that passes all on to the room behind, which has its channel; and a channel to it. */
void echo_front(echo_room *front, const echo_room *behind);
void echo_open(echo_room *room);
void echo_end(echo_room *room);    /* what there is of it */
extern kd_descriptor_set echo_set; /* once a room was started */

/* Echo of the text; the answer is checked when it comes. */
kd_status echo_once(echo_room *room, const char *text, int64_t timeout_ms);
/* The stream's next message, however long it takes. */
kd_status echo_hear(echo_room *room, kd_stream *stream, echo_response **response);

/* Waits, ten seconds at most, for condition. */
#define WAIT_FOR(condition)                                                                        \
    do {                                                                                           \
        const int64_t wait_until_ms = kd_mono_ms() + 10000;                                        \
        while (!(condition) && kd_mono_ms() < wait_until_ms)                                       \
            kd_sleep_ms(1);                                                                        \
        CHECK(condition);                                                                          \
    } while (0)

#endif
