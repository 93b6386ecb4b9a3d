/* lib/http/http.h: a small HTTP server (libmicrohttpd): /metrics on every service, and what the
 * gateway shows in a browser. */
#ifndef KD_HTTP_HTTP_H
#define KD_HTTP_HTTP_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/metrics.h"
#include "lib/base/status.h"

typedef struct kd_http kd_http;

typedef struct kd_http_answer {
    unsigned code;            /* 200 unless set */
    const char *content_type; /* static; text/plain unless set */
    kd_buf body;              /* taken over */
} kd_http_answer;

/* Answers GET and HEAD of a path that begins with the route's; runs on the server's thread. */
typedef void (*kd_http_handler)(void *state, const char *path, kd_http_answer *answer);

/* address is HOST:PORT with a numeric host ("127.0.0.1:0", "[::]:80"), port 0 takes a free one;
 * *port is the one taken. Serves /metrics from the registry and /healthz. KD_UNAVAILABLE when it
 * can't listen there. */
KD_MUST_CHECK kd_status kd_http_new(
    kd_http **out, const char *address, kd_metrics *metrics, uint16_t *port, kd_error *err);
/* Up to 16 routes, before they are asked for; prefix and state are borrowed. */
void kd_http_route(kd_http *http, const char *prefix, kd_http_handler handler, void *state);
void kd_http_free(kd_http *http); /* NULL is fine */

#endif
