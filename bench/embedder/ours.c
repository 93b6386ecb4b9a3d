/* What the embedder has inside, without the service around it, for run.py to set beside it.
 *
 *   bench_embedder_ours WEIGHTS float32|bfloat16 THREADS LIST
 *
 * LIST names a JPEG in each line. Says that it is ready, then answers each line of standard input
 * with a line of JSON:
 *
 *   forward N SECONDS   the forward alone, N images (at most 32) at a time: images a second
 *   single SECONDS      a photograph at a time, decoded and run: the median of their times */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "bench/embedder/load.h"
#include "lib/base/clock.h"
#include "lib/image/image.h"
#include "lib/nn/nn.h"

#define BATCH 32u /* KD_EMBEDDER_MAX_BATCH */
#define MOST_SAMPLES 100000u

typedef struct bench {
    kd_preprocess preprocess;
    load_photos photos;
    kd_forward *forward;
    float *pixels; /* owned: of a batch */
    float embeddings[BATCH * KD_NN_MAX_DIM];
} bench;

static size_t floats_of_one(const bench *b)
{
    return (size_t)b->preprocess.image_size * b->preprocess.image_size * 3;
}

static kd_status prepare(bench *b, float *input, kd_error *err)
{
    const kd_buf *const photo = load_photos_next(&b->photos, false);
    return kd_preprocess_run(&b->preprocess, photo->data, photo->len, input, err);
}

static kd_status make(bench *b, const char *weights, kd_precision precision, kd_error *err)
{
    kd_net *net = NULL;
    b->preprocess = (kd_preprocess)KD_PREPROCESS_INIT;
    b->pixels = malloc(BATCH * floats_of_one(b) * sizeof *b->pixels);
    if (!b->pixels)
        return kd_error_memory(err, "a batch");
    kd_status status = kd_net_load(&net, weights, err);
    if (status == KD_OK)
        status =
            kd_forward_new_in(&b->forward, net, b->preprocess.image_size, BATCH, precision, err);
    kd_net_free(net);
    for (size_t i = 0; i < BATCH && status == KD_OK; i++)
        status = prepare(b, b->pixels + i * floats_of_one(b), err);
    return status;
}

static kd_status forwards(bench *b, uint32_t batch, double seconds, kd_error *err)
{
    const int64_t begun = kd_mono_ns();
    size_t n = 0;
    double took = 0;
    kd_status status = KD_OK;
    while (status == KD_OK && took < seconds) {
        status = kd_forward_run(b->forward, b->pixels, batch, b->embeddings, err);
        n += batch;
        took = (double)(kd_mono_ns() - begun) / 1e9;
    }
    if (status == KD_OK)
        printf("{\"per_second\": %.3f}\n", (double)n / took);
    return status;
}

static int compare(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static kd_status singles(bench *b, double seconds, kd_error *err)
{
    static int64_t took[MOST_SAMPLES];
    const int64_t until = kd_mono_ns() + (int64_t)(seconds * 1e9);
    size_t n = 0;
    kd_status status = KD_OK;
    while (status == KD_OK && n < MOST_SAMPLES && (n == 0 || kd_mono_ns() < until)) {
        const int64_t begun = kd_mono_ns();
        status = prepare(b, b->pixels, err);
        if (status == KD_OK)
            status = kd_forward_run(b->forward, b->pixels, 1, b->embeddings, err);
        took[n++] = kd_mono_ns() - begun;
    }
    qsort(took, n, sizeof *took, compare);
    if (status == KD_OK)
        printf("{\"p50_ms\": %.3f, \"p99_ms\": %.3f}\n", (double)took[n / 2] / 1e6,
            (double)took[n * 99 / 100] / 1e6);
    return status;
}

static kd_status serve(bench *b, kd_error *err)
{
    char line[64];
    uint32_t batch = 0;
    double seconds = 0;
    printf("{\"ready\": \"%s\"}\n", kd_nn_describe());
    (void)fflush(stdout);
    kd_status status = KD_OK;
    while (status == KD_OK && fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "forward %u %lf", &batch, &seconds) == 2 && batch >= 1 && batch <= BATCH)
            status = forwards(b, batch, seconds, err);
        else if (sscanf(line, "single %lf", &seconds) == 1)
            status = singles(b, seconds, err);
        else
            return kd_error_set(err, KD_INVALID_ARGUMENT, "not an order: %s", line);
        (void)fflush(stdout);
    }
    return status;
}

int main(int argc, char **argv)
{
    static bench b;
    uint32_t threads = 0;
    kd_error err = KD_ERROR_INIT;
    if (argc != 5 || !bench_number(argv[3], 1024, &threads))
        load_die("usage: WEIGHTS float32|bfloat16 THREADS LIST");
    load_photos_read(&b.photos, argv[4]);
    kd_nn_set_threads(threads);
    kd_status status = make(&b, argv[1],
        strcmp(argv[2], "bfloat16") == 0 ? KD_PRECISION_BFLOAT16 : KD_PRECISION_FLOAT32, &err);
    if (status == KD_OK)
        status = serve(&b, &err);
    if (status != KD_OK)
        (void)fprintf(stderr, "bench_embedder_ours: %s\n", err.message);
    kd_forward_free(b.forward);
    load_photos_free(&b.photos);
    free(b.pixels);
    return status == KD_OK ? 0 : 1;
}
