/* services/embedder/batches.h: where decoded images wait for the forward: a few batches, each one
 * block of memory with a place for each image of one model. A decoder reserves a place, decodes
 * straight into it, and says how it went; the forward takes the places that lie side by side and
 * are filled, and reads them where they are.
 *
 * Places of a batch are given from the first on; one that is given back is given again. Once the
 * forward has taken from a batch, it gives no more places until it is empty, so that the batches
 * behind it fill up meanwhile. A place whose image is still being decoded parts what lies before it
 * from what lies behind: they are taken one after the other, and nobody waits for a slow image.
 *
 * Memory is bounded: who finds no place waits for one. Safe from any thread; one thread takes. */
#ifndef KD_EMBEDDER_BATCHES_H
#define KD_EMBEDDER_BATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

#define KD_EMBEDDER_BATCHES 3u /* one in the forward, one behind it, one that fills */
#define KD_EMBEDDER_MAX_BATCH 32u

typedef struct batches batches;
typedef struct batch batch;

/* A place that is reserved, with room for the image. */
typedef struct batch_place {
    batch *batch;
    size_t at;
    float *input;
} batch_place;

/* What the forward takes: n images of one model, side by side. */
typedef struct batch_run {
    batch *batch;
    const void *model;
    size_t first, n;
    int64_t found_ns; /* when there was a first image */
    bool at_once;     /* as soon as it was asked for */
    bool after_idle; /* since the run before there was a time when no image was there or expected */
    float *pixels;
    void *images[KD_EMBEDDER_MAX_BATCH]; /* as they were given to batches_filled */
} batch_run;

KD_MUST_CHECK kd_status batches_new(batches **out, kd_error *err);
void batches_free(batches *b); /* once nobody decodes or takes */

/* A place for an image of side × side; waits for one. model tells models apart. KD_UNAVAILABLE once
 * closed, KD_RESOURCE_EXHAUSTED without memory. */
KD_MUST_CHECK kd_status batches_reserve(
    batches *b, const void *model, size_t side, batch_place *out, kd_error *err);
/* An image is on its way, one that has no place yet: until one of the next three. */
void batches_expect(batches *b);
/* It will need none. */
void batches_forget(batches *b);
/* It is in its place; from here on it belongs to whoever takes it. */
void batches_filled(batches *b, const batch_place *p, void *image);
/* There will be none in this place. */
void batches_give_back(batches *b, const batch_place *p);

/* How long a run waits for others to lie beside its first image: while more are expected delay_ms,
 * or 1/KD_EMBEDDER_PATIENCE of what all of them will take in the forward; while none are, if it was
 * there as soon as it was asked for, that share of what those take that are there. */
typedef struct batch_patience {
    int64_t delay_ms, image_ns; /* an image takes so long of late; 0: not known */
} batch_patience;
#define KD_EMBEDDER_PATIENCE 20

/* Takes the oldest, KD_EMBEDDER_MAX_BATCH at most. False once closed and empty. */
bool batches_take(batches *b, const batch_patience *patience, batch_run *out);
/* Takes image i out of a run: the last one moves to its place. */
void batches_drop(batch_run *r, size_t i);
/* The run's places are free again. */
void batches_done(batches *b, const batch_run *r);

/* No more reservations; taking drains what is filled. */
void batches_close(batches *b);

#endif
