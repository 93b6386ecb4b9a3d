/* kindred collection add, delete, items: the images of a collection. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/attributes.h"
#include "services/gateway/cli/collection.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"

#define IDS_AT_ONCE 4096u /* the indexer takes no more in a call */

/* ---- items ---- */

static void item_row(cli_table *table, const ProtobufCMessage *message)
{
    const Kindred__V1__Item *const item = (const Kindred__V1__Item *)message;
    char id[CLI_TEXT], class_id[CLI_TEXT], super_id[CLI_TEXT];
    cli_table_row(
        table, (const char *const[]){cli_image_name(item, id), cli_count(item->class_id, class_id),
                   item->class_name, cli_count(item->super_class_id, super_id),
                   item->super_class_name, item->uri});
}

int collection_items(int argc, const char **argv)
{
    static const char *const heads[] = {
        "IMAGE", "CLASS ID", "CLASS", "SUPER-CLASS ID", "SUPER-CLASS", "URI"};
    const char *limit = NULL, **args = NULL;
    cli_common common;
    const struct poptOption options[] = {
        {"limit", 0, POPT_ARG_STRING, &limit, 0, "at most this many", "N"}, POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "NAME [OPTION...]",
        "Lists a collection's images in the order of their ids.\n"
        "Example: kindred collection items shop --limit 20",
        options, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__ListItemsRequest request = KINDRED__V1__LIST_ITEMS_REQUEST__INIT;
    cli_list list = {.pages = {.service = CLI_INDEXER,
                         .method = "ListItems",
                         .field = "items",
                         .timeout_ms = CLI_CALL_MS},
        .empty = "no images",
        .heads = heads,
        .n_heads = sizeof heads / sizeof heads[0],
        .row = item_row};
    request.collection = (char *)(uintptr_t)args[0];
    exit_status = EXIT_USAGE;
    if (!limit || cli_number(argv[0], "--limit", limit, 1, UINT64_MAX, &list.pages.limit))
        exit_status = cli_print_list(&common, argv[0], &list, &request.base);
    free(args);
    return exit_status;
}

/* ---- add ---- */

static int add_image(const cli_common *common, const char *command,
    Kindred__V1__AddImageRequest *request, const char *path)
{
    Kindred__V1__AddImageResponse *response = NULL;
    kd_buf image = KD_BUF_INIT;
    kd_error err = KD_ERROR_INIT;
    char text[CLI_TEXT], name[CLI_TEXT];
    int exit_status = EXIT_DONE;
    kd_status status = cli_read_image(path, &image, &err);
    request->image = (ProtobufCBinaryData){image.len, image.data};
    if (status == KD_OK)
        status =
            cli_ask(common, CLI_GATEWAY, "AddImage", &request->base, CLI_CALL_MS, &response, &err);
    if (status != KD_OK)
        exit_status = cli_error(common, command, &err);
    else if (common->json)
        cli_print_message(&response->base);
    else
        printf("image %s is in %s, which holds %s\n", cli_image_name(request->item, name),
            request->collection, cli_some(response->count, "image", "images", text));
    kd_message_free(response);
    kd_buf_free(&image);
    return exit_status;
}

typedef struct adding {
    const char *command;
    cli_attributes attributes;
} adding;

static bool on_attribute(void *arg, int val, const char *value)
{
    adding *const a = arg;
    (void)val;
    return cli_attributes_add(&a->attributes, a->command, value);
}

int collection_add(int argc, const char **argv)
{
    adding a = {.command = argv[0]};
    const char *image_id = NULL, *key = NULL, *class_id = NULL, *super_id = NULL,
               *class_name = NULL;
    const char *super_name = NULL, *uri = NULL, **args = NULL;
    cli_common common;
    const struct poptOption options[] = {{"image-id", 0, POPT_ARG_STRING, &image_id, 0,
                                             "its id; one that is there is replaced", "N"},
        {"key", 0, POPT_ARG_STRING, &key, 0, "its name in place of an id, at most 256 bytes",
            "KEY"},
        {"class-id", 0, POPT_ARG_STRING, &class_id, 0, "the product", "N"},
        {"super-class-id", 0, POPT_ARG_STRING, &super_id, 0, "the category above it (0)", "N"},
        {"class-name", 0, POPT_ARG_STRING, &class_name, 0, "the product's name", "NAME"},
        {"super-class-name", 0, POPT_ARG_STRING, &super_name, 0, "the category's name", "NAME"},
        {"uri", 0, POPT_ARG_STRING, &uri, 0,
            "where the picture is on the server's side (IMAGE's path)", "PATH"},
        {"attribute", 0, POPT_ARG_STRING, NULL, 1,
            "a text or number to filter by, such as price=9.5 (repeatable)", "NAME=VALUE"},
        POPT_TABLEEND};
    int exit_status =
        cli_parse(argc, argv, "NAME IMAGE {--image-id N | --key KEY} --class-id N [OPTION...]",
            "Embeds an image by the collection's model and adds it.\n"
            "Example: kindred collection add shop chair.jpg --image-id 7 --class-id 3 --class-name "
            "chair --attribute brand=Acme",
            options, on_attribute, &a, 2, 2, &common, &args);
    if (exit_status >= 0) {
        cli_attributes_clear(&a.attributes);
        return exit_status;
    }

    Kindred__V1__AddImageRequest request = KINDRED__V1__ADD_IMAGE_REQUEST__INIT;
    Kindred__V1__Item item = KINDRED__V1__ITEM__INIT;
    uint64_t class_number = 0, super_number = 0;
    char *const path = cli_absolute(args[1]);
    request.collection = (char *)(uintptr_t)args[0];
    request.item = &item;
    item.attributes = a.attributes.list;
    item.n_attributes = a.attributes.n;
    item.uri = uri ? (char *)(uintptr_t)uri : path;
    if (class_name)
        item.class_name = (char *)(uintptr_t)class_name;
    if (super_name)
        item.super_class_name = (char *)(uintptr_t)super_name;
    exit_status = EXIT_USAGE;
    if (key)
        item.key = (char *)(uintptr_t)key;
    if (!image_id == !key) {
        (void)cli_usage(argv[0], "one of --image-id N and --key KEY is needed");
    } else if (key && *key == '\0') {
        (void)cli_usage(argv[0], "--key is empty");
    } else if (!class_id) {
        (void)cli_usage(argv[0], "--class-id N is missing");
    } else if ((key ||
                   cli_number(argv[0], "--image-id", image_id, 0, UINT64_MAX, &item.image_id)) &&
               cli_number(argv[0], "--class-id", class_id, 0, UINT32_MAX, &class_number) &&
               (!super_id || cli_number(argv[0], "--super-class-id", super_id, 0, UINT32_MAX,
                                 &super_number))) {
        item.class_id = (uint32_t)class_number;
        item.super_class_id = (uint32_t)super_number;
        exit_status = add_image(&common, argv[0], &request, args[1]);
    }
    cli_attributes_clear(&a.attributes);
    free(path);
    free(args);
    return exit_status;
}

/* ---- delete ---- */

/* Images by id, or where ids is NULL by key. */
static kd_status delete_some(const cli_common *common, const char *name, uint64_t *ids, char **keys,
    size_t n, uint64_t *deleted, kd_error *err)
{
    kd_channel *channel = NULL;
    kd_status status = cli_connect(common, &channel, err);
    for (size_t i = 0; i < n && status == KD_OK; i += IDS_AT_ONCE) {
        Kindred__V1__DeleteItemsRequest request = KINDRED__V1__DELETE_ITEMS_REQUEST__INIT;
        Kindred__V1__DeleteItemsResponse *response = NULL;
        const size_t some = n - i < IDS_AT_ONCE ? n - i : IDS_AT_ONCE;
        request.collection = (char *)(uintptr_t)name;
        request.image_ids = ids ? ids + i : NULL;
        request.n_image_ids = ids ? some : 0;
        request.keys = ids ? NULL : keys + i;
        request.n_keys = ids ? 0 : some;
        status = cli_call(
            channel, CLI_INDEXER, "DeleteItems", &request.base, CLI_CALL_MS, &response, err);
        if (status == KD_OK)
            *deleted += response->deleted;
        kd_message_free(response);
    }
    cli_disconnect(channel);
    return status;
}

static int delete_images(const cli_common *common, const char *command, const char *name,
    const char *const *texts, bool are_keys)
{
    kd_error err = KD_ERROR_INIT;
    uint64_t deleted = 0;
    size_t n = 0;
    int exit_status = EXIT_DONE;
    while (texts[n])
        n++;
    uint64_t *const ids = are_keys ? NULL : cli_must(calloc(n, sizeof *ids));
    for (size_t i = 0; ids && i < n && exit_status == EXIT_DONE; i++)
        if (!cli_number(command, "an image id", texts[i], 0, UINT64_MAX, &ids[i]))
            exit_status = EXIT_USAGE;
    if (exit_status == EXIT_DONE &&
        delete_some(common, name, ids, (char **)(uintptr_t)texts, n, &deleted, &err) != KD_OK)
        exit_status = cli_error(common, command, &err);
    else if (exit_status == EXIT_DONE && common->json)
        cli_print_json(json_pack("{s: I}", "deleted", (json_int_t)deleted));
    else if (exit_status == EXIT_DONE)
        printf("%llu of %zu removed from %s\n", (unsigned long long)deleted, n, name);
    free(ids);
    return exit_status;
}

static bool is_sure(const char *name)
{
    char answer[16] = "";
    (void)fprintf(stderr, "Remove the whole collection %s? [y/N] ", name);
    return fgets(answer, sizeof answer, stdin) && (answer[0] == 'y' || answer[0] == 'Y');
}

static int delete_whole(const cli_common *common, const char *command, const char *name)
{
    Kindred__V1__DeleteCollectionRequest request = KINDRED__V1__DELETE_COLLECTION_REQUEST__INIT;
    Kindred__V1__DeleteCollectionResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    int exit_status = EXIT_DONE;
    request.name = (char *)(uintptr_t)name;
    if (cli_ask(common, CLI_INDEXER, "DeleteCollection", &request.base, CLI_CALL_MS, &response,
            &err) != KD_OK)
        exit_status = cli_error(common, command, &err);
    else if (common->json)
        cli_print_json(json_pack("{s: o}", "collection", cli_json_text(name)));
    else
        printf("collection %s is removed\n", name);
    kd_message_free(response);
    return exit_status;
}

int collection_delete(int argc, const char **argv)
{
    int yes = 0, are_keys = 0;
    cli_common common;
    const char **args = NULL;
    const struct poptOption options[] = {
        {"keys", 0, POPT_ARG_NONE, &are_keys, 0, "the images are named by their keys", NULL},
        {"yes", 0, POPT_ARG_NONE, &yes, 0, "don't ask before the whole is removed", NULL},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "NAME [ID...] [OPTION...]",
        "Removes images by their ids; without ids the whole collection, after asking on a "
        "terminal, elsewhere with --yes.\n"
        "Example: kindred collection delete shop 17 18",
        options, NULL, NULL, 1, -1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    if (args[1]) {
        exit_status = delete_images(&common, argv[0], args[0], args + 1, are_keys != 0);
    } else if (!yes && !isatty(STDIN_FILENO)) { /* an empty list of ids must not mean all */
        exit_status = cli_usage(argv[0], "no ids were given; --yes removes the whole collection");
    } else if (yes || is_sure(args[0])) {
        exit_status = delete_whole(&common, argv[0], args[0]);
    } else {
        (void)fprintf(stderr, "kindred %s: nothing is removed\n", argv[0]);
        exit_status = EXIT_FAILED;
    }
    free(args);
    return exit_status;
}
