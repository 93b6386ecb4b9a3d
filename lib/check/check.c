#include "lib/check/check.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/thread.h"
#include "lib/check/internal.h"

#define CHUNK 16u /* images of each thread between two looks at progress */

/* Reads the images, a chunk at a time. */
typedef struct reader {
    check_work *work;
    size_t first; /* of the chunk */
    pthread_mutex_t mutex;
    kd_status status; /* the first failure that is no image's fault; under the mutex */
    kd_error err;
} reader;

/* ---- One image ---- */

/* A limit of lib/image has the same status, and is the image's own fault. */
static bool out_of_memory(kd_status status, const kd_error *err)
{
    return status == KD_RESOURCE_EXHAUSTED && strncmp(err->message, "no memory", 9) == 0;
}

static kd_status read_bytes(const check_work *work, size_t i, kd_buf *bytes, kd_error *err)
{
    char *const path = kd_dataset_full_path(work->dataset, &work->items[i]);
    if (!path)
        return kd_error_memory(err, "a path");
    const kd_status status = kd_file_read(path, KD_IMAGE_MAX_BYTES, bytes, err);
    free(path);
    return status;
}

static kd_status measure(const check_work *work, size_t i, const kd_buf *bytes, kd_error *err)
{
    kd_check_image *const image = &work->check->images[i];
    check_trait *const trait = &work->traits[i];
    const kd_check_options *const options = work->options;
    kd_image pixels = KD_IMAGE_INIT;
    double deviation = 0;
    kd_status status = kd_image_decode(&pixels, bytes->data, bytes->len, err);
    if (status == KD_OK)
        status = kd_sha256(bytes->data, bytes->len, trait->digest, err);
    if (status == KD_OK)
        status = check_look(&pixels, &trait->look, &deviation, err);
    if (status == KD_OK) {
        const uint32_t w = pixels.width, h = pixels.height;
        const uint32_t shorter = w < h ? w : h, longer = w < h ? h : w;
        image->width = w;
        image->height = h;
        image->format = kd_image_format_of(bytes->data, bytes->len);
        image->small = shorter < options->min_side;
        image->elongated = longer > options->max_aspect * shorter;
        image->flat = deviation < KD_CHECK_FLAT;
    }
    kd_image_free(&pixels);
    return status;
}

/* A failure here is the image's, but for a lack of memory. */
static kd_status look_at(const check_work *work, size_t i, kd_error *err)
{
    kd_check_image *const image = &work->check->images[i];
    kd_buf bytes = KD_BUF_INIT;
    kd_status status = read_bytes(work, i, &bytes, err);
    if (status == KD_OK)
        status = measure(work, i, &bytes, err);
    kd_buf_free(&bytes);
    if (status == KD_OK || out_of_memory(status, err))
        return status;
    image->state = status == KD_NOT_FOUND ? KD_CHECK_MISSING : KD_CHECK_BROKEN;
    if (image->state == KD_CHECK_BROKEN) {
        image->reason = strdup(err->message);
        if (!image->reason)
            return kd_error_memory(err, "why an image is broken");
    }
    return KD_OK;
}

static void look_at_one(void *arg, size_t i)
{
    reader *const r = arg;
    kd_error err = KD_ERROR_INIT;
    const kd_status status = look_at(r->work, r->first + i, &err);
    if (status == KD_OK)
        return;
    pthread_mutex_lock(&r->mutex);
    if (r->status == KD_OK) {
        r->status = status;
        r->err = err;
    }
    pthread_mutex_unlock(&r->mutex);
}

/* ---- All images ---- */

kd_status check_progress(
    const check_work *work, const char *phase, size_t done, size_t total, kd_error *err)
{
    const kd_check_options *const options = work->options;
    if (!options->progress || options->progress(options->arg, phase, done, total))
        return KD_OK;
    return kd_error_set(
        err, KD_CANCELLED, "interrupted while %s, after %zu of %zu", phase, done, total);
}

static kd_status read_all(check_work *work, kd_error *err)
{
    const size_t n = work->check->n, asked = work->options->threads;
    const size_t threads = asked ? asked : kd_pool_helpers() + 1;
    reader r = {.work = work, .mutex = PTHREAD_MUTEX_INITIALIZER};
    kd_pool *pool = NULL;
    /* The asking thread reads too. */
    kd_status status = kd_pool_new(&pool, "check", threads - 1, threads, err);
    while (r.first < n && status == KD_OK) {
        const size_t left = n - r.first;
        const size_t chunk = left < CHUNK * threads ? left : CHUNK * threads;
        kd_pool_for(pool, chunk, look_at_one, &r);
        r.first += chunk;
        if (r.status != KD_OK) {
            status = kd_error_set(err, r.status, "%s", r.err.message);
            break;
        }
        status = check_progress(work, "decoding", r.first, n, err);
    }
    kd_pool_free(pool);
    pthread_mutex_destroy(&r.mutex);
    return status;
}

static void add_up(kd_check *check)
{
    for (size_t i = 0; i < check->n; i++) {
        const kd_check_image *const image = &check->images[i];
        check->missing += image->state == KD_CHECK_MISSING;
        check->broken += image->state == KD_CHECK_BROKEN;
        check->small += image->small;
        check->elongated += image->elongated;
        check->flat += image->flat;
        if (image->state == KD_CHECK_READ)
            check->formats[image->format]++;
    }
}

/* ---- The check ---- */

static kd_status count_splits(const check_work *work, kd_error *err)
{
    kd_check *const check = work->check;
    const size_t train = kd_dataset_train_count(work->dataset);
    kd_status status = check_count(&check->all, work->items, check->n, err);
    if (status == KD_OK)
        status = check_count(&check->train, work->items, train, err);
    if (status == KD_OK)
        status = check_count(&check->test, work->items + train, check->n - train, err);
    return status;
}

kd_status kd_check_new(
    kd_check **out, const kd_dataset *dataset, const kd_check_options *options, kd_error *err)
{
    assert(out && dataset && options);
    check_work work = {.dataset = dataset, .options = options};
    size_t n = 0;
    *out = NULL;
    work.items = kd_dataset_items(dataset, &n);
    work.check = calloc(1, sizeof *work.check);
    work.traits = calloc(n ? n : 1, sizeof *work.traits);
    if (work.check)
        work.check->images = calloc(n ? n : 1, sizeof *work.check->images);
    kd_status status = KD_OK;
    if (!work.check || !work.traits || !work.check->images)
        status = kd_error_memory(err, "a dataset's check");
    if (status == KD_OK) {
        work.check->n = n;
        status = count_splits(&work, err);
    }
    if (status == KD_OK)
        status = read_all(&work, err);
    if (status == KD_OK) {
        add_up(work.check);
        status = check_find_groups(&work, err);
    }
    free(work.traits);
    if (status == KD_OK)
        *out = work.check;
    else
        kd_check_free(work.check);
    return status;
}

static void free_groups(kd_check_groups *groups)
{
    free(groups->at);
    free(groups->members);
}

void kd_check_free(kd_check *check)
{
    if (!check)
        return;
    for (size_t i = 0; i < check->n; i++)
        free(check->images[i].reason);
    free(check->images);
    free(check->train.lone);
    free(check->test.lone);
    free(check->all.lone);
    free_groups(&check->duplicates);
    free_groups(&check->near);
    free(check);
}

bool kd_check_passed(const kd_check *check, bool strict)
{
    if (check->missing + check->broken + check->duplicates.n_leaks + check->duplicates.n_conflicts >
        0)
        return false;
    return !strict || check->near.n_leaks + check->near.n_conflicts == 0;
}
