/* Segments come and go: collection_tidy. */
#include "services/indexer/collection_work.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "services/indexer/collection_internal.h"

enum {
    FANOUT = 4,      /* segments of like size that become one */
    MOVED = 4096,    /* rows that change hands at a time */
    DEAD_PART = 4,   /* a segment of which one in so many is dead is written anew */
    WORTH = 1024,    /* rows: fewer are scanned as fast as a graph is walked */
    QUIET_PART = 4,  /* beside its largest segment so much of it is worth an index of all */
    AGAIN_MS = 1000, /* before what failed is tried again */
    TIERS = 32,
};

size_t collection_seal_rows(const collection *c)
{
    const size_t most = COLLECTION_SEAL_BYTES / (c->meta.dim * sizeof(float));
    return c->options.seal_rows < most ? c->options.seal_rows : most;
}

collection_index collection_in_use(const collection *c)
{
    if (c->settings.index != COLLECTION_AUTO)
        return c->settings.index;
    return items_count(c->items) >= c->options.approximate_rows ? COLLECTION_HNSW
                                                                : COLLECTION_EXACT;
}

/* ---- Writing a segment ---- */

static int by_id(const void *left, const void *right)
{
    const segment_pick *a = left, *b = right;
    return (a->id > b->id) - (a->id < b->id);
}

/* What is alive in the sources, by id. */
static kd_status pick(collection *c, segment *const *sources, size_t n, segment_pick **out,
    size_t *n_out, kd_error *err)
{
    size_t most = 1, picked = 0;
    for (size_t i = 0; i < n; i++)
        most += sources[i]->rows.n;
    segment_pick *const picks = malloc(most * sizeof *picks);
    if (!picks)
        return kd_error_memory(err, "the rows of a segment");
    pthread_rwlock_rdlock(&c->memory);
    for (size_t i = 0; i < n; i++) {
        const segment *const s = sources[i];
        for (size_t row = 0; row < s->rows.n; row++)
            if (s->tags[row] != SEGMENT_DEAD)
                picks[picked++] = (segment_pick){s->rows.ids[row], s, (uint32_t)row};
    }
    pthread_rwlock_unlock(&c->memory);
    qsort(picks, picked, sizeof *picks, by_id);
    *out = picks;
    *n_out = picked;
    return KD_OK;
}

static void move_in(collection *c, segment *target, const segment_pick *picks, size_t n)
{
    pthread_rwlock_wrlock(&c->memory);
    parts_add(&c->parts, target);
    pthread_rwlock_unlock(&c->memory);
    for (size_t from = 0; from < n; from += MOVED) {
        pthread_rwlock_wrlock(&c->memory);
        parts_move(&c->parts, target, picks, from, n - from < MOVED ? n : from + MOVED);
        pthread_rwlock_unlock(&c->memory);
    }
}

static void drop(collection *c, segment *const *sources, size_t n)
{
    pthread_rwlock_wrlock(&c->memory);
    for (size_t i = 0; i < n; i++) {
        assert(sources[i]->dead == sources[i]->rows.n);
        parts_drop(&c->parts, sources[i]);
    }
    pthread_rwlock_unlock(&c->memory);
    for (size_t i = 0; i < n; i++) {
        const uint64_t number = sources[i]->number;
        segment_free(sources[i]);
        if (number)
            segment_unlink(c->path, number);
    }
}

void merge_free(merge *m)
{
    if (!m)
        return;
    segment_free(m->target);
    free(m->picks);
    free(m);
}

void merge_finish(collection *c, merge *m)
{
    kd_error err = KD_ERROR_INIT;
    /* one that isn't kept is of use until the end: then its rows are read from the truth */
    if (m->waiting && segment_keep(c->path, m->target->number, &err) != KD_OK)
        kd_log_error(KD_LOG_ERROR, "segment_not_kept", &err);
    if (m->target)
        move_in(c, m->target, m->picks, m->n_picks);
    m->target = NULL; /* it is the collection's */
    drop(c, m->sources, m->n);
    merge_free(m);
}

/* Writes what the sources become; nothing of it shows. */
static kd_status prepare(
    collection *c, segment *const *sources, size_t n, bool waiting, merge **out, kd_error *err)
{
    const char *const ending = waiting ? SEGMENT_WAITING : SEGMENT_FILE;
    merge *const m = calloc(1, sizeof *m);
    if (!m)
        return kd_error_memory(err, "the rows of a segment");
    memcpy(m->sources, sources, n * sizeof *sources);
    m->n = n;
    kd_status status = pick(c, sources, n, &m->picks, &m->n_picks, err);
    if (status == KD_OK && m->n_picks > 0) {
        const uint64_t number = ++c->last_number;
        m->waiting = waiting;
        status = segment_write(
            c->path, number, ending, c->meta.dim, m->picks, m->n_picks, &c->halt, err);
        if (status == KD_OK)
            status = segment_open(&m->target, c->path, number, ending, c->meta.dim, err);
        if (status != KD_OK)
            segment_unlink(c->path, number);
    }
    if (status == KD_OK) {
        *out = m;
    } else {
        merge_free(m);
    }
    return status;
}

kd_status collection_rewrite(collection *c, segment *const *sources, size_t n, kd_error *err)
{
    merge *m = NULL;
    bool indexed = false;
    pthread_rwlock_rdlock(&c->memory);
    for (size_t i = 0; i < n; i++)
        indexed |= sources[i]->ann != NULL;
    const bool later = indexed && collection_in_use(c) != COLLECTION_EXACT && !c->pending;
    pthread_rwlock_unlock(&c->memory);
    const kd_status status = prepare(c, sources, n, later, &m, err);
    if (status != KD_OK)
        return status;
    if (m->waiting) {
        pthread_rwlock_wrlock(&c->memory);
        c->pending = m;
        pthread_rwlock_unlock(&c->memory);
    } else {
        merge_finish(c, m);
    }
    return KD_OK;
}

kd_status collection_freeze(collection *c, kd_error *err)
{
    kd_index *empty = NULL;
    segment *frozen = NULL;
    kd_status status = kd_index_new(&empty, c->meta.dim, err);
    pthread_mutex_lock(&c->changes); /* so that the growing part stays as it is */
    if (status == KD_OK)
        status = segment_freeze(&frozen, c->parts.growing, err);
    if (status == KD_OK) {
        pthread_rwlock_wrlock(&c->memory);
        parts_freeze(&c->parts, frozen, empty);
        pthread_rwlock_unlock(&c->memory);
        empty = NULL;
    }
    pthread_mutex_unlock(&c->changes);
    kd_index_free(empty);
    return status;
}

/* ---- What to do ---- */

typedef struct job {
    enum { NOTHING, FREEZE, REWRITE, RESCUE, DROP_INDEX } what;
    segment *sources[PARTS_MOST];
    size_t n;
} job;

static void add(job *j, segment *s)
{
    j->sources[j->n++] = s;
}

static size_t tier_of(const collection *c, const segment *s)
{
    size_t tier = 0;
    for (size_t rows = collection_seal_rows(c) * 2; s->rows.n - s->dead >= rows; rows *= FANOUT)
        tier++;
    return tier;
}

/* One merge at a time waits for its index, and none knows what it would drop before the sources'
 * indexes are loaded. */
static bool may_merge(const collection *c, const segment *s)
{
    return !s->busy && !s->damaged && !(c->pending && s->ann) &&
           !(s->stored && collection_in_use(c) != COLLECTION_EXACT);
}

/* Segments of like size, the smallest first. */
static void choose_merge(const collection *c, job *j)
{
    size_t counts[TIERS] = {0}, rows[TIERS] = {0}, tier = 0;
    for (size_t i = 0; i < PARTS_MOST; i++) {
        const segment *const s = c->parts.segments[i];
        if (s && may_merge(c, s)) {
            counts[tier_of(c, s)]++;
            rows[tier_of(c, s)] += s->rows.n - s->dead;
        }
    }
    while (tier < TIERS && (counts[tier] < FANOUT || rows[tier] > COLLECTION_MERGE_ROWS))
        tier++;
    if (tier == TIERS)
        return;
    for (size_t i = 0; i < PARTS_MOST; i++) {
        segment *const s = c->parts.segments[i];
        if (s && may_merge(c, s) && tier_of(c, s) == tier)
            add(j, s);
    }
    j->what = REWRITE;
}

static bool unwanted_index(const collection *c, const segment *s)
{
    if (!s->ann || s->busy)
        return false;
    if (c->settings.index == COLLECTION_AUTO) /* not to and fro around the limit */
        return items_count(c->items) < c->options.approximate_rows / 2;
    return c->settings.index == COLLECTION_EXACT;
}

static bool want(job *j, segment *s, int what)
{
    j->what = what;
    add(j, s);
    return true;
}

/* A catalogue that is complete should not have its last images scanned for good, nor several
 * indexes walked for each query. */
static bool is_quiet(const collection *c)
{
    return collection_in_use(c) != COLLECTION_EXACT &&
           kd_index_count(c->parts.growing) == c->grown &&
           kd_mono_ms() - c->grown_ms >= c->options.quiet_ms;
}

/* All of them to one, once there is nothing else to do. */
static void choose_quiet_merge(const collection *c, job *j)
{
    size_t rows = 0, largest = 0, n = 0;
    if (!is_quiet(c) || c->pending || collection_unindexed(c, NULL, 0, INT64_MAX))
        return;
    for (size_t i = 0; i < PARTS_MOST; i++) {
        const segment *const s = c->parts.segments[i];
        if (!s)
            continue;
        if (!may_merge(c, s))
            return;
        const size_t alive = s->rows.n - s->dead;
        rows += alive;
        largest = alive > largest ? alive : largest;
        n++;
    }
    if (n < 2 || rows > COLLECTION_MERGE_ROWS || (rows - largest) * QUIET_PART < largest)
        return;
    for (size_t i = 0; i < PARTS_MOST; i++)
        if (c->parts.segments[i])
            (void)want(j, c->parts.segments[i], REWRITE);
}

/* What makes room on the disk comes first. */
static void choose(const collection *c, job *j)
{
    segment *const *const all = c->parts.segments;
    *j = (job){.what = NOTHING};
    for (size_t i = 0; i < PARTS_MOST; i++)
        if (all[i] && !all[i]->busy && all[i]->dead == all[i]->rows.n && want(j, all[i], REWRITE))
            return;
    for (size_t i = 0; i < PARTS_MOST; i++)
        if (all[i] && unwanted_index(c, all[i]) && want(j, all[i], DROP_INDEX))
            return;
    for (size_t i = 0; i < PARTS_MOST; i++)
        if (all[i] && all[i]->frozen)
            (void)want(j, all[i], REWRITE);
    if (j->n > 0)
        return;
    const size_t growing = kd_index_count(c->parts.growing);
    if ((growing >= collection_seal_rows(c) || (growing >= WORTH && is_quiet(c))) &&
        !parts_full(&c->parts)) {
        j->what = FREEZE;
        return;
    }
    for (size_t i = 0; i < PARTS_MOST; i++) {
        segment *const s = all[i];
        if (!s || s->busy)
            continue;
        if (s->damaged && want(j, s, RESCUE))
            return;
        if (s->dead * DEAD_PART >= s->rows.n && may_merge(c, s) && want(j, s, REWRITE))
            return;
    }
    choose_merge(c, j);
    if (j->what == NOTHING)
        choose_quiet_merge(c, j);
}

bool collection_has_work(const collection *c)
{
    job j;
    for (size_t i = 0; i < PARTS_MOST; i++)
        if (c->parts.segments[i] && c->parts.segments[i]->busy)
            return true;
    choose(c, &j);
    return j.what != NOTHING || collection_unindexed(c, NULL, 0, INT64_MAX) != NULL;
}

segment *collection_to_index(const collection *c)
{
    job j; /* what is to be merged now is not worth it */
    choose(c, &j);
    return collection_unindexed(c, j.sources, j.n, kd_mono_ms());
}

/* ---- Doing it ---- */

static void drop_index(collection *c, segment *s)
{
    pthread_rwlock_wrlock(&c->memory);
    kd_ann *const ann = s->ann;
    s->ann = NULL;
    pthread_rwlock_unlock(&c->memory);
    kd_ann_free(ann);
    segment_unlink_index(c->path, s->number);
}

/* Rows of a segment that was damaged after it was mapped go to the growing part again, read from
 * the truth; as many as make a segment. */
static kd_status rescue(collection *c, segment *s, kd_error *err)
{
    float *const vector = malloc(c->meta.dim * sizeof *vector);
    kd_status status = vector ? KD_OK : kd_error_memory(err, "a vector");
    const size_t most = collection_seal_rows(c);
    for (size_t row = 0, n = 0; row < s->rows.n && n < most && status == KD_OK; row++) {
        pthread_mutex_lock(&c->changes);
        const uint32_t place = s->tags[row];
        if (place != SEGMENT_DEAD) {
            const uint64_t id = s->rows.ids[row];
            status = collection_check_open(c, err);
            if (status == KD_OK)
                status = db_vector(c->db, id, s->hashes[row], vector, err);
            if (status == KD_OK) {
                pthread_rwlock_wrlock(&c->memory);
                status = parts_put(&c->parts, 1, &id, &place, vector, err);
                pthread_rwlock_unlock(&c->memory);
            }
            n++;
        }
        pthread_mutex_unlock(&c->changes);
    }
    free(vector);
    return status;
}

static void set_busy(const job *j, bool busy)
{
    for (size_t i = 0; i < j->n; i++)
        j->sources[i]->busy = busy;
}

static kd_status run(collection *c, const job *j, kd_error *err)
{
    kd_status status = KD_OK;
    switch (j->what) {
    case FREEZE:
        return collection_freeze(c, err);
    case REWRITE:
        status = collection_rewrite(c, j->sources, j->n, err);
        break;
    case RESCUE:
        status = rescue(c, j->sources[0], err);
        break;
    case DROP_INDEX:
        drop_index(c, j->sources[0]);
        break;
    default:
        break;
    }
    if (j->what == REWRITE && status == KD_OK)
        return KD_OK; /* they are gone */
    pthread_rwlock_wrlock(&c->memory);
    set_busy(j, false);
    for (size_t i = 0; i < j->n && status == KD_DATA_LOSS && j->what == REWRITE; i++)
        j->sources[i]->damaged = j->sources[i]->hashes != NULL;
    pthread_rwlock_unlock(&c->memory);
    return status;
}

void collection_told(collection *c, kd_error *kept, const kd_error *now)
{
    if (now->status != KD_OK && now->status != KD_CANCELLED &&
        strcmp(kept->message, now->message) != 0)
        kd_log_error(KD_LOG_ERROR, "segments_failed", now);
    pthread_rwlock_wrlock(&c->memory);
    if (now->status != KD_CANCELLED)
        *kept = *now;
    pthread_rwlock_unlock(&c->memory);
}

static void watch_growth(collection *c)
{
    pthread_rwlock_rdlock(&c->memory);
    const size_t growing = kd_index_count(c->parts.growing);
    const bool same = growing == c->grown;
    pthread_rwlock_unlock(&c->memory);
    if (same)
        return;
    pthread_rwlock_wrlock(&c->memory);
    c->grown = growing;
    c->grown_ms = kd_mono_ms();
    pthread_rwlock_unlock(&c->memory);
}

bool collection_tidy(collection *c)
{
    kd_error err = KD_ERROR_INIT;
    job j;
    if (atomic_load(&c->stopped) || kd_mono_ms() < c->again_ms)
        return false;
    pthread_mutex_lock(&c->files);
    if (atomic_load(&c->stopped)) {
        pthread_mutex_unlock(&c->files);
        return false;
    }
    watch_growth(c);
    pthread_rwlock_rdlock(&c->memory);
    choose(c, &j);
    pthread_rwlock_unlock(&c->memory);
    if (j.what != NOTHING) { /* and only then: searches wait for who waits to write */
        pthread_rwlock_wrlock(&c->memory);
        choose(c, &j);
        set_busy(&j, true);
        pthread_rwlock_unlock(&c->memory);
    }
    if (j.what != NOTHING) {
        if (run(c, &j, &err) != KD_OK && err.status != KD_CANCELLED)
            c->again_ms = kd_mono_ms() + AGAIN_MS;
        collection_told(c, &c->problems[COLLECTION_FILES], &err);
    }
    pthread_mutex_unlock(&c->files);
    return j.what != NOTHING && err.status == KD_OK;
}

void collection_stop_work(collection *c)
{
    atomic_store(&c->stopped, true);
    atomic_store(&c->halt, true);
}
