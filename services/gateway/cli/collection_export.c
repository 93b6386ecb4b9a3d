/* kindred collection export: a collection's vectors into a file for NumPy or FAISS, and what is
 * known of its images beside it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/cli/collection.h"
#include "services/gateway/cli/progress.h"
#include "services/gateway/cli/vectors.h"

#define PAGE 256u /* rows: some megabytes of the largest vectors */

typedef struct export
{
    const char *command, *collection, *path;
    const cli_common *common;
    kd_channel *channel;
    char *items_path;
    bool for_faiss;
    cli_npy npy;
    cli_faiss faiss;
    kd_new_file items;
    cli_bar bar;
    uint64_t rows, count;
    size_t dim;
}
export;

char *cli_items_path(const char *vectors)
{
    const char *const dot = strrchr(vectors, '.'), *const slash = strrchr(vectors, '/');
    const bool ends = dot && dot != vectors && (!slash || dot > slash + 1);
    const size_t stem = ends ? (size_t)(dot - vectors) : strlen(vectors);
    return cli_must(kd_format("%.*s.jsonl", (int)stem, vectors));
}

/* {"image_id", "key", "class_id", …, "attributes": {NAME: TEXT or NUMBER}}. */
static json_t *item_json(const Kindred__V1__Item *item)
{
    json_t *const json = cli_must(kd_message_json(&item->base));
    json_t *const attributes = cli_must(json_object());
    for (size_t i = 0; i < item->n_attributes; i++) {
        const Kindred__V1__Attribute *const a = item->attributes[i];
        json_t *const value = a->value_case == KINDRED__V1__ATTRIBUTE__VALUE_TEXT
                                  ? cli_json_text(a->text)
                                  : json_real(a->number);
        (void)json_object_set_new(attributes, a->name, cli_must(value));
    }
    (void)json_object_set_new(json, "attributes", attributes);
    return json;
}

static kd_status put_row(
    export *x, const Kindred__V1__Item *item, const Kindred__V1__Vector *vector, kd_error *err)
{
    if (vector->n_values != x->dim)
        return kd_error_set(err, KD_INTERNAL, "a vector has %zu values, those of %s have %zu",
            vector->n_values, x->collection, x->dim);
    json_t *const json = item_json(item);
    const int written = json_dumpf(json, x->items.stream, JSON_COMPACT | JSON_REAL_PRECISION(17));
    json_decref(json);
    if (written != 0 || fputc('\n', x->items.stream) == EOF)
        return kd_error_set(err, KD_INTERNAL, "cannot write %s", x->items_path);
    x->rows++;
    return x->for_faiss ? cli_faiss_row(&x->faiss, item->image_id, vector->values, err)
                        : cli_npy_row(&x->npy, vector->values, x->dim, err);
}

static kd_status put_page(export *x, const Kindred__V1__ListItemsResponse *page, kd_error *err)
{
    kd_status status = KD_OK;
    if (page->n_vectors != page->n_items)
        return kd_error_set(err, KD_INTERNAL, "a page has %zu images and %zu vectors",
            page->n_items, page->n_vectors);
    for (size_t i = 0; i < page->n_items && status == KD_OK; i++)
        status = put_row(x, page->items[i], page->vectors[i], err);
    cli_bar_show(
        &x->bar, &(cli_progress){.phase = "exporting", .done = x->rows, .total = x->count});
    if (status == KD_OK && cli_interrupted())
        status = kd_error_set(err, KD_CANCELLED, "interrupted; %s is not written", x->path);
    return status;
}

static kd_status put_pages(export *x, kd_error *err)
{
    Kindred__V1__ListItemsRequest request = KINDRED__V1__LIST_ITEMS_REQUEST__INIT;
    Kindred__V1__ListItemsResponse *page = NULL, *before = NULL; /* before holds the token */
    kd_status status = KD_OK;
    request.collection = (char *)(uintptr_t)x->collection;
    request.page_size = PAGE;
    request.with_vectors = true;
    do {
        status =
            cli_call(x->channel, CLI_INDEXER, "ListItems", &request.base, CLI_CALL_MS, &page, err);
        kd_message_free(before);
        before = page;
        if (status == KD_OK)
            status = put_page(x, page, err);
        if (status == KD_OK)
            request.page_token = page->next_page_token;
    } while (status == KD_OK && *request.page_token);
    kd_message_free(before);
    return status;
}

static kd_status look_at(export *x, kd_error *err)
{
    Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *response = NULL;
    request.name = (char *)(uintptr_t)x->collection;
    kd_status status = cli_call(
        x->channel, CLI_INDEXER, "GetCollection", &request.base, CLI_CALL_MS, &response, err);
    if (status == KD_OK && *response->collection->damage)
        status = kd_error_set(err, KD_DATA_LOSS, "%s", response->collection->damage);
    if (status == KD_OK) {
        x->dim = response->collection->dim;
        x->count = response->collection->count;
    }
    kd_message_free(response);
    return status;
}

static kd_status write_both(export *x, kd_error *err)
{
    kd_status status = kd_new_file_begin(&x->items, x->items_path, err);
    if (status == KD_OK)
        status = x->for_faiss ? cli_faiss_begin(&x->faiss, x->path, x->dim, err)
                              : cli_npy_begin(&x->npy, x->path, err);
    x->npy.dim = x->dim; /* of no rows as well */
    if (status == KD_OK)
        status = put_pages(x, err);
    cli_bar_clear(&x->bar);
    if (status == KD_OK)
        status = kd_new_file_commit(&x->items, err);
    if (status == KD_OK)
        status = x->for_faiss ? cli_faiss_commit(&x->faiss, err) : cli_npy_commit(&x->npy, err);
    kd_new_file_drop(&x->items);
    cli_npy_drop(&x->npy);
    cli_faiss_drop(&x->faiss);
    return status;
}

static int export_all(export *x)
{
    kd_error err = KD_ERROR_INIT;
    char text[CLI_TEXT];
    int exit_status = EXIT_DONE;
    cli_bar_init(&x->bar, x->command, x->common->json);
    cli_interrupt_catch();
    kd_status status = cli_connect(x->common, &x->channel, &err);
    if (status == KD_OK)
        status = look_at(x, &err);
    if (status == KD_OK)
        status = write_both(x, &err);
    cli_disconnect(x->channel);
    if (status != KD_OK)
        exit_status = cli_error(x->common, x->command, &err);
    else if (x->common->json)
        cli_print_json(json_pack("{s: o, s: o, s: I, s: I}", "file", cli_json_text(x->path),
            "items", cli_json_text(x->items_path), "rows", (json_int_t)x->rows, "dim",
            (json_int_t)x->dim));
    else
        printf("%s: %s × %zu, what is known of them in %s\n", x->path,
            cli_some(x->rows, "image", "images", text), x->dim, x->items_path);
    return exit_status;
}

int collection_export(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    int exit_status = cli_parse(argc, argv, "NAME FILE.npy|FILE.faiss [OPTION...]",
        "Writes a collection's vectors in the order of the images' ids: a NumPy array, or where "
        "the "
        "name ends in .faiss or .index a FAISS index (IndexIDMap2 over IndexFlatIP) with the ids; "
        "and FILE.jsonl beside it, with ids, keys, labels, URIs and attributes, an image a line.\n"
        "Example: kindred collection export shop shop.npy",
        NULL, NULL, NULL, 2, 2, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    export x = {.command = argv[0],
        .collection = args[0],
        .path = args[1],
        .common = &common,
        .items_path = cli_items_path(args[1]),
        .for_faiss = cli_faiss_named(args[1]),
        .items = KD_NEW_FILE_INIT};
    if (strcmp(x.items_path, x.path) == 0)
        exit_status = cli_usage(argv[0], "%s is where the images' ids and labels go", x.path);
    else
        exit_status = export_all(&x);
    free(x.items_path);
    free(args);
    return exit_status;
}
