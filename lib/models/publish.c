/* Publishing and removing: what changes the folder, one at a time under its lock. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/models/record.h"

/* The paths of one change, all owned. */
typedef struct paths {
    char *lock;           /* DIR/.lock */
    char *area;           /* DIR/.staging */
    char *staging;        /* DIR/.staging/publish: what is being published */
    char *staged_weights; /* … its weights */
    char *staged_record;  /* … its model.json */
    char *removed;        /* DIR/.staging/remove: what is being removed */
    char *model;          /* DIR/ID */
} paths;

static void paths_free(paths *p)
{
    free(p->lock);
    free(p->area);
    free(p->staging);
    free(p->staged_weights);
    free(p->staged_record);
    free(p->removed);
    free(p->model);
}

static kd_status paths_make(paths *p, const char *dir, const char *id, kd_error *err)
{
    p->lock = kd_format("%s/.lock", dir);
    p->area = kd_format("%s/.staging", dir);
    p->staging = kd_format("%s/.staging/publish", dir);
    p->staged_weights = kd_format("%s/.staging/publish/model.safetensors", dir);
    p->staged_record = kd_format("%s/.staging/publish/model.json", dir);
    p->removed = kd_format("%s/.staging/remove", dir);
    p->model = kd_format("%s/%s", dir, id);
    const bool all = p->lock && p->area && p->staging && p->staged_weights && p->staged_record &&
                     p->removed && p->model;
    return all ? KD_OK : kd_error_memory(err, "a model's paths");
}

/* Waits for the folder's lock, between threads as between processes, and clears away what a change
 * that was cut off left in the staging area. *fd is closed by the caller, which unlocks. */
static kd_status lock_dir(const paths *p, int *fd, kd_error *err)
{
    *fd = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (*fd < 0)
        return kd_error_errno(err, errno, "cannot open %s", p->lock);
    int locked;
    do
        locked = flock(*fd, LOCK_EX);
    while (locked != 0 && errno == EINTR);
    if (locked != 0)
        return kd_error_errno(err, errno, "cannot lock %s", p->lock);
    kd_status status = kd_make_dirs(p->area, err);
    if (status == KD_OK)
        status = kd_remove_tree(p->staging, err);
    if (status == KD_OK)
        status = kd_remove_tree(p->removed, err);
    return status;
}

/* The id that architecture, preprocessing and weights give together. */
static kd_status content_id(
    const char *weights_path, const kd_model *model, char id[KD_MODEL_ID_TEXT], kd_error *err)
{
    char preprocessing[KD_PREPROCESS_TEXT], hex[KD_SHA256_TEXT];
    uint8_t digest[KD_SHA256_BYTES];
    kd_hasher *hasher = NULL;
    kd_preprocess_text(&model->preprocess, preprocessing);
    kd_status status = kd_hasher_new(&hasher, err);
    if (status != KD_OK)
        return status;
    /* With their NULs, so that the texts can't run into each other. */
    kd_hasher_update(hasher, model->architecture, strlen(model->architecture) + 1);
    kd_hasher_update(hasher, preprocessing, strlen(preprocessing) + 1);
    status = kd_hasher_file(hasher, weights_path, err);
    kd_hasher_finish(hasher, digest);
    kd_hex(digest, sizeof digest, hex);
    (void)kd_copy(id, KD_MODEL_ID_TEXT, hex); /* its first 16 digits */
    return status;
}

static kd_status hash_content(const char *weights_path, kd_model *model, kd_error *err)
{
    const kd_status status = kd_preprocess_hash(&model->preprocess, model->preprocess_hash, err);
    return status == KD_OK ? content_id(weights_path, model, model->id, err) : status;
}

kd_status kd_models_verify(const char *dir, const kd_model *model, kd_error *err)
{
    assert(dir && model);
    char id[KD_MODEL_ID_TEXT];
    char *const path = kd_models_weights_path(dir, model->id);
    kd_status status = path ? content_id(path, model, id, err) : kd_error_memory(err, "a path");
    if (status == KD_OK && strcmp(id, model->id) != 0)
        status = kd_error_set(err, KD_DATA_LOSS,
            "%s is damaged: it is not what model %s was made from", path, model->id);
    free(path);
    return status;
}

static kd_status check_description(const kd_model *model, kd_error *err)
{
    if (model->name[0] != '\0') {
        const kd_status status = kd_check_name("model", model->name, err);
        if (status != KD_OK)
            return status;
    }
    if (model->architecture[0] == '\0' || model->dim == 0 || model->preprocess.image_size == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "a model needs an architecture, a dimension and an image size");
    if (model->parent[0] != '\0' && !kd_model_id_valid(model->parent))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the parent '%s' is not a model's id", model->parent);
    return KD_OK;
}

/* Under the lock: may the model be published? *existed: the same content is there, *model is it. */
static kd_status check_clashes(const char *dir, kd_model *model, bool *existed, kd_error *err)
{
    kd_model there;
    kd_status status = kd_model_record_read(dir, model->id, &there, err);
    if (status == KD_OK && model->name[0] != '\0' && strcmp(model->name, there.name) != 0)
        status = kd_error_set(err, KD_ALREADY_EXISTS, "the same model is published as '%s' (%s)",
            there.name, there.id);
    if (status == KD_OK) {
        kd_model_clear(model);
        *model = there;
        *existed = true;
        return KD_OK;
    }
    kd_model_clear(&there);
    if (status != KD_NOT_FOUND || model->name[0] == '\0' || strcmp(model->name, model->id) == 0)
        return status == KD_NOT_FOUND ? KD_OK : status;
    if (kd_model_id_valid(model->name))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "'%s' can't name a model: it looks like another model's id", model->name);

    kd_model *models;
    size_t n;
    status = kd_models_list(dir, &models, &n, err);
    for (size_t i = 0; status == KD_OK && i < n; i++)
        if (strcmp(models[i].name, model->name) == 0)
            status = kd_error_set(err, KD_ALREADY_EXISTS, "model %s has the name '%s' already",
                models[i].id, model->name);
    kd_models_free(models, n);
    return status;
}

/* Under the lock: the folder is made beside and renamed, so that it is there whole or not at all.
 * On failure the weights are back where they were. */
static kd_status move_in(
    const char *dir, const paths *p, const char *weights_path, const kd_model *model, kd_error *err)
{
    bool moved = false, published = false;
    char *record = NULL;
    kd_status status = kd_model_record_print(model, &record, err);
    if (status == KD_OK)
        status = kd_make_dirs(p->staging, err);
    if (status == KD_OK)
        status = kd_file_write(p->staged_record, record, strlen(record), err);
    if (status != KD_OK)
        goto out;
    status = kd_move_file(weights_path, p->staged_weights, err);
    if (status != KD_OK)
        goto out;
    moved = true;
    status = kd_fsync_path(p->staging, err);
    if (status == KD_OK && rename(p->staging, p->model) != 0)
        status = kd_error_errno(err, errno, "cannot move %s to %s", p->staging, p->model);
    if (status != KD_OK)
        goto out;
    published = true;
    status = kd_fsync_path(dir, err);
out:
    if (status != KD_OK && published)
        (void)rename(p->model, p->staging);
    if (status != KD_OK && moved)
        (void)!kd_move_file(p->staged_weights, weights_path, NULL);
    /* What is left of a failed attempt in the staging area the next change clears away. */
    free(record);
    return status;
}

kd_status kd_models_publish(
    const char *dir, const char *weights_path, kd_model *model, bool *existed, kd_error *err)
{
    assert(dir && weights_path && model && existed);
    paths p = {0};
    int lock = -1;
    struct stat info;
    *existed = false;
    kd_status status = check_description(model, err);
    if (status == KD_OK && (stat(weights_path, &info) != 0 || !S_ISREG(info.st_mode)))
        status = kd_error_set(err, KD_NOT_FOUND, "no weights file %s", weights_path);
    if (status == KD_OK)
        status = hash_content(weights_path, model, err);
    if (status == KD_OK)
        status = kd_fsync_path(weights_path, err);
    if (status == KD_OK)
        status = paths_make(&p, dir, model->id, err);
    if (status == KD_OK)
        status = kd_make_dirs(dir, err);
    if (status == KD_OK)
        status = lock_dir(&p, &lock, err);
    if (status == KD_OK)
        status = check_clashes(dir, model, existed, err);
    if (status != KD_OK)
        goto out;
    if (*existed) {
        (void)unlink(weights_path); /* a second copy of what is there */
        goto out;
    }
    if (model->name[0] == '\0')
        (void)kd_copy(model->name, sizeof model->name, model->id);
    model->bytes = (uint64_t)info.st_size;
    model->created_ms = kd_wall_ms();
    status = move_in(dir, &p, weights_path, model, err);
out:
    if (lock >= 0)
        (void)close(lock);
    paths_free(&p);
    return status;
}

kd_status kd_models_remove(const char *dir, const char *id, kd_error *err)
{
    assert(dir && id);
    paths p = {0};
    int lock = -1;
    if (!kd_model_id_valid(id) || !kd_is_dir(dir))
        return kd_error_set(err, KD_NOT_FOUND, "no model '%s'", id);
    kd_status status = paths_make(&p, dir, id, err);
    if (status == KD_OK)
        status = lock_dir(&p, &lock, err);
    if (status == KD_OK && !kd_is_dir(p.model))
        status = kd_error_set(err, KD_NOT_FOUND, "no model '%s'", id);
    if (status != KD_OK)
        goto out;
    /* Renamed first: a reader finds the whole model or none. */
    if (rename(p.model, p.removed) != 0)
        status = kd_error_errno(err, errno, "cannot remove %s", p.model);
    else
        status = kd_fsync_path(dir, err);
    if (status == KD_OK)
        status = kd_remove_tree(p.removed, err);
out:
    if (lock >= 0)
        (void)close(lock);
    paths_free(&p);
    return status;
}
