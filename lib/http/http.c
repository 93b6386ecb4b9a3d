/* The server: connections are libmicrohttpd's thread's, a second one ends those that are slow. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/http/internal.h"

#define MAX_CONNECTIONS 128u
#define MAX_BYTES ((size_t)256 << 20)
#define REQUEST_MS 60000
#define IDLE_MS 15000
#define LOOK_MS 250     /* between two looks at who is too slow */
#define GOODBYE_MS 2000 /* for clients to read their answers when the server ends */
#define MAX_PEM ((size_t)1 << 20)

/* ---- Routes of our own ---- */

static void serve_metrics(void *state, kd_http_request *request, kd_http_answer *answer)
{
    kd_http *const http = state;
    (void)request;
    kd_metrics_print(http->options.metrics, &answer->body);
    answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
}

static void serve_health(void *state, kd_http_request *request, kd_http_answer *answer)
{
    (void)state;
    (void)request;
    kd_buf_puts(&answer->body, "ok\n");
}

static const kd_http_route own_routes[] = {
    {.method = "GET", .path = "/metrics", .scope = KD_HTTP_METRICS, .handler = serve_metrics},
    {.method = "GET", .path = "/healthz", .handler = serve_health},
};
static const kd_http_route unknown_route = {.method = "", .path = "other"};

static kd_histogram *seconds_of(kd_http *http, const char *path)
{
    char labels[128];
    (void)snprintf(labels, sizeof labels, "path=\"%s\"", path);
    return kd_metrics_histogram(
        http->options.metrics, "kindred_http_seconds", labels, "Time from request to answer");
}

void kd_http_routes(kd_http *http, const kd_http_route *routes, size_t n, void *state)
{
    for (size_t i = 0; i < n; i++) {
        const size_t at = atomic_load(&http->n_routes);
        assert(at < KD_HTTP_MAX_ROUTES && (!routes[i].blocking || http->workers));
        http->routes[at] = (kd_http_entry){&routes[i], state, seconds_of(http, routes[i].path)};
        atomic_store(&http->n_routes, at + 1);
    }
}

/* ---- Connections ---- */

static void on_connection(void *state, struct MHD_Connection *connection, void **slot,
    enum MHD_ConnectionNotificationCode what)
{
    kd_http *const http = state;
    kd_http_peer *peer = *slot;
    const union MHD_ConnectionInfo *const info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        if (!info || !(*slot = peer = calloc(1, sizeof *peer)))
            return; /* it has libmicrohttpd's own time-out alone */
        peer->fd = info->connect_fd;
        atomic_init(&peer->until_ms, kd_mono_ms() + http->options.request_ms);
        pthread_mutex_lock(&http->mutex);
        peer->link = &http->peers;
        peer->next = http->peers;
        if (peer->next)
            peer->next->link = &peer->next;
        http->peers = peer;
        pthread_cond_signal(&http->changed);
        pthread_mutex_unlock(&http->mutex);
    } else if (peer) { /* its socket is still open */
        pthread_mutex_lock(&http->mutex);
        *peer->link = peer->next;
        if (peer->next)
            peer->next->link = peer->link;
        pthread_mutex_unlock(&http->mutex);
        free(peer);
        *slot = NULL;
    }
}

/* libmicrohttpd's time-out is for those that send and read nothing; this is for the slow. */
static void *watch_peers(void *arg)
{
    kd_http *const http = arg;
    pthread_mutex_lock(&http->mutex);
    while (!http->stopping) {
        const struct timespec until = kd_mono_after(LOOK_MS);
        if (http->peers)
            (void)pthread_cond_timedwait(&http->changed, &http->mutex, &until);
        else
            pthread_cond_wait(&http->changed, &http->mutex);
        const int64_t now_ms = kd_mono_ms();
        for (const kd_http_peer *peer = http->peers; peer; peer = peer->next)
            if (now_ms >= atomic_load(&peer->until_ms))
                (void)shutdown(peer->fd, SHUT_RDWR);
        pthread_mutex_unlock(&http->mutex);
        kd_http_streams_keep(http);
        pthread_mutex_lock(&http->mutex);
    }
    pthread_mutex_unlock(&http->mutex);
    return NULL;
}

/* ---- Making and freeing ---- */

typedef struct pem {
    kd_buf ca, cert, key;
} pem;

static void pem_free(pem *texts)
{
    kd_buf_free(&texts->ca);
    kd_buf_free(&texts->cert);
    if (texts->key.data)
        explicit_bzero(texts->key.data, texts->key.len);
    kd_buf_free(&texts->key);
}

static kd_status pem_read(pem *texts, const kd_http_tls *tls, kd_error *err)
{
    kd_status status = kd_file_read(tls->cert, MAX_PEM, &texts->cert, err);
    if (status == KD_OK)
        status = kd_file_read(tls->key, MAX_PEM, &texts->key, err);
    if (status == KD_OK && tls->ca)
        status = kd_file_read(tls->ca, MAX_PEM, &texts->ca, err);
    return status;
}

static kd_status start_daemon(kd_http *http, const pem *texts, kd_error *err)
{
    const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL |
                           MHD_ALLOW_SUSPEND_RESUME | (http->tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem more[4], *at = more;
    if (http->tls) {
        *at++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, texts->cert.data};
        *at++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, texts->key.data};
        if (http->asks_clients)
            *at++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, texts->ca.data};
    }
    *at = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    http->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, kd_http_on_request, http, MHD_OPTION_LISTEN_SOCKET,
            http->listening, MHD_OPTION_CONNECTION_LIMIT, http->options.max_connections,
            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)((http->options.idle_ms + 999) / 1000),
            MHD_OPTION_NOTIFY_COMPLETED, kd_http_on_completed, http, MHD_OPTION_NOTIFY_CONNECTION,
            on_connection, http, MHD_OPTION_ARRAY, more, MHD_OPTION_END);
    if (!http->daemon && http->tls)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "cannot start HTTPS on %s: its certificate and key can't be used",
            http->options.address);
    if (!http->daemon)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the HTTP server on %s",
            http->options.address);
    return KD_OK;
}

static void fill_defaults(kd_http_options *o)
{
    if (o->max_connections == 0)
        o->max_connections = MAX_CONNECTIONS;
    if (o->max_bytes == 0)
        o->max_bytes = MAX_BYTES;
    if (o->request_ms == 0)
        o->request_ms = REQUEST_MS;
    if (o->idle_ms == 0)
        o->idle_ms = IDLE_MS;
}

kd_status kd_http_new(kd_http **out, const kd_http_options *options, uint16_t *port, kd_error *err)
{
    pem texts = {KD_BUF_INIT, KD_BUF_INIT, KD_BUF_INIT};
    *out = NULL;
    kd_http *const http = calloc(1, sizeof *http);
    if (!http)
        return kd_error_memory(err, "an HTTP server");
    http->options = *options;
    fill_defaults(&http->options);
    http->listening = -1;
    http->tls = options->tls != NULL;
    http->asks_clients = options->tls && options->tls->ca;
    atomic_init(&http->n_routes, 0);
    atomic_init(&http->draining, false);
    atomic_init(&http->in_work, 0);
    atomic_init(&http->n_requests, 0);
    pthread_mutex_init(&http->mutex, NULL);
    kd_cond_init(&http->changed);
    kd_status status = kd_http_listen(options->address, &http->listening, port, err);
    if (status == KD_OK && options->tls)
        status = pem_read(&texts, options->tls, err);
    if (status == KD_OK && options->workers > 0)
        status = kd_pool_new(&http->workers, "http-worker", options->workers, options->queue, err);
    if (status == KD_OK) {
        kd_http_routes(http, own_routes, sizeof own_routes / sizeof own_routes[0], http);
        http->unknown = (kd_http_entry){&unknown_route, NULL, seconds_of(http, "other")};
        status = start_daemon(http, &texts, err);
    }
    if (status == KD_OK && pthread_create(&http->watch, NULL, watch_peers, http) != 0)
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start the HTTP server's watch");
    else if (status == KD_OK)
        http->watching = true;
    pem_free(&texts);
    if (status == KD_OK) {
        (void)pthread_setname_np(http->watch, "http-watch");
        *out = http;
    } else {
        kd_http_free(http);
    }
    return status;
}

void kd_http_drain(kd_http *http)
{
    pthread_mutex_lock(&http->mutex); /* no stream begins behind it */
    atomic_store(&http->draining, true);
    pthread_mutex_unlock(&http->mutex);
    kd_http_streams_end(http);
}

/* A connection that waits for a worker must not be left, one that is still read from may be. */
static void wait_for_requests(kd_http *http)
{
    const int64_t goodbye_ms = kd_mono_ms() + GOODBYE_MS;
    while (atomic_load(&http->in_work) > 0 ||
           (atomic_load(&http->n_requests) > 0 && kd_mono_ms() < goodbye_ms))
        kd_sleep_ms(5);
}

void kd_http_free(kd_http *http)
{
    if (!http)
        return;
    if (http->daemon) {
        kd_http_drain(http);
        (void)MHD_quiesce_daemon(http->daemon);
        wait_for_requests(http);
        MHD_stop_daemon(http->daemon);
    }
    pthread_mutex_lock(&http->mutex);
    http->stopping = true;
    pthread_cond_signal(&http->changed);
    pthread_mutex_unlock(&http->mutex);
    if (http->watching)
        pthread_join(http->watch, NULL);
    kd_pool_free(http->workers);
    if (http->listening >= 0)
        (void)close(http->listening);
    pthread_cond_destroy(&http->changed);
    pthread_mutex_destroy(&http->mutex);
    free(http);
}
