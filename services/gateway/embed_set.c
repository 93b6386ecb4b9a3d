/* A dataset through the embedder: a few threads read files and ask, so that the embedder always has
 * a full batch waiting; memory is bounded by the chunks on their way. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/image/image.h"
#include "services/gateway/gateway.h"

#define ASKERS 4                /* threads, each with a chunk on its way */
#define CHUNK 16                /* images asked for at a time */
#define CHUNK_BYTES (24u << 20) /* … and bytes, beside the first image */
#define READ_PATIENCE_MS 60000  /* for a disk, or a machine out of descriptors */
#define READ_PAUSE_MS 200

void skipped_init(skipped *s)
{
    *s = (skipped){.count = 0};
    pthread_mutex_init(&s->mutex, NULL);
}

void skipped_add(skipped *s, const char *path, const char *reason)
{
    KD_LOG(KD_LOG_WARN, "image_skipped", KD_STR("path", path), KD_STR("reason", reason));
    pthread_mutex_lock(&s->mutex);
    s->count++;
    if (s->n_names < sizeof s->names / sizeof s->names[0]) {
        char *const name = kd_format("%s: %s", path, reason);
        if (name)
            s->names[s->n_names++] = name;
    }
    pthread_mutex_unlock(&s->mutex);
}

void skipped_clear(skipped *s)
{
    for (size_t i = 0; i < s->n_names; i++)
        free(s->names[i]);
    pthread_mutex_destroy(&s->mutex);
}

typedef struct embedding_run {
    running_job *job;
    const kd_dataset *dataset;
    const kd_item *items;
    size_t n, dim;
    const char *model_id;
    skipped *skip;
    on_embedded done;
    void *arg;
    atomic_size_t next; /* first item that nobody has */
    atomic_int running; /* askers that are not yet done */
    atomic_bool failed;
    pthread_mutex_t mutex; /* guards error */
    kd_error error;        /* of the first that failed */
} embedding_run;

/* A chunk: consecutive items, those that could be read with their bytes. */
typedef struct chunk {
    size_t first, n;
    kd_buf files[CHUNK];
    bool ok[CHUNK];
    float *values; /* CHUNK × dim */
} chunk;

static void fail(embedding_run *e, const kd_error *error)
{
    pthread_mutex_lock(&e->mutex);
    if (!atomic_load(&e->failed))
        e->error = *error;
    atomic_store(&e->failed, true);
    pthread_mutex_unlock(&e->mutex);
}

/* What is no fault of the file's is waited for: an image that is left out for it would be missing
 * from the collection without need. */
static kd_status read_file(embedding_run *e, const char *path, kd_buf *out, kd_error *err)
{
    const kd_process *const process = e->job->gateway->process;
    const int64_t until = kd_mono_ms() + READ_PATIENCE_MS;
    for (;;) {
        const kd_status status = kd_file_read_under(
            path, process->datasets, process->n_datasets, KD_IMAGE_MAX_BYTES, out, err);
        if (status == KD_OK || !kd_file_read_may_pass(path, KD_IMAGE_MAX_BYTES, status))
            return status;
        kd_buf_free(out);
        if (kd_mono_ms() > until || atomic_load(&e->job->stop))
            return KD_UNAVAILABLE;
        kd_sleep_ms(READ_PAUSE_MS);
    }
}

static kd_status read_item(embedding_run *e, chunk *c, size_t i, kd_error *err)
{
    kd_error why = KD_ERROR_INIT;
    const kd_item *const item = &e->items[c->first + i];
    char *const path = kd_dataset_full_path(e->dataset, item);
    const kd_status status =
        path ? read_file(e, path, &c->files[i], &why) : kd_error_memory(&why, "a path");
    c->ok[i] = status == KD_OK;
    if (status == KD_UNAVAILABLE)
        (void)kd_error_set(err, status, "%s", why.message);
    else if (status != KD_OK)
        skipped_add(e->skip, kd_dataset_path(e->dataset, item), why.message);
    free(path);
    return status == KD_UNAVAILABLE ? status : KD_OK;
}

/* Embeds items from..from+n-1 of the chunk. */
static kd_status ask_part(embedding_run *e, chunk *c, size_t from, size_t n, kd_error *err)
{
    Kindred__V1__EmbedRequest request = KINDRED__V1__EMBED_REQUEST__INIT;
    Kindred__V1__EmbedResponse *response = NULL;
    ProtobufCBinaryData images[CHUNK];
    size_t which[CHUNK] = {0};
    for (size_t i = from; i < from + n; i++) {
        if (!c->ok[i])
            continue;
        which[request.n_images] = i;
        images[request.n_images++] = (ProtobufCBinaryData){c->files[i].len, c->files[i].data};
    }
    if (request.n_images == 0)
        return KD_OK;
    request.model = (char *)e->model_id;
    request.images = images;
    kd_status status = job_ask(
        e->job, e->job->gateway->embedder, EMBEDDER, "Embed", &request.base, &response, err);
    if (status == KD_OK && response->n_embeddings != request.n_images)
        status =
            kd_error_set(err, KD_INTERNAL, "the embedder answered %zu embeddings to %zu images",
                response->n_embeddings, request.n_images);
    for (size_t j = 0; status == KD_OK && j < request.n_images; j++) {
        const Kindred__V1__Embedding *const embedding = response->embeddings[j];
        const size_t i = which[j];
        if (embedding->problem && embedding->problem->code != KD_INVALID_ARGUMENT &&
            embedding->problem->code != KD_RESOURCE_EXHAUSTED) {
            status = kd_error_set(
                err, (kd_status)embedding->problem->code, "%s", embedding->problem->message);
        } else if (embedding->problem) {
            c->ok[i] = false;
            skipped_add(e->skip, kd_dataset_path(e->dataset, &e->items[c->first + i]),
                embedding->problem->message);
        } else if (embedding->n_values != e->dim) {
            status = kd_error_set(err, KD_INTERNAL, "the embedder answered %zu values, not %zu",
                embedding->n_values, e->dim);
        } else {
            memcpy(c->values + i * e->dim, embedding->values, e->dim * sizeof *c->values);
        }
    }
    kd_message_free(response);
    return status;
}

static kd_status do_chunk(embedding_run *e, chunk *c, kd_error *err)
{
    kd_status status = KD_OK;
    size_t from = 0, bytes = 0;
    for (size_t i = 0; i < c->n && status == KD_OK; i++) {
        status = read_item(e, c, i, err);
        bytes += c->files[i].len;
        if (status != KD_OK)
            break;
        if (bytes > CHUNK_BYTES || i + 1 == c->n) { /* large images go in smaller requests */
            status = ask_part(e, c, from, i + 1 - from, err);
            for (; from <= i; from++)
                kd_buf_free(&c->files[from]);
            bytes = 0;
        }
    }
    for (size_t i = 0; i < c->n; i++)
        kd_buf_free(&c->files[i]);
    if (status == KD_OK)
        status = e->done(e->arg, c->first, c->n, c->values, c->ok, err);
    return status;
}

static void *asker_main(void *arg)
{
    embedding_run *const e = arg;
    chunk c = {.values = malloc(CHUNK * e->dim * sizeof *c.values)};
    kd_error err = KD_ERROR_INIT;
    if (!c.values) {
        (void)kd_error_memory(&err, "embeddings");
        fail(e, &err);
    }
    while (!atomic_load(&e->failed) && !atomic_load(&e->job->stop)) {
        c.first = atomic_fetch_add(&e->next, CHUNK);
        if (c.first >= e->n)
            break;
        c.n = e->n - c.first < CHUNK ? e->n - c.first : CHUNK;
        if (do_chunk(e, &c, &err) != KD_OK) {
            fail(e, &err);
            break;
        }
        atomic_fetch_add(&e->job->done, c.n);
    }
    free(c.values);
    atomic_fetch_sub(&e->running, 1);
    return NULL;
}

kd_status embed_set(running_job *r, const kd_dataset *dataset, const char *model_id, size_t dim,
    skipped *skip, on_embedded done, void *arg, kd_error *err)
{
    embedding_run e = {.job = r,
        .dataset = dataset,
        .dim = dim,
        .model_id = model_id,
        .skip = skip,
        .done = done,
        .arg = arg};
    pthread_t threads[ASKERS];
    int started = 0;
    kd_status status = KD_OK;
    e.items = kd_dataset_items(dataset, &e.n);
    pthread_mutex_init(&e.mutex, NULL);
    atomic_init(&e.next, 0);
    atomic_init(&e.failed, false);
    atomic_init(&e.running, 0);
    for (; started < ASKERS; started++) {
        atomic_fetch_add(&e.running, 1);
        if (pthread_create(&threads[started], NULL, asker_main, &e) != 0) {
            atomic_fetch_sub(&e.running, 1);
            break;
        }
    }
    if (started == 0)
        status = kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start a thread");
    while (status == KD_OK && atomic_load(&e.running) > 0) {
        kd_sleep_ms(20);
        status = job_step(r, err);
    }
    for (int i = 0; i < started; i++) /* a stop is seen by each within its call */
        pthread_join(threads[i], NULL);
    if (status == KD_OK && atomic_load(&e.failed)) {
        *err = e.error;
        status = e.error.status;
    }
    pthread_mutex_destroy(&e.mutex);
    return status;
}
