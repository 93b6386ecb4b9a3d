/* What a request says, wherever it says it: one JSON object, and pictures beside it. */
#include <stdlib.h>
#include <string.h>

#include "services/gateway/web/web.h"

typedef struct reading {
    const ProtobufCMessageDescriptor *type;
    json_t *object;
    web_images *images;
    kd_status status;
    kd_error *err;
} reading;

void web_images_clear(web_images *images)
{
    for (size_t i = 0; i < images->n; i++)
        kd_buf_free(&images->list[i]);
    images->n = 0;
}

static bool take_pair(void *arg, const char *name, const char *value)
{
    reading *const r = arg;
    r->status = kd_json_set_text(r->object, r->type, name, value, r->err);
    return r->status == KD_OK;
}

/* "image" is a picture, "request" an object of JSON, all else a field as in a query. */
static kd_status take_field(
    void *arg, const char *name, const char *file, const kd_buf *data, kd_error *err)
{
    reading *const r = arg;
    const char *const text = data->data ? (const char *)data->data : "";
    kd_status status;
    if (strcmp(name, "image") == 0) {
        if (r->images->n == WEB_MAX_IMAGES)
            return kd_error_set(
                err, KD_INVALID_ARGUMENT, "the form has more than %u images", WEB_MAX_IMAGES);
        kd_buf *const to = &r->images->list[r->images->n];
        kd_buf_append(to, data->data, data->len);
        if (!kd_buf_ok(to))
            return kd_error_memory(err, "an image");
        r->images->raw[r->images->n++] = (ProtobufCBinaryData){to->len, to->data};
        return KD_OK;
    }
    if (file)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the form's file %.60s is called '%.60s': pictures are called image", file, name);
    if (strcmp(name, "request") == 0) {
        json_t *object = NULL;
        status = kd_json_parse(&object, text, data->len, err);
        if (status == KD_OK && json_object_update_missing(r->object, object) != 0)
            status = kd_error_memory(err, "a request");
        json_decref(object);
        return status;
    }
    if (!kd_utf8_valid(text, data->len))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the form's %s is not UTF-8 text", name);
    return kd_json_set_text(r->object, r->type, name, text, err);
}

static kd_status read_body(const kd_http_request *request, reading *r)
{
    size_t len;
    const uint8_t *const body = kd_http_body(request, &len);
    if (len == 0)
        return KD_OK;
    if (kd_http_is_type(request, "application/json")) {
        if (len > WEB_MAX_JSON)
            return kd_error_set(r->err, KD_RESOURCE_EXHAUSTED,
                "the request's JSON has %zu bytes, up to %zu are taken: send pictures as they are",
                len, WEB_MAX_JSON);
        json_decref(r->object);
        return kd_json_parse(&r->object, body, len, r->err);
    }
    if (!r->images)
        return kd_error_set(r->err, KD_INVALID_ARGUMENT, "the body is not application/json");
    if (kd_http_is_type(request, "multipart/form-data"))
        return kd_http_form(request, take_field, r, r->err);
    if (!kd_http_is_type(request, "image/") &&
        !kd_http_is_type(request, "application/octet-stream"))
        return kd_error_set(r->err, KD_INVALID_ARGUMENT,
            "the body is neither a picture (image/…), nor multipart/form-data, nor "
            "application/json");
    r->images->raw[r->images->n++] = (ProtobufCBinaryData){len, (uint8_t *)(uintptr_t)body};
    return KD_OK;
}

kd_status web_read(const kd_http_request *request, const ProtobufCMessageDescriptor *type,
    const char *const parts[KD_HTTP_PARTS], json_t **object, web_images *images, kd_error *err)
{
    reading r = {type, json_object(), images, KD_OK, err};
    r.status = r.object ? read_body(request, &r) : kd_error_memory(err, "a request");
    if (r.status == KD_OK)
        kd_http_each_query(request, take_pair, &r);
    for (size_t i = 0; r.status == KD_OK && i < KD_HTTP_PARTS && parts[i]; i++)
        r.status = kd_json_set_text(r.object, type, parts[i], kd_http_part(request, i), err);
    *object = r.object;
    return r.status;
}
