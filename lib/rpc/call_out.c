/* The way out of a call on the server: messages, one on its way at a time, and the end. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <grpc/slice.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/rpc/internal.h"

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
        KD_STR("key", call->caller.id), KD_STR("trace", call->trace));
}

/* Mutex held. Sends what can be sent now: the next message, the end, or both in one batch. */
void kd_call_send_next(kd_call *call)
{
    grpc_op ops[4];
    grpc_metadata pushback;
    size_t n = 0;
    if (call->sending_now || call->status_sent)
        return;
    const bool cancelled = atomic_load(&call->cancelled);
    if (call->n_waiting == 0 && !call->answered)
        return;
    memset(ops, 0, sizeof ops);
    memset(&pushback, 0, sizeof pushback);
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
        if (call->no_retry) {
            /* https://github.com/grpc/proposal/blob/master/A6-client-retries.md: a negative
             * push-back says never. */
            pushback.key = grpc_slice_from_static_string("grpc-retry-pushback-ms");
            pushback.value = grpc_slice_from_static_string("-1");
            ops[n].data.send_status_from_server.trailing_metadata_count = 1;
            ops[n].data.send_status_from_server.trailing_metadata = &pushback;
        }
        ops[n].data.send_status_from_server.status = call->code;
        ops[n++].data.send_status_from_server.status_details = &call->details_slice;
        if (!call->close_asked) {
            call->close_asked = true;
            ops[n].op = GRPC_OP_RECV_CLOSE_ON_SERVER;
            ops[n++].data.recv_close_on_server.cancelled = &call->close_cancelled;
        }
        call->status_sent = true;
        record_end(call);
    }
    if (n == 0)
        return;
    call->sending_now = true;
    atomic_store(&call->sending_ms, kd_mono_ms());
    kd_call_start(call, ops, n, &call->on_sent);
}

void kd_call_on_sent(void *owner, bool ok)
{
    kd_call *const call = owner;
    (void)ok; /* false: the client has gone, which on_close says as well */
    pthread_mutex_lock(&call->mutex);
    call->sending_now = false;
    atomic_store(&call->sending_ms, 0);
    grpc_byte_buffer_destroy(call->sending);
    call->sending = NULL;
    kd_call_send_next(call);
    void (*const wrote)(void *) = call->answered ? NULL : call->wrote;
    void *const arg = call->watch_arg;
    pthread_cond_broadcast(&call->room);
    pthread_mutex_unlock(&call->mutex);
    if (wrote)
        wrote(arg);
    kd_call_unref(call);
}

bool kd_call_send_headers(kd_call *call, kd_tag *tag)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_INITIAL_METADATA;
    pthread_mutex_lock(&call->mutex);
    const bool sends = !call->metadata_sent && !call->answered;
    if (sends) {
        call->metadata_sent = true;
        kd_call_start(call, &op, 1, tag);
    }
    pthread_mutex_unlock(&call->mutex);
    return sends;
}

/* How long the last worker that is not yet held by a slow reader waits for one. */
#define LAST_WRITER_MS 2000

kd_status kd_call_send(kd_call *call, grpc_byte_buffer *bytes, bool wait)
{
    const size_t room = sizeof call->waiting / sizeof call->waiting[0];
    kd_status status = KD_OK;
    pthread_mutex_lock(&call->mutex);
    if (wait && call->n_waiting == room) {
        const bool last = !kd_server_writer_waits(call->server);
        const struct timespec until = kd_mono_after(LAST_WRITER_MS);
        while (call->n_waiting == room && !atomic_load(&call->cancelled)) {
            if (!last)
                pthread_cond_wait(&call->room, &call->mutex);
            else if (pthread_cond_timedwait(&call->room, &call->mutex, &until) != 0)
                break;
        }
        kd_server_writer_goes_on(call->server);
    }
    assert(!call->answered);
    if (atomic_load(&call->cancelled)) {
        status = KD_CANCELLED;
    } else if (call->n_waiting == room) {
        status = KD_RESOURCE_EXHAUSTED;
    } else {
        call->waiting[call->n_waiting++] = bytes;
        kd_call_send_next(call);
    }
    pthread_mutex_unlock(&call->mutex);
    if (status != KD_OK)
        grpc_byte_buffer_destroy(bytes);
    return status;
}

/* Mutex held. */
static void set_end(kd_call *call, kd_status status, const char *message)
{
    assert(!call->answered);
    call->answered = true;
    atomic_store(&call->reading, false);
    call->code = (grpc_status_code)status;
    if (status != KD_OK)
        call->details_slice = grpc_slice_from_copied_string(message);
    kd_call_send_next(call);
}

void kd_call_end(kd_call *call, kd_status status, const char *message)
{
    pthread_mutex_lock(&call->mutex);
    set_end(call, status, message);
    pthread_mutex_unlock(&call->mutex);
    kd_call_unref(call); /* whoever had to answer has done so */
}

void kd_call_end_idle(kd_call *call, kd_status status, const char *message)
{
    pthread_mutex_lock(&call->mutex);
    const bool ended = atomic_load(&call->reading);
    if (ended)
        set_end(call, status, message);
    pthread_mutex_unlock(&call->mutex);
    if (ended)
        kd_call_unref(call);
}

void kd_call_reply(kd_call *call, const ProtobufCMessage *response)
{
    grpc_byte_buffer *const bytes = kd_pack(response);
    pthread_mutex_lock(&call->mutex);
    assert(!call->answered && call->n_waiting == 0);
    call->waiting[call->n_waiting++] = bytes;
    call->answered = true;
    call->code = GRPC_STATUS_OK;
    kd_call_send_next(call); /* metadata, message and status in one batch */
    pthread_mutex_unlock(&call->mutex);
    kd_call_unref(call);
}

void kd_call_fail(kd_call *call, const kd_error *error)
{
    assert(error->status != KD_OK);
    if (error->status == KD_UNAVAILABLE) {
        pthread_mutex_lock(&call->mutex);
        call->no_retry = true;
        pthread_mutex_unlock(&call->mutex);
    }
    kd_call_end(call, error->status, error->message);
}

kd_status kd_call_write(kd_call *call, const ProtobufCMessage *message, bool wait)
{
    return kd_call_send(call, kd_pack(message), wait);
}

void kd_call_watch(kd_call *call, void (*wrote)(void *arg), void (*gone)(void *arg), void *arg)
{
    pthread_mutex_lock(&call->mutex);
    assert(!call->wrote && !call->gone);
    call->wrote = wrote;
    call->gone = gone;
    call->watch_arg = arg;
    pthread_mutex_unlock(&call->mutex);
}

void kd_call_finish(kd_call *call, const kd_error *error)
{
    if (error && error->status != KD_OK)
        kd_call_fail(call, error);
    else
        kd_call_end(call, KD_OK, "");
}
