#include "services/indexer/collection_work.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/indexer/collection_internal.h"

/* ---- Life ---- */

static void collection_free(collection *c)
{
    kd_error err = KD_ERROR_INIT;
    if (c->db && atomic_load(&c->since_ms) != 0 && db_sync(c->path, &err) != KD_OK)
        kd_log_error(KD_LOG_ERROR, "collection_not_synced", &err);
    db_close(c->db);
    if (c->pending) /* searches have more of the sources' indexes */
        segment_unlink(c->path, c->pending->target->number);
    merge_free(c->pending);
    parts_clear(&c->parts);
    items_free(c->items);
    pthread_mutex_destroy(&c->files);
    keys_free(c->keys);
    pthread_mutex_destroy(&c->changes);
    pthread_rwlock_destroy(&c->memory);
    pthread_mutex_destroy(&c->live.lock);
    free(c->path);
    free(c);
}

static void init_locks(collection *c)
{
    pthread_rwlockattr_t attributes;
    pthread_mutex_init(&c->files, NULL);
    pthread_mutex_init(&c->changes, NULL);
    pthread_mutex_init(&c->live.lock, NULL);
    /* Searches that keep coming must not keep a change waiting for good. */
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&c->memory, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

static void take_options(collection *c, const collection_options *options)
{
    if (options)
        c->options = *options;
    if (c->options.seal_rows == 0)
        c->options.seal_rows = COLLECTION_SEAL_ROWS;
    if (c->options.approximate_rows == 0)
        c->options.approximate_rows = COLLECTION_APPROXIMATE_ROWS;
    if (c->options.quiet_ms == 0)
        c->options.quiet_ms = COLLECTION_QUIET_MS;
    c->grown_ms = kd_mono_ms();
}

static void take_settings(collection *c, const collection_settings *settings)
{
    c->settings = *settings;
    atomic_store(&c->window_ms, settings->durability_window_ms);
}

kd_status collection_open(collection **out, const char *path, const char *name,
    const collection_options *options, kd_error *err)
{
    *out = NULL;
    collection *const c = calloc(1, sizeof *c);
    if (!c)
        return kd_error_memory(err, "a collection");
    atomic_init(&c->holders, 1);
    (void)kd_copy(c->name, sizeof c->name, name);
    init_locks(c);
    take_options(c, options);
    c->path = strdup(path);
    kd_status status = c->path ? KD_OK : kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = db_open(&c->db, path, name, &c->meta, err);
    if (status == KD_OK)
        status = parts_init(&c->parts, c->meta.dim, err);
    if (status == KD_OK)
        status = items_new(&c->items, err);
    if (status == KD_OK)
        status = keys_new(&c->keys, err);
    if (status == KD_OK)
        status = collection_load(c, err);
    if (status != KD_OK) {
        collection_free(c);
        return status;
    }
    take_settings(c, &c->meta.settings);
    *out = c;
    return KD_OK;
}

kd_status collection_create(collection **out, const char *path, const char *name,
    const char *model_id, size_t dim, const collection_options *options, kd_error *err)
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
    db_meta meta = {.dim = dim, .created_ms = kd_wall_ms(), .settings = COLLECTION_SETTINGS_INIT};
    (void)kd_copy(meta.model_id, sizeof meta.model_id, model_id);
    status = db_create(path, name, &meta, err);
    if (status == KD_OK)
        status = collection_open(out, path, name, options, err);
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

/* Soon, whatever is written. */
static void lock_files(collection *c)
{
    atomic_store(&c->halt, true);
    pthread_mutex_lock(&c->files);
    atomic_store(&c->halt, false);
}

kd_status collection_move(collection *c, const char *path, kd_error *err)
{
    char *const copy = strdup(path);
    if (!copy)
        return kd_error_memory(err, "a path");
    lock_files(c);
    pthread_mutex_lock(&c->changes);
    db_close(c->db);
    c->db = NULL;
    const kd_status status = move_closed(c, path, err);
    if (status == KD_OK) {
        pthread_rwlock_wrlock(&c->memory); /* descriptions wait for no change */
        free(c->path);
        c->path = copy;
        pthread_rwlock_unlock(&c->memory);
    } else {
        db_meta meta;
        free(copy);
        if (db_open(&c->db, c->path, c->name, &meta, NULL) != KD_OK)
            c->db = NULL; /* changes are refused from now on */
    }
    pthread_mutex_unlock(&c->changes);
    pthread_mutex_unlock(&c->files);
    return status;
}

void collection_retire(collection *c)
{
    collection_stop_work(c);
    lock_files(c);
    pthread_mutex_lock(&c->changes);
    c->retired = true;
    db_close(c->db);
    c->db = NULL;
    pthread_mutex_unlock(&c->changes);
    pthread_mutex_unlock(&c->files);
}

kd_status collection_reconfigure(collection *c,
    kd_status (*change)(void *arg, collection_settings *settings, kd_error *err), void *arg,
    kd_error *err)
{
    pthread_mutex_lock(&c->changes);
    collection_settings settings = c->settings; /* which nobody else changes meanwhile */
    kd_status status = change(arg, &settings, err);
    if (status == KD_OK)
        status = collection_settings_check(&settings, err);
    if (status == KD_OK)
        status = collection_check_usable(c, err);
    if (status == KD_OK)
        status = db_set(c->db, &settings, err);
    if (status == KD_OK) {
        pthread_rwlock_wrlock(&c->memory);
        take_settings(c, &settings);
        pthread_rwlock_unlock(&c->memory);
    }
    pthread_mutex_unlock(&c->changes);
    return status;
}

static kd_status replace(void *arg, collection_settings *settings, kd_error *err)
{
    (void)err;
    *settings = *(const collection_settings *)arg;
    return KD_OK;
}

kd_status collection_configure(collection *c, const collection_settings *settings, kd_error *err)
{
    collection_settings all = *settings;
    return collection_reconfigure(c, replace, &all, err);
}

/* ---- Changes ---- */

static kd_status check_text(
    const collection_item *item, const char *what, const char *text, size_t most, kd_error *err)
{
    char label[COLLECTION_LABEL_SIZE];
    const size_t len = strlen(text);
    if (len > most)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the %s of %s has %zu bytes, allowed are %zu",
            what, collection_label(item, label), len, most);
    if (!kd_utf8_valid(text, len))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the %s of %s is not valid UTF-8", what,
            collection_label(item, label));
    return KD_OK;
}

static kd_status check_row(const collection *c, const collection_row *row, kd_error *err)
{
    const collection_item *const item = &row->item;
    char label[COLLECTION_LABEL_SIZE];
    if (item->key && *item->key == '\0')
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the key of an image is empty");
    kd_status status =
        item->key ? check_text(item, "key", item->key, COLLECTION_MAX_KEY, err) : KD_OK;
    if (status != KD_OK)
        return status;
    if (!item->key && item->image_id > COLLECTION_MAX_ID)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "image id %" PRIu64 " is over the limit of %" PRIu64, item->image_id,
            (uint64_t)COLLECTION_MAX_ID);
    if (row->n_values != c->meta.dim)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the vector of %s has %zu values, those of collection '%s' have %zu",
            collection_label(item, label), row->n_values, c->name, c->meta.dim);
    status = check_text(item, "class name", item->class_name, COLLECTION_MAX_LABEL, err);
    if (status == KD_OK)
        status =
            check_text(item, "super-class name", item->super_class_name, COLLECTION_MAX_LABEL, err);
    if (status == KD_OK)
        status = check_text(item, "URI", item->uri, COLLECTION_MAX_URI, err);
    if (status == KD_OK) {
        char what[COLLECTION_LABEL_SIZE + 16];
        (void)snprintf(what, sizeof what, "the vector of %s", collection_label(item, label));
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

kd_status collection_check_open(const collection *c, kd_error *err)
{
    if (c->retired)
        return kd_error_set(err, KD_NOT_FOUND, "collection '%s' was deleted or replaced", c->name);
    if (!c->db)
        return kd_error_set(err, KD_UNAVAILABLE, "the file of collection '%s' is closed", c->name);
    return KD_OK;
}

kd_status collection_check_usable(const collection *c, kd_error *err)
{
    const kd_status status = collection_check_open(c, err);
    if (status != KD_OK || c->unsynced.status == KD_OK)
        return status;
    if (err)
        *err = c->unsynced;
    return c->unsynced.status;
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

/* Into memory only. What was validated when it came in can fail here only for lack of memory. */
static kd_status remember(collection *c, const collection_row *rows, size_t n, kd_error *err)
{
    const size_t dim = c->meta.dim;
    kd_status status = KD_OK;
    uint64_t *const ids = malloc(n * sizeof *ids);
    uint32_t *const places = malloc(n * sizeof *places);
    float *const values = malloc(n * dim * sizeof *values);
    if (!ids || !places || !values)
        status = kd_error_memory(err, "a change of a collection");
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        ids[i] = rows[i].item.image_id;
        memcpy(values + i * dim, rows[i].values, dim * sizeof *values);
    }
    pthread_rwlock_wrlock(&c->memory);
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        status = items_put(c->items, &rows[i].item, err);
        if (status == KD_OK)
            status = keys_put(c->keys, ids[i], rows[i].item.key, err);
        if (status == KD_OK)
            places[i] = items_place(c->items, ids[i]);
    }
    if (status == KD_OK)
        status = parts_put(&c->parts, n, ids, places, values, err);
    pthread_rwlock_unlock(&c->memory);
    free(ids);
    free(places);
    free(values);
    return status;
}

/* A change was committed. */
static void begin_window(collection *c)
{
    int_least64_t none = 0;
    if (atomic_load(&c->window_ms) > 0)
        (void)atomic_compare_exchange_strong(&c->since_ms, &none, kd_mono_ms());
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
    collection_row *numbered = NULL;
    if (status == KD_OK)
        status = collection_number(c, rows, n, &numbered, err);
    if (status == KD_OK)
        status = db_upsert(c->db, numbered, n, err);
    if (status == KD_OK) {
        begin_window(c);
        status = remember(c, numbered, n, err);
        if (count)
            *count = items_count(c->items);
    }
    pthread_mutex_unlock(&c->changes);
    free(numbered);
    return status;
}

/* Those that are there, with their places. */
static kd_status forget(collection *c, uint64_t *ids, uint32_t *places, size_t n, kd_error *err)
{
    size_t there = 0;
    pthread_rwlock_wrlock(&c->memory);
    for (size_t i = 0; i < n; i++)
        if (items_find_place(c->items, ids[i], &places[there]))
            ids[there++] = ids[i];
    const kd_status status = parts_remove(&c->parts, ids, places, there, err);
    for (size_t i = 0; i < there && status == KD_OK; i++) {
        keys_remove(c->keys, ids[i]);
        items_remove(c->items, ids[i]);
    }
    pthread_rwlock_unlock(&c->memory);
    return status;
}

kd_status collection_remove(
    collection *c, const uint64_t *ids, size_t n, size_t *removed, kd_error *err)
{
    *removed = 0;
    kd_status status = check_size(n, err);
    if (status != KD_OK)
        return status;
    uint64_t *const there = malloc(n * sizeof *there);
    uint32_t *const places = malloc(n * sizeof *places);
    if (!there || !places)
        status = kd_error_memory(err, "a change of a collection");
    else
        memcpy(there, ids, n * sizeof *there);
    pthread_mutex_lock(&c->changes);
    if (status == KD_OK)
        status = collection_check_usable(c, err);
    if (status == KD_OK)
        status = db_remove(c->db, ids, n, removed, err);
    if (status == KD_OK) {
        begin_window(c);
        status = forget(c, there, places, n, err);
    }
    pthread_mutex_unlock(&c->changes);
    free(there);
    free(places);
    return status;
}
