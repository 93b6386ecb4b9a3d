/* kindred embed: images of this machine through the embedder into a NumPy file. A few batches are
 * on their way at a time; rows are written in the order of the images. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/embedder.pb-c.h"

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/thread.h"
#include "lib/dataset/dataset.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/npy.h"
#include "services/gateway/cli/progress.h"

#define BATCH 16u
#define BATCH_BYTES (8u << 20) /* a batch that has so many takes no further image */
#define IN_FLIGHT 4u
#define RETRY_MS 60000 /* over its limit, or restarted: the embedder is asked again for so long */
#define RETRY_WAIT_MS 250

/* The images: a dataset's, or files. */
typedef struct source {
    kd_dataset *dataset; /* owned; NULL: files */
    const kd_item *items;
    const char *const *files;
    size_t n;
} source;

typedef struct batch {
    struct run *run;
    kd_buf images[BATCH];
    size_t places[BATCH]; /* in the source */
    size_t n;
    Kindred__V1__EmbedResponse *response; /* owned */
    kd_status status;
    kd_error err;
    bool done; /* under run->lock */
} batch;

typedef struct run {
    const char *command, *model, *out;
    const cli_common *common;
    source source;
    kd_channel *channel;
    kd_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    batch ring[IN_FLIGHT];
    atomic_bool answered; /* a batch came back: a lost connection is worth waiting for */
    size_t next;          /* the first place that was not read yet */
    cli_npy npy;
    kd_new_file ids;
    json_t *skipped; /* owned: "path: reason" */
    char model_id[64];
    cli_bar bar;
    int64_t started_ms;
} run;

/* ---- Source ---- */

static char *path_of(const source *s, size_t place)
{
    return cli_must(
        s->dataset ? kd_dataset_full_path(s->dataset, &s->items[place]) : strdup(s->files[place]));
}

static kd_status open_source(source *s, const char *const *args, kd_split split, kd_error *err)
{
    if (args[1] || !kd_is_dir(args[0])) {
        s->files = args;
        while (args[s->n])
            s->n++;
        return KD_OK;
    }
    const kd_status status = kd_dataset_open(&s->dataset, args[0], split, err);
    if (status == KD_OK)
        s->items = kd_dataset_items(s->dataset, &s->n);
    return status;
}

static void skip(run *r, size_t place, const char *reason)
{
    char *const path = path_of(&r->source, place);
    /* Most reasons name the file already. */
    char *const line = cli_must(
        strstr(reason, path) ? kd_format("%s", reason) : kd_format("%s: %s", path, reason));
    char *const clean = cli_clean(line);
    cli_bar_clear(&r->bar);
    (void)fprintf(stderr, "kindred %s: skipped: %s\n", r->command, clean);
    free(clean);
    (void)json_array_append_new(r->skipped, cli_json_text(line));
    free(line);
    free(path);
}

/* ---- A batch on its way ---- */

static void send_batch(void *arg)
{
    batch *const b = arg;
    run *const r = b->run;
    Kindred__V1__EmbedRequest request = KINDRED__V1__EMBED_REQUEST__INIT;
    ProtobufCBinaryData images[BATCH];
    const int64_t give_up = kd_mono_ms() + RETRY_MS;
    for (size_t i = 0; i < b->n; i++)
        images[i] = (ProtobufCBinaryData){b->images[i].len, b->images[i].data};
    request.model = (char *)(uintptr_t)r->model;
    request.images = images;
    request.n_images = b->n;
    for (;;) {
        b->status = cli_call(r->channel, &kindred__v1__embedder_service__descriptor, "Embed",
            &request.base, CLI_CALL_MS, &b->response, &b->err);
        const bool again = b->status == KD_RESOURCE_EXHAUSTED ||
                           (b->status == KD_UNAVAILABLE && atomic_load(&r->answered));
        if (b->status == KD_OK)
            atomic_store(&r->answered, true);
        if (!again || cli_interrupted() || kd_mono_ms() >= give_up)
            break;
        kd_sleep_ms(RETRY_WAIT_MS);
    }
    pthread_mutex_lock(&r->lock);
    b->done = true;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* Reads the next images into the batch; it stays empty at the end. */
static void fill(run *r, batch *b)
{
    size_t bytes = 0;
    b->n = 0;
    b->done = false;
    while (r->next < r->source.n && b->n < BATCH && bytes < BATCH_BYTES) {
        const size_t place = r->next++;
        kd_buf *const image = &b->images[b->n];
        kd_error err = KD_ERROR_INIT;
        char *const path = path_of(&r->source, place);
        kd_buf_free(image);
        if (cli_read_image(path, image, &err) != KD_OK)
            skip(r, place, err.message);
        else if (image->len == 0)
            skip(r, place, "the file is empty");
        else
            b->places[b->n++] = place;
        bytes += image->len;
        free(path);
    }
}

static void await(run *r, batch *b)
{
    pthread_mutex_lock(&r->lock);
    while (!b->done)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

/* ---- What came back ---- */

static kd_status take_row(run *r, size_t place, const Kindred__V1__Embedding *row, kd_error *err)
{
    if (row->problem) {
        skip(r, place, row->problem->message);
        return KD_OK;
    }
    const kd_status status = cli_npy_row(&r->npy, row->values, row->n_values, err);
    if (status != KD_OK)
        return status;
    if (r->source.dataset)
        (void)fprintf(r->ids.stream, "%llu\n", (unsigned long long)r->source.items[place].image_id);
    else
        (void)fprintf(r->ids.stream, "%s\n", r->source.files[place]);
    return KD_OK; /* a failed write of the ids is seen at their commit */
}

static kd_status take(run *r, batch *b, kd_error *err)
{
    kd_status status = b->status;
    if (status != KD_OK) {
        *err = b->err;
        return status;
    }
    if (b->response->n_embeddings != b->n)
        return kd_error_set(err, KD_INTERNAL, "the embedder answered %zu images of %zu",
            b->response->n_embeddings, b->n);
    for (size_t i = 0; i < b->n && status == KD_OK; i++)
        status = take_row(r, b->places[i], b->response->embeddings[i], err);
    const double seconds = (double)(kd_mono_ms() - r->started_ms) / 1000;
    const uint64_t done = b->places[b->n - 1] + 1;
    cli_bar_show(&r->bar, &(cli_progress){.phase = "embedding",
                              .done = done,
                              .total = r->source.n,
                              .rate = seconds > 0 ? (double)done / seconds : 0});
    return status;
}

/* Fills, sends and takes batches, the oldest first. On a failure what is on its way is awaited. */
static kd_status embed_all(run *r, kd_error *err)
{
    kd_status status = KD_OK;
    size_t oldest = 0, flying = 0;
    bool more = true;
    while (more || flying > 0) {
        more = more && status == KD_OK && r->next < r->source.n;
        if (more && flying < IN_FLIGHT) {
            batch *const b = &r->ring[(oldest + flying) % IN_FLIGHT];
            fill(r, b);
            if (b->n > 0 && kd_pool_try_run(r->pool, send_batch, b))
                flying++;
            continue;
        }
        if (flying == 0)
            break;
        batch *const b = &r->ring[oldest];
        await(r, b);
        if (status == KD_OK)
            status = take(r, b, err);
        if (status == KD_OK && cli_interrupted())
            status = kd_error_set(err, KD_CANCELLED, "interrupted; %s is not written", r->out);
        if (status == KD_OK)
            (void)kd_copy(r->model_id, sizeof r->model_id, b->response->model_id);
        kd_message_free(b->response);
        b->response = NULL;
        oldest = (oldest + 1) % IN_FLIGHT;
        flying--;
    }
    return status;
}

/* ---- The whole ---- */

/* x.npy gives x.ids. A new string. */
static char *ids_path(const char *out)
{
    const size_t len = strlen(out);
    const bool ending = len > 4 && strcmp(out + len - 4, ".npy") == 0;
    return cli_must(kd_format("%.*s.ids", (int)(ending ? len - 4 : len), out));
}

static kd_status write_all(run *r, const char *ids, kd_error *err)
{
    kd_status status = cli_npy_begin(&r->npy, r->out, err);
    if (status == KD_OK)
        status = kd_new_file_begin(&r->ids, ids, err);
    if (status == KD_OK)
        status = kd_pool_new(&r->pool, "embed", IN_FLIGHT, IN_FLIGHT, err);
    if (status == KD_OK)
        status = embed_all(r, err);
    kd_pool_free(r->pool);
    cli_bar_clear(&r->bar);
    if (status == KD_OK && r->npy.rows == 0)
        status = kd_error_set(err, KD_FAILED_PRECONDITION, "no image could be embedded");
    if (status == KD_OK)
        status = kd_new_file_commit(&r->ids, err);
    if (status == KD_OK)
        status = cli_npy_commit(&r->npy, err);
    kd_new_file_drop(&r->ids);
    cli_npy_drop(&r->npy);
    return status;
}

static void report(const run *r, const char *ids)
{
    char images[CLI_TEXT];
    const size_t skipped = json_array_size(r->skipped);
    if (r->common->json) {
        cli_print_json(json_pack("{s: o, s: o, s: s, s: I, s: I, s: I, s: O}", "file",
            cli_json_text(r->out), "ids", cli_json_text(ids), "model_id", r->model_id, "dim",
            (json_int_t)r->npy.dim, "rows", (json_int_t)r->npy.rows, "skipped", (json_int_t)skipped,
            "skipped_names", r->skipped));
        return;
    }
    printf("%s: %s × %zu by model %s, ids in %s", r->out,
        cli_some(r->npy.rows, "image", "images", images), r->npy.dim, r->model_id, ids);
    if (skipped > 0)
        printf(", %zu skipped", skipped);
    putchar('\n');
}

static int embed(run *r, const char *const *args, kd_split split)
{
    kd_error err = KD_ERROR_INIT;
    int exit_status = EXIT_DONE;
    char *const ids = ids_path(r->out);
    r->skipped = cli_must(json_array());
    pthread_mutex_init(&r->lock, NULL);
    kd_cond_init(&r->changed);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        r->ring[i] = (batch){.run = r};
    cli_bar_init(&r->bar, r->command, r->common->json);
    cli_interrupt_catch();
    r->started_ms = kd_mono_ms();
    kd_status status = open_source(&r->source, args, split, &err);
    if (status == KD_OK)
        status = cli_connect(r->common, &r->channel, &err);
    if (status == KD_OK)
        status = write_all(r, ids, &err);
    if (status == KD_OK)
        report(r, ids);
    else
        exit_status = cli_error(r->common, r->command, &err);
    cli_disconnect(r->channel);
    for (size_t i = 0; i < IN_FLIGHT; i++)
        for (size_t j = 0; j < BATCH; j++)
            kd_buf_free(&r->ring[i].images[j]);
    kd_dataset_free(r->source.dataset);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    json_decref(r->skipped);
    free(ids);
    return exit_status;
}

int cmd_embed(int argc, const char **argv)
{
    const char *split = NULL, **args = NULL;
    cli_common common;
    kd_split which = KD_SPLIT_ALL;
    run r = {.command = argv[0], .common = &common};
    const struct poptOption options[] = {
        {"model", 0, POPT_ARG_STRING, &r.model, 0, "the model that embeds, by id or name", "ID"},
        {"split", 0, POPT_ARG_STRING, &split, 0, "of a dataset: train, test or all (all)", "SPLIT"},
        {"out", 0, POPT_ARG_STRING, &r.out, 0, "the NumPy file to write", "FILE.npy"},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "IMAGE...|DIR --model ID --out FILE.npy [OPTION...]",
        "Writes the embeddings of images, or of a dataset in the order of its listing, to a NumPy "
        "file, and FILE.ids beside it: an image id (of a dataset) or a path on each line. Images "
        "that can't be read are named, and have no row.\n"
        "Example: kindred embed photos/ --model plain --split test --out test.npy",
        options, NULL, NULL, 1, -1, &common, &args);
    if (exit_status == -1 && (!r.model || !r.out))
        exit_status = cli_usage(argv[0], "%s is missing", r.model ? "--out FILE" : "--model ID");
    if (exit_status == -1 && split && !kd_split_parse(split, &which))
        exit_status = cli_usage(argv[0], "--split is '%s', not train, test or all", split);
    if (exit_status == -1)
        exit_status = embed(&r, args, which);
    free(args);
    return exit_status;
}
