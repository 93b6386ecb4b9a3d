/* Forms, taken apart by libmicrohttpd. */
#include <string.h>

#include "lib/http/internal.h"

#define FORM_BUFFER 4096

typedef struct form {
    kd_http_field fn;
    void *arg;
    kd_error *err;
    kd_status status;
    bool any; /* a field is being read */
    char name[128], file[256];
    bool has_file;
    kd_buf data;
} form;

static void hand_over(form *f)
{
    if (f->any && f->status == KD_OK) {
        if (kd_buf_ok(&f->data))
            f->status = f->fn(f->arg, f->name, f->has_file ? f->file : NULL, &f->data, f->err);
        else
            f->status = kd_error_memory(f->err, "a form");
    }
    f->any = false;
    kd_buf_free(&f->data);
}

static enum MHD_Result on_piece(void *state, enum MHD_ValueKind kind, const char *name,
    const char *file, const char *type, const char *encoding, const char *data, uint64_t at,
    size_t len)
{
    form *const f = state;
    (void)kind, (void)type, (void)encoding;
    if (at == 0) { /* a field begins */
        hand_over(f);
        if (f->status != KD_OK)
            return MHD_NO;
        f->any = true;
        f->has_file = file != NULL;
        if (!kd_copy(f->name, sizeof f->name, name ? name : "") ||
            !kd_utf8_valid(f->name, strlen(f->name))) {
            f->status = kd_error_set(f->err, KD_INVALID_ARGUMENT,
                "a field of the form has a name that is no short text");
            return MHD_NO;
        }
        (void)kd_copy(f->file, sizeof f->file, file ? file : "");
    }
    kd_buf_append(&f->data, data, len);
    return MHD_YES;
}

kd_status kd_http_form(const kd_http_request *request, kd_http_field fn, void *arg, kd_error *err)
{
    form f = {.fn = fn, .arg = arg, .err = err, .status = KD_OK, .data = KD_BUF_INIT};
    struct MHD_PostProcessor *const reader =
        MHD_create_post_processor(request->connection, FORM_BUFFER, on_piece, &f);
    if (!reader)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the body is not a form");
    const enum MHD_Result read =
        request->body.len == 0
            ? MHD_YES
            : MHD_post_process(reader, (const char *)request->body.data, request->body.len);
    /* It ends a last field that has no end; with our own error it has nothing more to say. */
    const enum MHD_Result ended = MHD_destroy_post_processor(reader);
    if (f.status == KD_OK && read == MHD_YES && ended == MHD_YES)
        hand_over(&f);
    else if (f.status == KD_OK)
        f.status =
            kd_error_set(err, KD_INVALID_ARGUMENT, "the body is a form that is cut or broken");
    kd_buf_free(&f.data);
    return f.status;
}
