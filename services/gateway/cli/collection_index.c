/* kindred collection index */
#include "services/gateway/cli/collection_index.h"

#include <stdio.h>
#include <stdlib.h>

#include "services/gateway/cli/collection.h"

void index_options_ask(const index_options *options, index_messages *messages,
    Kindred__V1__IndexSettings **index, Kindred__V1__Durability **durability)
{
    kindred__v1__index_settings__init(&messages->index);
    kindred__v1__durability__init(&messages->durability);
    if (options->kind)
        messages->index.kind = (char *)(uintptr_t)options->kind;
    if (options->storage)
        messages->index.storage = (char *)(uintptr_t)options->storage;
    messages->index.target_recall = options->target_recall;
    if (options->kind || options->storage || options->target_recall != 0)
        *index = &messages->index;
    if (options->window_ms >= 0) {
        messages->durability.window_ms = (uint32_t)options->window_ms;
        *durability = &messages->durability;
    }
}

static void recall_field(cli_table *table, const char *name, float recall)
{
    char text[CLI_TEXT];
    (void)snprintf(text, sizeof text, "%.4f", (double)recall);
    cli_table_field(table, name, recall != 0 ? text : "");
}

void index_fields(cli_table *table, const Kindred__V1__Collection *c)
{
    const Kindred__V1__IndexSettings *const asked = c->index_settings;
    const Kindred__V1__IndexState *const state = c->index_state;
    char text[3 * CLI_TEXT], number[CLI_TEXT];
    if (!asked || !state)
        return;
    (void)snprintf(text, sizeof text, "%s, %s, recall %.4g", asked->kind, asked->storage,
        (double)asked->target_recall);
    cli_table_field(table, "asked for", text);
    recall_field(table, "recall", state->recall);
    recall_field(table, "live recall", state->live_recall);
    (void)snprintf(text, sizeof text, "%u, %u with an approximate index", state->segments,
        state->approximate_segments);
    cli_table_field(table, "segments", text);
    cli_table_field(table, "growing", cli_count(state->growing, number));
    cli_table_field(table, "sealed", cli_count(state->sealed, number));
    cli_table_field(table, "dead", cli_count(state->dead, number));
    cli_table_field(table, "building", state->building ? "yes" : "no");
    cli_table_field(table, "problem", state->problem);
    cli_table_field(table, "mapped", cli_bytes(state->mapped_bytes, number));
    (void)snprintf(text, sizeof text, "%u ms", c->durability ? c->durability->window_ms : 0);
    cli_table_field(
        table, "durability", c->durability && c->durability->window_ms ? text : "every change");
}

/* Options that are not given leave what holds. */
static kd_status update(const cli_common *common, const char *name, const index_options *options,
    Kindred__V1__UpdateCollectionResponse **out, kd_error *err)
{
    Kindred__V1__GetCollectionRequest get = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *got = NULL;
    get.name = (char *)(uintptr_t)name;
    kd_status status =
        cli_ask(common, CLI_INDEXER, "GetCollection", &get.base, CLI_CALL_MS, &got, err);
    if (status == KD_OK) {
        const Kindred__V1__IndexSettings *const now =
            got->collection ? got->collection->index_settings : NULL;
        index_options all = *options;
        Kindred__V1__UpdateCollectionRequest request = KINDRED__V1__UPDATE_COLLECTION_REQUEST__INIT;
        index_messages messages;
        if (now && !all.kind)
            all.kind = now->kind;
        if (now && !all.storage)
            all.storage = now->storage;
        if (now && all.target_recall == 0)
            all.target_recall = now->target_recall;
        request.name = (char *)(uintptr_t)name;
        index_options_ask(&all, &messages, &request.index, &request.durability);
        status =
            cli_ask(common, CLI_INDEXER, "UpdateCollection", &request.base, CLI_CALL_MS, out, err);
    }
    kd_message_free(got);
    return status;
}

int collection_index(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    index_options index = INDEX_OPTIONS_INIT;
    const struct poptOption options[] = {INDEX_OPTIONS(index), POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "NAME [OPTION...]",
        "Changes how a collection is searched and written; what is not named stays as it is. "
        "Indexes are built while it is searched as before: see `kindred collection show`.\n"
        "Example: kindred collection index shop --kind hnsw --target-recall 0.99",
        options, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__UpdateCollectionResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    exit_status = EXIT_DONE;
    if (!index.kind && !index.storage && index.target_recall == 0 && index.window_ms < 0)
        exit_status = cli_usage(argv[0], "there is nothing to change");
    else if (update(&common, args[0], &index, &response, &err) != KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (response->collection && common.json)
        cli_print_message(&response->collection->base);
    else
        printf("collection %s is changed\n", args[0]);
    kd_message_free(response);
    free(args);
    return exit_status;
}
