/* Files for a browser: the page's own, pictures of indexed images, reports, files of training runs.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "services/gateway/rows.h"
#include "services/gateway/web/web.h"

#define DEFAULT_SIDE 256u
#define MAX_SIDE 512u

/* Pages that have all in themselves and no script; sandboxed, as names in them are a dataset's. */
#define REPORT_POLICY                                                                              \
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; "           \
    "base-uri 'none'; frame-ancestors 'none'; sandbox"

/* ---- The page ---- */

void web_serve_page(void *state, kd_http_request *request, kd_http_answer *answer)
{
    const web_page *const page = kd_http_more(request);
    const char *const known = kd_http_header(request, "If-None-Match");
    char tag[24];
    (void)state;
    (void)snprintf(
        tag, sizeof tag, "\"%016llx\"", (unsigned long long)kd_xxh3(page->bytes, *page->len));
    kd_http_set(answer, "ETag", tag);
    answer->content_type = page->type;
    answer->policy = page->policy;
    answer->cache = "no-cache";
    if (known && strstr(known, tag)) {
        answer->code = 304;
        return;
    }
    answer->fixed = page->bytes;
    answer->fixed_len = *page->len;
}

/* ---- Pictures ---- */

static kd_status read_side(const kd_http_request *request, uint32_t *side, kd_error *err)
{
    const char *const text = kd_http_query(request, "size");
    uint64_t number = DEFAULT_SIDE;
    if (text && !kd_parse_u64(text, 1, MAX_SIDE, &number))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "size is '%.40s', allowed are 1 to %u", text, MAX_SIDE);
    *side = (uint32_t)number;
    return KD_OK;
}

void web_item_image(void *state, kd_http_request *request, kd_http_answer *answer)
{
    web *const w = state;
    Kindred__V1__GetItemRequest get = KINDRED__V1__GET_ITEM_REQUEST__INIT;
    Kindred__V1__GetItemResponse *got = NULL;
    kd_error err = KD_ERROR_INIT;
    uint32_t side = 0;
    web_trip trip;
    web_trip_begin(&trip, request, answer);
    get.collection = (char *)(uintptr_t)kd_http_part(request, 0);
    kd_status status = read_side(request, &side, &err);
    if (status == KD_OK && !kd_parse_u64(kd_http_part(request, 1), 0, UINT64_MAX, &get.image_id))
        status = kd_error_set(
            &err, KD_INVALID_ARGUMENT, "'%.40s' is not an image's id", kd_http_part(request, 1));
    if (status == KD_OK)
        status = web_ask(w, &trip, INDEXER, "GetItem", &get.base, &got, &err);
    if (status == KD_OK) {
        make_thumbnail(w->gateway, got->item ? got->item->uri : "", side, &answer->body);
        if (answer->body.len == 0)
            status = kd_error_set(&err, KD_NOT_FOUND,
                "the picture of image %llu is not where it was, or can't be read",
                (unsigned long long)get.image_id);
    }
    if (status == KD_OK) {
        answer->content_type = "image/jpeg";
        answer->cache = "private, max-age=300";
    } else {
        kd_http_fail(answer, &err);
    }
    kd_message_free(got);
}

/* ---- Reports ---- */

void web_report(void *state, kd_http_request *request, kd_http_answer *answer)
{
    const web *const w = state;
    const char *const job = kd_http_part(request, 0), *const file = kd_http_part(request, 1);
    kd_error err = KD_ERROR_INIT;
    /* No call behind this one counts it. */
    kd_status status = kd_access_check(w->gateway->process->access,
        kd_http_header(request, "Authorization"), NULL, KD_SCOPE_READ, NULL, &err);
    if (status == KD_OK)
        status = kd_check_name("job", job, &err);
    const char *const type = report_file_type(file);
    if (status == KD_OK && !type)
        status = kd_error_set(&err, KD_NOT_FOUND,
            "'%.200s' is not a file of a report: there are report.html, report.json and the strips "
            "that it names",
            file);
    if (status == KD_OK) {
        char *const path = kd_format("%s/%s/%s", w->gateway->reports_dir, job, file);
        answer->file = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        if (answer->file < 0 && path && errno != ENOENT && errno != ENOTDIR)
            status = kd_error_errno(&err, errno, "cannot read %s", file);
        else if (answer->file < 0)
            status = path ? kd_error_set(&err, KD_NOT_FOUND,
                                "job '%s' has no report with a file %s", job, file)
                          : kd_error_memory(&err, "a path");
        free(path);
    }
    if (status != KD_OK) {
        kd_http_fail(answer, &err);
        return;
    }
    answer->content_type = type;
    answer->policy = REPORT_POLICY;
    answer->cache = "private, max-age=300";
}

/* ---- Training runs ---- */

/* All pieces; KD_RESOURCE_EXHAUSTED over a message's size. */
static kd_status collect(kd_stream *stream, kd_buf *out, kd_error *err)
{
    for (;;) {
        Kindred__V1__GetRunFileResponse *piece = NULL;
        bool waiting;
        const kd_status status =
            kd_stream_read(stream, -1, (ProtobufCMessage **)&piece, &waiting, err);
        if (status != KD_OK || !piece)
            return status;
        const bool fits =
            piece->total_bytes <= WEB_MAX_BODY && out->len + piece->data.len <= WEB_MAX_BODY;
        if (fits)
            kd_buf_append(out, piece->data.data, piece->data.len);
        kd_message_free(piece);
        if (!fits)
            return kd_error_set(
                err, KD_RESOURCE_EXHAUSTED, "the file is larger than %u bytes", WEB_MAX_BODY);
        if (!kd_buf_ok(out))
            return kd_error_memory(err, "a file");
    }
}

void web_run_file(void *state, kd_http_request *request, kd_http_answer *answer)
{
    web *const w = state;
    const char *const file = kd_http_part(request, 1), *const dot = strrchr(file, '.');
    Kindred__V1__GetRunFileRequest get = KINDRED__V1__GET_RUN_FILE_REQUEST__INIT;
    kd_error err = KD_ERROR_INIT;
    kd_channel *channel = NULL;
    kd_stream *stream = NULL;
    web_trip trip;
    web_trip_begin(&trip, request, answer);
    get.job_id = (char *)(uintptr_t)kd_http_part(request, 0);
    get.file = (char *)(uintptr_t)file;
    kd_status status =
        web_open(w, &trip, TRAINER, "GetRunFile", &get.base, &channel, &stream, &err);
    if (status == KD_OK)
        status = collect(stream, &answer->body, &err);
    if (status == KD_OK) {
        answer->content_type = dot && strcmp(dot, ".html") == 0    ? "text/html; charset=utf-8"
                               : dot && strcmp(dot, ".jsonl") == 0 ? "application/jsonl"
                                                                   : "application/octet-stream";
        answer->policy = REPORT_POLICY;
    } else {
        kd_http_fail(answer, &err);
    }
    kd_stream_close(stream);
    kd_channel_close(channel);
}
