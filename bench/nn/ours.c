/* The network alone, from pixels in memory to what the caller gets, for run.py to set beside
 * peer.py.
 *
 *   bench_nn_ours forward|train WEIGHTS PIXELS SIZE BATCH float32|bfloat16 THREADS
 *   bench_nn_ours embed WEIGHTS PIXELS SIZE N float32|bfloat16 FILE    writes N embeddings
 *   bench_nn_ours weights FILE                                         writes fresh weights
 *   bench_nn_ours about                                                says what computes, and
 * bfloat16 where it can
 *
 * PIXELS is a file of floats. Says that it is ready and the first image's embedding, then answers
 * each line `WARM STEPS` of standard input with a line of JSON: images a second over STEPS batches
 * after WARM that don't count. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "lib/base/clock.h"
#include "lib/nn/training.h"

#define RATE 1e-4f
#define SEED 1u
#define PER_LABEL 4u

typedef struct bench {
    bool train;
    const char *weights_path, *pixels_path;
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
    FILE *const file = fopen(b->pixels_path, "rb");
    const size_t got = file ? fread(b->pixels, sizeof *b->pixels, floats, file) : 0;
    if (file)
        (void)fclose(file);
    if (got != floats)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is too short", b->pixels_path);
    for (uint32_t i = 0; i < b->batch; i++)
        b->labels[i] = i / PER_LABEL;
    kd_status status = kd_net_load(&b->net, b->weights_path, err);
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

static void unmake(bench *b)
{
    kd_training_free(b->training);
    kd_forward_free(b->forward);
    kd_net_free(b->net);
    free(b->pixels);
    free(b->embeddings);
    free(b->labels);
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
    kd_status status = step(b, err);
    printf("{\"ready\": \"%s\", \"embedding\": [", kd_nn_describe());
    for (size_t i = 0; !b->train && i < KD_NN_FEATURES; i++)
        printf("%s%.9g", i ? ", " : "", (double)b->embeddings[i]);
    printf("]}\n");
    (void)fflush(stdout);
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

static kd_status write_weights(const char *path, kd_error *err)
{
    kd_net *net = NULL;
    kd_status status = kd_net_new(&net, SEED, err);
    if (status == KD_OK)
        status = kd_net_save(net, path, err);
    kd_net_free(net);
    return status;
}

/* One batch after the other, for precision.py. */
static kd_status embed_file(const bench *b, uint32_t n, FILE *in, FILE *out, kd_error *err)
{
    const size_t image = (size_t)b->size * b->size * 3;
    kd_status status = KD_OK;
    for (size_t done = 0; status == KD_OK && done < n;) {
        const size_t batch = n - done < b->batch ? n - done : b->batch;
        if (fread(b->pixels, image * sizeof(float), batch, in) != batch)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is too short", b->pixels_path);
        status = kd_forward_run(b->forward, b->pixels, batch, b->embeddings, err);
        if (status == KD_OK &&
            fwrite(b->embeddings, KD_NN_FEATURES * sizeof(float), batch, out) != batch)
            status = kd_error_set(err, KD_INTERNAL, "the embeddings can't be written");
        done += batch;
    }
    return status;
}

static kd_precision precision_of(const char *word)
{
    return strcmp(word, "bfloat16") == 0 ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32;
}

static kd_status embed(char **words, kd_error *err)
{
    bench b = {.weights_path = words[1],
        .pixels_path = words[2],
        .batch = 32,
        .precision = precision_of(words[5])};
    uint32_t n = 0;
    if (!bench_number(words[3], KD_NN_MAX_IMAGE_SIZE, &b.size) ||
        !bench_number(words[4], UINT32_MAX, &n))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "SIZE or N is out of range");
    kd_nn_set_threads(0);
    FILE *const in = fopen(b.pixels_path, "rb");
    FILE *const out = fopen(words[6], "wb");
    kd_status status = KD_OK;
    if (!in || !out)
        status = kd_error_set(err, KD_NOT_FOUND, "%s or %s: can't be opened", words[2], words[6]);
    if (status == KD_OK)
        status = make(&b, err);
    if (status == KD_OK)
        status = embed_file(&b, n, in, out, err);
    if (in)
        (void)fclose(in);
    if (out && fclose(out) != 0 && status == KD_OK)
        status = kd_error_set(err, KD_INTERNAL, "%s can't be written", words[6]);
    unmake(&b);
    return status;
}

static kd_status run(char **words, kd_error *err)
{
    bench b = {.train = strcmp(words[0], "train") == 0,
        .weights_path = words[1],
        .pixels_path = words[2],
        .precision = precision_of(words[5])};
    uint32_t threads = 0;
    if (!bench_number(words[3], KD_NN_MAX_IMAGE_SIZE, &b.size) ||
        !bench_number(words[4], KD_NN_MAX_BATCH, &b.batch) ||
        !bench_number(words[6], 1024, &threads))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "SIZE, BATCH or THREADS is out of range");
    kd_nn_set_threads(threads);
    kd_status status = make(&b, err);
    if (status == KD_OK)
        status = serve(&b, err);
    unmake(&b);
    return status;
}

int main(int argc, char **argv)
{
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    if (argc == 2 && strcmp(argv[1], "about") == 0) {
        printf("%s%s\n", kd_nn_describe(), kd_nn_has_bfloat16() ? ", bfloat16" : "");
    } else if (argc == 3 && strcmp(argv[1], "weights") == 0) {
        status = write_weights(argv[2], &err);
    } else if (argc == 8 && strcmp(argv[1], "embed") == 0) {
        status = embed(argv + 1, &err);
    } else if (argc == 8) {
        status = run(argv + 1, &err);
    } else {
        (void)fprintf(stderr, "usage: bench_nn_ours forward|train WEIGHTS PIXELS SIZE BATCH "
                              "float32|bfloat16 THREADS\n");
        return 2;
    }
    if (status != KD_OK)
        (void)fprintf(stderr, "bench_nn_ours: %s\n", err.message);
    return status == KD_OK ? 0 : 1;
}
