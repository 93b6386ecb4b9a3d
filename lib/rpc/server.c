#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <openssl/crypto.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/rpc/internal.h"

#define POSTED_CALLS 64 /* calls that the core may hand to a thread before it asks for more */
#define MAX_BYTES ((size_t)512 << 20)
#define STALL_MS 60000
#define QUIET_MS 30             /* what is on its way to us at the end comes within… */
#define QUIET_MOST_MS 300       /* …but clients that ask again and again hold no end up */
#define GOODBYE_MS 500          /* for clients to hear that the server ends, once no call is left */
#define IDLE_MS (5 * 60 * 1000) /* a connection without calls is closed */
/* What a client's transport may hold for us before it is unpacked. The core sheds calls that would
 * go over it. */
#define RECEIVE_BYTES ((size_t)1 << 30)
#define KEEPALIVE_MS 30000 /* a client that is silent that long is asked whether it is there… */
#define KEEPALIVE_WAIT_MS 20000 /* …and has so long to say so */
#define PING_MS 10000           /* a client may ask us as often as that */

static void core_log(gpr_log_func_args *args)
{
    if (args->severity == GPR_LOG_SEVERITY_ERROR)
        KD_LOG(KD_LOG_DEBUG, "grpc_core", KD_STR("message", args->message));
}

/* gRPC's threads may outlive main(): a channel that is closed while it connects has one. OpenSSL
 * must not take itself down then, as it does at exit() by default: what they free later would be
 * lost, or worse (gRPC's pull request 37768). */
void kd_rpc_init(void)
{
    (void)OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
    gpr_set_log_function(core_log);
    grpc_init();
}

void kd_rpc_shutdown(void)
{
    grpc_shutdown();
}

/* ---- Making ---- */

kd_status kd_server_new(kd_server **out, const kd_server_options *options, kd_error *err)
{
    *out = NULL;
    kd_server *server = calloc(1, sizeof *server);
    if (!server)
        return kd_error_memory(err, "a server");
    server->options = *options;
    if (options->threads == 0) /* more only hand each other the work where there are few cores */
        server->options.threads = sysconf(_SC_NPROCESSORS_ONLN) > 4 ? 2 : 1;
    atomic_init(&server->draining, false);
    atomic_init(&server->started, false);
    atomic_init(&server->in_flight, 0);
    atomic_init(&server->bytes, 0);
    atomic_init(&server->waiting_writers, 0);
    kd_trace_source_init(&server->traces);
    if (server->options.max_bytes == 0)
        server->options.max_bytes = MAX_BYTES;
    if (server->options.stall_ms == 0)
        server->options.stall_ms = STALL_MS;
    pthread_mutex_init(&server->mutex, NULL);
    kd_cond_init(&server->idle);
    kd_cond_init(&server->watch_wakes);

    kd_status status =
        kd_pool_new(&server->workers, "rpc-worker", options->workers, options->queue, err);
    if (status == KD_OK &&
        !(server->threads = calloc(server->options.threads, sizeof *server->threads)))
        status = kd_error_memory(err, "a server");
    if (status == KD_OK)
        status = kd_descriptors_new(&server->descriptors, options->descriptors, err);
    if (status == KD_OK)
        status = kd_health_new(&server->health, server, err);
    if (status == KD_OK)
        status = kd_reflection_add(server, err);
    if (status != KD_OK) {
        kd_server_free(server);
        return status;
    }
    grpc_resource_quota *const quota = grpc_resource_quota_create("kindred");
    grpc_resource_quota_resize(quota, RECEIVE_BYTES);
    grpc_arg args[] = {
        kd_arg(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)KD_RPC_MAX_MESSAGE),
        kd_arg(GRPC_ARG_MAX_METADATA_SIZE, (int)KD_RPC_MAX_METADATA),
        /* Of one connection: over this its calls wait in the client, and the others' go on. */
        kd_arg(GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)(options->max_calls / 2 + 16)),
        kd_arg(GRPC_ARG_MAX_CONNECTION_IDLE_MS, IDLE_MS),
        kd_arg(GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, KD_NOT_COMPRESSED),
        kd_arg(GRPC_ARG_ALLOW_REUSEPORT, 0),
        kd_arg(GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_MS),
        kd_arg(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_WAIT_MS),
        kd_arg(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, PING_MS),
        {.type = GRPC_ARG_POINTER,
            .key = (char *)GRPC_ARG_RESOURCE_QUOTA,
            .value.pointer = {quota, grpc_resource_quota_arg_vtable()}},
    };
    const grpc_channel_args all = {sizeof args / sizeof args[0], args};
    server->grpc = grpc_server_create(&all, NULL);
    grpc_resource_quota_unref(quota);
    for (unsigned i = 0; i < server->options.threads; i++) {
        server->threads[i].server = server;
        server->threads[i].queue = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(server->grpc, server->threads[i].queue, NULL);
    }
    *out = server;
    return KD_OK;
}

static kd_endpoint *find(kd_server *server, const char *path)
{
    for (size_t i = 0; i < server->n_endpoints; i++)
        if (strcmp(server->endpoints[i].path, path) == 0)
            return &server->endpoints[i];
    return NULL;
}

kd_endpoint *kd_server_endpoint(
    kd_server *server, const char *service, const ProtobufCMethodDescriptor *method)
{
    char *path = kd_format("/%s/%s", service, method->name);
    if (!path)
        return NULL;
    kd_endpoint *const there = find(server, path);
    if (there) {
        free(path);
        return there;
    }
    kd_endpoint *const grown =
        realloc(server->endpoints, (server->n_endpoints + 1) * sizeof *server->endpoints);
    if (!grown) {
        free(path);
        return NULL;
    }
    server->endpoints = grown;
    kd_endpoint *const endpoint = &grown[server->n_endpoints++];
    memset(endpoint, 0, sizeof *endpoint);
    endpoint->path = path;
    endpoint->descriptor = method;
    endpoint->scope = kd_descriptors_scope(server->descriptors, service, method->name);
    endpoint->takes_stream =
        kd_descriptors_takes_stream(server->descriptors, service, method->name);
    char labels[200];
    (void)snprintf(labels, sizeof labels, "method=\"%s\"", path + 1);
    endpoint->seconds = kd_metrics_histogram(
        server->options.metrics, "kindred_rpc_seconds", labels, "Time from call to answer");
    return endpoint;
}

kd_status kd_server_add(kd_server *server, const ProtobufCServiceDescriptor *service,
    const kd_method *methods, size_t n_methods, void *state, kd_error *err)
{
    assert(!atomic_load(&server->started));
    for (size_t i = 0; i < n_methods; i++) {
        const ProtobufCMethodDescriptor *const method =
            protobuf_c_service_descriptor_get_method_by_name(service, methods[i].name);
        assert(method);
        kd_endpoint *const endpoint = kd_server_endpoint(server, service->name, method);
        if (!endpoint)
            return kd_error_memory(err, "a method");
        endpoint->handler = methods[i].handler;
        endpoint->blocking = methods[i].blocking;
        endpoint->state = state;
    }
    return KD_OK;
}

kd_status kd_server_add_proxy(kd_server *server, const ProtobufCServiceDescriptor *service,
    kd_channel *channel, kd_error *err)
{
    assert(!atomic_load(&server->started));
    for (unsigned i = 0; i < service->n_methods; i++) {
        kd_endpoint *const endpoint =
            kd_server_endpoint(server, service->name, &service->methods[i]);
        if (!endpoint)
            return kd_error_memory(err, "a method");
        if (!endpoint->handler)
            endpoint->proxy = channel;
    }
    return KD_OK;
}

/* ---- Running ---- */

void kd_server_call_begun(kd_server *server, kd_call *call)
{
    pthread_mutex_lock(&server->mutex);
    atomic_fetch_add(&server->in_flight, 1);
    call->link = &server->calls;
    call->next = server->calls;
    if (call->next)
        call->next->link = &call->next;
    server->calls = call;
    pthread_mutex_unlock(&server->mutex);
}

/* All under the lock, so that whoever saw the last call end may free the server. */
void kd_server_call_ended(kd_server *server, kd_call *call)
{
    pthread_mutex_lock(&server->mutex);
    *call->link = call->next;
    if (call->next)
        call->next->link = call->link;
    if (atomic_fetch_sub(&server->in_flight, 1) == 1)
        pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->mutex);
}

static int compare_paths(const void *a, const void *b)
{
    return strcmp(((const kd_endpoint *)a)->path, ((const kd_endpoint *)b)->path);
}

kd_status kd_server_start(kd_server *server, const char *address, uint16_t *port, kd_error *err)
{
    grpc_server_credentials *credentials = NULL;
    kd_status status = kd_tls_server(&credentials, server->options.tls, err);
    if (status != KD_OK)
        return status;
    const int bound = grpc_server_add_http2_port(server->grpc, address, credentials);
    grpc_server_credentials_release(credentials);
    if (bound == 0)
        return kd_error_set(err, KD_UNAVAILABLE,
            "cannot listen on %s: the address is in use or not this machine's", address);
    *port = (uint16_t)bound;
    qsort(server->endpoints, server->n_endpoints, sizeof *server->endpoints, compare_paths);
    /* Before a call can come: on a queue without a thread it would never be answered. */
    for (; server->n_threads < server->options.threads; server->n_threads++) {
        struct kd_server_thread *const self = &server->threads[server->n_threads];
        if (pthread_create(&self->thread, NULL, kd_server_take_events, self) != 0)
            return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start a server thread");
        (void)pthread_setname_np(self->thread, "rpc");
    }
    status = kd_server_watch(server, err);
    if (status != KD_OK)
        return status;
    grpc_server_start(server->grpc);
    atomic_store(&server->started, true);
    for (unsigned i = 0; i < server->n_threads * POSTED_CALLS; i++)
        kd_server_post(&server->threads[i % server->n_threads]);
    return KD_OK;
}

bool kd_server_draining(const kd_server *server)
{
    return atomic_load(&server->draining);
}

void kd_server_load(kd_server *server, unsigned *in_flight, size_t *waiting)
{
    *in_flight = atomic_load(&server->in_flight);
    *waiting = kd_pool_waiting(server->workers);
}

static void on_shutdown(void *owner, bool ok)
{
    kd_server *const server = owner;
    (void)ok;
    pthread_mutex_lock(&server->mutex);
    server->shut_down = true;
    pthread_cond_broadcast(&server->idle);
    pthread_mutex_unlock(&server->mutex);
}

/* A call that would wait for its client's next message for ever, with a reference to it. */
static kd_call *find_idle(kd_server *server)
{
    kd_call *found = NULL;
    pthread_mutex_lock(&server->mutex);
    for (kd_call *call = server->calls; call && !found; call = call->next)
        if (atomic_load(&call->reading) && call->endpoint->idle_ends && kd_call_try_ref(call))
            found = call;
    pthread_mutex_unlock(&server->mutex);
    return found;
}

/* Waits until no call is in flight and, with quiet, none was there for a moment, which is waited
 * for QUIET_MOST_MS at most; or the time is over. */
static void wait_idle(kd_server *server, int64_t until_ms, bool quiet)
{
    int64_t quiet_until_ms = until_ms;
    pthread_mutex_lock(&server->mutex);
    for (int64_t now; (now = kd_mono_ms()) < (quiet ? quiet_until_ms : until_ms);) {
        const bool idle = atomic_load(&server->in_flight) == 0;
        if (idle && !quiet)
            break;
        if (idle && quiet_until_ms == until_ms && now + QUIET_MOST_MS < until_ms)
            quiet_until_ms = now + QUIET_MOST_MS;
        const int64_t left = quiet_until_ms - now;
        const struct timespec next = kd_mono_after(idle && left > QUIET_MS ? QUIET_MS : left);
        if (pthread_cond_timedwait(&server->idle, &server->mutex, &next) != 0 && idle &&
            atomic_load(&server->in_flight) == 0)
            break;
    }
    pthread_mutex_unlock(&server->mutex);
}

/* False when the time is over. */
static bool wait_shut_down(kd_server *server, int64_t ms)
{
    const struct timespec until = kd_mono_after(ms);
    pthread_mutex_lock(&server->mutex);
    while (!server->shut_down)
        if (pthread_cond_timedwait(&server->idle, &server->mutex, &until) != 0)
            break;
    const bool done = server->shut_down;
    pthread_mutex_unlock(&server->mutex);
    return done;
}

/* The threads end with their queues; of one that has no thread nothing but the end is to come. No
 * call is left that the watch would have to give up. */
static void end_threads(kd_server *server)
{
    kd_server_end_watch(server);
    for (unsigned i = 0; i < server->options.threads; i++)
        grpc_completion_queue_shutdown(server->threads[i].queue);
    for (unsigned i = 0; i < server->n_threads; i++)
        pthread_join(server->threads[i].thread, NULL);
    for (unsigned i = server->n_threads; i < server->options.threads; i++) {
        const gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
        while (grpc_completion_queue_next(server->threads[i].queue, never, NULL).type !=
               GRPC_QUEUE_SHUTDOWN)
            ;
    }
    server->n_threads = 0;
}

static void shut_down(kd_server *server)
{
    server->on_shutdown = (kd_tag){on_shutdown, server};
    KD_TSAN_RELEASE(&server->on_shutdown);
    grpc_server_shutdown_and_notify(server->grpc, server->threads[0].queue, &server->on_shutdown);
}

void kd_server_drain(kd_server *server, int64_t grace_ms)
{
    const int64_t until_ms = kd_mono_ms() + grace_ms;
    if (!atomic_load(&server->started))
        return;
    atomic_store(&server->draining, true);
    kd_health_stop(server->health);
    for (kd_call *call; (call = find_idle(server)) != NULL; kd_call_unref(call))
        kd_call_end_idle(call, KD_UNAVAILABLE, KD_SHUTTING_DOWN);
    /* From the shutdown on the core ends calls that it can't hand over with CANCELLED, which tells
     * nobody to try elsewhere: first let those come that are on their way. */
    wait_idle(server, until_ms, true);

    shut_down(server);
    const int64_t left_ms = until_ms - kd_mono_ms();
    /* With no call left only connections are: a client that has nothing to do reads its own, and so
     * learns that we end, as seldom as every five seconds. */
    const int64_t goodbye_ms = atomic_load(&server->in_flight) == 0 ? GOODBYE_MS : left_ms;
    if (!wait_shut_down(server, left_ms > goodbye_ms ? goodbye_ms : left_ms > 0 ? left_ms : 0)) {
        grpc_server_cancel_all_calls(server->grpc);
        while (!wait_shut_down(server, 60000))
            KD_LOG(KD_LOG_WARN, "calls_still_run",
                KD_INT("calls", (int64_t)atomic_load(&server->in_flight)));
    }

    /* Handlers that were cancelled still answer; their calls must end before the queue does. */
    for (bool over = false; !over;) {
        wait_idle(server, kd_mono_ms() + 1000, false);
        pthread_mutex_lock(&server->mutex); /* the last one to end may still hold it */
        over = atomic_load(&server->in_flight) == 0;
        pthread_mutex_unlock(&server->mutex);
    }
    end_threads(server);
    atomic_store(&server->started, false);
}

void kd_server_free(kd_server *server)
{
    if (!server)
        return;
    if (atomic_load(&server->started)) {
        kd_server_drain(server, 0);
    } else if (server->grpc && server->threads && !server->shut_down) {
        shut_down(server); /* never started: the core wants the same */
        end_threads(server);
    }
    if (server->grpc)
        grpc_server_destroy(server->grpc);
    for (unsigned i = 0; server->grpc && server->threads && i < server->options.threads; i++)
        grpc_completion_queue_destroy(server->threads[i].queue);
    kd_pool_free(server->workers);
    kd_health_free(server->health);
    kd_message_free(server->descriptors);
    for (size_t i = 0; i < server->n_endpoints; i++)
        free(server->endpoints[i].path);
    free(server->endpoints);
    free(server->threads);
    pthread_cond_destroy(&server->idle);
    pthread_cond_destroy(&server->watch_wakes);
    pthread_mutex_destroy(&server->mutex);
    free(server);
}
