/* lib/rpc/internal.h: what the files of lib/rpc share. */
#ifndef KD_RPC_INTERNAL_H
#define KD_RPC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>

#include "lib/base/thread.h"
#include "lib/rpc/rpc.h"

#if defined(__SANITIZE_THREAD__)
/* The core isn't instrumented: tell TSan that a batch's start happens before its completion. */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define KD_TSAN_RELEASE(p) __tsan_release(p)
#define KD_TSAN_ACQUIRE(p) __tsan_acquire(p)
#else
#define KD_TSAN_RELEASE(p) ((void)(p))
#define KD_TSAN_ACQUIRE(p) ((void)(p))
#endif

/* What a completion queue hands back. Lives inside its owner, which a pending batch keeps alive. */
typedef struct kd_tag {
    void (*done)(void *owner, bool ok);
    void *owner;
} kd_tag;

/* ---- message.c ---- */
/* NULL without memory. */
grpc_byte_buffer *kd_pack(const ProtobufCMessage *message);
/* Checks, then unpacks. *out is freed by kd_message_free. */
KD_MUST_CHECK kd_status kd_unpack(grpc_byte_buffer *bytes, const ProtobufCMessageDescriptor *type,
    ProtobufCMessage **out, kd_error *err);
/* wire.c: strings are UTF-8 without NUL, at most KD_RPC_MAX_ELEMENTS elements, well formed. */
KD_MUST_CHECK kd_status kd_wire_check(
    const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len, kd_error *err);
/* The status and sentence that a peer sent. */
kd_status kd_error_from_grpc(
    kd_error *err, grpc_status_code code, grpc_slice details, const char *address);

/* ---- trace.c ---- */
void kd_trace_make(char trace[KD_TRACE_TEXT]);
/* From the call's metadata, or a new one. */
void kd_trace_read(const grpc_metadata_array *metadata, char trace[KD_TRACE_TEXT]);
grpc_metadata kd_trace_metadata(const char *trace); /* slices borrow trace */

/* ---- server.c ---- */
typedef struct kd_endpoint { /* one method of one service */
    char *path;              /* "/package.Service/Method", owned */
    const ProtobufCMethodDescriptor *descriptor;
    kd_handler handler; /* NULL: proxy, or not implemented */
    bool blocking;
    void *state;
    kd_channel *proxy;
    kd_histogram *seconds;
    _Atomic(kd_counter *) by_code[17]; /* made at first use */
} kd_endpoint;

typedef struct kd_health kd_health;

struct kd_server {
    kd_server_options options;
    grpc_server *grpc;
    grpc_completion_queue *queue;
    kd_pool *workers;
    pthread_t *threads;
    unsigned n_threads;
    kd_endpoint *endpoints; /* sorted by path once started */
    size_t n_endpoints;
    kd_health *health;
    atomic_bool draining;
    atomic_uint in_flight;
    bool started;
    pthread_mutex_t mutex; /* for idle, and shut_down */
    pthread_cond_t idle;
    bool shut_down;
    kd_tag on_shutdown;
};

void kd_server_post(kd_server *server); /* asks the core for one more call */
void kd_server_call_ended(kd_server *server);

/* ---- call.c ---- */
struct kd_call {
    kd_server *server;
    kd_endpoint *endpoint;
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request_bytes;
    ProtobufCMessage *request;
    int64_t begun_ns;
    char trace[KD_TRACE_TEXT];
    atomic_uint refs; /* one for whoever must answer, one for each pending batch */
    atomic_bool cancelled;
    int close_cancelled; /* written by the core */
    kd_tag on_new, on_request, on_close, on_sent;

    pthread_mutex_t mutex; /* guards what follows; no other lock is taken while it is held */
    pthread_cond_t room;
    grpc_byte_buffer *waiting[16];
    size_t n_waiting;
    grpc_byte_buffer *sending;
    void (*wrote)(void *arg); /* a proxy's: room again */
    void *wrote_arg;
    bool metadata_sent, sending_now, answered, status_sent;
    grpc_status_code code;
    grpc_slice details_slice;
};

kd_call *kd_call_new(kd_server *server);
void kd_call_unref(kd_call *call);
/* Queues bytes (taken over) and/or the end; see kd_call_write. */
kd_status kd_call_send(kd_call *call, grpc_byte_buffer *bytes, bool wait);
void kd_call_end(kd_call *call, kd_status status, const char *message);
/* The first thing a call does once the core has handed it over. */
void kd_call_begin(kd_call *call);

/* ---- proxy.c ---- */
void kd_proxy_begin(kd_call *call, kd_channel *channel);

/* ---- client.c ---- */
struct kd_channel {
    grpc_channel *grpc;
    char *address;
};
gpr_timespec kd_deadline(int64_t timeout_ms); /* 0: never */

/* ---- health.c ---- */
KD_MUST_CHECK kd_status kd_health_new(kd_health **out, kd_server *server, kd_error *err);
void kd_health_stop(kd_health *health); /* NOT_SERVING; ends the watches */
void kd_health_free(kd_health *health);

#endif
