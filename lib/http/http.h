/* lib/http/http.h: a small HTTP/1.1 server (libmicrohttpd): /metrics and /healthz on every service,
 * the page and the JSON form at the gateway.
 *
 * One thread has all connections. A handler runs on it, or, when its route says that it blocks, on
 * one of a few workers while the connection waits aside; more than fit their queue are refused at
 * once. Bounded are: connections, the bytes of a request and of all in work, the time that a client
 * takes to send one and to read its answer, streams of events.
 *
 * Errors are JSON, {"code": "NOT_FOUND", "message": "…"}. Requests from pages of other origins are
 * refused; so is, on a loopback address, a Host that is another machine's (DNS rebinding). */
#ifndef KD_HTTP_HTTP_H
#define KD_HTTP_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/metrics.h"
#include "lib/base/status.h"

#define KD_HTTP_PARTS 4u   /* of a path that stand for a route's stars */
#define KD_HTTP_HEADERS 4u /* that a handler may add */
#define KD_HTTP_STREAMS 64u
#define KD_HTTP_CLIENT_STREAMS 16u /* of them, of one client */

typedef struct kd_http kd_http;
typedef struct kd_http_request kd_http_request;
typedef struct kd_http_stream kd_http_stream;
typedef struct kd_http_answer kd_http_answer;

/* PEM files; with ca clients must show a certificate that it has signed. */
typedef struct kd_http_tls {
    const char *ca, *cert, *key;
} kd_http_tls;

/* Decides before the body is read whether a request may go on; when not it fills the answer. On the
 * server's thread. /healthz has scope 0, /metrics KD_HTTP_METRICS. */
#define KD_HTTP_METRICS 1u
typedef bool (*kd_http_gate)(
    void *state, const kd_http_request *request, unsigned scope, kd_http_answer *answer);

typedef struct kd_http_options {
    /* HOST:PORT with a numeric host ("127.0.0.1:0", "[::]:80"); port 0 takes a free one */
    const char *address;
    kd_metrics *metrics;      /* borrowed */
    const kd_http_tls *tls;   /* borrowed for kd_http_new; NULL: plain text */
    unsigned workers, queue;  /* for routes that block; 0: there are none. Requests that may wait */
    unsigned max_connections; /* 0: 128 */
    size_t max_bytes;         /* of bodies in work; 0: 256 MiB */
    int64_t request_ms;       /* for a client to send a request, or read an answer; 0: a minute.
                                 An answer has a second more for each 256 KiB. */
    int64_t idle_ms;          /* between two requests; 0: 15 s */
    kd_http_gate gate;        /* NULL: all may go on */
    void *gate_state;
} kd_http_options;

/* ---- A request ---- */
const char *kd_http_method(const kd_http_request *request);
/* What the route's i-th star stands for, decoded; "" when it has no such star. */
const char *kd_http_part(const kd_http_request *request, size_t i);
/* NULL when there is none. Borrowed, as all of a request. */
const char *kd_http_header(const kd_http_request *request, const char *name);
const char *kd_http_query(const kd_http_request *request, const char *name);
/* Each name and value of the query; stops when fn returns false. value is "" for a bare name. */
typedef bool (*kd_http_pair)(void *arg, const char *name, const char *value);
void kd_http_each_query(const kd_http_request *request, kd_http_pair fn, void *arg);
const uint8_t *kd_http_body(const kd_http_request *request, size_t *len);
/* True for "image/jpeg" and "image/", whatever parameters follow. */
bool kd_http_is_type(const kd_http_request *request, const char *type);
/* A multipart/form-data or urlencoded body, field by field: data is borrowed, file NULL or the
 * file's name. Stops with fn's error; KD_INVALID_ARGUMENT when the body is not a form. */
typedef kd_status (*kd_http_field)(
    void *arg, const char *name, const char *file, const kd_buf *data, kd_error *err);
KD_MUST_CHECK kd_status kd_http_form(
    const kd_http_request *request, kd_http_field fn, void *arg, kd_error *err);

/* ---- Its answer ---- */
struct kd_http_answer {
    unsigned code;            /* 200 unless set */
    const char *content_type; /* static; text/plain unless set */
    const char *policy; /* static, Content-Security-Policy; unless set nothing may be loaded */
    const char *cache;  /* static, Cache-Control; unless set no-store */
    /* One of these: */
    kd_buf body;       /* taken over */
    const void *fixed; /* static, of fixed_len bytes */
    size_t fixed_len;
    int file;               /* closed afterwards; -1 unless set */
    kd_http_stream *stream; /* text/event-stream */
    struct {
        const char *name; /* static */
        char value[128];
    } headers[KD_HTTP_HEADERS];
    size_t n_headers;
};

/* Adds a header; value is copied, cut to 127 bytes. */
void kd_http_set(kd_http_answer *answer, const char *name, const char *value);
/* The error as the whole answer, with the HTTP status that gRPC's code is mapped to. */
void kd_http_fail(kd_http_answer *answer, const kd_error *error);
unsigned kd_http_code(kd_status status);

/* ---- Server-sent events ----
 * A stream has two holders: the answer, and whoever sends. */
/* client says whose it is, where the request's address doesn't (NULL, or empty): of IPv6 addresses
 * a network's (/64) are one client. KD_RESOURCE_EXHAUSTED when KD_HTTP_STREAMS are open, or the
 * client has its share, KD_UNAVAILABLE when the server drains. */
KD_MUST_CHECK kd_status kd_http_stream_new(
    kd_http_stream **out, const kd_http_request *request, const char *client, kd_error *err);
/* data is one line. An event that the client is too slow to have begun reading is replaced. False
 * when nobody listens any more: end it. */
bool kd_http_stream_send(kd_http_stream *stream, const char *event, const char *data);
bool kd_http_stream_open(kd_http_stream *stream);
void kd_http_stream_end(kd_http_stream *stream); /* after what was sent; the sender's last use */

/* ---- The server ---- */
typedef void (*kd_http_handler)(void *state, kd_http_request *request, kd_http_answer *answer);

typedef struct kd_http_route {
    const char *method; /* "GET" (HEAD is answered as well), "POST" */
    /* "/v1/jobs/" + "*" + "/watch": a star is one part of the path, "**" at the end all that
     * follows. The first route that fits is taken. */
    const char *path;
    unsigned scope; /* for the gate */
    kd_http_handler handler;
    bool blocking;
    size_t max_body;  /* bytes; 0: it takes none */
    const void *more; /* the handler's own: kd_http_more */
} kd_http_route;
const void *kd_http_more(const kd_http_request *request);

/* *port is the one taken. Serves /metrics from the registry and /healthz. KD_UNAVAILABLE when it
 * can't listen there, KD_INVALID_ARGUMENT or what reading gives for the files of TLS. */
KD_MUST_CHECK kd_status kd_http_new(
    kd_http **out, const kd_http_options *options, uint16_t *port, kd_error *err);
/* At most 64 in all; routes and state are borrowed. */
void kd_http_routes(kd_http *http, const kd_http_route *routes, size_t n, void *state);
/* From now on streams end, and what would block is UNAVAILABLE. */
void kd_http_drain(kd_http *http);
/* Drains, waits for handlers and a little for clients to read their answers. NULL is fine. */
void kd_http_free(kd_http *http);

#endif
