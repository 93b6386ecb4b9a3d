#include "services/indexer/collection_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

/* ---- Life ---- */

static void collection_free(collection *c)
{
    db_close(c->db);
    kd_index_free(c->index);
    items_free(c->items);
    pthread_mutex_destroy(&c->changes);
    pthread_rwlock_destroy(&c->memory);
    free(c->path);
    free(c);
}

/* Into memory only. What was validated when it came in can fail here only for lack of memory, or
 * when it was damaged in a way that the checksum did not show. */
static kd_status remember(void *arg, const collection_row *rows, size_t n, kd_error *err)
{
    collection *const c = arg;
    const size_t dim = c->meta.dim;
    kd_status status = KD_OK;
    uint64_t *const ids = malloc(n * sizeof *ids);
    uint32_t *const tags = malloc(n * sizeof *tags);
    float *const values = malloc(n * dim * sizeof *values);
    if (!ids || !tags || !values) {
        status = kd_error_memory(err, "a portion of a collection");
        goto out;
    }
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        ids[i] = rows[i].item.image_id;
        memcpy(values + i * dim, rows[i].values, dim * sizeof *values);
        status = items_put(c->items, &rows[i].item, err);
        if (status == KD_OK)
            tags[i] = items_place(c->items, ids[i]);
    }
    if (status == KD_OK)
        status = kd_index_upsert(c->index, n, ids, tags, values, err);
out:
    free(ids);
    free(tags);
    free(values);
    return status;
}

static kd_status load(void *arg, const collection_row *rows, size_t n, kd_error *err)
{
    const collection *const c = arg;
    const kd_status status = remember(arg, rows, n, err);
    if (status != KD_INVALID_ARGUMENT)
        return status;
    kd_error why = *err; /* a vector that nobody could have stored */
    return kd_error_set(
        err, KD_DATA_LOSS, "collection '%s' is damaged: %.200s", c->name, why.message);
}

static void init_locks(collection *c)
{
    pthread_rwlockattr_t attributes;
    pthread_mutex_init(&c->changes, NULL);
    /* Searches that keep coming must not keep a change waiting for good. */
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&c->memory, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

kd_status collection_open(collection **out, const char *path, const char *name, kd_error *err)
{
    *out = NULL;
    collection *const c = calloc(1, sizeof *c);
    if (!c)
        return kd_error_memory(err, "a collection");
    atomic_init(&c->holders, 1);
    (void)kd_copy(c->name, sizeof c->name, name);
    init_locks(c);
    c->path = strdup(path);
    kd_status status = c->path ? KD_OK : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = db_open(&c->db, path, name, &c->meta, err);
    if (status == KD_OK)
        status = kd_index_new(&c->index, c->meta.dim, err);
    if (status == KD_OK)
        status = items_new(&c->items, err);
    if (status == KD_OK)
        status = db_load(c->db, load, c, err);
    if (status != KD_OK) {
        collection_free(c);
        return status;
    }
    *out = c;
    return KD_OK;
}

kd_status collection_create(collection **out, const char *path, const char *name,
    const char *model_id, size_t dim, kd_error *err)
{
    *out = NULL;
    kd_status status = kd_check_name("collection", name, err);
    if (status == KD_OK)
        status = kd_check_name("model id", model_id, err);
    if (status != KD_OK)
        return status;
    if (dim == 0 || dim > KD_VECTOR_MAX_DIM)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "collection '%s' cannot have %zu dimensions, allowed are 1 to %u", name, dim,
            KD_VECTOR_MAX_DIM);
    db_meta meta = {.dim = dim, .created_ms = kd_wall_ms()};
    (void)kd_copy(meta.model_id, sizeof meta.model_id, model_id);
    status = db_create(path, name, &meta, err);
    if (status == KD_OK)
        status = collection_open(out, path, name, err);
    return status;
}

collection *collection_hold(collection *c)
{
    atomic_fetch_add(&c->holders, 1);
    return c;
}

void collection_release(collection *c)
{
    if (c && atomic_fetch_sub(&c->holders, 1) == 1)
        collection_free(c);
}

/* SQLite knows its files by path, so it must be closed while the folder moves. With changes locked.
 */
static kd_status move_closed(collection *c, const char *path, kd_error *err)
{
    db_meta meta;
    if (rename(c->path, path) != 0)
        return kd_error_errno(err, errno, "cannot rename collection '%s'", c->name);
    kd_status status = db_open(&c->db, path, c->name, &meta, err);
    if (status != KD_OK && rename(path, c->path) != 0)
        status = kd_error_errno(err, errno, "cannot rename collection '%s' back", c->name);
    return status;
}

kd_status collection_move(collection *c, const char *path, kd_error *err)
{
    char *const copy = strdup(path);
    if (!copy)
        return kd_error_memory(err, "a path");
    pthread_mutex_lock(&c->changes);
    db_close(c->db);
    c->db = NULL;
    const kd_status status = move_closed(c, path, err);
    if (status == KD_OK) {
        free(c->path);
        c->path = copy;
    } else {
        db_meta meta;
        free(copy);
        if (db_open(&c->db, c->path, c->name, &meta, NULL) != KD_OK)
            c->db = NULL; /* changes are refused from now on */
    }
    pthread_mutex_unlock(&c->changes);
    return status;
}

void collection_retire(collection *c)
{
    pthread_mutex_lock(&c->changes);
    c->retired = true;
    db_close(c->db);
    c->db = NULL;
    pthread_mutex_unlock(&c->changes);
}

const char *collection_name(const collection *c)
{
    return c->name;
}

const char *collection_model(const collection *c)
{
    return c->meta.model_id;
}

size_t collection_dim(const collection *c)
{
    return c->meta.dim;
}

void collection_describe(collection *c, collection_info *info)
{
    *info = (collection_info){.dim = c->meta.dim, .created_ms = c->meta.created_ms};
    (void)kd_copy(info->name, sizeof info->name, c->name);
    (void)kd_copy(info->model_id, sizeof info->model_id, c->meta.model_id);
    pthread_mutex_lock(&c->changes);
    info->disk_bytes = db_bytes(c->path);
    pthread_mutex_unlock(&c->changes);
    pthread_rwlock_rdlock(&c->memory);
    info->count = kd_index_count(c->index);
    info->classes = items_classes(c->items);
    info->super_classes = items_super_classes(c->items);
    info->memory_bytes = kd_index_bytes(c->index) + items_bytes(c->items);
    pthread_rwlock_unlock(&c->memory);
}

/* ---- Changes ---- */

kd_status collection_check_model(const collection *c, const char *model_id, kd_error *err)
{
    if (strcmp(c->meta.model_id, model_id) == 0)
        return KD_OK;
    return kd_error_set(err, KD_FAILED_PRECONDITION,
        "collection '%s' holds vectors of model %s, not %.64s", c->name, c->meta.model_id,
        model_id);
}

static kd_status check_text(
    const collection_item *item, const char *what, const char *text, size_t most, kd_error *err)
{
    const size_t len = strlen(text);
    if (len > most)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the %s of image %" PRIu64 " has %zu bytes, allowed are %zu", what, item->image_id, len,
            most);
    if (!kd_utf8_valid(text, len))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the %s of image %" PRIu64 " is not valid UTF-8", what, item->image_id);
    return KD_OK;
}

static kd_status check_row(const collection *c, const collection_row *row, kd_error *err)
{
    const collection_item *const item = &row->item;
    if (item->image_id > COLLECTION_MAX_ID)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "image id %" PRIu64 " is over the limit of %" PRIu64, item->image_id,
            (uint64_t)COLLECTION_MAX_ID);
    if (row->n_values != c->meta.dim)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the vector of image %" PRIu64 " has %zu values, those of collection '%s' have %zu",
            item->image_id, row->n_values, c->name, c->meta.dim);
    kd_status status = check_text(item, "class name", item->class_name, COLLECTION_MAX_LABEL, err);
    if (status == KD_OK)
        status =
            check_text(item, "super-class name", item->super_class_name, COLLECTION_MAX_LABEL, err);
    if (status == KD_OK)
        status = check_text(item, "URI", item->uri, COLLECTION_MAX_URI, err);
    if (status == KD_OK) {
        char what[64];
        (void)snprintf(what, sizeof what, "the vector of image %" PRIu64, item->image_id);
        status = kd_vector_check(what, row->values, row->n_values, err);
    }
    return status;
}

static kd_status check_size(size_t n, kd_error *err)
{
    if (n > 0 && n <= COLLECTION_MAX_BATCH)
        return KD_OK;
    return kd_error_set(err, KD_INVALID_ARGUMENT, "a change names %zu images, allowed are 1 to %u",
        n, COLLECTION_MAX_BATCH);
}

kd_status collection_check_usable(const collection *c, kd_error *err)
{
    if (c->retired)
        return kd_error_set(err, KD_NOT_FOUND, "collection '%s' was deleted or replaced", c->name);
    if (!c->db)
        return kd_error_set(err, KD_UNAVAILABLE, "the file of collection '%s' is closed", c->name);
    return KD_OK;
}

/* With changes locked. */
static kd_status check_columns(
    const collection *c, const collection_row *rows, size_t n, kd_error *err)
{
    size_t names = 0;
    if (!items_count_columns(c->items, rows, n, &names))
        return kd_error_memory(err, "a collection's attributes");
    if (names > COLLECTION_MAX_COLUMNS)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "collection '%s' would have %zu names of attributes, allowed are %u", c->name, names,
            COLLECTION_MAX_COLUMNS);
    return KD_OK;
}

kd_status collection_upsert(collection *c, const char *model_id, const collection_row *rows,
    size_t n, uint64_t *count, kd_error *err)
{
    kd_status status = collection_check_model(c, model_id, err);
    if (status == KD_OK)
        status = check_size(n, err);
    for (size_t i = 0; i < n && status == KD_OK; i++)
        status = check_row(c, &rows[i], err);
    if (status != KD_OK)
        return status;

    pthread_mutex_lock(&c->changes);
    status = collection_check_usable(c, err);
    if (status == KD_OK)
        status = check_columns(c, rows, n, err);
    if (status == KD_OK)
        status = db_upsert(c->db, rows, n, err);
    if (status == KD_OK) {
        pthread_rwlock_wrlock(&c->memory);
        status = remember(c, rows, n, err);
        if (count)
            *count = kd_index_count(c->index);
        pthread_rwlock_unlock(&c->memory);
    }
    pthread_mutex_unlock(&c->changes);
    return status;
}

kd_status collection_remove(
    collection *c, const uint64_t *ids, size_t n, size_t *removed, kd_error *err)
{
    *removed = 0;
    kd_status status = check_size(n, err);
    if (status != KD_OK)
        return status;
    pthread_mutex_lock(&c->changes);
    status = collection_check_usable(c, err);
    if (status == KD_OK)
        status = db_remove(c->db, ids, n, removed, err);
    if (status == KD_OK) {
        pthread_rwlock_wrlock(&c->memory);
        status = kd_index_remove(c->index, n, ids, NULL, err);
        for (size_t i = 0; i < n && status == KD_OK; i++)
            items_remove(c->items, ids[i]);
        pthread_rwlock_unlock(&c->memory);
    }
    pthread_mutex_unlock(&c->changes);
    return status;
}
