#include "services/trainer/loader.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/thread.h"

/* The short side of a kept image is this many times the model's: a crop of half the area (0.7 of
 * each side) is then hardly enlarged. */
#define KEEP_SCALE 1.2
#define SCAN_CHUNK 64u

typedef struct slot slot;

typedef struct row {
    loader *loader;
    slot *slot;
    size_t number;
} row;

/* A batch in the making. */
struct slot {
    float *pixels; /* max_batch × S × S × 3; made at first use */
    uint32_t *images;
    bool *good;
    row *rows;
    size_t n;
    loader_form form;
    uint64_t turn;
    size_t missing; /* rows that are not made yet; under the loader's lock */
};

struct loader {
    loader_options options;
    const kd_item *items;
    size_t n_items;
    kd_pool *pool;
    bool *usable;
    kd_image *cache; /* one for each image; without pixels where it is not kept */
    atomic_size_t cached_bytes;
    slot slots[LOADER_AHEAD];
    size_t first, begun; /* the ring's oldest slot and how many are in use */
    pthread_mutex_t lock;
    pthread_cond_t made;
    size_t skipped; /* under the lock, as are the names */
    char *names[LOADER_MAX_NAMES];
    size_t n_names;
};

static size_t row_floats(const loader *l)
{
    const size_t side = l->options.preprocess.image_size;
    return side * side * 3;
}

/* ---- Reading one image ---- */

/* KD_UNAVAILABLE when it is no fault of the image's. */
static kd_status read_bytes(const loader *l, uint32_t image, kd_buf *bytes, kd_error *err)
{
    char *const path = kd_dataset_full_path(l->options.dataset, &l->items[image]);
    if (!path)
        return kd_error_set(err, KD_UNAVAILABLE, "no memory for a path");
    kd_error why = KD_ERROR_INIT;
    kd_status status = l->options.roots ? kd_file_read_under(path, l->options.roots,
                                              l->options.n_roots, KD_IMAGE_MAX_BYTES, bytes, &why)
                                        : kd_file_read(path, KD_IMAGE_MAX_BYTES, bytes, &why);
    if (status != KD_OK) {
        if (kd_file_read_may_pass(path, KD_IMAGE_MAX_BYTES, status))
            status = KD_UNAVAILABLE;
        (void)kd_error_set(err, status, "%s", why.message);
    }
    free(path);
    return status;
}

/* Decodes, and shrinks what is much larger than the model's input. */
static kd_status read_small(const loader *l, uint32_t image, kd_image *out, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    kd_image whole = KD_IMAGE_INIT;
    kd_status status = read_bytes(l, image, &bytes, err);
    if (status == KD_OK)
        status = kd_preprocess_decode(&l->options.preprocess, &whole, bytes.data, bytes.len, err);
    kd_buf_free(&bytes);
    if (status != KD_OK)
        return status;
    const double keep = KEEP_SCALE * l->options.preprocess.image_size;
    const double scale = keep / (whole.width < whole.height ? whole.width : whole.height);
    if (scale >= 1) {
        *out = whole;
        return KD_OK;
    }
    status = kd_image_resize(out, &whole, (uint32_t)(scale * whole.width + 0.5),
        (uint32_t)(scale * whole.height + 0.5), err);
    kd_image_free(&whole);
    return status;
}

/* A path reads as UTF-8 for those who are told of it. */
static void note_skipped(loader *l, uint32_t image, const kd_error *why)
{
    const char *const path = kd_dataset_path(l->options.dataset, &l->items[image]);
    (void)pthread_mutex_lock(&l->lock);
    if (l->usable[image]) {
        l->usable[image] = false;
        l->skipped++;
        char *const name = l->n_names < LOADER_MAX_NAMES && kd_utf8_valid(path, strlen(path))
                               ? kd_format("%s: %s", path, why->message)
                               : NULL;
        if (name) {
            l->names[l->n_names++] = name;
            KD_LOG(
                KD_LOG_WARN, "image_skipped", KD_STR("path", path), KD_STR("reason", why->message));
        }
    }
    (void)pthread_mutex_unlock(&l->lock);
}

/* ---- The first pass ---- */

typedef struct scan {
    loader *loader;
    uint32_t from;
    kd_error errors[SCAN_CHUNK];
} scan;

static void scan_image(void *arg, size_t i)
{
    scan *const s = arg;
    loader *const l = s->loader;
    const uint32_t image = s->from + (uint32_t)i;
    kd_image small = KD_IMAGE_INIT;
    s->errors[i].status = KD_OK;
    if (read_small(l, image, &small, &s->errors[i]) != KD_OK)
        return;
    const size_t bytes = (size_t)small.width * small.height * 3;
    if (atomic_fetch_add(&l->cached_bytes, bytes) + bytes <= l->options.cache_bytes) {
        l->cache[image] = small;
    } else {
        (void)atomic_fetch_sub(&l->cached_bytes, bytes);
        kd_image_free(&small);
    }
}

kd_status loader_scan(loader *l, loader_tick tick, void *arg, kd_error *err)
{
    scan s = {.loader = l};
    for (size_t from = 0; from < l->n_items; from += SCAN_CHUNK) {
        const size_t left = l->n_items - from, n = left < SCAN_CHUNK ? left : SCAN_CHUNK;
        s.from = (uint32_t)from;
        kd_pool_for(l->pool, n, scan_image, &s);
        for (size_t i = 0; i < n; i++)
            if (s.errors[i].status == KD_UNAVAILABLE)
                return kd_error_set(
                    err, KD_UNAVAILABLE, "the images can't be read now: %s", s.errors[i].message);
        /* Named in the dataset's order, whichever thread was first. */
        for (size_t i = 0; i < n; i++)
            if (s.errors[i].status != KD_OK)
                note_skipped(l, (uint32_t)(from + i), &s.errors[i]);
        const kd_status status = tick(arg, from + n, err);
        if (status != KD_OK)
            return status;
    }
    if (l->skipped == l->n_items)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "none of the %zu images can be read; the first: %s", l->n_items,
            l->n_names > 0 ? l->names[0] : "without a readable name");
    if (l->skipped > 0)
        KD_LOG(KD_LOG_WARN, "images_skipped", KD_INT("skipped", l->skipped),
            KD_INT("images", l->n_items));
    return KD_OK;
}

const bool *loader_usable(const loader *l)
{
    return l->usable;
}

size_t loader_skipped(const loader *l, const char *const **names, size_t *n_names)
{
    *names = (const char *const *)l->names;
    *n_names = l->n_names;
    return l->skipped;
}

/* ---- Batches ---- */

static kd_status make_augmented(
    const loader *l, const slot *s, size_t number, float *pixels, kd_error *err)
{
    /* The place in the batch counts too: an image that a small class repeats differs from itself.
     */
    const uint64_t key[] = {l->options.seed, s->turn, ((uint64_t)number << 32) | s->images[number]};
    const uint32_t image = s->images[number];
    kd_image read = KD_IMAGE_INIT, input = KD_IMAGE_INIT;
    kd_status status = KD_OK;
    if (!l->cache[image].pixels)
        status = read_small(l, image, &read, err);
    if (status == KD_OK)
        status = kd_augment_run(&l->options.augment, kd_xxh3(key, sizeof key),
            read.pixels ? &read : &l->cache[image], l->options.preprocess.image_size, &input, err);
    if (status == KD_OK)
        kd_preprocess_normalise(&l->options.preprocess, &input, pixels);
    kd_image_free(&input);
    kd_image_free(&read);
    return status;
}

static kd_status make_plain(const loader *l, uint32_t image, float *pixels, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    kd_status status = read_bytes(l, image, &bytes, err);
    if (status == KD_OK)
        status = kd_preprocess_run(&l->options.preprocess, bytes.data, bytes.len, pixels, err);
    kd_buf_free(&bytes);
    return status;
}

static void make_row(void *arg)
{
    const row *const r = arg;
    loader *const l = r->loader;
    slot *const s = r->slot;
    float *const pixels = s->pixels + r->number * row_floats(l);
    kd_error why = KD_ERROR_INIT;
    const kd_status status = s->form == LOADER_PLAIN
                                 ? make_plain(l, s->images[r->number], pixels, &why)
                                 : make_augmented(l, s, r->number, pixels, &why);
    s->good[r->number] = status == KD_OK;
    if (status != KD_OK) /* gone since the first pass */
        note_skipped(l, s->images[r->number], &why);
    (void)pthread_mutex_lock(&l->lock);
    if (--s->missing == 0)
        (void)pthread_cond_signal(&l->made);
    (void)pthread_mutex_unlock(&l->lock);
}

void loader_begin(loader *l, const uint32_t *images, size_t n, loader_form form, uint64_t turn)
{
    assert(l->begun < LOADER_AHEAD && n >= 1 && n <= l->options.max_batch);
    slot *const s = &l->slots[(l->first + l->begun++) % LOADER_AHEAD];
    memcpy(s->images, images, n * sizeof *images);
    s->n = s->missing = n;
    s->form = form;
    s->turn = turn;
    for (size_t i = 0; i < n; i++) {
        s->rows[i] = (row){l, s, i};
        if (!kd_pool_try_run(l->pool, make_row, &s->rows[i]))
            make_row(&s->rows[i]);
    }
}

static void wait_for(loader *l, const slot *s)
{
    (void)pthread_mutex_lock(&l->lock);
    while (s->missing > 0)
        (void)pthread_cond_wait(&l->made, &l->lock);
    (void)pthread_mutex_unlock(&l->lock);
}

void loader_take(loader *l, loader_batch *out)
{
    assert(l->begun > 0);
    slot *const s = &l->slots[l->first];
    const size_t floats = row_floats(l);
    size_t n = 0;
    wait_for(l, s);
    for (size_t i = 0; i < s->n; i++) { /* closes the gaps */
        if (!s->good[i])
            continue;
        if (n < i) {
            memcpy(s->pixels + n * floats, s->pixels + i * floats, floats * sizeof *s->pixels);
            s->images[n] = s->images[i];
        }
        n++;
    }
    *out = (loader_batch){s->pixels, s->images, n};
}

void loader_give_back(loader *l)
{
    assert(l->begun > 0);
    l->first = (l->first + 1) % LOADER_AHEAD;
    l->begun--;
}

size_t loader_begun(const loader *l)
{
    return l->begun;
}

void loader_drop(loader *l)
{
    for (; l->begun > 0; loader_give_back(l))
        wait_for(l, &l->slots[l->first]);
}

/* ---- Life ---- */

static bool make_slots(loader *l)
{
    const size_t max = l->options.max_batch;
    for (size_t i = 0; i < LOADER_AHEAD; i++) {
        slot *const s = &l->slots[i];
        s->pixels = calloc(max, row_floats(l) * sizeof *s->pixels);
        s->images = calloc(max, sizeof *s->images);
        s->good = calloc(max, sizeof *s->good);
        s->rows = calloc(max, sizeof *s->rows);
        if (!s->pixels || !s->images || !s->good || !s->rows)
            return false;
    }
    return true;
}

kd_status loader_new(loader **out, const loader_options *options, kd_error *err)
{
    *out = NULL;
    loader *const made = calloc(1, sizeof *made);
    if (!made)
        return kd_error_memory(err, "the loader");
    made->options = *options;
    made->items = kd_dataset_items(options->dataset, &made->n_items);
    made->usable = malloc(made->n_items + 1);
    made->cache = calloc(made->n_items + 1, sizeof *made->cache);
    (void)pthread_mutex_init(&made->lock, NULL);
    kd_cond_init(&made->made);
    kd_status status = KD_OK;
    if (!made->usable || !made->cache || !make_slots(made))
        status = kd_error_memory(err, "the loader's batches");
    if (status == KD_OK)
        status = kd_pool_new(
            &made->pool, "load", options->threads, LOADER_AHEAD * options->max_batch, err);
    if (status != KD_OK) {
        loader_free(made);
        return status;
    }
    memset(made->usable, true, made->n_items);
    *out = made;
    return KD_OK;
}

void loader_free(loader *l)
{
    if (!l)
        return;
    kd_pool_free(l->pool);
    for (size_t i = 0; i < LOADER_AHEAD; i++) {
        free(l->slots[i].pixels);
        free(l->slots[i].images);
        free(l->slots[i].good);
        free(l->slots[i].rows);
    }
    for (size_t i = 0; l->cache && i < l->n_items; i++)
        kd_image_free(&l->cache[i]);
    for (size_t i = 0; i < l->n_names; i++)
        free(l->names[i]);
    free(l->cache);
    free(l->usable);
    (void)pthread_cond_destroy(&l->made);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}
