/* From an answer to libmicrohttpd's response. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "lib/base/clock.h"
#include "lib/http/internal.h"

#define SLOWEST_BYTES_MS 256 /* a client reads so many bytes of an answer in a millisecond */

unsigned kd_http_code(kd_status status)
{
    static const unsigned codes[] = {[KD_OK] = 200,
        [KD_CANCELLED] = 499,
        [KD_UNKNOWN] = 500,
        [KD_INVALID_ARGUMENT] = 400,
        [KD_DEADLINE_EXCEEDED] = 504,
        [KD_NOT_FOUND] = 404,
        [KD_ALREADY_EXISTS] = 409,
        [KD_PERMISSION_DENIED] = 403,
        [KD_RESOURCE_EXHAUSTED] = 429,
        [KD_FAILED_PRECONDITION] = 400,
        [KD_ABORTED] = 409,
        [KD_OUT_OF_RANGE] = 400,
        [KD_UNIMPLEMENTED] = 501,
        [KD_INTERNAL] = 500,
        [KD_UNAVAILABLE] = 503,
        [KD_DATA_LOSS] = 500,
        [KD_UNAUTHENTICATED] = 401};
    return (size_t)status < sizeof codes / sizeof codes[0] ? codes[status] : 500;
}

void kd_http_set(kd_http_answer *answer, const char *name, const char *value)
{
    if (answer->n_headers == KD_HTTP_HEADERS)
        return;
    answer->headers[answer->n_headers].name = name;
    (void)kd_copy(answer->headers[answer->n_headers].value, sizeof answer->headers[0].value, value);
    answer->n_headers++;
}

void kd_http_answer_clear(kd_http_answer *answer)
{
    kd_buf_free(&answer->body);
    if (answer->file >= 0)
        (void)close(answer->file);
    if (answer->stream)
        kd_http_stream_drop(answer->stream);
    answer->file = -1;
    answer->stream = NULL;
    answer->fixed = NULL;
}

/* The headers that are set stay. */
static void write_error(kd_http_answer *answer, unsigned code, const kd_error *error)
{
    kd_http_answer_clear(answer);
    answer->code = code;
    answer->content_type = "application/json";
    answer->cache = NULL;
    /* A sentence that was cut within a character is no JSON as it is. */
    char text[KD_ERROR_MESSAGE_MAX];
    (void)kd_copy(text, sizeof text, error->message);
    if (!kd_utf8_valid(text, strlen(text)))
        for (char *p = text; *p; p++)
            *p = (unsigned char)*p < 0x80 ? *p : '?';
    json_t *const object =
        json_pack("{s:s, s:s}", "code", kd_status_name(error->status), "message", text);
    char *const line = object ? json_dumps(object, 0) : NULL;
    kd_buf_puts(&answer->body, line ? line : "{}");
    kd_buf_puts(&answer->body, "\n");
    free(line);
    json_decref(object);
    if (code == 429 || code == 503)
        kd_http_set(answer, "Retry-After", "1");
}

void kd_http_fail(kd_http_answer *answer, const kd_error *error)
{
    write_error(answer, kd_http_code(error->status), error);
}

void kd_http_refuse(
    kd_http_answer *answer, unsigned code, kd_status status, const char *format, ...)
{
    kd_error error;
    va_list args;
    va_start(args, format);
    error.status = status;
    (void)vsnprintf(error.message, sizeof error.message, format, args);
    va_end(args);
    write_error(answer, code, &error);
}

/* What the answer holds goes over to the response. NULL without memory. */
static struct MHD_Response *make(kd_http_request *request, uint64_t *len)
{
    kd_http_answer *const a = &request->answer;
    struct MHD_Response *response = NULL;
    *len = 0;
    if (a->stream) {
        if ((response = kd_http_stream_response(a->stream, request->connection)) != NULL)
            a->stream = NULL;
    } else if (a->file >= 0) {
        struct stat file;
        if (fstat(a->file, &file) != 0)
            return NULL;
        *len = (uint64_t)file.st_size;
        if ((response = MHD_create_response_from_fd64(*len, a->file)) != NULL)
            a->file = -1;
    } else if (a->fixed) {
        *len = a->fixed_len;
        response = MHD_create_response_from_buffer(
            a->fixed_len, (void *)(uintptr_t)a->fixed, MHD_RESPMEM_PERSISTENT);
    } else if (kd_buf_ok(&a->body)) {
        *len = a->body.len;
        response =
            MHD_create_response_from_buffer(a->body.len, a->body.data, MHD_RESPMEM_MUST_FREE);
        if (response)
            a->body = (kd_buf)KD_BUF_INIT;
    }
    return response;
}

static void add(struct MHD_Response *response, const char *name, const char *value)
{
    (void)MHD_add_response_header(response, name, value);
}

enum MHD_Result kd_http_send(kd_http_request *request)
{
    kd_http_answer *const a = &request->answer;
    const bool streams = a->stream != NULL;
    uint64_t len;
    struct MHD_Response *const response = make(request, &len);
    if (!response)
        return MHD_NO;
    add(response, "Content-Type", streams ? "text/event-stream" : a->content_type);
    add(response, "Cache-Control", a->cache ? a->cache : "no-store");
    add(response, "Content-Security-Policy",
        a->policy ? a->policy : "default-src 'none'; frame-ancestors 'none'");
    add(response, "X-Content-Type-Options", "nosniff");
    add(response, "X-Frame-Options", "DENY");
    add(response, "Referrer-Policy", "no-referrer");
    add(response, "Cross-Origin-Resource-Policy", "same-origin");
    add(response, "Cross-Origin-Opener-Policy", "same-origin");
    for (size_t i = 0; i < a->n_headers; i++)
        add(response, a->headers[i].name, a->headers[i].value);
    if (atomic_load(&request->http->draining))
        add(response, "Connection", "close");
    if (request->peer)
        atomic_store(&request->peer->until_ms, streams ? INT64_MAX
                                                       : kd_mono_ms() +
                                                             request->http->options.request_ms +
                                                             (int64_t)(len / SLOWEST_BYTES_MS));
    const enum MHD_Result result = MHD_queue_response(request->connection, a->code, response);
    MHD_destroy_response(response);
    return result;
}
