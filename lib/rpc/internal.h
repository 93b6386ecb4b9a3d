/* lib/rpc/internal.h: what the files of lib/rpc share. */
#ifndef KD_RPC_INTERNAL_H
#define KD_RPC_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>

#include "lib/base/thread.h"
#include "lib/rpc/descriptors.h"
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

#define KD_NOT_COMPRESSED                                                                          \
    (1 << GRPC_COMPRESS_NONE) /* the one compression that is let through: the                      \
core unpacks a message before it looks at its size */

static inline grpc_arg kd_arg(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

/* What a completion queue hands back. Lives inside its owner, which a pending batch keeps alive. */
typedef struct kd_tag {
    void (*done)(void *owner, bool ok);
    void *owner;
} kd_tag;

#define KD_SHUTTING_DOWN "the server is shutting down"
#define KD_CLIENT_GONE "the client has gone, or its message is larger than the server's limit"

/* ---- message.c ---- */
/* Starts a batch. One that the core refuses is a mistake of ours that would leave its call hanging:
 * it ends the process and says why. */
void kd_start_batch(grpc_call *call, const grpc_op *ops, size_t n, void *tag);
/* The core aborts without memory. */
grpc_byte_buffer *kd_pack(const ProtobufCMessage *message);
/* Unpacks what was checked. NULL: no memory, or the bytes are not one. Freed by kd_message_free. */
ProtobufCMessage *kd_unpack_bytes(
    const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t len, bool *no_memory);
/* Checks, then unpacks. *out is freed by kd_message_free. With a call the memory that the message
 * takes is charged to it first. */
KD_MUST_CHECK kd_status kd_unpack(grpc_byte_buffer *bytes, const ProtobufCMessageDescriptor *type,
    kd_call *charge, ProtobufCMessage **out, kd_error *err);
/* wire.c: well formed, strings are UTF-8 without NUL, unpacking takes at most KD_RPC_MAX_UNPACKED;
 * *memory is how much, rather over than under. */
KD_MUST_CHECK kd_status kd_wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
    size_t len, size_t *memory, kd_error *err);
/* ---- json.c ---- */
#define KD_ENUM_WORD 128
void kd_enum_word(
    const ProtobufCEnumDescriptor *type, const ProtobufCEnumValue *value, char word[KD_ENUM_WORD]);
size_t kd_element_size(ProtobufCType type); /* of a repeated field */
/* ---- trace.c ---- */
/* Makes many, without asking the kernel for random bytes each time. */
typedef struct kd_trace_source {
    uint64_t seed[2];
    atomic_ullong next;
} kd_trace_source;
void kd_trace_source_init(kd_trace_source *source);
/* From the call's metadata, or a new one. */
void kd_trace_read(
    kd_trace_source *source, const grpc_metadata_array *metadata, char trace[KD_TRACE_TEXT]);
grpc_metadata kd_trace_metadata(const char *trace); /* slices borrow trace */

/* ---- side.c: the client's side of a call ---- */
typedef struct kd_side {
    kd_channel *channel; /* borrowed */
    grpc_call *grpc;     /* owned, as are the byte buffers; NULL until it is made */
    grpc_byte_buffer *request, *received;
    grpc_metadata *metadata; /* what goes out; borrowed */
    size_t n_metadata;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
} kd_side;
void kd_side_init(kd_side *side, kd_channel *channel, grpc_metadata *metadata);
void kd_side_clear(kd_side *side);
/* Parts of a batch; each returns the place behind. With side->request the beginning sends it as the
 * only one; without, the requests follow. */
grpc_op *kd_side_add_begin(kd_side *side, grpc_op *op);
grpc_op *kd_side_add_receive(kd_side *side, grpc_op *op);
grpc_op *kd_side_add_status(kd_side *side, grpc_op *op);
/* Adds who asks, borrowed from the channel and the caller: see rpc.h. caller NULL: the process
 * does, for itself. */
#define KD_SIDE_KEY 2 /* metadata at most */
void kd_side_add_key(kd_side *side, const kd_call *caller);
/* What was received, unpacked; the buffer is gone. A fault is the peer's, and names it. */
KD_MUST_CHECK kd_status kd_side_unpack(
    kd_side *side, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out, kd_error *err);
/* The answer of a call that is over and has one. */
KD_MUST_CHECK kd_status kd_side_answer(
    kd_side *side, const ProtobufCMessageDescriptor *type, ProtobufCMessage **out, kd_error *err);
/* The status and sentence that the peer sent, or that the core has for its being away; in the
 * second case the channel is told to look for it again (client.c). */
kd_status kd_side_error(const kd_side *side, kd_error *err);
void kd_channel_missed(kd_channel *channel);

/* ---- server.c, server_threads.c, server_watch.c ---- */
typedef struct kd_endpoint { /* one method of one service */
    char *path;              /* "/package.Service/Method", owned */
    const ProtobufCMethodDescriptor *descriptor;
    kd_handler handler; /* NULL: proxy, or not implemented */
    kd_scope scope;     /* that a caller needs */
    bool blocking, takes_stream;
    bool idle_ends;      /* a call that waits for a message ends with a drain, or after stall_ms */
    bool while_draining; /* is answered all the same */
    void *state;
    kd_channel *proxy;
    kd_histogram *seconds;
    _Atomic(kd_counter *) by_code[17]; /* made at first use */
} kd_endpoint;

typedef struct kd_health kd_health;

struct kd_server {
    kd_server_options options;
    grpc_server *grpc;
    kd_pool *workers;
    struct kd_server_thread { /* that takes calls, each off a queue of its own */
        kd_server *server;
        grpc_completion_queue *queue;
        pthread_t thread;
        atomic_uint missing; /* calls to post once there is memory again */
    } *threads;
    unsigned n_threads; /* that were started */
    pthread_t watch;    /* see server_watch.c; it runs while watches is set */
    bool watches;
    kd_endpoint *endpoints; /* sorted by path once started */
    size_t n_endpoints;
    kd_health *health;
    kd_descriptors *descriptors;
    atomic_bool draining;
    atomic_uint in_flight;
    atomic_uint waiting_writers; /* workers that wait for a client to read */
    atomic_size_t bytes;         /* charged by calls */
    kd_trace_source traces;
    atomic_bool started;
    pthread_mutex_t mutex; /* guards what follows; a call's own is never taken while it is held */
    pthread_cond_t idle, watch_wakes;
    bool shut_down, watch_ends;
    bool look;      /* asked of the watch */
    kd_call *calls; /* all in flight */
    kd_tag on_shutdown;
};

/* The endpoint of a method, made if need be; NULL without memory. */
kd_endpoint *kd_server_endpoint(
    kd_server *server, const char *service, const ProtobufCMethodDescriptor *method);
/* Asks the core for one more call, whose events come to the thread; without memory, later. */
void kd_server_post(struct kd_server_thread *thread);
/* False when there still was no memory for all of them. */
bool kd_server_post_missing(struct kd_server_thread *thread);
void *kd_server_take_events(void *thread); /* a struct kd_server_thread's life */
KD_MUST_CHECK kd_status kd_server_watch(kd_server *server, kd_error *err); /* starts it */
void kd_server_end_watch(kd_server *server); /* nothing where it never began */
void kd_server_look(kd_server *server);      /* the watch asks for missing calls soon */
/* Clients that read slowly may hold all workers but one: false when so many wait for them already.
 * In any case kd_server_writer_goes_on follows. */
bool kd_server_writer_waits(kd_server *server);
void kd_server_writer_goes_on(kd_server *server);
void kd_server_call_begun(kd_server *server, kd_call *call);
/* The call's last sign of life; afterwards the server may be gone. */
void kd_server_call_ended(kd_server *server, kd_call *call);

/* ---- call.c, call_out.c ---- */
struct kd_call {
    kd_server *server;
    struct kd_server_thread *thread;
    kd_endpoint *endpoint;
    grpc_call *grpc;
    grpc_call_details details;
    grpc_metadata_array metadata;
    grpc_byte_buffer *request_bytes;
    ProtobufCMessage *request;
    int64_t begun_ns;
    char trace[KD_TRACE_TEXT];
    kd_caller caller;
    atomic_bool keyed; /* endpoint and caller are set, and it goes on for as long as that one may */
    atomic_uint refs;  /* one for whoever must answer, one for each pending batch */
    atomic_bool cancelled;
    atomic_llong receiving_ms; /* since when a message is waited for; 0: none is */
    atomic_llong sending_ms;   /* since when a message is on its way out; 0: none is */
    int close_cancelled;       /* written by the core */
    kd_tag on_new, on_request, on_close, on_sent, on_message, on_ended;
    kd_call *next, **link; /* server->calls; under the server's mutex */
    size_t charged;        /* bytes of server->bytes; by whoever receives */

    kd_on_message read_fn; /* what kd_call_read was given; the message's way to a worker */
    void *read_arg;
    ProtobufCMessage *message;
    kd_error message_error;

    pthread_mutex_t mutex; /* guards what follows; of other locks only the metrics' is taken here */
    pthread_cond_t room;
    grpc_byte_buffer *waiting[KD_RPC_CALL_WAITING];
    size_t n_waiting;
    grpc_byte_buffer *sending;
    void (*wrote)(void *arg); /* room again */
    void (*gone)(void *arg);  /* the call is freed; NULL: nobody asks */
    void *watch_arg;
    bool metadata_sent, sending_now, answered, status_sent;
    bool close_asked;    /* RECV_CLOSE_ON_SERVER has been started */
    atomic_bool reading; /* waits for a message; read without the mutex by a drain */
    bool no_retry;       /* tells the client's core not to send the call again */
    grpc_status_code code;
    grpc_slice details_slice;
};

kd_call *kd_call_new(struct kd_server_thread *thread);
void kd_call_unref(kd_call *call);
bool kd_call_try_ref(kd_call *call); /* false for one that is being freed */
/* Frees the request and what was charged for it, for a call that goes on without. */
void kd_call_drop_request(kd_call *call);
/* Starts a batch that keeps the call alive until its tag is done. */
void kd_call_start(kd_call *call, const grpc_op *ops, size_t n, kd_tag *tag);
/* False when the server has no room for so many bytes more; they are the call's until the next
 * message or its end. */
bool kd_call_charge(kd_call *call, size_t bytes);
/* False when they are out already. */
bool kd_call_send_headers(kd_call *call, kd_tag *tag);
/* Queues bytes (taken over) and/or the end; see kd_call_write. */
kd_status kd_call_send(kd_call *call, grpc_byte_buffer *bytes, bool wait);
void kd_call_end(kd_call *call, kd_status status, const char *message);
/* The first thing a call does once the core has handed it over. */
void kd_call_begin(kd_call *call);
/* Ends a call that still waits for a message. */
void kd_call_end_idle(kd_call *call, kd_status status, const char *message);
void kd_call_on_sent(void *owner, bool ok);
void kd_call_send_next(kd_call *call); /* mutex held */

/* ---- proxy.c ---- */
void kd_proxy_begin(kd_call *call, kd_channel *channel);

/* ---- client.c ---- */
struct kd_channel {
    grpc_channel *grpc;
    char *address;
    atomic_llong missed_ms; /* when a call found nobody and the core was told to try again */
    bool has_key;
    grpc_slice authorization; /* "Bearer KEY" */
};

/* ---- tls.c ---- */
KD_MUST_CHECK kd_status kd_tls_server(
    grpc_server_credentials **out, const kd_tls *tls, kd_error *err);
KD_MUST_CHECK kd_status kd_tls_channel(
    grpc_channel_credentials **out, const kd_tls *tls, kd_error *err);

/* ---- reflection.c ---- */
KD_MUST_CHECK kd_status kd_reflection_add(kd_server *server, kd_error *err);

/* ---- health.c ---- */
KD_MUST_CHECK kd_status kd_health_new(kd_health **out, kd_server *server, kd_error *err);
void kd_health_stop(kd_health *health);  /* NOT_SERVING; ends the watches */
void kd_health_sweep(kd_health *health); /* ends the watches whose clients have gone */
void kd_health_free(kd_health *health);

#endif
