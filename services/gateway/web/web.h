/* services/gateway/web/web.h: the page and the JSON form.
 *
 * A route is a line of the table in routes.c, with the scope that it needs; kd_guard_http decides.
 * What routes ask for they ask the gateway's own gRPC server, over a channel of this process:
 * limits, checks, errors, metrics and trace ids are the same as for a gRPC client, and the
 * Authorization header goes along as that metadata. */
#ifndef KD_GATEWAY_WEB_H
#define KD_GATEWAY_WEB_H

#include "services/gateway/gateway.h"

#define WEB_WORKERS 8u /* HTTP requests that are answered at a time */

#define WEB_MAX_JSON ((size_t)16 << 20)
#define WEB_MAX_BODY KD_RPC_MAX_MESSAGE /* of pictures */

typedef struct web web;
KD_MUST_CHECK kd_status web_new(web **out, gateway *g, kd_error *err);
/* Ends streams and closes what is open to our server; kd_http_drain comes before. */
void web_drain(web *w);
void web_free(web *w); /* once the HTTP server has ended */

/* ---- routes.c ---- */
/* Adds the routes to the process's HTTP server. */
void web_add_routes(web *w);

/* ---- ask.c ---- */
/* What a request brings along for the calls that are made for it. */
typedef struct web_trip {
    char trace[KD_TRACE_TEXT];
    kd_metadata metadata[1];
    kd_call_options options;
} web_trip;
/* Borrows from the request; the trace's id goes into the answer's headers. */
void web_trip_begin(web_trip *trip, const kd_http_request *request, kd_http_answer *answer);
/* response: ProtobufCMessage ** of any type, freed by kd_message_free. */
KD_MUST_CHECK kd_status web_ask(web *w, const web_trip *trip,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    void *response, kd_error *err);
/* Opens a stream on a channel of its own; both are closed by the caller, the stream first. */
KD_MUST_CHECK kd_status web_open(web *w, const web_trip *trip,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    kd_channel **channel, kd_stream **stream, kd_error *err);
/* digits: of numbers, 9 are a float32's; 0 takes all. */
void web_answer_json(kd_http_answer *answer, const ProtobufCMessage *message, size_t digits);

/* ---- request.c ---- */
/* A picture of a request, borrowed from it or from its form. */
#define WEB_MAX_IMAGES 64u
typedef struct web_images {
    kd_buf list[WEB_MAX_IMAGES]; /* of a form: owned */
    size_t n;
    ProtobufCBinaryData raw[WEB_MAX_IMAGES];
} web_images;
void web_images_clear(web_images *images);
/* Body, form, query and path's parts as one object. images NULL: the route takes none. The caller
 * owns *object and clears images, on failure too. */
KD_MUST_CHECK kd_status web_read(const kd_http_request *request,
    const ProtobufCMessageDescriptor *type, const char *const parts[KD_HTTP_PARTS], json_t **object,
    web_images *images, kd_error *err);

/* ---- Handlers; state is the web ---- */
/* A call as it is: the route's `more` is a web_rpc. */
typedef struct web_rpc {
    const ProtobufCServiceDescriptor *service;
    const char *method;
    const char *parts[KD_HTTP_PARTS]; /* fields that the path's parts are */
} web_rpc;
void web_serve_rpc(void *state, kd_http_request *request, kd_http_answer *answer);
/* search.c */
void web_search(void *state, kd_http_request *request, kd_http_answer *answer);
void web_embed(void *state, kd_http_request *request, kd_http_answer *answer);
/* files.c */
void web_item_image(void *state, kd_http_request *request, kd_http_answer *answer);
void web_report(void *state, kd_http_request *request, kd_http_answer *answer);
void web_run_file(void *state, kd_http_request *request, kd_http_answer *answer);
/* A file of the page: `more` is a web_page. */
typedef struct web_page {
    const char *type;
    const unsigned char *bytes;
    const size_t *len;
    const char *policy; /* Content-Security-Policy: */
} web_page;
/* Nothing but our own files, and pictures that came as data. */
#define WEB_POLICY(style, more)                                                                    \
    "default-src 'none'; script-src 'self'; style-src 'self'" style                                \
    "; img-src 'self' data: blob:; connect-src 'self'; " more                                      \
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
#define WEB_PAGE_POLICY WEB_POLICY("", "")
/* What is framed lives under the policy of who frames it, and a report has its style in itself. */
#define WEB_VIEW_POLICY WEB_POLICY(" 'unsafe-inline'", "frame-src blob:; ")
void web_serve_page(void *state, kd_http_request *request, kd_http_answer *answer);
/* watch.c */
typedef struct web_watches web_watches;
KD_MUST_CHECK kd_status web_watches_new(web_watches **out, kd_error *err);
void web_watches_drain(web_watches *watches); /* ends all; NULL is fine */
void web_watches_free(web_watches *watches);
void web_watch(void *state, kd_http_request *request, kd_http_answer *answer);

/* What the files share. */
struct web {
    gateway *gateway;
    kd_queue *lines; /* to our own server, one for each worker: taken for a call, put back */
    struct web_line {
        kd_channel *channel; /* NULL: not open */
        int64_t used_ms;
    } all_lines[WEB_WORKERS];
    web_watches *watches;
    atomic_bool draining;
};

#endif
