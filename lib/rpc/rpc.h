/* lib/rpc/rpc.h: gRPC's C core under protobuf-c messages.
 *
 * A server takes calls on a few threads. A handler answers now or later, from any thread, by
 * kd_call_reply, kd_call_fail or, for a stream, kd_call_read…, kd_call_write… and kd_call_finish:
 * no thread per request. Deadlines and cancellation reach the last hop, because a call that a
 * handler makes on behalf of its caller (kd_call_ask, proxies, options.parent) is the core's child
 * of it. Every server serves grpc.health.v1 and grpc.reflection.v1 and v1alpha, counts and times
 * its calls, and passes W3C trace context on.
 *
 * Messages that go out borrow (build them on the stack); only unpacked ones are freed, with
 * kd_message_free. Incoming messages are checked before they are unpacked: strings are UTF-8
 * without NUL, and what the message will take in memory is bounded.
 *
 * With options.access a call is refused unless its key (`authorization: Bearer KEY`) has the scope
 * of the method, and ends UNAUTHENTICATED within two seconds when its key is revoked or expires.
 * What a call's handler asks another service on its behalf, or a proxy passes on, goes under the
 * channel's own key and carries the scope of the caller, which it can't go beyond; a channel
 * without a key passes the caller's key on as it is.
 *
 * What protobuf-c's descriptors don't say (which methods take a stream, which may be sent twice,
 * which scope they need) is read from protoc's descriptor set. A call of a method with an
 * idempotency_level is sent again by the core when its server was UNAVAILABLE: three times in all,
 * within half a second or so. */
#ifndef KD_RPC_RPC_H
#define KD_RPC_RPC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

#include "lib/access/access.h"
#include "lib/base/metrics.h"
#include "lib/base/status.h"

#define KD_RPC_MAX_MESSAGE (64u << 20)   /* bytes, both ways */
#define KD_RPC_MAX_UNPACKED (256u << 20) /* bytes of memory that unpacking one may take */
#define KD_RPC_MAX_METADATA (16u << 10)  /* bytes of a call's headers */
#define KD_RPC_CALL_WAITING 16u          /* messages of an answer that wait for its reader */
#define KD_TRACE_TEXT 56                 /* a W3C traceparent and NUL */

/* A new traceparent; and whether text is one. */
void kd_trace_make(char trace[KD_TRACE_TEXT]);
bool kd_trace_valid(const char *text);

/* Before the first thread of a process that uses this module, and before OpenSSL is used; routes
 * gRPC's own log. */
void kd_rpc_init(void);
void kd_rpc_shutdown(void);

/* PEM files. A server needs cert and key; with ca it asks its clients for a certificate that ca has
 * signed (mutual TLS). A channel checks the server by ca (NULL: the authorities of the machine) and
 * shows cert and key, where there are any. */
typedef struct kd_tls {
    const char *ca, *cert, *key;
} kd_tls;
/* Whether a server could use the files: KD_INVALID_ARGUMENT, or what reading gives, names the one
 * that is wrong. */
KD_MUST_CHECK kd_status kd_tls_check(const kd_tls *tls, kd_error *err);

/* A packed google.protobuf.FileDescriptorSet, imports included; borrowed. */
typedef struct kd_descriptor_set {
    const uint8_t *bytes;
    size_t len;
} kd_descriptor_set;

/* ---- Server ---- */
typedef struct kd_server kd_server;
typedef struct kd_call kd_call;
typedef struct kd_channel kd_channel;

/* request is borrowed until the call is answered; NULL for a method that takes a stream. The
 * handler, or whoever it hands the call to, must answer exactly once; afterwards call and request
 * are gone. */
typedef void (*kd_handler)(void *state, kd_call *call, const ProtobufCMessage *request);

typedef struct kd_method {
    const char *name; /* as in the proto: "Search" */
    kd_handler handler;
    bool blocking; /* run by the server's workers, as it waits for disk or another service */
} kd_method;

typedef struct kd_server_options {
    unsigned threads;   /* take calls, run handlers that don't block. 0: 1, from 5 cores on 2 */
    unsigned workers;   /* for blocking handlers */
    unsigned queue;     /* blocking calls that may wait; more are RESOURCE_EXHAUSTED at once */
    unsigned max_calls; /* in flight at a time, streams included; more likewise */
    size_t max_bytes;   /* of requests in work, unpacked; more likewise. 0: 512 MiB */
    /* A client has so long to send its request and to read each message of the answer; else it is
     * given up. 0: a minute. */
    int64_t stall_ms;
    kd_metrics *metrics;                  /* borrowed, may be NULL */
    const kd_tls *tls;                    /* borrowed for kd_server_start; NULL: plain text */
    const kd_descriptor_set *descriptors; /* of the services; NULL: kindred's own */
    kd_access *access; /* who may call what; borrowed, NULL: everyone everything */
} kd_server_options;
#define KD_SERVER_OPTIONS_INIT {.workers = 4, .queue = 256, .max_calls = 4096}

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
/* address is HOST:PORT, port 0 takes a free one; *port is the one taken. KD_UNAVAILABLE when it is
 * in use, KD_INVALID_ARGUMENT or what reading gives for the files of TLS. Health is SERVING from
 * here on. */
KD_MUST_CHECK kd_status kd_server_start(
    kd_server *server, const char *address, uint16_t *port, kd_error *err);
/* True from the moment that kd_server_drain was called: long streams end themselves. */
bool kd_server_draining(const kd_server *server);
/* Health NOT_SERVING, new calls UNAVAILABLE; waits until all in flight are answered, at most
 * grace_ms, then cancels the rest, waits until their handlers have noticed, and stops. */
void kd_server_drain(kd_server *server, int64_t grace_ms);
void kd_server_free(kd_server *server); /* drained first if it was started */
/* How much there is to do: calls in flight, and of them those that wait for a worker. */
void kd_server_load(kd_server *server, unsigned *in_flight, size_t *waiting);

/* ---- A call, on the server ---- */
void kd_call_reply(kd_call *call, const ProtobufCMessage *response);
/* KD_UNAVAILABLE tells the client's core not to send the call again: who fails it has tried. */
void kd_call_fail(kd_call *call, const kd_error *error);
/* Methods that take a stream: asks for the next message; one at a time. fn gets it, to be freed by
 * kd_message_free; or NULL with KD_OK at the client's end; or NULL with KD_CANCELLED (the client
 * has gone), KD_INVALID_ARGUMENT (not a message) or KD_RESOURCE_EXHAUSTED (a limit). It runs on a
 * server thread, for a blocking method on a worker (but not to say that all are busy). A call that
 * is answered while it waits for a message calls fn no more. Once something was written back, the
 * core may not tell a client that has gone from one that has ended: where that matters, let the
 * messages say which is the last. */
typedef void (*kd_on_message)(
    void *arg, kd_call *call, ProtobufCMessage *message, const kd_error *error);
void kd_call_read(kd_call *call, kd_on_message fn, void *arg);
/* Methods that answer a stream: queues a message. KD_CANCELLED when the client has gone or has read
 * nothing for stall_ms; when the client reads slowly and KD_RPC_CALL_WAITING wait: waits for room,
 * or without wait KD_RESOURCE_EXHAUSTED, as after two seconds when all workers wait so. Never with
 * wait from a handler that isn't blocking. */
KD_MUST_CHECK kd_status kd_call_write(kd_call *call, const ProtobufCMessage *message, bool wait);
/* For who writes without wait: wrote runs on a server thread each time that a message has gone out
 * (and once more after a cancellation, if any were on their way), until the call is answered; a run
 * that has begun by then may still go on. gone runs when nothing holds the call any more, and is
 * the last use of arg. Once, before the first write. */
void kd_call_watch(kd_call *call, void (*wrote)(void *arg), void (*gone)(void *arg), void *arg);
/* Ends a stream once what was written has gone out; error NULL or KD_OK for a good end. */
void kd_call_finish(kd_call *call, const kd_error *error);
/* The client has gone or its deadline has passed: nobody waits for the answer. */
bool kd_call_cancelled(const kd_call *call);
const char *kd_call_trace(const kd_call *call); /* W3C traceparent, borrowed */
kd_scope kd_call_scope(const kd_call *call);    /* what the caller may do */
/* Copies the value of the client's metadata; false when there is none or it doesn't fit. key is in
 * lower case. */
bool kd_call_metadata(const kd_call *call, const char *key, char *value, size_t size);

/* Asks another service on behalf of a call, for a minute at most; done runs on a server thread with
 * the response, borrowed for its time, or with the error (at once when there is no memory). The
 * call must be answered by then or later, not before.
 */
typedef void (*kd_done)(void *arg, const ProtobufCMessage *response, const kd_error *error);
void kd_call_ask(kd_call *call, kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, kd_done done, void *arg);

/* A channel to the server of this process over a pair of sockets: whatever the server listens on
 * and whom it lets in, nobody else can come this way. Once the server has closed it (after five
 * minutes without a call) all calls are KD_UNAVAILABLE: open another. KD_UNAVAILABLE while the
 * server doesn't serve. */
KD_MUST_CHECK kd_status kd_server_connect(kd_server *server, kd_channel **out, kd_error *err);

/* ---- Client ---- */
typedef struct kd_channel_options {
    const kd_tls *tls;                    /* NULL: plain text. Read by kd_channel_open. */
    const kd_descriptor_set *descriptors; /* NULL: kindred's own */
    const char *key; /* API key that goes with every call; NULL: none. Copied. */
} kd_channel_options;

/* Connects lazily and again after a loss (100 ms to 2 s between tries); a server that is silent
 * during a call for half a minute counts as lost. Threads may share it. options may be NULL. */
KD_MUST_CHECK kd_status kd_channel_open(
    kd_channel **out, const char *address, const kd_channel_options *options, kd_error *err);
void kd_channel_close(kd_channel *channel);
const char *kd_channel_address(const kd_channel *channel);

typedef struct kd_metadata {
    const char *key, *value; /* lower-case key; value is printable ASCII */
} kd_metadata;
#define KD_RPC_CALL_METADATA 8

typedef struct kd_call_options {
    int64_t timeout_ms;      /* 0: none */
    const char *trace;       /* traceparent to send; NULL makes one */
    kd_call *parent;         /* made on its behalf: ends with it, and no later than its deadline */
    const atomic_bool *stop; /* looked at every 100 ms: once true, what waits ends KD_CANCELLED */
    const kd_metadata *metadata; /* at most KD_RPC_CALL_METADATA */
    size_t n_metadata;
} kd_call_options;

/* Waits for the answer. *response is owned by the caller: kd_message_free. On failure err has the
 * peer's code and sentence; KD_UNAVAILABLE names the address. options may be NULL. */
KD_MUST_CHECK kd_status kd_channel_call(kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    const kd_call_options *options, ProtobufCMessage **response, kd_error *err);

/* A call of any kind: one thread may read while another writes. With a request it is sent as the
 * only one; with NULL kd_stream_write and kd_stream_end send them. */
typedef struct kd_stream kd_stream;
KD_MUST_CHECK kd_status kd_stream_open(kd_stream **out, kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    const kd_call_options *options, kd_error *err);
/* KD_OK with *message (kd_message_free), or with NULL at a good end. KD_DEADLINE_EXCEEDED with
 * *waiting true: nothing came in wait_ms (-1: for good), ask again. Another status: the stream
 * failed. */
KD_MUST_CHECK kd_status kd_stream_read(
    kd_stream *stream, int64_t wait_ms, ProtobufCMessage **message, bool *waiting, kd_error *err);
/* Waits until the core has taken the message. KD_CANCELLED: the call is over, reading says why. */
KD_MUST_CHECK kd_status kd_stream_write(
    kd_stream *stream, const ProtobufCMessage *message, kd_error *err);
void kd_stream_end(kd_stream *stream);   /* no more writes */
void kd_stream_close(kd_stream *stream); /* cancels what has not ended; no thread may use it now */

void kd_message_free(void *message); /* an unpacked message; NULL is fine */

/* "SERVING" within timeout_ms, or why not: grpc.health.v1.Health/Check of the whole server. */
KD_MUST_CHECK kd_status kd_health_check(kd_channel *channel, int64_t timeout_ms, kd_error *err);

/* ---- JSON ---- */
/* The message as an object with the proto's field names: scalars always, messages when set, enums
 * as lower-case words without their prefix, bytes as base64. A new reference; NULL without memory.
 */
json_t *kd_message_json(const ProtobufCMessage *message);

/* The other way: *out is freed by kd_message_free. Taken is what kd_message_json makes, and numbers
 * of 64 bits as text too. KD_INVALID_ARGUMENT names the field that is unknown, of the wrong type or
 * out of range, or the two of which only one may be set. */
KD_MUST_CHECK kd_status kd_message_from_json(ProtobufCMessage **out,
    const ProtobufCMessageDescriptor *type, const json_t *object, kd_error *err);
/* Text as an object. KD_INVALID_ARGUMENT: it is none, or a key comes twice; KD_RESOURCE_EXHAUSTED:
 * more than KD_JSON_MAX_VALUES. *out is a new reference. */
#define KD_JSON_MAX_VALUES 200000u
KD_MUST_CHECK kd_status kd_json_parse(json_t **out, const void *text, size_t len, kd_error *err);
/* Sets a field of object, which will be a message of the type, from text as it stands in a query
 * ("k=5"): numbers and booleans are read as such, repeated ones added to, and a message of one
 * number (Real) is the number. */
KD_MUST_CHECK kd_status kd_json_set_text(json_t *object, const ProtobufCMessageDescriptor *type,
    const char *name, const char *text, kd_error *err);

#endif
