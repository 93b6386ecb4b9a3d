/* A request's way: headers, body, handler, answer. libmicrohttpd calls kd_http_on_request at the
 * headers, for each piece of the body and at its end; after the connection was resumed once more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/http/internal.h"

/* ---- What a handler asks ---- */

const char *kd_http_method(const kd_http_request *request)
{
    return request->method;
}

const char *kd_http_part(const kd_http_request *request, size_t i)
{
    return i < KD_HTTP_PARTS && request->parts[i] ? request->parts[i] : "";
}

const void *kd_http_more(const kd_http_request *request)
{
    return request->entry->route->more;
}

const char *kd_http_header(const kd_http_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

const char *kd_http_query(const kd_http_request *request, const char *name)
{
    const char *value = NULL;
    if (MHD_lookup_connection_value_n(request->connection, MHD_GET_ARGUMENT_KIND, name,
            strlen(name), &value, NULL) != MHD_YES)
        return NULL;
    return value ? value : "";
}

typedef struct each {
    kd_http_pair fn;
    void *arg;
} each;

static enum MHD_Result on_pair(
    void *state, enum MHD_ValueKind kind, const char *name, const char *value)
{
    const each *const e = state;
    (void)kind;
    return e->fn(e->arg, name, value ? value : "") ? MHD_YES : MHD_NO;
}

void kd_http_each_query(const kd_http_request *request, kd_http_pair fn, void *arg)
{
    each e = {fn, arg};
    (void)MHD_get_connection_values(request->connection, MHD_GET_ARGUMENT_KIND, on_pair, &e);
}

const uint8_t *kd_http_body(const kd_http_request *request, size_t *len)
{
    *len = request->body.len;
    return request->body.data;
}

bool kd_http_is_type(const kd_http_request *request, const char *type)
{
    const char *const is = kd_http_header(request, "Content-Type");
    const size_t n = strlen(type);
    return is && strncasecmp(is, type, n) == 0 &&
           (type[n - 1] == '/' || is[n] == '\0' || is[n] == ';' || is[n] == ' ');
}

/* ---- Headers ---- */

/* Of what the query says too, so that every text of a request is UTF-8. */
static bool pair_is_text(void *arg, const char *name, const char *value)
{
    bool *const good = arg;
    *good = kd_utf8_valid(name, strlen(name)) && kd_utf8_valid(value, strlen(value));
    return *good;
}

static bool is_text(const kd_http_request *request)
{
    bool good = kd_utf8_valid(request->path, strlen(request->path));
    if (good)
        kd_http_each_query(request, pair_is_text, &good);
    return good;
}

/* How long the body will be. False: refused. */
static bool check_body(kd_http_request *request, uint64_t *len)
{
    const char *const length = kd_http_header(request, "Content-Length");
    const size_t max = request->entry->route->max_body;
    *len = 0;
    if (kd_http_header(request, "Transfer-Encoding")) {
        *len = 1; /* at least */
        kd_http_refuse(&request->answer, MHD_HTTP_LENGTH_REQUIRED, KD_INVALID_ARGUMENT,
            "the request's body comes in chunks: say its Content-Length");
        return false;
    }
    if (length && !kd_parse_u64(length, 0, UINT64_MAX, len)) {
        *len = 1;
        kd_http_refuse(&request->answer, MHD_HTTP_BAD_REQUEST, KD_INVALID_ARGUMENT,
            "'%.40s' is not a Content-Length", length);
        return false;
    }
    if (*len <= max)
        return true;
    kd_http_refuse(&request->answer, MHD_HTTP_CONTENT_TOO_LARGE, KD_RESOURCE_EXHAUSTED,
        max == 0 ? "%s takes no body" : "%s takes a body of up to %zu bytes, this one has %llu",
        request->entry->route->path, max, (unsigned long long)*len);
    return false;
}

/* True when the request may go on. Otherwise *early says that its body would still come: then the
 * answer goes out at once and the connection ends. */
static bool accept_headers(kd_http_request *request, bool *early)
{
    kd_http *const http = request->http;
    const char *const length = kd_http_header(request, "Content-Length");
    *early = kd_http_header(request, "Transfer-Encoding") || (length && strcmp(length, "0") != 0);
    if (!is_text(request)) {
        kd_http_refuse(&request->answer, MHD_HTTP_BAD_REQUEST, KD_INVALID_ARGUMENT,
            "path and query of a request are UTF-8 text");
        return false;
    }
    const kd_http_entry *const entry = kd_http_find(request);
    if (entry)
        request->entry = entry;
    uint64_t len;
    if (!entry || !kd_http_guard(request))
        return false;
    const kd_http_options *const o = &http->options;
    if (o->gate && !o->gate(o->gate_state, request, entry->route->scope, &request->answer))
        return false;
    return check_body(request, &len);
}

/* ---- Body ---- */

static void take_body(kd_http_request *request, const char *bytes, size_t len)
{
    kd_http *const http = request->http;
    if (request->refused)
        return;
    if (http->bytes + len > http->options.max_bytes) {
        request->refused = true;
        kd_http_refuse(&request->answer, MHD_HTTP_TOO_MANY_REQUESTS, KD_RESOURCE_EXHAUSTED,
            "the server works on %zu MiB of requests already; try again later",
            http->options.max_bytes >> 20);
    } else {
        kd_buf_append(&request->body, bytes, len);
        http->bytes += len;
        request->charged += len;
        if (kd_buf_ok(&request->body))
            return;
        request->refused = true;
        kd_http_refuse(&request->answer, MHD_HTTP_TOO_MANY_REQUESTS, KD_RESOURCE_EXHAUSTED,
            "no memory for a request");
    }
    kd_buf_free(&request->body);
    http->bytes -= request->charged;
    request->charged = 0;
}

/* ---- Handler ---- */

static void handle(kd_http_request *request)
{
    const kd_http_entry *const entry = request->entry;
    entry->route->handler(entry->state, request, &request->answer);
}

static void work(void *arg)
{
    kd_http_request *const request = arg;
    kd_http *const http = request->http;
    handle(request);
    atomic_store(&request->done, true);
    MHD_resume_connection(request->connection); /* from here on the request is the server's */
    atomic_fetch_sub(&http->in_work, 1);
}

/* True when the answer is there, false when it comes later. */
static bool run(kd_http_request *request)
{
    kd_http *const http = request->http;
    if (!request->entry->route->blocking) {
        handle(request);
        return true;
    }
    /* In this order: who has set draining and then sees no work may stop the server. */
    atomic_fetch_add(&http->in_work, 1);
    if (atomic_load(&http->draining)) {
        atomic_fetch_sub(&http->in_work, 1);
        kd_http_refuse(&request->answer, MHD_HTTP_SERVICE_UNAVAILABLE, KD_UNAVAILABLE,
            "the server is shutting down");
        return true;
    }
    if (request->peer)
        atomic_store(&request->peer->until_ms, INT64_MAX);
    MHD_suspend_connection(request->connection);
    if (http->workers && kd_pool_try_run(http->workers, work, request))
        return false;
    kd_http_refuse(&request->answer, MHD_HTTP_TOO_MANY_REQUESTS, KD_RESOURCE_EXHAUSTED,
        "too many requests wait already; try again later");
    atomic_store(&request->done, true);
    MHD_resume_connection(request->connection);
    atomic_fetch_sub(&http->in_work, 1);
    return false;
}

/* ---- libmicrohttpd's side ---- */

static kd_http_request *request_new(
    kd_http *http, struct MHD_Connection *connection, const char *path, const char *method)
{
    kd_http_request *const request = calloc(1, sizeof *request);
    if (!request || !(request->path = strdup(path))) {
        free(request);
        return NULL;
    }
    const union MHD_ConnectionInfo *const info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    request->http = http;
    request->connection = connection;
    request->peer = info ? info->socket_context : NULL;
    request->method = method;
    request->entry = &http->unknown;
    request->begun_ns = kd_mono_ns();
    atomic_init(&request->done, false);
    request->answer.code = 200;
    request->answer.content_type = "text/plain; charset=utf-8";
    request->answer.file = -1;
    atomic_fetch_add(&http->n_requests, 1);
    return request;
}

enum MHD_Result kd_http_on_request(void *state, struct MHD_Connection *connection, const char *url,
    const char *method, const char *version, const char *upload, size_t *upload_size, void **slot)
{
    kd_http_request *request = *slot;
    (void)version;
    if (!request) {
        bool early = false;
        *slot = request = request_new(state, connection, url, method);
        if (!request)
            return MHD_NO;
        request->refused = !accept_headers(request, &early);
        return request->refused && early ? kd_http_send(request) : MHD_YES;
    }
    if (*upload_size > 0) {
        take_body(request, upload, *upload_size);
        *upload_size = 0;
        return MHD_YES;
    }
    if (request->refused || atomic_load(&request->done) || run(request))
        return kd_http_send(request);
    return MHD_YES;
}

static void record(const kd_http_request *request)
{
    const double seconds = (double)(kd_mono_ns() - request->begun_ns) / 1e9;
    const char *const path = request->entry->route->path;
    char labels[160];
    (void)snprintf(labels, sizeof labels, "path=\"%s\",method=\"%s\",code=\"%u\"", path,
        request->entry->route->method, request->answer.code);
    kd_counter_add(kd_metrics_counter(request->http->options.metrics, "kindred_http_requests_total",
                       labels, "HTTP requests answered, by route and status"),
        1);
    kd_histogram_observe(request->entry->seconds, seconds);
    KD_LOG(KD_LOG_DEBUG, "http", KD_STR("method", request->entry->route->method),
        KD_STR("path", path), KD_INT("code", request->answer.code), KD_REAL("ms", seconds * 1e3));
}

void kd_http_on_completed(void *state, struct MHD_Connection *connection, void **slot,
    enum MHD_RequestTerminationCode why)
{
    kd_http *const http = state;
    kd_http_request *const request = *slot;
    (void)connection;
    (void)why;
    if (!request)
        return;
    record(request);
    http->bytes -= request->charged;
    if (request->peer)
        atomic_store(&request->peer->until_ms, kd_mono_ms() + http->options.request_ms);
    kd_http_answer_clear(&request->answer);
    kd_buf_free(&request->body);
    free(request->path);
    free(request);
    *slot = NULL;
    atomic_fetch_sub(&http->n_requests, 1);
}
