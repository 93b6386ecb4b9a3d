/* tests/models/room.h: what the tests of lib/models share: a folder of their own for each test. */
#ifndef KD_TESTS_MODELS_ROOM_H
#define KD_TESTS_MODELS_ROOM_H

#include <stdlib.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/models/models.h"
#include "tests/support/check.h"

typedef struct room {
    char base[64];    /* holds the weights to publish … */
    char dir[80];     /* … and the models */
    char weights[96]; /* a weights file's path */
    kd_error err;
} room;

static inline int setup(void **state)
{
    room *const r = calloc(1, sizeof *r);
    *state = r;
    if (!r)
        return -1;
    (void)snprintf(r->base, sizeof r->base, "kd-models-XXXXXX");
    if (!mkdtemp(r->base))
        return -1;
    (void)snprintf(r->dir, sizeof r->dir, "%s/models", r->base);
    (void)snprintf(r->weights, sizeof r->weights, "%s/new.safetensors", r->base);
    return 0;
}

static inline int teardown(void **state)
{
    room *const r = *state;
    const kd_status status = kd_remove_tree(r->base, NULL);
    free(r);
    return status == KD_OK ? 0 : -1;
}

static inline kd_model describe(const char *name)
{
    kd_model model = {.dim = 512, .preprocess = KD_PREPROCESS_INIT};
    (void)kd_copy(model.name, sizeof model.name, name);
    (void)kd_copy(model.architecture, sizeof model.architecture, "resnet18");
    (void)kd_copy(model.source, sizeof model.source, "import");
    return model;
}

static inline void write_weights(room *r, const char *content)
{
    CHECK_OK(kd_file_write(r->weights, content, strlen(content), &r->err), r->err);
}

/* Publishes content under a name; id receives the model's id. */
static inline void publish(
    room *r, const char *content, const char *name, char id[KD_MODEL_ID_TEXT])
{
    bool existed = true;
    kd_model model = describe(name);
    write_weights(r, content);
    CHECK_OK(kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    CHECK(!existed);
    (void)kd_copy(id, KD_MODEL_ID_TEXT, model.id);
    kd_model_clear(&model);
}

static inline void check_refused(
    room *r, kd_status expected, const char *content, const char *name, const char *sentence)
{
    bool existed = true;
    kd_model model = describe(name);
    write_weights(r, content);
    CHECK_FAILS(expected, kd_models_publish(r->dir, r->weights, &model, &existed, &r->err), r->err);
    CHECK_HAS(sentence, r->err.message);
    CHECK(!existed);
    CHECK(kd_is_file(r->weights)); /* still the caller's */
    kd_model_clear(&model);
}

static inline size_t count(room *r)
{
    kd_model *models;
    size_t n = 99;
    CHECK_OK(kd_models_list(r->dir, &models, &n, &r->err), r->err);
    kd_models_free(models, n);
    return n;
}

static inline void write_in(room *r, const char *id, const char *file, const char *content)
{
    char path[160];
    (void)snprintf(path, sizeof path, "%s/%s/%s", r->dir, id, file);
    CHECK_OK(kd_file_write(path, content, strlen(content), &r->err), r->err);
}

/* Replaces the first `from` in a model's model.json. */
static inline void edit_record(room *r, const char *id, const char *from, const char *to)
{
    char path[160];
    kd_buf text = KD_BUF_INIT, edited = KD_BUF_INIT;
    (void)snprintf(path, sizeof path, "%s/%s/model.json", r->dir, id);
    CHECK_OK(kd_file_read(path, 1 << 20, &text, &r->err), r->err);
    const char *const at = strstr((const char *)text.data, from);
    if (!at)
        fail_msg("'%s' is not in %s", from, (const char *)text.data);
    kd_buf_append(&edited, text.data, (size_t)(at - (const char *)text.data));
    kd_buf_puts(&edited, to);
    kd_buf_puts(&edited, at + strlen(from));
    CHECK(kd_buf_ok(&edited));
    CHECK_OK(kd_file_write(path, edited.data, edited.len, &r->err), r->err);
    kd_buf_free(&text);
    kd_buf_free(&edited);
}

#endif
