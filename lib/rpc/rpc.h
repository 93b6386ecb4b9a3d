/* lib/rpc/rpc.h: gRPC's C core under protobuf-c messages.
 *
 * A server takes calls on a few threads. A handler answers now or later, from any thread, by
 * kd_call_reply, kd_call_fail or, for a server stream, kd_call_write… and kd_call_finish: no thread
 * per request. Deadlines and cancellation reach the last hop, because a call that a handler makes
 * on behalf of its caller (kd_call_ask, proxies, options.parent) is the core's child of it. Every
 * server serves grpc.health.v1, counts and times its calls, and passes W3C trace context on.
 *
 * Messages that go out borrow (build them on the stack); only unpacked ones are freed, with
 * kd_message_free. Incoming messages are checked before they are unpacked: strings are UTF-8
 * without NUL, and the number of elements is bounded. */
#ifndef KD_RPC_RPC_H
#define KD_RPC_RPC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "lib/base/metrics.h"
#include "lib/base/status.h"

#define KD_RPC_MAX_MESSAGE (64u << 20) /* bytes, both ways */
#define KD_RPC_MAX_ELEMENTS 4194304u   /* fields and packed values of one message */
#define KD_TRACE_TEXT 56               /* a W3C traceparent and NUL */

/* Before the first thread of a process that uses this module; routes gRPC's own log. */
void kd_rpc_init(void);
void kd_rpc_shutdown(void);

/* ---- Server ---- */
typedef struct kd_server kd_server;
typedef struct kd_call kd_call;
typedef struct kd_channel kd_channel;

/* request is borrowed until the call is answered. The handler, or whoever it hands the call to,
 * must answer exactly once; afterwards call and request are gone. */
typedef void (*kd_handler)(void *state, kd_call *call, const ProtobufCMessage *request);

typedef struct kd_method {
    const char *name; /* as in the proto: "Search" */
    kd_handler handler;
    bool blocking; /* run by the server's workers, as it waits for disk or another service */
} kd_method;

typedef struct kd_server_options {
    unsigned threads;    /* that take calls and run handlers which don't block */
    unsigned workers;    /* for blocking handlers */
    unsigned queue;      /* blocking calls that may wait; more are RESOURCE_EXHAUSTED at once */
    unsigned max_calls;  /* in flight at a time, streams included; more likewise */
    kd_metrics *metrics; /* borrowed, may be NULL */
} kd_server_options;
#define KD_SERVER_OPTIONS_INIT {2, 4, 256, 4096, NULL}

KD_MUST_CHECK kd_status kd_server_new(
    kd_server **out, const kd_server_options *options, kd_error *err);
/* Before start. state and methods are borrowed for the server's life; a method of the service that
 * is not in the list is answered UNIMPLEMENTED. */
KD_MUST_CHECK kd_status kd_server_add(kd_server *server, const ProtobufCServiceDescriptor *service,
    const kd_method *methods, size_t n_methods, void *state, kd_error *err);
/* Passes calls of the service on to channel, streams too, except for methods added by
 * kd_server_add. */
KD_MUST_CHECK kd_status kd_server_add_proxy(kd_server *server,
    const ProtobufCServiceDescriptor *service, kd_channel *channel, kd_error *err);
/* address is HOST:PORT, port 0 takes a free one; *port is the one taken. KD_UNAVAILABLE "port … is
 * in use". Health is SERVING from here on. */
KD_MUST_CHECK kd_status kd_server_start(
    kd_server *server, const char *address, uint16_t *port, kd_error *err);
/* True from the moment that kd_server_drain was called: long streams end themselves. */
bool kd_server_draining(const kd_server *server);
/* Health NOT_SERVING, new calls UNAVAILABLE; waits until all in flight are answered, at most
 * grace_ms, then cancels the rest and stops. */
void kd_server_drain(kd_server *server, int64_t grace_ms);
void kd_server_free(kd_server *server); /* drained first if it was started */

/* ---- A call, on the server ---- */
void kd_call_reply(kd_call *call, const ProtobufCMessage *response);
void kd_call_fail(kd_call *call, const kd_error *error);
/* Server streams: queues a message. KD_CANCELLED when the client has gone; when the client reads
 * slowly and 16 wait: waits for room, or without wait KD_RESOURCE_EXHAUSTED. Never with wait from a
 * handler that isn't blocking. */
KD_MUST_CHECK kd_status kd_call_write(kd_call *call, const ProtobufCMessage *message, bool wait);
/* Ends a stream once what was written has gone out; error NULL or KD_OK for a good end. */
void kd_call_finish(kd_call *call, const kd_error *error);
/* The client has gone or its deadline has passed: nobody waits for the answer. */
bool kd_call_cancelled(const kd_call *call);
const char *kd_call_trace(const kd_call *call); /* W3C traceparent, borrowed */

/* Asks another service on behalf of a call; done runs on a server thread with the response,
 * borrowed for its time, or with the error. The call must be answered by then or later, not before.
 */
typedef void (*kd_done)(void *arg, const ProtobufCMessage *response, const kd_error *error);
void kd_call_ask(kd_call *call, kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, kd_done done, void *arg);

/* ---- Client ---- */
/* Connects lazily and again after a loss (100 ms to 2 s between tries). Threads may share it. */
KD_MUST_CHECK kd_status kd_channel_open(kd_channel **out, const char *address, kd_error *err);
void kd_channel_close(kd_channel *channel);
const char *kd_channel_address(const kd_channel *channel);

typedef struct kd_call_options {
    int64_t timeout_ms; /* 0: none */
    const char *trace;  /* traceparent to send; NULL makes one */
    kd_call *parent;    /* made on its behalf: ends with it, and no later than its deadline */
} kd_call_options;

/* Waits for the answer. *response is owned by the caller: kd_message_free. On failure err has the
 * peer's code and sentence; KD_UNAVAILABLE names the address. options may be NULL. */
KD_MUST_CHECK kd_status kd_channel_call(kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    const kd_call_options *options, ProtobufCMessage **response, kd_error *err);

/* A server stream, read by one thread. */
typedef struct kd_stream kd_stream;
KD_MUST_CHECK kd_status kd_stream_open(kd_stream **out, kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    const kd_call_options *options, kd_error *err);
/* KD_OK with *message (kd_message_free), or with NULL at a good end. KD_DEADLINE_EXCEEDED with
 * *waiting true: nothing came in wait_ms (-1: for good), ask again. Another status: the stream
 * failed. */
KD_MUST_CHECK kd_status kd_stream_read(
    kd_stream *stream, int64_t wait_ms, ProtobufCMessage **message, bool *waiting, kd_error *err);
void kd_stream_close(kd_stream *stream); /* cancels what has not ended */

void kd_message_free(void *message); /* an unpacked message; NULL is fine */

/* "SERVING" within timeout_ms, or why not: grpc.health.v1.Health/Check of the whole server. */
KD_MUST_CHECK kd_status kd_health_check(kd_channel *channel, int64_t timeout_ms, kd_error *err);

/* ---- JSON ---- */
/* The message as an object with the proto's field names: scalars always, messages when set, enums
 * as lower-case words without their prefix, bytes as base64. A new reference; NULL without memory.
 */
json_t *kd_message_json(const ProtobufCMessage *message);

#endif
