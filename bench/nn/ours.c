/* The network alone, from pixels in memory to what the caller gets, for run.py to set beside
 * peer.py.
 *
 *   bench_nn_ours forward|train SIZE BATCH float32|bfloat16 THREADS
 *
 * Says that it is ready, then answers each line `WARM STEPS` of standard input with a line of JSON:
 * images a second over STEPS batches after WARM that don't count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/nn/training.h"

#define RATE 1e-4f
#define SEED 1u
#define PER_LABEL 4u

typedef struct bench {
    bool train;
    uint32_t size, batch;
    kd_precision precision;
    kd_net *net;
    kd_forward *forward;
    kd_training *training;
    float *pixels, *embeddings;
    uint32_t *labels;
} bench;

static kd_status make(bench *b, kd_error *err)
{
    const size_t floats = (size_t)b->size * b->size * 3 * b->batch;
    b->pixels = calloc(floats, sizeof *b->pixels);
    b->embeddings = calloc(b->batch, KD_NN_FEATURES * sizeof *b->embeddings);
    b->labels = calloc(b->batch, sizeof *b->labels);
    if (!b->pixels || !b->embeddings || !b->labels)
        return kd_error_memory(err, "a batch");
    uint64_t state = SEED;
    for (size_t i = 0; i < floats; i++)
        b->pixels[i] = (float)(kd_random_next(&state) >> 40) * 0x1p-22f - 2.0f;
    for (uint32_t i = 0; i < b->batch; i++)
        b->labels[i] = i / PER_LABEL;
    kd_status status = kd_net_new(&b->net, SEED, err);
    if (status == KD_OK && !b->train)
        return kd_forward_new_in(&b->forward, b->net, b->size, b->batch, b->precision, err);
    kd_training_options options;
    kd_training_defaults(&options);
    options.freeze_norm = true;
    options.precision = b->precision;
    if (status == KD_OK)
        status = kd_training_new(&b->training, b->net, &options, err);
    if (status == KD_OK)
        kd_training_set_rates(b->training, RATE, RATE);
    return status;
}

static kd_status step(bench *b, kd_error *err)
{
    kd_step_stats stats;
    return b->train
               ? kd_training_step(b->training, b->pixels, b->labels, b->batch, b->size, &stats, err)
               : kd_forward_run(b->forward, b->pixels, b->batch, b->embeddings, err);
}

static kd_status serve(bench *b, kd_error *err)
{
    char line[64];
    printf("{\"ready\": \"%s\"}\n", kd_nn_describe());
    (void)fflush(stdout);
    kd_status status = KD_OK;
    while (status == KD_OK && fgets(line, sizeof line, stdin)) {
        char *rest = NULL;
        const unsigned long warm = strtoul(line, &rest, 10), steps = strtoul(rest, NULL, 10);
        if (steps == 0)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "not a round: %s", line);
        for (size_t i = 0; status == KD_OK && i < warm; i++)
            status = step(b, err);
        const int64_t start_ns = kd_mono_ns();
        for (size_t i = 0; status == KD_OK && i < steps; i++)
            status = step(b, err);
        const double seconds = (double)(kd_mono_ns() - start_ns) / 1e9;
        if (status == KD_OK)
            printf("{\"images_per_second\": %.3f}\n", (double)steps * b->batch / seconds);
        (void)fflush(stdout);
    }
    return status;
}

int main(int argc, char **argv)
{
    bench b = {0};
    uint32_t threads = 0;
    kd_error err = KD_ERROR_INIT;
    if (argc != 6 || !bench_number(argv[2], KD_NN_MAX_IMAGE_SIZE, &b.size) ||
        !bench_number(argv[3], KD_NN_MAX_BATCH, &b.batch) ||
        !bench_number(argv[5], 1024, &threads)) {
        (void)fprintf(
            stderr, "usage: bench_nn_ours forward|train SIZE BATCH float32|bfloat16 THREADS\n");
        return 2;
    }
    b.train = strcmp(argv[1], "train") == 0;
    b.precision = strcmp(argv[4], "bfloat16") == 0 ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32;
    kd_nn_set_threads(threads);
    kd_status status = make(&b, &err);
    if (status == KD_OK)
        status = serve(&b, &err);
    if (status != KD_OK)
        (void)fprintf(stderr, "bench_nn_ours: %s\n", err.message);
    kd_training_free(b.training);
    kd_forward_free(b.forward);
    kd_net_free(b.net);
    free(b.pixels);
    free(b.embeddings);
    free(b.labels);
    return status == KD_OK ? 0 : 1;
}
