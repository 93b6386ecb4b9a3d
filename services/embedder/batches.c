#include "services/embedder/batches.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"

typedef enum place_state { PLACE_FREE, PLACE_BUSY, PLACE_FILLED, PLACE_TAKEN } place_state;

struct batch {
    const void *model; /* NULL: none has it */
    uint64_t number;   /* lower is older */
    bool sealed;       /* taken from: gives no places until it is empty */
    size_t used;       /* places that are not free */
    float *pixels;     /* owned */
    size_t room;       /* floats of one image that pixels is made for… */
    size_t size;       /* …and that one of this model has */
    place_state states[KD_EMBEDDER_MAX_BATCH];
    void *images[KD_EMBEDDER_MAX_BATCH];
};

struct batches {
    pthread_mutex_t mutex; /* guards all but the pixels of places, never held while they are used */
    pthread_cond_t has_room, has_image;
    batch all[KD_EMBEDDER_BATCHES];
    uint64_t next_number;
    int expected;
    bool idle; /* since the last take none was there or expected, at some time */
    bool closed;
};

kd_status batches_new(batches **out, kd_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return kd_error_memory(err, "the batches");
    pthread_mutex_init(&(*out)->mutex, NULL);
    kd_cond_init(&(*out)->has_room);
    kd_cond_init(&(*out)->has_image);
    (*out)->idle = true;
    return KD_OK;
}

void batches_free(batches *b)
{
    if (!b)
        return;
    for (size_t i = 0; i < KD_EMBEDDER_BATCHES; i++)
        free(b->all[i].pixels);
    pthread_cond_destroy(&b->has_room);
    pthread_cond_destroy(&b->has_image);
    pthread_mutex_destroy(&b->mutex);
    free(b);
}

/* ---- Places; mutex held ---- */

/* Where the model's next image goes: its own batch that has room, else one that nobody has. */
static batch *find_room(batches *b, const void *model)
{
    batch *empty = NULL;
    for (size_t i = 0; i < KD_EMBEDDER_BATCHES; i++) {
        batch *const one = &b->all[i];
        if (one->model == model && !one->sealed && one->used < KD_EMBEDDER_MAX_BATCH)
            return one;
        if (!one->model && (!empty || one->room > empty->room))
            empty = one;
    }
    return empty;
}

static kd_status begin(batches *b, batch *one, const void *model, size_t size, kd_error *err)
{
    if (one->room < size) { /* a model of larger images than it ever had */
        free(one->pixels);
        one->room = 0;
        one->pixels = malloc(KD_EMBEDDER_MAX_BATCH * size * sizeof *one->pixels);
        if (!one->pixels)
            return kd_error_memory(err, "a batch");
        one->room = size;
    }
    one->model = model;
    one->size = size;
    one->sealed = false;
    one->number = b->next_number++;
    return KD_OK;
}

static void free_place(batches *b, batch *one, size_t at)
{
    one->states[at] = PLACE_FREE;
    if (--one->used == 0)
        one->model = NULL;
    pthread_cond_broadcast(&b->has_room); /* those who wait are of different models */
}

static void give_place(batch *one, batch_place *out)
{
    size_t at = 0;
    while (one->states[at] != PLACE_FREE)
        at++;
    one->states[at] = PLACE_BUSY;
    one->used++;
    *out = (batch_place){one, at, one->pixels + at * one->size};
}

kd_status batches_reserve(
    batches *b, const void *model, size_t side, batch_place *out, kd_error *err)
{
    kd_status status = KD_OK;
    batch *one = NULL;
    pthread_mutex_lock(&b->mutex);
    while (!b->closed && !(one = find_room(b, model)))
        pthread_cond_wait(&b->has_room, &b->mutex);
    if (!one)
        status = kd_error_set(err, KD_UNAVAILABLE, "the embedder is shutting down");
    else if (!one->model)
        status = begin(b, one, model, side * side * 3, err);
    if (one && status == KD_OK)
        give_place(one, out);
    pthread_mutex_unlock(&b->mutex);
    return status;
}

/* Mutex held. The first filled places side by side of the oldest batch that has any. */
static bool find_run(batches *b, batch_run *out)
{
    out->batch = NULL;
    for (size_t i = 0; i < KD_EMBEDDER_BATCHES; i++) {
        batch *const one = &b->all[i];
        size_t first = 0;
        if (!one->model || (out->batch && out->batch->number < one->number))
            continue;
        while (first < KD_EMBEDDER_MAX_BATCH && one->states[first] != PLACE_FILLED)
            first++;
        if (first == KD_EMBEDDER_MAX_BATCH)
            continue;
        out->batch = one;
        out->first = first;
    }
    if (!out->batch)
        return false;
    out->n = 0;
    while (out->first + out->n < KD_EMBEDDER_MAX_BATCH &&
           out->batch->states[out->first + out->n] == PLACE_FILLED)
        out->n++;
    return true;
}

/* Mutex held. */
static void note_idle(batches *b)
{
    batch_run next;
    if (b->expected == 0 && !find_run(b, &next))
        b->idle = true;
}

void batches_expect(batches *b)
{
    pthread_mutex_lock(&b->mutex);
    b->expected++;
    pthread_mutex_unlock(&b->mutex);
}

void batches_forget(batches *b)
{
    pthread_mutex_lock(&b->mutex);
    if (--b->expected == 0)
        pthread_cond_signal(&b->has_image); /* a take need not wait for it */
    note_idle(b);
    pthread_mutex_unlock(&b->mutex);
}

void batches_filled(batches *b, const batch_place *p, void *image)
{
    pthread_mutex_lock(&b->mutex);
    p->batch->states[p->at] = PLACE_FILLED;
    p->batch->images[p->at] = image;
    b->expected--;
    pthread_cond_signal(&b->has_image);
    pthread_mutex_unlock(&b->mutex);
}

void batches_give_back(batches *b, const batch_place *p)
{
    pthread_mutex_lock(&b->mutex);
    free_place(b, p->batch, p->at);
    b->expected--;
    note_idle(b);
    pthread_cond_signal(&b->has_image); /* a take may wait for it, or be over by it */
    pthread_mutex_unlock(&b->mutex);
}

/* ---- Runs ---- */

/* Mutex held. */
static bool is_empty(const batches *b)
{
    for (size_t i = 0; i < KD_EMBEDDER_BATCHES; i++)
        if (b->all[i].model)
            return false;
    return true;
}

/* Mutex held. How long the run still waits for others to come beside it, ns. A sealed batch gives
 * no more places, so its run can't grow but by those that are being decoded, which a next run
 * takes. Between two runs it waits for clients that were just answered as well: where they are as
 * many as a batch has places, they would else fall into two halves for good, of which one is in the
 * forward while the other is decoded. */
static int64_t patience_left(const batches *b, const batch_run *r, const batch_patience *patience)
{
    const int64_t delay_ns = patience->delay_ms * 1000000;
    const int64_t share_ns =
        ((int64_t)r->n + b->expected) * patience->image_ns / KD_EMBEDDER_PATIENCE;
    int64_t most_ns = 0;
    if (r->n == KD_EMBEDDER_MAX_BATCH || r->batch->sealed || b->closed)
        return 0;
    if (b->expected > 0)
        most_ns = share_ns > delay_ns ? share_ns : delay_ns;
    else if (r->at_once)
        most_ns = share_ns;
    return most_ns - (kd_mono_ns() - r->found_ns);
}

static void take(batch_run *out)
{
    batch *const one = out->batch;
    one->sealed = true;
    out->model = one->model;
    out->pixels = one->pixels + out->first * one->size;
    for (size_t i = 0; i < out->n; i++) {
        one->states[out->first + i] = PLACE_TAKEN;
        out->images[i] = one->images[out->first + i];
    }
}

bool batches_take(batches *b, const batch_patience *patience, batch_run *out)
{
    bool found;
    pthread_mutex_lock(&b->mutex);
    out->at_once = true;
    while (!(found = find_run(b, out)) && !(b->closed && is_empty(b))) {
        out->at_once = false;
        pthread_cond_wait(&b->has_image, &b->mutex);
    }
    out->found_ns = kd_mono_ns();
    for (int64_t left; found && (left = patience_left(b, out, patience)) > 0;) {
        const struct timespec until = kd_mono_after((left + 999999) / 1000000);
        (void)pthread_cond_timedwait(&b->has_image, &b->mutex, &until);
        (void)find_run(b, out); /* what was there still is: one thread takes */
    }
    if (found) {
        take(out);
        out->after_idle = b->idle;
        b->idle = false;
        note_idle(b);
    }
    pthread_mutex_unlock(&b->mutex);
    return found;
}

void batches_drop(batch_run *r, size_t i)
{
    const size_t last = --r->n, size = r->batch->size;
    if (i == last)
        return;
    memcpy(r->pixels + i * size, r->pixels + last * size, size * sizeof *r->pixels);
    r->images[i] = r->images[last];
}

void batches_done(batches *b, const batch_run *r)
{
    pthread_mutex_lock(&b->mutex);
    for (size_t i = 0; i < KD_EMBEDDER_MAX_BATCH; i++)
        if (r->batch->states[i] == PLACE_TAKEN) /* this run's: one thread takes, one at a time */
            free_place(b, r->batch, i);
    if (b->closed)
        pthread_cond_signal(&b->has_image);
    pthread_mutex_unlock(&b->mutex);
}

void batches_close(batches *b)
{
    pthread_mutex_lock(&b->mutex);
    b->closed = true;
    pthread_cond_broadcast(&b->has_room);
    pthread_cond_broadcast(&b->has_image);
    pthread_mutex_unlock(&b->mutex);
}
