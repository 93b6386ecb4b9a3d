/* Lists: every page of them, as a table or as one JSON object. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/cli/cli.h"

#define PAGE 1000u

static void *field_of(const ProtobufCMessage *message, const char *name, size_t **count)
{
    const ProtobufCFieldDescriptor *const field =
        protobuf_c_message_descriptor_get_field_by_name(message->descriptor, name);
    assert(field);
    uint8_t *const base = (uint8_t *)(uintptr_t)message;
    if (count) {
        void *const quantifier = base + field->quantifier_offset;
        *count = quantifier;
    }
    return base + field->offset;
}

kd_status cli_each(kd_channel *channel, const cli_pages *pages, ProtobufCMessage *request,
    bool (*visit)(void *arg, const ProtobufCMessage *item), void *arg, kd_error *err)
{
    uint32_t *const size = field_of(request, "page_size", NULL);
    char **const token = field_of(request, "page_token", NULL);
    char *const none = *token;
    ProtobufCMessage *page = NULL, *before = NULL; /* before holds the token */
    kd_status status;
    bool more = true;
    *size = pages->limit > 0 && pages->limit < PAGE ? (uint32_t)pages->limit : PAGE;
    do {
        status = cli_call(
            channel, pages->service, pages->method, request, pages->timeout_ms, &page, err);
        kd_message_free(before);
        before = page;
        if (status != KD_OK)
            break;
        size_t *count = NULL;
        ProtobufCMessage *const *const items =
            *(ProtobufCMessage *const **)field_of(page, pages->field, &count);
        for (size_t i = 0; i < *count && more; i++)
            more = visit(arg, items[i]);
        *token = *(char **)field_of(page, "next_page_token", NULL);
    } while (**token && more);
    kd_message_free(before);
    *token = none;
    return status;
}

/* Where the rows go: one of both. */
typedef struct rows {
    const cli_list *list;
    json_t *array;
    cli_table *table;
    uint64_t n;
} rows;

static bool take_row(void *arg, const ProtobufCMessage *item)
{
    rows *const out = arg;
    if (out->array)
        (void)json_array_append_new(out->array, cli_must(kd_message_json(item)));
    else
        out->list->row(out->table, item);
    out->n++;
    return out->list->pages.limit == 0 || out->n < out->list->pages.limit;
}

int cli_print_list(
    const cli_common *common, const char *command, const cli_list *list, ProtobufCMessage *request)
{
    kd_channel *channel = NULL;
    kd_error err = KD_ERROR_INIT;
    rows out = {.list = list};
    if (common->json)
        out.array = cli_must(json_array());
    else
        out.table = cli_table_new(list->heads, list->n_heads);
    kd_status status = cli_connect(common, &channel, &err);
    if (status == KD_OK)
        status = cli_each(channel, &list->pages, request, take_row, &out, &err);
    cli_disconnect(channel);
    if (status != KD_OK) {
        json_decref(out.array);
        cli_table_free(out.table);
        return cli_error(common, command, &err);
    }
    if (common->json) {
        cli_print_json(json_pack("{s: o}", list->pages.field, out.array));
    } else if (out.n == 0) {
        puts(list->empty);
        cli_table_free(out.table);
    } else {
        cli_table_print(out.table);
    }
    return EXIT_DONE;
}
