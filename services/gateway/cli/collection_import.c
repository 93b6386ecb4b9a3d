/* kindred collection import: vectors from a file into a collection. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "services/gateway/cli/collection.h"
#include "services/gateway/cli/items_file.h"
#include "services/gateway/cli/progress.h"
#include "services/gateway/cli/vectors.h"

#define BATCH 256u /* images in a call */

typedef struct importing {
    const char *command, *collection, *path, *ids, *model;
    int normalize;
    const cli_common *common;
    kd_channel *channel;
    char model_id[CLI_TEXT];
    cli_vectors vectors;
    cli_items items;
    float *values; /* owned: BATCH × dim */
    cli_item batch[BATCH];
    Kindred__V1__UpsertItem rows[BATCH];
    cli_bar bar;
    uint64_t done, count; /* images sent; images in the collection afterwards */
} importing;

/* The file that names the rows: the one that was given, else one beside the vectors; a new string.
 * NULL: there is none. */
static char *find_items(const importing *m)
{
    if (m->ids)
        return cli_must(strdup(m->ids));
    char *const beside = cli_items_path(m->path);
    if (kd_is_file(beside))
        return beside;
    memcpy(beside + strlen(beside) - strlen("jsonl"), "ids", sizeof "ids"); /* `kindred embed`'s */
    if (kd_is_file(beside))
        return beside;
    free(beside);
    return NULL;
}

static kd_status open_items(importing *m, kd_error *err)
{
    char *const path = find_items(m);
    if (!path)
        return KD_OK;
    uint64_t lines = 0;
    kd_status status = cli_items_open(&m->items, path, &lines, err);
    if (status == KD_OK && lines != m->vectors.rows)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s has %llu lines, and %s %llu vectors: one for each is needed", path,
            (unsigned long long)lines, m->path, (unsigned long long)m->vectors.rows);
    free(path);
    return status;
}

static kd_status make_collection(importing *m, kd_error *err)
{
    Kindred__V1__GetModelRequest get = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *got = NULL;
    Kindred__V1__CreateCollectionResponse *created = NULL;
    get.model = (char *)(uintptr_t)m->model;
    kd_status status =
        cli_call(m->channel, CLI_TRAINER, "GetModel", &get.base, CLI_CALL_MS, &got, err);
    if (status == KD_OK && got->model->dim != m->vectors.dim)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s has vectors of %zu values, and model %s makes vectors of %u", m->path,
            m->vectors.dim, m->model, got->model->dim);
    if (status == KD_OK) {
        Kindred__V1__CreateCollectionRequest request = KINDRED__V1__CREATE_COLLECTION_REQUEST__INIT;
        (void)kd_copy(m->model_id, sizeof m->model_id, got->model->id);
        request.name = (char *)(uintptr_t)m->collection;
        request.model_id = m->model_id;
        request.dim = (uint32_t)m->vectors.dim;
        request.if_absent = true;
        status = cli_call(
            m->channel, CLI_INDEXER, "CreateCollection", &request.base, CLI_CALL_MS, &created, err);
    }
    kd_message_free(created);
    kd_message_free(got);
    return status;
}

static void normalize(float *values, size_t dim)
{
    double squares = 0;
    for (size_t i = 0; i < dim; i++)
        squares += (double)values[i] * (double)values[i];
    for (size_t i = 0; squares > 0 && isfinite(squares) && i < dim; i++)
        values[i] = (float)((double)values[i] / sqrt(squares));
}

/* Names row i of a batch. */
static kd_status name_row(importing *m, size_t i, cli_item *item, kd_error *err)
{
    const uint64_t row = m->done + i, in_file = m->vectors.ids ? m->vectors.ids[row] : row;
    if (!m->items.stream) {
        cli_item_init(item);
        item->message.image_id = in_file;
        return KD_OK;
    }
    const kd_status status = cli_items_next(&m->items, item, err);
    if (status == KD_OK && m->vectors.ids && !*item->message.key &&
        item->message.image_id != in_file)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "row %llu is image %llu in %s and image %llu in %s", (unsigned long long)row + 1,
            (unsigned long long)in_file, m->path, (unsigned long long)item->message.image_id,
            m->items.path);
    return status;
}

static kd_status send_batch(importing *m, size_t n, kd_error *err)
{
    Kindred__V1__UpsertItem *list[BATCH];
    Kindred__V1__UpsertRequest request = KINDRED__V1__UPSERT_REQUEST__INIT;
    Kindred__V1__UpsertResponse *response = NULL;
    const size_t dim = m->vectors.dim;
    kd_status status = cli_vectors_read(&m->vectors, m->values, n, err);
    size_t named = 0;
    while (status == KD_OK && named < n) {
        Kindred__V1__UpsertItem *const row = list[named] = &m->rows[named];
        kindred__v1__upsert_item__init(row);
        row->item = &m->batch[named].message;
        row->n_values = dim;
        row->values = m->values + named * dim;
        if (m->normalize)
            normalize(row->values, dim);
        status = name_row(m, named, &m->batch[named], err);
        named++;
    }
    if (status == KD_OK) {
        request.collection = (char *)(uintptr_t)m->collection;
        request.model_id = m->model_id;
        request.n_items = n;
        request.items = list;
        status =
            cli_call(m->channel, CLI_INDEXER, "Upsert", &request.base, CLI_CALL_MS, &response, err);
    }
    if (status == KD_OK)
        m->count = response->count;
    for (size_t i = 0; i < named; i++)
        cli_item_clear(&m->batch[i]);
    kd_message_free(response);
    return status;
}

/* What has been sent stays: it can be sent again. */
static kd_status send_all(importing *m, kd_error *err)
{
    kd_status status = KD_OK;
    m->values = cli_must(malloc(BATCH * m->vectors.dim * sizeof *m->values));
    while (status == KD_OK && m->done < m->vectors.rows) {
        const uint64_t left = m->vectors.rows - m->done;
        const size_t n = left < BATCH ? (size_t)left : BATCH;
        status = cli_interrupted() ? kd_error_set(err, KD_CANCELLED, "interrupted")
                                   : send_batch(m, n, err);
        m->done += status == KD_OK ? n : 0;
        cli_bar_show(&m->bar,
            &(cli_progress){.phase = "importing", .done = m->done, .total = m->vectors.rows});
    }
    cli_bar_clear(&m->bar);
    if (status != KD_OK && m->done > 0) {
        kd_error why = *err;
        return kd_error_set(err, status, "%.300s; %llu of %llu images are in %s", why.message,
            (unsigned long long)m->done, (unsigned long long)m->vectors.rows, m->collection);
    }
    return status;
}

static int import_all(importing *m)
{
    kd_error err = KD_ERROR_INIT;
    char text[CLI_TEXT], all[CLI_TEXT];
    int exit_status = EXIT_DONE;
    cli_bar_init(&m->bar, m->command, m->common->json);
    cli_interrupt_catch();
    kd_status status = cli_vectors_open(&m->vectors, m->path, &err);
    if (status == KD_OK)
        status = open_items(m, &err);
    if (status == KD_OK)
        status = cli_connect(m->common, &m->channel, &err);
    if (status == KD_OK)
        status = make_collection(m, &err);
    if (status == KD_OK)
        status = send_all(m, &err);
    cli_disconnect(m->channel);
    if (status != KD_OK)
        exit_status = cli_error(m->common, m->command, &err);
    else if (m->common->json)
        cli_print_json(json_pack("{s: o, s: I, s: I, s: I}", "collection",
            cli_json_text(m->collection), "rows", (json_int_t)m->done, "dim",
            (json_int_t)m->vectors.dim, "count", (json_int_t)m->count));
    else
        printf("%s from %s are in %s, which holds %s\n", cli_some(m->done, "image", "images", text),
            m->path, m->collection, cli_some(m->count, "image", "images", all));
    cli_items_close(&m->items);
    cli_vectors_close(&m->vectors);
    free(m->values);
    return exit_status;
}

int collection_import(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    importing m = {.command = argv[0], .common = &common};
    const struct poptOption options[] = {
        {"model", 0, POPT_ARG_STRING, &m.model, 0, "that made the vectors, by id or name", "ID"},
        {"ids", 0, POPT_ARG_STRING, &m.ids, 0,
            "what names the rows (FILE.jsonl or FILE.ids, where there is one)", "FILE"},
        {"normalize", 0, POPT_ARG_NONE, &m.normalize, 0, "scale the vectors to length 1", NULL},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "NAME FILE --model ID [OPTION...]",
        "Adds or replaces images with vectors from a file: a NumPy array of float32, or a flat "
        "FAISS index. The collection is made if it is not there. Rows are named by a file of JSON "
        "objects as `kindred collection export` writes it, or by one with an id on each line "
        "(what is no number is a key), as `kindred embed` does; else by the ids in a FAISS index, "
        "else they are numbered from 0.\n"
        "Example: kindred collection import shop shop.npy --model best",
        options, NULL, NULL, 2, 2, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    m.collection = args[0];
    m.path = args[1];
    exit_status = m.model ? import_all(&m) : cli_usage(argv[0], "--model ID is missing");
    free(args);
    return exit_status;
}
