/* lib/http/internal.h: what the files of lib/http share. Without another word a field belongs to
 * libmicrohttpd's thread, which calls us for all connections. */
#ifndef KD_HTTP_INTERNAL_H
#define KD_HTTP_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include <microhttpd.h>

#include "lib/base/thread.h"
#include "lib/http/http.h"

#define KD_HTTP_MAX_ROUTES 64u

typedef struct kd_http_entry {
    const kd_http_route *route;
    void *state;
    kd_histogram *seconds;
} kd_http_entry;

/* A connection. */
typedef struct kd_http_peer {
    struct kd_http_peer *next, **link; /* under the server's mutex */
    int fd;
    atomic_llong until_ms; /* then it is shut down; INT64_MAX: it waits for us, or is a stream */
    bool loopback, checked;
} kd_http_peer;

struct kd_http {
    kd_http_options options;
    struct MHD_Daemon *daemon;
    int listening; /* a socket, ours */
    bool tls, asks_clients;
    kd_pool *workers;
    kd_http_entry routes[KD_HTTP_MAX_ROUTES];
    atomic_size_t n_routes;
    kd_http_entry unknown; /* for paths that no route fits */
    atomic_bool draining;
    atomic_uint in_work;    /* requests that workers have */
    atomic_uint n_requests; /* begun and not over */
    size_t bytes;           /* of bodies in work */
    pthread_t watch;
    bool watching;
    pthread_mutex_t mutex; /* guards what follows; no other lock is taken while it is held */
    pthread_cond_t changed;
    bool stopping;
    kd_http_peer *peers;
    kd_http_stream *streams;
    unsigned n_streams;
};

struct kd_http_request {
    kd_http *http;
    struct MHD_Connection *connection;
    kd_http_peer *peer; /* NULL: there was no memory for it */
    const kd_http_entry *entry;
    char *path; /* owned; parts point into it */
    const char *parts[KD_HTTP_PARTS];
    const char *method; /* the connection's */
    kd_buf body;
    size_t charged;   /* of http->bytes */
    bool refused;     /* the answer stands; what still comes is dropped */
    atomic_bool done; /* by a worker: the answer is there */
    kd_http_answer answer;
    int64_t begun_ns;
};

/* ---- routes.c ---- */
/* The request's entry, and its parts; NULL: answered, with 404 or 405. */
const kd_http_entry *kd_http_find(kd_http_request *request);

/* ---- request.c ---- */
enum MHD_Result kd_http_on_request(void *http, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_size, void **slot);
void kd_http_on_completed(void *http, struct MHD_Connection *connection, void **slot,
    enum MHD_RequestTerminationCode why);

/* ---- answer.c ---- */
void kd_http_refuse(kd_http_answer *answer, unsigned code, kd_status status, const char *format,
    ...) KD_PRINTF(4, 5);
void kd_http_answer_clear(kd_http_answer *answer);
/* Hands the answer over to the connection. */
enum MHD_Result kd_http_send(kd_http_request *request);

/* ---- guard.c ---- */
/* What does not depend on the route: client certificates, Host, Origin. False: answered. */
bool kd_http_guard(kd_http_request *request);

/* ---- stream.c ---- */
struct MHD_Response *kd_http_stream_response(
    kd_http_stream *stream, struct MHD_Connection *connection);
void kd_http_streams_end(kd_http *http);
void kd_http_streams_keep(kd_http *http);         /* writes to those that were silent */
void kd_http_stream_drop(kd_http_stream *stream); /* the answer's hold */

/* ---- listen.c ---- */
KD_MUST_CHECK kd_status kd_http_listen(
    const char *address, int *out, uint16_t *port, kd_error *err);

#endif
