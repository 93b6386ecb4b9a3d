/* Indexes over segments, and syncs of groups of changes. */
#include "services/indexer/collection_work.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/indexer/collection_internal.h"

enum { AGAIN_MS = 30000 }; /* before an index that failed is tried again */

/* ---- Indexes ---- */

static kd_ann_kind kind_of(collection_index index)
{
    return index == COLLECTION_IVF ? KD_ANN_IVF : KD_ANN_HNSW;
}

static bool fits(const collection *c, const kd_ann *ann)
{
    const collection_settings *const how = &c->settings;
    return ann &&
           kd_ann_made_for(ann, kind_of(collection_in_use(c)), how->storage, how->target_recall);
}

/* Whether s comes before the other: one whose index is to be loaded, then one without any, then the
 * larger. */
static bool is_sooner(const segment *s, const segment *other)
{
    if (s->stored != other->stored)
        return s->stored;
    if (!s->ann != !other->ann)
        return !s->ann;
    return s->rows.n > other->rows.n;
}

segment *collection_unindexed(const collection *c, segment *const *but, size_t n, int64_t now_ms)
{
    segment *found = NULL;
    if (collection_in_use(c) == COLLECTION_EXACT)
        return NULL;
    for (size_t i = 0; i < PARTS_MOST; i++) {
        segment *const s = c->parts.segments[i];
        bool out =
            !s || !s->map || s->busy || s->damaged || s->again_ms > now_ms || fits(c, s->ann);
        for (size_t j = 0; j < n && !out; j++)
            out = s == but[j];
        if (!out && (!found || is_sooner(s, found)))
            found = s;
    }
    return found;
}

static bool go_on(void *arg, size_t done, size_t of)
{
    (void)done;
    (void)of;
    return !atomic_load(&((collection *)arg)->stopped);
}

/* What is in the file, if it is what the settings ask for. */
static void load(collection *c, const segment *s, kd_ann **out)
{
    kd_error err = KD_ERROR_INIT;
    *out = NULL;
    pthread_mutex_lock(&c->files);
    char *const file = segment_file(c->path, s->number, "ann");
    if (file && kd_is_file(file) && kd_ann_load(out, &s->rows, file, &err) != KD_OK) {
        kd_log_error(KD_LOG_ERROR, "index_damaged", &err);
        if (err.status == KD_DATA_LOSS)
            (void)unlink(file);
    }
    free(file);
    pthread_mutex_unlock(&c->files);
}

static kd_status save(collection *c, const segment *s, const kd_ann *ann, kd_error *err)
{
    pthread_mutex_lock(&c->files);
    char *const file = segment_file(c->path, s->number, "ann");
    kd_status status = KD_CANCELLED;
    if (!file)
        status = kd_error_memory(err, "a path");
    else if (!atomic_load(&c->stopped)) /* else the folder may be gone */
        status = kd_ann_save(ann, file, err);
    free(file);
    pthread_mutex_unlock(&c->files);
    return status;
}

static kd_status build(
    collection *c, const segment *s, const kd_ann_options *options, kd_ann **out, kd_error *err)
{
    const int64_t begun = kd_mono_ms();
    kd_status status = kd_ann_build(out, &s->rows, options, err);
    if (status != KD_OK)
        return status;
    KD_LOG(KD_LOG_INFO, "segment_indexed", KD_STR("collection", c->name),
        KD_INT("segment", s->number), KD_INT("rows", s->rows.n),
        KD_STR("kind", options->kind == KD_ANN_IVF ? "ivf" : "hnsw"),
        KD_REAL("recall", kd_ann_recall(*out)), KD_INT("ms", kd_mono_ms() - begun));
    return save(c, s, *out, err); /* one that can't be saved is of use until the end */
}

/* With memory locked for writing: the segment is the caller's until it is no longer busy. */
static segment *take(collection *c, kd_ann_options *options)
{
    segment *const s = c->pending ? c->pending->target : collection_to_index(c);
    options->kind = kind_of(collection_in_use(c));
    options->storage = c->settings.storage;
    options->target_recall = c->settings.target_recall;
    options->pool = c->options.build_pool;
    options->progress = go_on;
    options->progress_arg = c;
    if (s) {
        s->busy = true;
        options->seed = s->number;
    }
    return s;
}

/* Of a merge that has waited for it, also when there is none. */
static void finish(collection *c, merge *m)
{
    pthread_mutex_lock(&c->files);
    if (!atomic_load(&c->stopped)) {
        pthread_rwlock_wrlock(&c->memory);
        c->pending = NULL;
        pthread_rwlock_unlock(&c->memory);
        merge_finish(c, m);
    }
    pthread_mutex_unlock(&c->files);
}

bool collection_build(collection *c)
{
    kd_error err = KD_ERROR_INIT;
    kd_ann *ann = NULL;
    kd_ann_options options = KD_ANN_OPTIONS_INIT;
    if (atomic_load(&c->stopped))
        return false;
    pthread_rwlock_rdlock(&c->memory);
    const bool due = c->pending || collection_to_index(c);
    pthread_rwlock_unlock(&c->memory);
    if (!due)
        return false;
    pthread_rwlock_wrlock(&c->memory);
    merge *const m = c->pending;
    segment *const s = take(c, &options);
    const bool first = s && !s->ann && !m;
    const bool wanted = collection_in_use(c) != COLLECTION_EXACT;
    pthread_rwlock_unlock(&c->memory);
    if (!s)
        return false;
    if (first)
        load(c, s, &ann);
    kd_status status = KD_OK;
    if (!ann && wanted)
        status = build(c, s, &options, &ann, &err);
    pthread_rwlock_wrlock(&c->memory);
    kd_ann *const old = ann ? s->ann : NULL;
    if (ann)
        s->ann = ann;
    s->busy = s->stored = false;
    if (!ann)
        s->again_ms = kd_mono_ms() + AGAIN_MS;
    pthread_rwlock_unlock(&c->memory);
    kd_ann_free(old);
    if (m)
        finish(c, m);
    collection_told(c, &c->problems[COLLECTION_INDEXES], &err);
    return status == KD_OK;
}

/* ---- Durability ---- */

bool collection_sync(collection *c, int64_t *next_ms)
{
    const int64_t since = atomic_load(&c->since_ms);
    const int64_t window = atomic_load(&c->window_ms);
    if (window > 0) { /* a change that comes now is seen in time */
        const int64_t look = kd_mono_ms() + window / 4;
        *next_ms = look < *next_ms ? look : *next_ms;
    }
    if (since == 0)
        return false;
    const int64_t due = since + window / 2; /* the other half is for the sync itself */
    if (kd_mono_ms() < due) {
        *next_ms = due < *next_ms ? due : *next_ms;
        return false;
    }
    kd_error err = KD_ERROR_INIT;
    pthread_mutex_lock(&c->changes);
    atomic_store(&c->since_ms, 0);
    const bool failed = c->unsynced.status != KD_OK;
    char *const path = c->db && !failed ? strdup(c->path) : NULL;
    if (c->db && failed)
        c->unsynced.status = db_checkpoint(c->db, &c->unsynced);
    pthread_mutex_unlock(&c->changes);
    if (path && db_sync(path, &err) != KD_OK) { /* what the disk has is not known any more */
        kd_log_error(KD_LOG_ERROR, "collection_not_synced", &err);
        pthread_mutex_lock(&c->changes);
        c->unsynced = err;
        pthread_mutex_unlock(&c->changes);
    }
    free(path);
    int_least64_t none = 0;
    pthread_mutex_lock(&c->changes);
    if (c->unsynced.status != KD_OK)
        (void)atomic_compare_exchange_strong(&c->since_ms, &none, kd_mono_ms());
    pthread_mutex_unlock(&c->changes);
    return true;
}
