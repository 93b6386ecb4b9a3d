/* One call on the server, from the core's hand-over to its last batch; its way out is call_out.c.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/slice.h>
#include <grpc/support/time.h>

#include "lib/base/clock.h"
#include "lib/rpc/internal.h"

static void on_new(void *owner, bool ok);
static void on_request(void *owner, bool ok);
static void on_close(void *owner, bool ok);
static void on_message(void *owner, bool ok);
static void on_ended(void *owner, bool ok);

kd_call *kd_call_new(struct kd_server_thread *thread)
{
    kd_call *call = calloc(1, sizeof *call);
    if (!call)
        return NULL;
    call->server = thread->server;
    call->thread = thread;
    atomic_init(&call->refs, 1);
    atomic_init(&call->cancelled, false);
    atomic_init(&call->receiving_ms, 0);
    atomic_init(&call->sending_ms, 0);
    atomic_init(&call->reading, false);
    atomic_init(&call->keyed, false);
    call->on_new = (kd_tag){on_new, call};
    call->on_request = (kd_tag){on_request, call};
    call->on_close = (kd_tag){on_close, call};
    call->on_sent = (kd_tag){kd_call_on_sent, call};
    call->on_message = (kd_tag){on_message, call};
    call->on_ended = (kd_tag){on_ended, call};
    grpc_call_details_init(&call->details);
    grpc_metadata_array_init(&call->metadata);
    call->details_slice = grpc_empty_slice();
    pthread_mutex_init(&call->mutex, NULL);
    kd_cond_init(&call->room);
    return call;
}

void kd_call_drop_request(kd_call *call)
{
    kd_message_free(call->request);
    call->request = NULL;
    atomic_fetch_sub(&call->server->bytes, call->charged);
    call->charged = 0;
}

static void call_free(kd_call *call)
{
    kd_server *const server = call->server;
    const bool counted = call->grpc != NULL;
    if (call->gone)
        call->gone(call->watch_arg);
    atomic_fetch_sub(&server->bytes, call->charged);
    for (size_t i = 0; i < call->n_waiting; i++)
        grpc_byte_buffer_destroy(call->waiting[i]);
    grpc_byte_buffer_destroy(call->sending);
    grpc_byte_buffer_destroy(call->request_bytes);
    kd_message_free(call->request);
    kd_message_free(call->message);
    if (call->grpc)
        grpc_call_unref(call->grpc);
    grpc_slice_unref(call->details_slice);
    grpc_metadata_array_destroy(&call->metadata);
    grpc_call_details_destroy(&call->details);
    pthread_cond_destroy(&call->room);
    pthread_mutex_destroy(&call->mutex);
    if (counted)
        kd_server_call_ended(server, call);
    free(call);
}

void kd_call_unref(kd_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) == 1)
        call_free(call);
}

bool kd_call_try_ref(kd_call *call)
{
    unsigned refs = atomic_load(&call->refs);
    while (refs > 0)
        if (atomic_compare_exchange_weak(&call->refs, &refs, refs + 1))
            return true;
    return false;
}

bool kd_call_charge(kd_call *call, size_t bytes)
{
    atomic_fetch_sub(&call->server->bytes, call->charged);
    call->charged = 0;
    if (atomic_fetch_add(&call->server->bytes, bytes) + bytes > call->server->options.max_bytes) {
        atomic_fetch_sub(&call->server->bytes, bytes);
        return false;
    }
    call->charged = bytes;
    return true;
}

void kd_call_start(kd_call *call, const grpc_op *ops, size_t n, kd_tag *tag)
{
    atomic_fetch_add(&call->refs, 1);
    kd_start_batch(call->grpc, ops, n, tag);
}

const char *kd_call_trace(const kd_call *call)
{
    return call->trace;
}

kd_scope kd_call_scope(const kd_call *call)
{
    return call->caller.scope;
}

bool kd_call_cancelled(const kd_call *call)
{
    return atomic_load(&call->cancelled);
}

bool kd_call_metadata(const kd_call *call, const char *key, char *value, size_t size)
{
    for (size_t i = 0; i < call->metadata.count; i++) {
        const grpc_slice text = call->metadata.metadata[i].value;
        const size_t len = GRPC_SLICE_LENGTH(text);
        if (grpc_slice_str_cmp(call->metadata.metadata[i].key, key) != 0 || len >= size)
            continue;
        memcpy(value, GRPC_SLICE_START_PTR(text), len);
        value[len] = '\0';
        return true;
    }
    return false;
}

/* ---- The way in ---- */

static void on_close(void *owner, bool ok)
{
    kd_call *const call = owner;
    (void)ok;
    if (call->close_cancelled) {
        pthread_mutex_lock(&call->mutex);
        atomic_store(&call->cancelled, true);
        kd_call_send_next(call);
        pthread_cond_broadcast(&call->room);
        pthread_mutex_unlock(&call->mutex);
    }
    kd_call_unref(call);
}

#define BUSY "too many calls wait already; try again later"

/* Lets the call learn of its cancellation. One that is answered before needs no batch for it: its
 * last one has the operation (kd_call_send_next). */
static void ask_for_close(kd_call *call)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->close_cancelled;
    pthread_mutex_lock(&call->mutex);
    if (!call->close_asked) {
        call->close_asked = true;
        kd_call_start(call, &op, 1, &call->on_close);
    }
    pthread_mutex_unlock(&call->mutex);
}

static void run_handler(void *arg)
{
    kd_call *const call = arg;
    if (atomic_load(&call->cancelled)) /* waited too long: nobody listens any more */
        kd_call_end(call, KD_CANCELLED, "the client has gone");
    else
        call->endpoint->handler(call->endpoint->state, call, call->request);
}

static void dispatch(kd_call *call)
{
    if (!call->endpoint->blocking) {
        run_handler(call);
        ask_for_close(call);
        return;
    }
    ask_for_close(call);
    if (!kd_pool_try_run(call->server->workers, run_handler, call))
        kd_call_end(call, KD_RESOURCE_EXHAUSTED, BUSY);
}

static void on_request(void *owner, bool ok)
{
    kd_call *const call = owner;
    kd_endpoint *const endpoint = call->endpoint;
    kd_error error = KD_ERROR_INIT;
    atomic_store(&call->receiving_ms, 0);
    if (!ok || (!call->request_bytes && atomic_load(&call->cancelled))) {
        kd_call_end(call, KD_CANCELLED, KD_CLIENT_GONE);
    } else if (!call->request_bytes) {
        kd_call_end(call, KD_INVALID_ARGUMENT, "the call has no request");
    } else if (kd_unpack(call->request_bytes, endpoint->descriptor->input, call, &call->request,
                   &error) != KD_OK) {
        kd_call_end(call, error.status, error.message);
    } else {
        grpc_byte_buffer_destroy(call->request_bytes);
        call->request_bytes = NULL;
        dispatch(call);
    }
    kd_call_unref(call);
}

/* ---- Streams of requests ---- */

static void receive(kd_call *call, kd_tag *tag)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->request_bytes;
    kd_call_start(call, &op, 1, tag);
}

void kd_call_read(kd_call *call, kd_on_message fn, void *arg)
{
    pthread_mutex_lock(&call->mutex);
    assert(call->endpoint->takes_stream && !call->answered && !atomic_load(&call->reading));
    call->read_fn = fn;
    call->read_arg = arg;
    atomic_store(&call->reading, true);
    const bool idle_ends = call->endpoint->idle_ends;
    if (idle_ends) {
        atomic_store(&call->receiving_ms, kd_mono_ms());
        atomic_fetch_add(&call->refs, 1);
    }
    receive(call, &call->on_message); /* under the lock, or a drain could end the call before */
    pthread_mutex_unlock(&call->mutex);
    /* The drain has looked for such calls already, or is about to. */
    if (idle_ends) {
        if (atomic_load(&call->server->draining))
            kd_call_end_idle(call, KD_UNAVAILABLE, KD_SHUTTING_DOWN);
        kd_call_unref(call);
    }
}

static void hand_over(void *arg)
{
    kd_call *const call = arg;
    ProtobufCMessage *const message = call->message;
    const kd_error error = call->message_error; /* a copy: fn may ask for the next at once */
    call->message = NULL;
    call->read_fn(call->read_arg, call, message, &error);
}

/* What was asked for is there: the message, the client's end, or why neither is. */
static void deliver(kd_call *call)
{
    pthread_mutex_lock(&call->mutex);
    const bool wanted = atomic_load(&call->reading);
    atomic_store(&call->reading, false);
    pthread_mutex_unlock(&call->mutex);
    if (!wanted) { /* answered meanwhile */
        kd_message_free(call->message);
        call->message = NULL;
    } else if (!call->endpoint->blocking) {
        hand_over(call);
    } else if (!kd_pool_try_run(call->server->workers, hand_over, call)) {
        kd_message_free(call->message);
        call->message = NULL;
        (void)kd_error_set(&call->message_error, KD_RESOURCE_EXHAUSTED, BUSY);
        hand_over(call);
    }
}

static void deliver_gone(kd_call *call)
{
    (void)kd_error_set(&call->message_error, KD_CANCELLED, KD_CLIENT_GONE);
    deliver(call);
}

/* The headers went out, so the client was there after its last message: it has really ended. */
static void on_ended(void *owner, bool ok)
{
    kd_call *const call = owner;
    if (ok && !atomic_load(&call->cancelled))
        deliver(call);
    else
        deliver_gone(call);
    kd_call_unref(call);
}

static void on_message(void *owner, bool ok)
{
    kd_call *const call = owner;
    grpc_byte_buffer *const bytes = call->request_bytes;
    call->request_bytes = NULL;
    atomic_store(&call->receiving_ms, 0);
    call->message_error = (kd_error)KD_ERROR_INIT;
    if (bytes) {
        if (kd_unpack(bytes, call->endpoint->descriptor->input, call, &call->message,
                &call->message_error) != KD_OK)
            call->message = NULL; /* the error tells */
        grpc_byte_buffer_destroy(bytes);
        deliver(call);
    } else if (!ok || atomic_load(&call->cancelled)) {
        deliver_gone(call);
    } else if (!kd_call_send_headers(call, &call->on_ended)) { /* they are out: nothing to learn */
        deliver(call);
    }
    kd_call_unref(call);
}

/* ---- The beginning ---- */

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

static kd_status admit(kd_call *call, kd_error *err)
{
    char authorization[KD_AUTHORIZATION_MAX] = "", on_behalf[16] = "";
    (void)kd_call_metadata(call, "authorization", authorization, sizeof authorization);
    (void)kd_call_metadata(call, KD_ON_BEHALF, on_behalf, sizeof on_behalf);
    const kd_status status = kd_access_check(call->server->options.access, authorization, on_behalf,
        call->endpoint->scope, &call->caller, err);
    atomic_store(&call->keyed, status == KD_OK && call->endpoint->scope != KD_SCOPE_OPEN);
    return status;
}

void kd_call_begin(kd_call *call)
{
    kd_server *const server = call->server;
    kd_error refused;
    call->begun_ns = kd_mono_ns();
    kd_trace_read(&server->traces, &call->metadata, call->trace);
    call->endpoint = bsearch(&call->details.method, server->endpoints, server->n_endpoints,
        sizeof *server->endpoints, by_path);
    if (atomic_load(&server->draining) && !(call->endpoint && call->endpoint->while_draining)) {
        kd_call_end(call, KD_UNAVAILABLE, KD_SHUTTING_DOWN);
    } else if (!call->endpoint || (!call->endpoint->handler && !call->endpoint->proxy)) {
        char text[300];
        (void)snprintf(text, sizeof text, "no method %.*s here",
            (int)GRPC_SLICE_LENGTH(call->details.method),
            (const char *)GRPC_SLICE_START_PTR(call->details.method));
        kd_call_end(call, KD_UNIMPLEMENTED, text);
    } else if (admit(call, &refused) != KD_OK) {
        kd_call_end(call, refused.status, refused.message);
    } else if (atomic_load(&server->in_flight) > server->options.max_calls) {
        kd_call_end(call, KD_RESOURCE_EXHAUSTED, "too many calls in flight; try again later");
    } else if (!call->endpoint->handler) {
        ask_for_close(call);
        kd_proxy_begin(call, call->endpoint->proxy);
    } else if (call->endpoint->takes_stream) {
        atomic_fetch_add(&call->refs, 1); /* dispatch looks at it after the handler */
        dispatch(call);
        kd_call_unref(call);
    } else {
        atomic_store(&call->receiving_ms, call->begun_ns / 1000000);
        receive(call, &call->on_request);
    }
}

static void on_new(void *owner, bool ok)
{
    kd_call *const call = owner;
    if (!ok) { /* the server shuts down: there is no call in it */
        kd_call_unref(call);
        return;
    }
    kd_server_call_begun(call->server, call);
    kd_server_post(call->thread);
    kd_call_begin(call);
}
