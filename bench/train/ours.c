/* The trainer's loop: its loader, its sampler and lib/nn, without the books that a run keeps.
 *
 *   bench_train_ours DIR SIZE none|basic|full frozen|batch P K THREADS
 *
 * Reads every image once, says that it is ready, then does what standard input says, line by line:
 * `data WARM STEPS` makes steps on batches of the loader, `fixed WARM STEPS` on one batch again and
 * again. The first WARM steps aren't counted. Answers are lines of JSON, seconds for one step. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/dataset/dataset.h"
#include "lib/nn/training.h"
#include "services/trainer/loader.h"

#define RATE 1e-4f
#define SEED 1u
#define MOST_IMAGES 1024u

typedef struct bench {
    uint32_t size, p, k, threads;
    bool freeze_norm;
    kd_augment augment;
    kd_dataset *dataset;
    const kd_item *items;
    size_t n_items;
    uint32_t *labels; /* of each image */
    kd_sampler *sampler;
    size_t n_batches, next; /* of the epoch; the batch that begins next */
    uint32_t epoch;
    loader *loader;
    kd_net *net;
    kd_training *training;
    float *fixed; /* one batch's pixels and labels */
    uint32_t *fixed_labels;
    size_t n_fixed;
} bench;

/* As peer.py's: full is MoCo v2's (Chen and others 2020) with erasing. */
static bool augment_parse(const char *name, kd_augment *out)
{
    static const kd_augment basic = KD_AUGMENT_INIT;
    static const kd_augment none = {.crop_min_scale = 1};
    static const kd_augment full = {.flip = 0.5f,
        .light = 0.8f,
        .light_range = 0.4f,
        .crop_min_scale = 0.2f,
        .color = 0.8f,
        .color_range = 0.4f,
        .gray = 0.2f,
        .blur = 0.5f,
        .erase = 0.25f};
    const kd_augment *const found = strcmp(name, "none") == 0    ? &none
                                    : strcmp(name, "basic") == 0 ? &basic
                                    : strcmp(name, "full") == 0  ? &full
                                                                 : NULL;
    if (found)
        *out = *found;
    return found != NULL;
}

/* ---- Making ready ---- */

static kd_status make_data(bench *b, const char *folder, kd_error *err)
{
    kd_status status = kd_dataset_open(&b->dataset, folder, KD_SPLIT_TRAIN, err);
    if (status != KD_OK)
        return status;
    b->items = kd_dataset_items(b->dataset, &b->n_items);
    b->labels = calloc(b->n_items + 1, sizeof *b->labels);
    if (!b->labels)
        return kd_error_memory(err, "the labels");
    for (size_t i = 0; i < b->n_items; i++)
        b->labels[i] = b->items[i].class_id;
    const kd_sampler_options options = {.kind = KD_SAMPLER_CLASSES,
        .labels = b->labels,
        .n = b->n_items,
        .p = b->p,
        .k = b->k,
        .seed = SEED};
    size_t lone = 0;
    status = kd_sampler_new(&b->sampler, &options, &lone, err);
    if (status == KD_OK)
        b->n_batches = kd_sampler_epoch(b->sampler, b->epoch);
    return status;
}

static kd_status no_tick(void *arg, size_t done, kd_error *err)
{
    (void)arg, (void)done, (void)err;
    return KD_OK;
}

static kd_status make_loader(bench *b, kd_error *err)
{
    loader_options options = {.dataset = b->dataset,
        .preprocess = KD_PREPROCESS_INIT,
        .augment = b->augment,
        .seed = SEED,
        .threads = b->threads,
        .max_batch = kd_sampler_max_batch(b->sampler),
        .cache_bytes = LOADER_CACHE_BYTES};
    options.preprocess.image_size = b->size;
    const kd_status status = loader_new(&b->loader, &options, err);
    return status == KD_OK ? loader_scan(b->loader, no_tick, NULL, err) : status;
}

static kd_status make_training(bench *b, kd_error *err)
{
    kd_training_options options;
    kd_training_defaults(&options);
    options.freeze_norm = b->freeze_norm;
    kd_status status = kd_net_new(&b->net, SEED, err);
    if (status == KD_OK)
        status = kd_training_new(&b->training, b->net, &options, err);
    if (status == KD_OK)
        kd_training_set_rates(b->training, RATE, RATE);
    return status;
}

static void begin_batches(bench *b)
{
    uint32_t images[MOST_IMAGES];
    for (; loader_begun(b->loader) < LOADER_AHEAD; b->next++) {
        if (b->next == b->n_batches) {
            b->n_batches = kd_sampler_epoch(b->sampler, ++b->epoch);
            b->next = 0;
        }
        const size_t n = kd_sampler_batch(b->sampler, b->next, images);
        loader_begin(b->loader, images, n, LOADER_AUGMENTED, ((uint64_t)b->epoch << 32) | b->next);
    }
}

static void label(const bench *b, const loader_batch *batch, uint32_t *labels)
{
    for (size_t i = 0; i < batch->n; i++)
        labels[i] = b->labels[batch->images[i]];
}

static kd_status keep_one(bench *b, kd_error *err)
{
    const size_t floats = (size_t)b->size * b->size * 3;
    loader_batch batch;
    begin_batches(b);
    loader_take(b->loader, &batch);
    b->fixed = malloc(batch.n * floats * sizeof *b->fixed);
    b->fixed_labels = malloc(batch.n * sizeof *b->fixed_labels);
    if (!b->fixed || !b->fixed_labels)
        return kd_error_memory(err, "a batch");
    memcpy(b->fixed, batch.pixels, batch.n * floats * sizeof *b->fixed);
    label(b, &batch, b->fixed_labels);
    b->n_fixed = batch.n;
    loader_give_back(b->loader);
    return KD_OK;
}

/* ---- Steps ---- */

typedef struct spent {
    int64_t wait_ns, step_ns;
    size_t images;
    float loss;
} spent;

static kd_status step_data(bench *b, spent *out, kd_error *err)
{
    uint32_t labels[MOST_IMAGES];
    kd_step_stats stats;
    loader_batch batch;
    const int64_t start_ns = kd_mono_ns();
    begin_batches(b);
    loader_take(b->loader, &batch);
    const int64_t taken_ns = kd_mono_ns();
    label(b, &batch, labels);
    const kd_status status =
        kd_training_step(b->training, batch.pixels, labels, batch.n, b->size, &stats, err);
    out->images = batch.n;
    loader_give_back(b->loader);
    out->wait_ns = taken_ns - start_ns;
    out->step_ns = kd_mono_ns() - taken_ns;
    out->loss = stats.loss;
    return status;
}

static kd_status step_fixed(bench *b, spent *out, kd_error *err)
{
    kd_step_stats stats;
    const int64_t start_ns = kd_mono_ns();
    const kd_status status =
        kd_training_step(b->training, b->fixed, b->fixed_labels, b->n_fixed, b->size, &stats, err);
    *out = (spent){0, kd_mono_ns() - start_ns, b->n_fixed, stats.loss};
    return status;
}

/* Means: what waits comes in bursts, which a median would not see. */
static kd_status run_round(bench *b, bool data, size_t warm, size_t steps, kd_error *err)
{
    spent sum = {0};
    loader_drop(b->loader);
    for (size_t i = 0; i < warm + steps; i++) {
        spent one = {0};
        const kd_status status = data ? step_data(b, &one, err) : step_fixed(b, &one, err);
        if (status != KD_OK)
            return status;
        if (i < warm)
            continue;
        sum.wait_ns += one.wait_ns;
        sum.step_ns += one.step_ns;
        sum.images += one.images;
        sum.loss = one.loss;
    }
    const double wait = (double)sum.wait_ns / 1e9, step = (double)sum.step_ns / 1e9;
    printf("{\"images_per_second\": %.3f, \"wait\": %.6f, \"step\": %.6f, \"loss\": %.5f}\n",
        (double)sum.images / (wait + step), wait / (double)steps, step / (double)steps,
        (double)sum.loss);
    (void)fflush(stdout);
    return KD_OK;
}

static kd_status serve(bench *b, kd_error *err)
{
    char line[64];
    printf("{\"ready\": \"%s\", \"images\": %zu}\n", kd_nn_describe(), b->n_items);
    (void)fflush(stdout);
    kd_status status = KD_OK;
    while (status == KD_OK && fgets(line, sizeof line, stdin)) {
        char *rest = NULL;
        const bool data = strncmp(line, "data ", 5) == 0;
        if (!data && strncmp(line, "fixed ", 6) != 0)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "not a round: %s", line);
        const unsigned long warm = strtoul(strchr(line, ' '), &rest, 10),
                            steps = strtoul(rest, NULL, 10);
        if (steps == 0)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "a round without steps: %s", line);
        status = run_round(b, data, warm, steps, err);
    }
    return status;
}

int main(int argc, char **argv)
{
    bench b = {0};
    kd_error err = KD_ERROR_INIT;
    b.freeze_norm = argc == 8 && strcmp(argv[4], "frozen") == 0;
    if (argc != 8 || !bench_number(argv[2], KD_NN_MAX_IMAGE_SIZE, &b.size) ||
        !augment_parse(argv[3], &b.augment) || (!b.freeze_norm && strcmp(argv[4], "batch") != 0) ||
        !bench_number(argv[5], 32, &b.p) || !bench_number(argv[6], MOST_IMAGES / 32, &b.k) ||
        !bench_number(argv[7], 1024, &b.threads)) {
        (void)fprintf(
            stderr, "usage: bench_train_ours DIR SIZE none|basic|full frozen|batch P K THREADS\n");
        return 2;
    }
    kd_log_setup("bench", KD_LOG_WARN, false);
    kd_nn_set_threads(b.threads);
    kd_status status = make_data(&b, argv[1], &err);
    if (status == KD_OK)
        status = make_loader(&b, &err);
    if (status == KD_OK)
        status = make_training(&b, &err);
    if (status == KD_OK)
        status = keep_one(&b, &err);
    if (status == KD_OK)
        status = serve(&b, &err);
    if (status != KD_OK)
        (void)fprintf(stderr, "bench_train_ours: %s\n", err.message);
    kd_training_free(b.training);
    kd_net_free(b.net);
    loader_free(b.loader);
    kd_sampler_free(b.sampler);
    kd_dataset_free(b.dataset);
    free(b.labels);
    free(b.fixed);
    free(b.fixed_labels);
    return status == KD_OK ? 0 : 1;
}
