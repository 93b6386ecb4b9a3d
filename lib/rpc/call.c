/* One call on the server, from the core's hand-over to its last batch. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/rpc/internal.h"

static void on_new(void *owner, bool ok);
static void on_request(void *owner, bool ok);
static void on_close(void *owner, bool ok);
static void on_sent(void *owner, bool ok);

kd_call *kd_call_new(kd_server *server)
{
    kd_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->server = server;
    atomic_init(&call->refs, 1);
    atomic_init(&call->cancelled, false);
    call->on_new = (kd_tag){on_new, call};
    call->on_request = (kd_tag){on_request, call};
    call->on_close = (kd_tag){on_close, call};
    call->on_sent = (kd_tag){on_sent, call};
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    call->details_slice = grpc_empty_slice();
    pthread_mutex_init(&call->mutex, NULL);
    kd_cond_init(&call->room);
    return call;
}

static void call_free(kd_call *call)
{
    kd_server *const server = call->server;
    const bool counted = call->grpc != NULL;
    for (size_t i = 0; i < call->n_waiting; i++)
        grpc_byte_buffer_destroy(call->waiting[i]);
    grpc_byte_buffer_destroy(call->sending);
    grpc_byte_buffer_destroy(call->request_bytes);
    kd_message_free(call->request);
    if (call->grpc)
        grpc_call_unref(call->grpc);
    grpc_slice_unref(call->details_slice);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    pthread_cond_destroy(&call->room);
    pthread_mutex_destroy(&call->mutex);
    free(call);
    if (counted)
        kd_server_call_ended(server);
}

void kd_call_unref(kd_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) == 1)
        call_free(call);
}

/* Starts a batch that keeps the call alive until its tag is done. */
static void start(kd_call *call, const grpc_op *ops, size_t n, kd_tag *tag)
{
    atomic_fetch_add(&call->refs, 1);
    KD_TSAN_RELEASE(tag);
    const grpc_call_error error = grpc_call_start_batch(call->grpc, ops, n, tag, NULL);
    assert(error == GRPC_CALL_OK); /* anything else is a mistake of ours */
    (void)error;
}

/* ---- The way out ---- */

static void record_end(kd_call *call)
{
    kd_endpoint *const endpoint = call->endpoint;
    const unsigned code = (unsigned)call->code < 17 ? (unsigned)call->code : KD_UNKNOWN;
    const double seconds = (double)(kd_mono_ns() - call->begun_ns) / 1e9;
    if (endpoint) {
        kd_counter *counter = atomic_load(&endpoint->by_code[code]);
        if (!counter) {
            char labels[256];
            (void)snprintf(labels, sizeof labels, "method=\"%s\",code=\"%s\"", endpoint->path + 1,
                kd_status_name((kd_status)code));
            counter = kd_metrics_counter(call->server->options.metrics,
                "kindred_rpc_requests_total", labels, "Calls answered, by method and code");
            atomic_store(&endpoint->by_code[code], counter);
        }
        kd_counter_add(counter, 1);
        kd_histogram_observe(endpoint->seconds, seconds);
    }
    const bool grave = code == KD_INTERNAL || code == KD_DATA_LOSS || code == KD_UNKNOWN;
    KD_LOG(grave ? KD_LOG_WARN : KD_LOG_DEBUG, "rpc",
        KD_STR("method", endpoint ? endpoint->path + 1 : "unknown"),
        KD_STR("code", kd_status_name((kd_status)code)), KD_REAL("ms", seconds * 1e3),
        KD_STR("trace", call->trace));
}

/* Mutex held. Sends what can be sent now: the next message, the end, or both in one batch. */
static void send_next(kd_call *call)
{
    grpc_op ops[3];
    size_t n = 0;
    if (call->sending_now || call->status_sent)
        return;
    const bool cancelled = atomic_load(&call->cancelled);
    if (call->n_waiting == 0 && !call->answered)
        return;
    memset(ops, 0, sizeof ops);
    if (!call->metadata_sent) {
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
        call->metadata_sent = true;
    }
    if (call->n_waiting > 0 && !cancelled) {
        call->sending = call->waiting[0];
        call->n_waiting--;
        memmove(call->waiting, call->waiting + 1, call->n_waiting * sizeof call->waiting[0]);
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = call->sending;
    }
    if (call->answered && (call->n_waiting == 0 || cancelled)) {
        ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[n].data.send_status_from_server.status = call->code;
        ops[n++].data.send_status_from_server.status_details = &call->details_slice;
        call->status_sent = true;
        record_end(call);
    }
    if (n == 0)
        return;
    call->sending_now = true;
    start(call, ops, n, &call->on_sent);
}

static void on_sent(void *owner, bool ok)
{
    kd_call *const call = owner;
    (void)ok; /* false: the client has gone, which on_close says as well */
    pthread_mutex_lock(&call->mutex);
    call->sending_now = false;
    grpc_byte_buffer_destroy(call->sending);
    call->sending = NULL;
    send_next(call);
    void (*const wrote)(void *) = call->answered ? NULL : call->wrote;
    void *const arg = call->wrote_arg;
    pthread_cond_broadcast(&call->room);
    pthread_mutex_unlock(&call->mutex);
    if (wrote)
        wrote(arg);
    kd_call_unref(call);
}

kd_status kd_call_send(kd_call *call, grpc_byte_buffer *bytes, bool wait)
{
    const size_t room = sizeof call->waiting / sizeof call->waiting[0];
    kd_status status = KD_OK;
    pthread_mutex_lock(&call->mutex);
    while (wait && call->n_waiting == room && !atomic_load(&call->cancelled))
        pthread_cond_wait(&call->room, &call->mutex);
    assert(!call->answered);
    if (atomic_load(&call->cancelled)) {
        status = KD_CANCELLED;
    } else if (call->n_waiting == room) {
        status = KD_RESOURCE_EXHAUSTED;
    } else {
        call->waiting[call->n_waiting++] = bytes;
        send_next(call);
    }
    pthread_mutex_unlock(&call->mutex);
    if (status != KD_OK)
        grpc_byte_buffer_destroy(bytes);
    return status;
}

void kd_call_end(kd_call *call, kd_status status, const char *message)
{
    pthread_mutex_lock(&call->mutex);
    assert(!call->answered);
    call->answered = true;
    call->code = (grpc_status_code)status;
    if (status != KD_OK)
        call->details_slice = grpc_slice_from_copied_string(message);
    send_next(call);
    pthread_mutex_unlock(&call->mutex);
    kd_call_unref(call); /* whoever had to answer has done so */
}

void kd_call_reply(kd_call *call, const ProtobufCMessage *response)
{
    grpc_byte_buffer *const bytes = kd_pack(response);
    pthread_mutex_lock(&call->mutex);
    assert(!call->answered && call->n_waiting == 0);
    call->waiting[call->n_waiting++] = bytes;
    call->answered = true;
    call->code = GRPC_STATUS_OK;
    send_next(call); /* metadata, message and status in one batch */
    pthread_mutex_unlock(&call->mutex);
    kd_call_unref(call);
}

void kd_call_fail(kd_call *call, const kd_error *error)
{
    assert(error->status != KD_OK);
    kd_call_end(call, error->status, error->message);
}

kd_status kd_call_write(kd_call *call, const ProtobufCMessage *message, bool wait)
{
    return kd_call_send(call, kd_pack(message), wait);
}

void kd_call_finish(kd_call *call, const kd_error *error)
{
    if (error && error->status != KD_OK)
        kd_call_end(call, error->status, error->message);
    else
        kd_call_end(call, KD_OK, "");
}

bool kd_call_cancelled(const kd_call *call)
{
    return atomic_load(&call->cancelled);
}

const char *kd_call_trace(const kd_call *call)
{
    return call->trace;
}

/* ---- The way in ---- */

static void on_close(void *owner, bool ok)
{
    kd_call *const call = owner;
    (void)ok;
    if (call->close_cancelled) {
        pthread_mutex_lock(&call->mutex);
        atomic_store(&call->cancelled, true);
        send_next(call);
        pthread_cond_broadcast(&call->room);
        pthread_mutex_unlock(&call->mutex);
    }
    kd_call_unref(call);
}

static void run_handler(void *arg)
{
    kd_call *const call = arg;
    if (atomic_load(&call->cancelled)) /* waited too long: nobody listens any more */
        kd_call_end(call, KD_CANCELLED, "the client has gone");
    else
        call->endpoint->handler(call->endpoint->state, call, call->request);
}

static void on_request(void *owner, bool ok)
{
    kd_call *const call = owner;
    kd_endpoint *const endpoint = call->endpoint;
    kd_error error = KD_ERROR_INIT;
    (void)ok;
    if (!call->request_bytes) {
        kd_call_end(call, KD_INVALID_ARGUMENT,
            "the call has no request, or one that is larger than the server's limit");
    } else if (kd_unpack(call->request_bytes, endpoint->descriptor->input, &call->request,
                   &error) != KD_OK) {
        kd_call_fail(call, &error);
    } else {
        grpc_byte_buffer_destroy(call->request_bytes);
        call->request_bytes = NULL;
        if (!endpoint->blocking)
            run_handler(call);
        else if (!kd_pool_try_run(call->server->workers, run_handler, call))
            kd_call_end(
                call, KD_RESOURCE_EXHAUSTED, "too many calls wait already; try again later");
    }
    kd_call_unref(call);
}

/* strcmp's order; grpc_slice_str_cmp has another (shorter first). */
static int by_path(const void *key, const void *element)
{
    const grpc_slice *const path = key;
    const kd_endpoint *const endpoint = element;
    const size_t len = GRPC_SLICE_LENGTH(*path), known = strlen(endpoint->path);
    const int order =
        memcmp(GRPC_SLICE_START_PTR(*path), endpoint->path, len < known ? len : known);
    return order != 0 ? order : (len > known) - (len < known);
}

void kd_call_begin(kd_call *call)
{
    kd_server *const server = call->server;
    grpc_op op;
    call->begun_ns = kd_mono_ns();
    kd_trace_read(&call->metadata, call->trace);
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->close_cancelled;
    start(call, &op, 1, &call->on_close);
    call->endpoint = bsearch(&call->details.method, server->endpoints, server->n_endpoints,
        sizeof *server->endpoints, by_path);
    if (atomic_load(&server->draining)) {
        kd_call_end(call, KD_UNAVAILABLE, "the server is shutting down");
    } else if (!call->endpoint || (!call->endpoint->handler && !call->endpoint->proxy)) {
        char text[300];
        (void)snprintf(text, sizeof text, "no method %.*s here",
            (int)GRPC_SLICE_LENGTH(call->details.method),
            (const char *)GRPC_SLICE_START_PTR(call->details.method));
        kd_call_end(call, KD_UNIMPLEMENTED, text);
    } else if (atomic_load(&server->in_flight) > server->options.max_calls) {
        kd_call_end(call, KD_RESOURCE_EXHAUSTED, "too many calls in flight; try again later");
    } else if (!call->endpoint->handler) {
        kd_proxy_begin(call, call->endpoint->proxy);
    } else {
        op.op = GRPC_OP_RECV_MESSAGE;
        memset(&op.data, 0, sizeof op.data);
        op.data.recv_message.recv_message = &call->request_bytes;
        start(call, &op, 1, &call->on_request);
    }
}

static void on_new(void *owner, bool ok)
{
    kd_call *const call = owner;
    if (!ok) { /* the server shuts down: there is no call in it */
        kd_call_unref(call);
        return;
    }
    atomic_fetch_add(&call->server->in_flight, 1);
    kd_server_post(call->server);
    kd_call_begin(call);
}
