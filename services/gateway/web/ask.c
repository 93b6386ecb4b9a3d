/* Calls to the gateway's own server. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "services/gateway/web/web.h"

#define TIMEOUT_MS 60000
/* Before the server closes a channel that has no calls. */
#define LINE_IDLE_MS 60000

void web_trip_begin(web_trip *trip, const kd_http_request *request, kd_http_answer *answer)
{
    const char *const trace = kd_http_header(request, "traceparent");
    const char *const key = kd_http_header(request, "Authorization");
    char id[33];
    *trip = (web_trip){.options = {.timeout_ms = TIMEOUT_MS}};
    if (!trace || !kd_trace_valid(trace) || !kd_copy(trip->trace, sizeof trip->trace, trace))
        kd_trace_make(trip->trace);
    trip->options.trace = trip->trace;
    if (key) {
        trip->metadata[0] = (kd_metadata){"authorization", key};
        trip->options.metadata = trip->metadata;
        trip->options.n_metadata = 1;
    }
    memcpy(id, trip->trace + 3, 32); /* behind "00-" */
    id[32] = '\0';
    kd_http_set(answer, "X-Trace-Id", id);
}

static void line_close(struct web_line *line)
{
    kd_channel_close(line->channel);
    line->channel = NULL;
}

static void line_give(web *w, struct web_line *line, kd_status status)
{
    /* An UNAVAILABLE may be the channel's own. */
    if (status == KD_UNAVAILABLE || atomic_load(&w->draining))
        line_close(line);
    line->used_ms = kd_mono_ms();
    (void)kd_queue_try_push(w->lines, line);
}

kd_status web_ask(web *w, const web_trip *trip, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, void *response, kd_error *err)
{
    struct web_line *const line = kd_queue_pop(w->lines, -1); /* there is one for each worker */
    kd_status status = KD_OK;
    *(ProtobufCMessage **)response = NULL;
    if (line->channel && kd_mono_ms() - line->used_ms > LINE_IDLE_MS)
        line_close(line);
    if (!line->channel)
        status = kd_server_connect(w->gateway->process->server, &line->channel, err);
    if (status == KD_OK)
        status =
            kd_channel_call(line->channel, service, method, request, &trip->options, response, err);
    line_give(w, line, status);
    return status;
}

kd_status web_open(web *w, const web_trip *trip, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, kd_channel **channel, kd_stream **stream,
    kd_error *err)
{
    *stream = NULL;
    kd_status status = kd_server_connect(w->gateway->process->server, channel, err);
    if (status == KD_OK)
        status = kd_stream_open(stream, *channel, service, method, request, &trip->options, err);
    if (status != KD_OK) {
        kd_channel_close(*channel);
        *channel = NULL;
    }
    return status;
}

void web_answer_json(kd_http_answer *answer, const ProtobufCMessage *message, size_t digits)
{
    json_t *const object = kd_message_json(message);
    char *const text =
        object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(digits)) : NULL;
    kd_error err;
    json_decref(object);
    if (!text) {
        (void)kd_error_memory(&err, "an answer");
        kd_http_fail(answer, &err);
        return;
    }
    answer->content_type = "application/json";
    answer->body.data = (uint8_t *)text;
    answer->body.len = strlen(text);
    answer->body.cap = answer->body.len + 1;
}

void web_serve_rpc(void *state, kd_http_request *request, kd_http_answer *answer)
{
    web *const w = state;
    const web_rpc *const rpc = kd_http_more(request);
    const ProtobufCMessageDescriptor *const type =
        protobuf_c_service_descriptor_get_method_by_name(rpc->service, rpc->method)->input;
    kd_error err = KD_ERROR_INIT;
    ProtobufCMessage *message = NULL, *response = NULL;
    json_t *object = NULL;
    web_trip trip;
    web_trip_begin(&trip, request, answer);
    kd_status status = web_read(request, type, rpc->parts, &object, NULL, &err);
    if (status == KD_OK)
        status = kd_message_from_json(&message, type, object, &err);
    if (status == KD_OK)
        status = web_ask(w, &trip, rpc->service, rpc->method, message, &response, &err);
    if (status == KD_OK)
        web_answer_json(answer, response, 0);
    else
        kd_http_fail(answer, &err);
    kd_message_free(response);
    kd_message_free(message);
    json_decref(object);
}

/* ---- Making and freeing ---- */

kd_status web_new(web **out, gateway *g, kd_error *err)
{
    *out = NULL;
    web *const w = calloc(1, sizeof *w);
    if (!w)
        return kd_error_memory(err, "the page");
    w->gateway = g;
    atomic_init(&w->draining, false);
    kd_status status = kd_queue_new(&w->lines, WEB_WORKERS, err);
    for (size_t i = 0; status == KD_OK && i < WEB_WORKERS; i++)
        (void)kd_queue_try_push(w->lines, &w->all_lines[i]);
    if (status == KD_OK)
        status = web_watches_new(&w->watches, err);
    *out = w;
    return status;
}

void web_drain(web *w)
{
    struct web_line *lines[WEB_WORKERS];
    size_t n = 0;
    if (!w)
        return;
    web_watches_drain(w->watches); /* requests may still look at them */
    atomic_store(&w->draining, true);
    while (w->lines && n < WEB_WORKERS && (lines[n] = kd_queue_pop(w->lines, 0)) != NULL)
        line_close(lines[n++]);
    for (size_t i = 0; i < n; i++)
        (void)kd_queue_try_push(w->lines, lines[i]);
}

void web_free(web *w)
{
    if (!w)
        return;
    web_watches_free(w->watches);
    for (size_t i = 0; i < WEB_WORKERS; i++)
        line_close(&w->all_lines[i]);
    kd_queue_free(w->lines);
    free(w);
}
