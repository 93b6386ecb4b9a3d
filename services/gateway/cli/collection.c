/* kindred collection: named galleries in the index. */
#include "services/gateway/cli/collection.h"

#include <stdio.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/collection_index.h"

#define COPY_MS 600000 /* a snapshot or a restore of a large collection */

/* "a, b"; a new string. */
static char *joined(char *const *words, size_t n)
{
    kd_buf text = KD_BUF_INIT;
    kd_buf_append(&text, "", 0);
    for (size_t i = 0; i < n; i++)
        kd_buf_printf(&text, "%s%s", i ? ", " : "", words[i]);
    kd_buf_append(&text, "", 1);
    return cli_must(kd_buf_ok(&text) ? (char *)text.data : NULL);
}

/* ---- create ---- */

/* Empty, for vectors of the model. */
static kd_status create(const cli_common *common, const char *name, const char *model,
    const index_options *index, Kindred__V1__CreateCollectionResponse **out, kd_error *err)
{
    Kindred__V1__GetModelRequest get = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *got = NULL;
    get.model = (char *)(uintptr_t)model;
    kd_status status = cli_ask(common, CLI_TRAINER, "GetModel", &get.base, CLI_CALL_MS, &got, err);
    if (status == KD_OK) {
        Kindred__V1__CreateCollectionRequest request = KINDRED__V1__CREATE_COLLECTION_REQUEST__INIT;
        request.name = (char *)(uintptr_t)name;
        request.model_id = got->model->id;
        request.dim = got->model->dim;
        index_messages messages;
        index_options_ask(index, &messages, &request.index, &request.durability);
        status =
            cli_ask(common, CLI_INDEXER, "CreateCollection", &request.base, CLI_CALL_MS, out, err);
    }
    kd_message_free(got);
    return status;
}

static int collection_create(int argc, const char **argv)
{
    const char *model = NULL, **args = NULL;
    cli_common common;
    index_options index = INDEX_OPTIONS_INIT;
    const struct poptOption options[] = {
        {"model", 0, POPT_ARG_STRING, &model, 0, "whose vectors it holds, by id or name", "ID"},
        INDEX_OPTIONS(index), POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "NAME --model ID [OPTION...]",
        "Makes an empty collection, to be filled with `kindred collection add`; `kindred index` "
        "makes its own.\n"
        "Example: kindred collection create shop --model best",
        options, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__CreateCollectionResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    exit_status = EXIT_DONE;
    if (!model)
        exit_status = cli_usage(argv[0], "--model ID is missing");
    else if (create(&common, args[0], model, &index, &response, &err) != KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (common.json)
        cli_print_message(&response->collection->base);
    else
        printf("collection %s is there, empty\n", args[0]);
    kd_message_free(response);
    free(args);
    return exit_status;
}

/* ---- list, show ---- */

static void collection_row(cli_table *table, const ProtobufCMessage *item)
{
    const Kindred__V1__Collection *const c = (const Kindred__V1__Collection *)item;
    char count[CLI_TEXT], classes[CLI_TEXT], memory[CLI_TEXT], disk[CLI_TEXT], created[CLI_TEXT];
    char *const aliases = joined(c->aliases, c->n_aliases);
    cli_table_row(table,
        (const char *const[]){c->name, cli_count(c->count, count), cli_count(c->classes, classes),
            c->model_id, *c->damage ? "damaged" : c->index, cli_bytes(c->memory_bytes, memory),
            cli_bytes(c->disk_bytes, disk), cli_when(c->created_unix_ms, created), aliases});
    free(aliases);
}

static int collection_list(int argc, const char **argv)
{
    static const char *const heads[] = {
        "NAME", "IMAGES", "CLASSES", "MODEL", "INDEX", "MEMORY", "DISK", "CREATED", "ALIASES"};
    cli_common common;
    const char **args = NULL;
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Lists the collections by name.\nExample: kindred collection list", NULL, NULL, NULL, 0, 0,
        &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__ListCollectionsRequest request = KINDRED__V1__LIST_COLLECTIONS_REQUEST__INIT;
    const cli_list list = {.pages = {.service = CLI_INDEXER,
                               .method = "ListCollections",
                               .field = "collections",
                               .timeout_ms = CLI_CALL_MS},
        .empty = "no collections",
        .heads = heads,
        .n_heads = sizeof heads / sizeof heads[0],
        .row = collection_row};
    return cli_print_list(&common, argv[0], &list, &request.base);
}

static void print_collection(const Kindred__V1__Collection *c)
{
    char text[CLI_TEXT];
    char *const aliases = joined(c->aliases, c->n_aliases);
    char *const previous = joined(c->previous_aliases, c->n_previous_aliases);
    cli_table *const table = cli_table_new(NULL, 2);
    cli_table_field(table, "name", c->name);
    cli_table_field(table, "damage", c->damage);
    cli_table_field(table, "images", cli_count(c->count, text));
    cli_table_field(table, "classes", cli_count(c->classes, text));
    cli_table_field(table, "super-classes", cli_count(c->super_classes, text));
    cli_table_field(table, "model", c->model_id);
    cli_table_field(table, "dim", cli_count(c->dim, text));
    cli_table_field(table, "index", c->index);
    index_fields(table, c);
    cli_table_field(table, "memory", cli_bytes(c->memory_bytes, text));
    cli_table_field(table, "disk", cli_bytes(c->disk_bytes, text));
    cli_table_field(table, "created", cli_when(c->created_unix_ms, text));
    cli_table_field(table, "aliases", aliases);
    cli_table_field(table, "aliases before", previous);
    cli_table_print(table);
    free(previous);
    free(aliases);
}

static int collection_show(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    int exit_status = cli_parse(argc, argv, "NAME [OPTION...]",
        "Shows a collection, by name or alias.\nExample: kindred collection show shop", NULL, NULL,
        NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    request.name = (char *)(uintptr_t)args[0];
    exit_status = EXIT_DONE;
    if (cli_ask(&common, CLI_INDEXER, "GetCollection", &request.base, CLI_CALL_MS, &response,
            &err) != KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (response->collection && common.json)
        cli_print_message(&response->collection->base);
    else if (response->collection)
        print_collection(response->collection);
    kd_message_free(response);
    free(args);
    return exit_status;
}

/* ---- snapshot, restore, alias ---- */

static int collection_snapshot(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    char text[CLI_TEXT];
    int exit_status = cli_parse(argc, argv, "NAME [OPTION...]",
        "Writes a collection to one file in the indexer's snapshots folder, while it is served.\n"
        "Example: kindred collection snapshot shop",
        NULL, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__SnapshotCollectionRequest request = KINDRED__V1__SNAPSHOT_COLLECTION_REQUEST__INIT;
    Kindred__V1__SnapshotCollectionResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    request.name = (char *)(uintptr_t)args[0];
    exit_status = EXIT_DONE;
    if (cli_ask(&common, CLI_INDEXER, "SnapshotCollection", &request.base, COPY_MS, &response,
            &err) != KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (common.json)
        cli_print_message(&response->base);
    else
        printf("snapshot %s, %s\n", response->file, cli_bytes(response->bytes, text));
    kd_message_free(response);
    free(args);
    return exit_status;
}

static int collection_restore(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    char text[CLI_TEXT];
    int exit_status = cli_parse(argc, argv, "NAME FILE [OPTION...]",
        "Makes a collection from a file in the indexer's snapshots folder, in place of what has "
        "the name.\nExample: kindred collection restore shop FILE",
        NULL, NULL, NULL, 2, 2, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__RestoreCollectionRequest request = KINDRED__V1__RESTORE_COLLECTION_REQUEST__INIT;
    Kindred__V1__RestoreCollectionResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    request.name = (char *)(uintptr_t)args[0];
    request.file = (char *)(uintptr_t)args[1];
    exit_status = EXIT_DONE;
    if (cli_ask(&common, CLI_INDEXER, "RestoreCollection", &request.base, COPY_MS, &response,
            &err) != KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (response->collection && common.json)
        cli_print_message(&response->collection->base);
    else
        printf("collection %s is restored: %s\n", args[0],
            cli_some(
                response->collection ? response->collection->count : 0, "image", "images", text));
    kd_message_free(response);
    free(args);
    return exit_status;
}

/* collection NULL: to where it led before. */
static int set_alias(
    const cli_common *common, const char *command, const char *alias, const char *collection)
{
    Kindred__V1__SetAliasRequest request = KINDRED__V1__SET_ALIAS_REQUEST__INIT;
    Kindred__V1__SetAliasResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    int exit_status = EXIT_DONE;
    request.alias = (char *)(uintptr_t)alias;
    if (collection)
        request.collection = (char *)(uintptr_t)collection;
    request.rollback = !collection;
    if (cli_ask(common, CLI_INDEXER, "SetAlias", &request.base, CLI_CALL_MS, &response, &err) !=
        KD_OK) {
        exit_status = cli_error(common, command, &err);
    } else if (common->json) {
        cli_print_message(&response->base);
    } else {
        if (*response->collection)
            printf("%s leads to %s", alias, response->collection);
        else
            printf("%s is removed", alias);
        printf(*response->previous_collection ? ", before to %s\n" : "\n",
            response->previous_collection);
    }
    kd_message_free(response);
    return exit_status;
}

static int collection_alias(int argc, const char **argv)
{
    int gone = 0, back = 0;
    cli_common common;
    const char **args = NULL;
    const struct poptOption options[] = {
        {"remove", 0, POPT_ARG_NONE, &gone, 0, "remove the alias", NULL},
        {"rollback", 0, POPT_ARG_NONE, &back, 0, "to the collection that it led to before", NULL},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "ALIAS {NAME | --rollback | --remove} [OPTION...]",
        "Lets an alias lead to a collection, in one step; searches may name it from then on.\n"
        "Examples: kindred collection alias live shop-2\n"
        "          kindred collection alias live --rollback",
        options, NULL, NULL, 1, 2, &common, &args);
    if (exit_status == -1) {
        const char *const collection = gone ? "" : args[1];
        if ((gone != 0) + (back != 0) + (args[1] != NULL) != 1)
            exit_status = cli_usage(argv[0], "give the collection's NAME, --rollback or --remove");
        else
            exit_status = set_alias(&common, argv[0], args[0], collection);
    }
    free(args);
    return exit_status;
}

int cmd_collection(int argc, const char **argv)
{
    static const cli_command commands[] = {
        {"create", collection_create, "make an empty one"},
        {"list", collection_list, "list the collections by name"},
        {"show", collection_show, "show one"},
        {"index", collection_index, "change how it is searched and written"},
        {"add", collection_add, "embed an image and add it"},
        {"delete", collection_delete, "remove images, or the whole collection"},
        {"items", collection_items, "list its images"},
        {"export", collection_export, "write its vectors for NumPy or FAISS"},
        {"import", collection_import, "add vectors from such a file"},
        {"snapshot", collection_snapshot, "write it to one file on the server's side"},
        {"restore", collection_restore, "make it from such a file"},
        {"alias", collection_alias, "let another name lead to it"},
    };
    return cli_dispatch(argc, argv, "collection", "Named galleries in the index.", commands,
        sizeof commands / sizeof commands[0]);
}
