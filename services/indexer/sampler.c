#include "services/indexer/sampler.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "services/indexer/collection_internal.h"

enum {
    WAITING = 16,       /* queries */
    ROWS = 8192,        /* searched exactly while memory is locked */
    REMEMBERED = 10000, /* hits; then old ones count half */
    REST = 9,           /* times what one took */
};

struct sampler {
    double share;
    kd_queue *queue; /* owned, of jobs */
    pthread_t thread;
    bool started;
    atomic_bool ends;
    atomic_int_least64_t rests_ns; /* until then what comes is dropped */
    atomic_uint_fast64_t drawn;
    pthread_mutex_t lock; /* of busy */
    pthread_cond_t idle;
    size_t busy; /* jobs that were taken and are not counted */
};

typedef struct job {
    sampler *from;
    collection *c; /* held */
    kd_search engine;
    bool grouped;
    float min_score;
    uint8_t *mask; /* owned, as the next two */
    uint64_t *exclude;
    float query[];
} job;

static void job_free(job *j)
{
    if (!j)
        return;
    collection_release(j->c);
    free(j->mask);
    free(j->exclude);
    free(j);
}

static void *copy_of(const void *bytes, size_t len)
{
    void *const copy = malloc(len);
    if (copy)
        memcpy(copy, bytes, len);
    return copy;
}

/* NULL without memory. */
static job *job_new(sampler *from, collection *c, const kd_search *search, const float *query)
{
    const size_t bytes = c->meta.dim * sizeof *query;
    job *const j = calloc(1, sizeof *j + bytes);
    if (!j)
        return NULL;
    j->from = from;
    j->c = collection_hold(c);
    j->engine = *search;
    j->grouped = search->groups != NULL;
    memcpy(j->query, query, bytes);
    if (search->min_score) {
        j->min_score = *search->min_score;
        j->engine.min_score = &j->min_score;
    }
    if (search->mask)
        j->engine.mask = j->mask = copy_of(search->mask, search->n_tags / 8 + 1);
    if (search->n_exclude)
        j->engine.exclude = j->exclude =
            copy_of(search->exclude, search->n_exclude * sizeof *search->exclude);
    if ((search->mask && !j->mask) || (search->n_exclude && !j->exclude)) {
        job_free(j);
        return NULL;
    }
    return j;
}

static bool is_resting(sampler *s)
{
    return kd_mono_ns() < atomic_load(&s->rests_ns);
}

void sampler_offer(
    sampler *s, collection *c, const kd_search *search, const float *queries, size_t n)
{
    if (is_resting(s))
        return;
    for (size_t q = 0; q < n; q++) {
        uint64_t state = atomic_fetch_add(&s->drawn, 1);
        if ((double)(kd_random_next(&state) >> 11) * 0x1p-53 >= s->share)
            continue;
        job *const j = job_new(s, c, search, queries + q * c->meta.dim);
        pthread_mutex_lock(&s->lock);
        const bool taken = j && kd_queue_try_push(s->queue, j);
        s->busy += taken;
        pthread_mutex_unlock(&s->lock);
        if (!taken)
            job_free(j);
    }
}

/* ---- Running again ---- */

typedef struct answer {
    kd_hit hits[KD_VECTOR_MAX_K];
    uint32_t n;
} answer;

/* A slice of a part, with memory locked; the part's approximate search beside its first slice.
 * *rows is how many the part has. */
static kd_status run_slice(const job *j, const segment *s, size_t from, answer *exact,
    answer *found, size_t *rows, kd_error *err)
{
    const parts *const p = &j->c->parts;
    parts_search how = {.engine = j->engine, .approximate = true, .items = j->c->items};
    how.engine.groups = j->grouped ? items_class_of(j->c->items) : NULL;
    *rows = s ? s->rows.n : kd_index_count(p->growing);
    kd_status status = KD_OK;
    if (from == 0)
        status = parts_search_part(p, s, j->query, &how, found->hits, &found->n, err);
    if (status == KD_OK)
        status = parts_search_rows(p, s, from, ROWS, j->query, &how, exact->hits, &exact->n, err);
    return status;
}

/* False: the segments changed, it is to end, or it failed. */
static bool run_again(const job *j, answer *exact, answer *found)
{
    collection *const c = j->c;
    uint64_t shape = 0;
    bool good = true;
    for (size_t i = 0; i <= PARTS_MOST && good; i++) {
        size_t rows = 1;
        for (size_t from = 0; from < rows && good; from += ROWS) {
            pthread_rwlock_rdlock(&c->memory);
            if (i == 0 && from == 0)
                shape = c->parts.shape;
            const segment *const s = i == 0 ? NULL : c->parts.segments[i - 1];
            good = shape == c->parts.shape && !atomic_load(&j->from->ends);
            if (!s && i > 0)
                rows = 0;
            else if (good)
                good = run_slice(j, s, from, exact, found, &rows, NULL) == KD_OK;
            pthread_rwlock_unlock(&c->memory);
        }
    }
    return good;
}

static void count(const job *j, const answer *exact, const answer *found)
{
    live_recall *const live = &j->c->live;
    uint32_t right = 0;
    for (uint32_t i = 0; i < found->n; i++) /* as good as a true one is right */
        right += found->hits[i].score >= exact->hits[exact->n - 1].score;
    pthread_mutex_lock(&live->lock);
    if (live->expected >= REMEMBERED) {
        live->expected /= 2;
        live->found /= 2;
    }
    live->expected += exact->n;
    live->found += right < exact->n ? right : exact->n;
    live->queries++;
    pthread_mutex_unlock(&live->lock);
}

/* An exact search costs as much as a hundred others: so that a small share of them is no large one
 * of the work, each is followed by a rest. */
static void run(job *j)
{
    answer *const both = calloc(2, sizeof *both);
    const int64_t begun_ns = kd_mono_ns();
    if (both && run_again(j, &both[0], &both[1]) && both[0].n > 0)
        count(j, &both[0], &both[1]);
    const int64_t now_ns = kd_mono_ns();
    atomic_store(&j->from->rests_ns, now_ns + REST * (now_ns - begun_ns));
    free(both);
}

static void *work(void *arg)
{
    sampler *const s = arg;
    kd_thread_background();
    for (job *j; (j = kd_queue_pop(s->queue, -1));) {
        if (!atomic_load(&s->ends) && !is_resting(s))
            run(j);
        job_free(j);
        pthread_mutex_lock(&s->lock);
        if (--s->busy == 0)
            pthread_cond_broadcast(&s->idle);
        pthread_mutex_unlock(&s->lock);
    }
    return NULL;
}

/* ---- Life ---- */

kd_status sampler_new(sampler **out, double share, kd_error *err)
{
    *out = NULL;
    if (!(share >= 0 && share <= 1))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "a share of %g of the queries, allowed are 0 to 1", share);
    sampler *const s = calloc(1, sizeof *s);
    if (!s)
        return kd_error_memory(err, "the recall of live queries");
    s->share = share;
    pthread_mutex_init(&s->lock, NULL);
    kd_cond_init(&s->idle);
    kd_status status = kd_queue_new(&s->queue, WAITING, err);
    if (status == KD_OK && pthread_create(&s->thread, NULL, work, s) != 0)
        status = kd_error_memory(err, "a thread");
    s->started = status == KD_OK;
    if (status != KD_OK) {
        sampler_free(s);
        return status;
    }
    (void)pthread_setname_np(s->thread, "live recall");
    *out = s;
    return KD_OK;
}

void sampler_drain(sampler *s)
{
    pthread_mutex_lock(&s->lock);
    while (s->busy > 0)
        pthread_cond_wait(&s->idle, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

void sampler_free(sampler *s)
{
    if (!s)
        return;
    if (s->started) {
        atomic_store(&s->ends, true); /* what waits is not worth waiting for */
        kd_queue_close(s->queue);
        pthread_join(s->thread, NULL);
    }
    kd_queue_free(s->queue);
    pthread_mutex_destroy(&s->lock);
    pthread_cond_destroy(&s->idle);
    free(s);
}
