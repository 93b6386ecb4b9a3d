/* Server-sent events: https://html.spec.whatwg.org/multipage/server-sent-events.html */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/http/internal.h"

/* How long a stream is silent before a comment is sent, by which we and any proxy learn that the
 * client is still there. */
#define KEEP_MS 15000

struct kd_http_stream {
    kd_http *http;
    char client[64];
    struct kd_http_stream *next, **link; /* under the server's mutex, as is holders */
    unsigned holders;
    pthread_mutex_t mutex;             /* guards what follows */
    struct MHD_Connection *connection; /* NULL before the answer and once the client has gone */
    kd_buf now, later;                 /* being read, and what comes behind it */
    size_t at;                         /* of now: read so far */
    bool waiting;                      /* suspended until there is more */
    bool ended, gone;
    int64_t last_ms;
};

/* Whom the connection is from, "" when that isn't known. */
static void name_address(struct MHD_Connection *connection, char *out, size_t size)
{
    const union MHD_ConnectionInfo *const info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const struct sockaddr *const address = info ? info->client_addr : NULL;
    out[0] = '\0';
    if (address && address->sa_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        (void)inet_ntop(AF_INET, &v4.sin_addr, out, (socklen_t)size);
    } else if (address && address->sa_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        if (!IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
            memset(&v6.sin6_addr.s6_addr[8], 0, 8);
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, out, (socklen_t)size);
    }
}

/* The server's mutex held. */
static unsigned count_of(const kd_http *http, const char *client)
{
    unsigned n = 0;
    for (const kd_http_stream *s = http->streams; s; s = s->next)
        n += strcmp(s->client, client) == 0;
    return n;
}

kd_status kd_http_stream_new(
    kd_http_stream **out, const kd_http_request *request, const char *client, kd_error *err)
{
    kd_http *const http = request->http;
    kd_status status = KD_OK;
    *out = NULL;
    kd_http_stream *const s = calloc(1, sizeof *s);
    if (!s)
        return kd_error_memory(err, "a stream");
    if (client && *client)
        (void)kd_copy(s->client, sizeof s->client, client);
    else
        name_address(request->connection, s->client, sizeof s->client);
    s->http = http;
    s->holders = 2;
    s->last_ms = kd_mono_ms();
    pthread_mutex_init(&s->mutex, NULL);
    pthread_mutex_lock(&http->mutex);
    if (atomic_load(&http->draining)) {
        status = kd_error_set(err, KD_UNAVAILABLE, "the server is shutting down");
    } else if (http->n_streams == KD_HTTP_STREAMS) {
        status = kd_error_set(
            err, KD_RESOURCE_EXHAUSTED, "%u streams are open already", KD_HTTP_STREAMS);
    } else if (count_of(http, s->client) >= KD_HTTP_CLIENT_STREAMS) {
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "you have %u streams open already, one client may have no more",
            KD_HTTP_CLIENT_STREAMS);
    } else {
        http->n_streams++;
        s->link = &http->streams;
        s->next = http->streams;
        if (s->next)
            s->next->link = &s->next;
        http->streams = s;
        *out = s;
    }
    pthread_mutex_unlock(&http->mutex);
    if (status != KD_OK) {
        pthread_mutex_destroy(&s->mutex);
        free(s);
    }
    return status;
}

static void let_go(kd_http_stream *s)
{
    kd_http *const http = s->http;
    pthread_mutex_lock(&http->mutex);
    const bool last = --s->holders == 0;
    if (last) {
        *s->link = s->next;
        if (s->next)
            s->next->link = s->link;
        http->n_streams--;
    }
    pthread_mutex_unlock(&http->mutex);
    if (!last)
        return;
    kd_buf_free(&s->now);
    kd_buf_free(&s->later);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

/* Mutex held. The connection, if it is suspended: to be resumed by the caller, without the mutex,
 * for libmicrohttpd has locks of its own. It can't go away before. */
static struct MHD_Connection *take_waiting(kd_http_stream *s)
{
    struct MHD_Connection *const connection = s->waiting ? s->connection : NULL;
    s->waiting = false;
    return connection;
}

static void resume(struct MHD_Connection *connection)
{
    if (connection)
        MHD_resume_connection(connection);
}

/* ---- The sender's side ---- */

bool kd_http_stream_send(kd_http_stream *s, const char *event, const char *data)
{
    assert(!strchr(data, '\n'));
    struct MHD_Connection *waiting = NULL;
    pthread_mutex_lock(&s->mutex);
    const bool open = !s->gone && !s->ended;
    if (open) {
        kd_buf_free(&s->later);
        kd_buf_printf(&s->later, "event: %s\ndata: %s\n\n", event, data);
        if (kd_buf_ok(&s->later))
            waiting = take_waiting(s);
        else
            kd_buf_free(&s->later); /* the next one tells more anyway */
    }
    pthread_mutex_unlock(&s->mutex);
    resume(waiting);
    return open;
}

bool kd_http_stream_open(kd_http_stream *s)
{
    pthread_mutex_lock(&s->mutex);
    const bool open = !s->gone && !s->ended;
    pthread_mutex_unlock(&s->mutex);
    return open;
}

static void end(kd_http_stream *s)
{
    pthread_mutex_lock(&s->mutex);
    s->ended = true;
    struct MHD_Connection *const waiting = take_waiting(s);
    pthread_mutex_unlock(&s->mutex);
    resume(waiting);
}

void kd_http_stream_end(kd_http_stream *s)
{
    end(s);
    let_go(s);
}

/* ---- The server's side ---- */

static ssize_t read_stream(void *state, uint64_t position, char *to, size_t room)
{
    kd_http_stream *const s = state;
    ssize_t n = 0;
    (void)position;
    pthread_mutex_lock(&s->mutex);
    if (s->at == s->now.len && s->later.len > 0) {
        kd_buf_free(&s->now);
        s->now = s->later;
        s->later = (kd_buf)KD_BUF_INIT;
        s->at = 0;
    }
    if (s->at < s->now.len) {
        const size_t left = s->now.len - s->at;
        n = (ssize_t)(left < room ? left : room);
        memcpy(to, s->now.data + s->at, (size_t)n);
        s->at += (size_t)n;
        s->last_ms = kd_mono_ms();
    } else if (s->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else { /* under the lock: what is sent from here on wakes it */
        s->waiting = true;
        MHD_suspend_connection(s->connection);
    }
    pthread_mutex_unlock(&s->mutex);
    return n;
}

void kd_http_stream_drop(kd_http_stream *s)
{
    pthread_mutex_lock(&s->mutex);
    s->gone = true;
    s->waiting = false;
    s->connection = NULL;
    pthread_mutex_unlock(&s->mutex);
    let_go(s);
}

static void on_response_freed(void *state)
{
    kd_http_stream_drop(state);
}

struct MHD_Response *kd_http_stream_response(kd_http_stream *s, struct MHD_Connection *connection)
{
    s->connection = connection;
    return MHD_create_response_from_callback(
        MHD_SIZE_UNKNOWN, 4096, read_stream, s, on_response_freed);
}

/* Calls fn for each stream, held meanwhile, without the server's mutex. */
static void for_each(kd_http *http, void (*fn)(kd_http_stream *s))
{
    kd_http_stream *all[KD_HTTP_STREAMS];
    size_t n = 0;
    pthread_mutex_lock(&http->mutex);
    for (kd_http_stream *s = http->streams; s; s = s->next) {
        s->holders++;
        all[n++] = s;
    }
    pthread_mutex_unlock(&http->mutex);
    for (size_t i = 0; i < n; i++) {
        fn(all[i]);
        let_go(all[i]);
    }
}

void kd_http_streams_end(kd_http *http)
{
    for_each(http, end);
}

static void keep(kd_http_stream *s)
{
    struct MHD_Connection *waiting = NULL;
    pthread_mutex_lock(&s->mutex);
    if (s->waiting && kd_mono_ms() - s->last_ms >= KEEP_MS) {
        kd_buf_puts(&s->later, ": still here\n\n");
        waiting = take_waiting(s);
    }
    pthread_mutex_unlock(&s->mutex);
    resume(waiting);
}

void kd_http_streams_keep(kd_http *http)
{
    for_each(http, keep);
}
