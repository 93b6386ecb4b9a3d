/* Encoded photographs to the model's input on one thread, for run.py to set beside peer.py.
 *
 *   bench_image_ours run LIST           LIST names a file in each line; all are read beforehand
 *   bench_image_ours enlarge FROM TO    TO: FROM at 12 megapixels, as a telephone's camera gives it
 *
 * run says that it is ready, then answers each line `PASSES` of standard input with a line of JSON:
 * images a second over that many passes through the list, and the mean of the last pixels made. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/image/image.h"

#define BATCH 32u
#define MOST_FILES 100000u
#define MOST_PASSES 1000u
#define LARGE_WIDTH 4000u
#define LARGE_HEIGHT 3000u
/* With a sensor's noise a file of 12 megapixels has the 3 MB or so that it has from a camera: an
 * enlarged picture alone would hold a tenth, and take as much less time to decode. */
#define NOISE 21 /* at most, either way; of three draws */
#define QUALITY 90

typedef struct bench {
    kd_preprocess preprocess;
    kd_buf *files; /* owned */
    size_t n;
    float *batch; /* owned: the inputs of the last BATCH images, one after the other */
} bench;

static kd_status read_files(bench *b, const char *list, kd_error *err)
{
    char path[4096];
    FILE *const lines = fopen(list, "r");
    if (!lines)
        return kd_error_set(err, KD_NOT_FOUND, "cannot read %s", list);
    kd_status status = KD_OK;
    b->files = calloc(MOST_FILES, sizeof *b->files);
    if (!b->files)
        status = kd_error_memory(err, "the photographs");
    while (status == KD_OK && b->n < MOST_FILES && fgets(path, sizeof path, lines)) {
        path[strcspn(path, "\n")] = '\0';
        status = kd_file_read(path, KD_IMAGE_MAX_BYTES, &b->files[b->n++], err);
    }
    (void)fclose(lines);
    if (status == KD_OK && b->n == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s names no photograph", list);
    return status;
}

static size_t floats_of_one(const bench *b)
{
    return (size_t)b->preprocess.image_size * b->preprocess.image_size * 3;
}

static kd_status pass(bench *b, kd_error *err)
{
    kd_status status = KD_OK;
    for (size_t i = 0; i < b->n && status == KD_OK; i++)
        status = kd_preprocess_run(&b->preprocess, b->files[i].data, b->files[i].len,
            b->batch + i % BATCH * floats_of_one(b), err);
    return status;
}

/* Of the pixels before normalisation, 0..1. */
static double mean(const bench *b)
{
    const size_t n = (b->n < BATCH ? b->n : BATCH) * floats_of_one(b);
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)(b->batch[i] * b->preprocess.std[i % 3] + b->preprocess.mean[i % 3]);
    return sum / (double)n;
}

static kd_status run(bench *b, const char *list, kd_error *err)
{
    char line[64];
    kd_status status = read_files(b, list, err);
    if (status != KD_OK)
        return status;
    b->preprocess = (kd_preprocess)KD_PREPROCESS_INIT;
    b->batch = calloc(BATCH, floats_of_one(b) * sizeof *b->batch);
    if (!b->batch)
        return kd_error_memory(err, "a batch");
    printf("{\"ready\": \"kd_preprocess_run\"}\n");
    (void)fflush(stdout);
    while (status == KD_OK && fgets(line, sizeof line, stdin)) {
        uint32_t passes = 0;
        line[strcspn(line, "\n")] = '\0';
        if (!bench_number(line, MOST_PASSES, &passes))
            return kd_error_set(err, KD_INVALID_ARGUMENT, "not a round: %s", line);
        const int64_t start_ns = kd_mono_ns();
        for (uint32_t i = 0; i < passes && status == KD_OK; i++)
            status = pass(b, err);
        const double seconds = (double)(kd_mono_ns() - start_ns) / 1e9;
        if (status == KD_OK)
            printf("{\"images_per_second\": %.3f, \"mean\": %.6f}\n",
                (double)passes * (double)b->n / seconds, mean(b));
        (void)fflush(stdout);
    }
    return status;
}

static void add_noise(kd_image *image)
{
    uint64_t state = 1;
    const size_t n = (size_t)image->width * image->height * 3;
    for (size_t i = 0; i < n; i++) {
        const uint64_t drawn = kd_random_next(&state);
        int sum = image->pixels[i];
        for (unsigned k = 0; k < 3; k++)
            sum += (int)((drawn >> 16 * k & 0xffff) * (2 * NOISE / 3 + 1) >> 16) - NOISE / 3;
        image->pixels[i] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

static kd_status enlarge(const char *from, const char *to, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    kd_image image = KD_IMAGE_INIT, large = KD_IMAGE_INIT;
    kd_status status = kd_file_read(from, KD_IMAGE_MAX_BYTES, &bytes, err);
    if (status == KD_OK)
        status = kd_image_decode(&image, bytes.data, bytes.len, err);
    if (status == KD_OK)
        status = kd_image_resize(&large, &image, LARGE_WIDTH, LARGE_HEIGHT, err);
    kd_buf_free(&bytes);
    if (status == KD_OK) {
        add_noise(&large);
        status = kd_image_encode_jpeg(&large, QUALITY, &bytes, err);
    }
    if (status == KD_OK)
        status = kd_file_write(to, bytes.data, bytes.len, err);
    kd_image_free(&large);
    kd_image_free(&image);
    kd_buf_free(&bytes);
    return status;
}

int main(int argc, char **argv)
{
    bench b = {0};
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    if (argc == 3 && strcmp(argv[1], "run") == 0) {
        status = run(&b, argv[2], &err);
    } else if (argc == 4 && strcmp(argv[1], "enlarge") == 0) {
        status = enlarge(argv[2], argv[3], &err);
    } else {
        (void)fprintf(stderr, "usage: bench_image_ours run LIST | enlarge FROM TO\n");
        return 2;
    }
    if (status != KD_OK)
        (void)fprintf(stderr, "bench_image_ours: %s\n", err.message);
    for (size_t i = 0; i < b.n; i++)
        kd_buf_free(&b.files[i]);
    free(b.files);
    free(b.batch);
    return status == KD_OK ? 0 : 1;
}
