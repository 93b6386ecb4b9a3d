/* services/trainer/loader.h: images of a dataset as batches of model input, made ahead by a pool.
 *
 * One thread uses a loader: it begins up to LOADER_AHEAD batches, takes them in that order, and
 * gives each back before it takes the next. Decoded images are kept, shrunk, while they fit a
 * bounded memory. Images that can't be read are left out, counted and named. */
#ifndef KD_TRAINER_LOADER_H
#define KD_TRAINER_LOADER_H

#include "lib/dataset/dataset.h"
#include "lib/image/image.h"

#define LOADER_AHEAD 3u      /* the batch in use and two that are being made */
#define LOADER_MAX_NAMES 20u /* of skipped images */
#define LOADER_CACHE_BYTES (1024u << 20)

typedef struct loader loader;

typedef struct loader_options {
    const kd_dataset *dataset; /* borrowed */
    const char *const *roots;  /* its images must lie below one of them; NULL: anywhere */
    size_t n_roots;
    kd_preprocess preprocess;
    kd_augment augment;
    uint64_t seed; /* of augmentation */
    unsigned threads;
    size_t max_batch;
    size_t cache_bytes;
} loader_options;

KD_MUST_CHECK kd_status loader_new(loader **out, const loader_options *options, kd_error *err);
void loader_free(loader *l);

/* Called now and then in long work with what is done; another status than KD_OK stops it. */
typedef kd_status (*loader_tick)(void *arg, size_t done, kd_error *err);

/* Reads every image once: finds those that are broken and fills the cache. Before anything else.
 * KD_FAILED_PRECONDITION when none can be read; KD_UNAVAILABLE when one can't be for no fault of
 * its own: to leave it out would make another training set of it. */
KD_MUST_CHECK kd_status loader_scan(loader *l, loader_tick tick, void *arg, kd_error *err);
const bool *loader_usable(const loader *l); /* for each image of the dataset; borrowed */

/* Images that could not be read so far; *names: the first LOADER_MAX_NAMES, "path: why". */
size_t loader_skipped(const loader *l, const char *const **names, size_t *n_names);

typedef enum loader_form {
    LOADER_AUGMENTED, /* for training: from the cache, by chance that depends on seed and turn */
    LOADER_PLAIN,     /* for evaluation: as it will be served */
} loader_form;

/* Begins a batch of n images (1..max_batch; copied). turn: what tells this batch from others, the
 * epoch's number and the batch's. */
void loader_begin(loader *l, const uint32_t *images, size_t n, loader_form form, uint64_t turn);

typedef struct loader_batch {
    const float *pixels;    /* n × S × S × 3 */
    const uint32_t *images; /* n image numbers */
    size_t n;               /* those that could be read */
} loader_batch;

/* Waits for the oldest batch that was begun; borrowed until it is given back. */
void loader_take(loader *l, loader_batch *out);
void loader_give_back(loader *l);
size_t loader_begun(const loader *l); /* batches begun and not given back */
void loader_drop(loader *l);          /* waits for all that were begun and forgets them */

#endif
