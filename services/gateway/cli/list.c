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

/* Where the rows go: one of both. */
typedef struct rows {
    json_t *array;
    cli_table *table;
    uint64_t n;
} rows;

static void take_page(const cli_list *list, const ProtobufCMessage *page, rows *out)
{
    size_t *count = NULL;
    ProtobufCMessage *const *const items =
        *(ProtobufCMessage *const **)field_of(page, list->field, &count);
    for (size_t i = 0; i < *count && (list->limit == 0 || out->n < list->limit); i++, out->n++) {
        if (out->array)
            (void)json_array_append_new(out->array, cli_must(kd_message_json(items[i])));
        else
            list->row(out->table, items[i]);
    }
}

static kd_status read_pages(
    const cli_list *list, kd_channel *channel, ProtobufCMessage *request, rows *out, kd_error *err)
{
    uint32_t *const size = field_of(request, "page_size", NULL);
    char **const token = field_of(request, "page_token", NULL);
    char *const none = *token;
    ProtobufCMessage *page = NULL, *before = NULL; /* before holds the token */
    kd_status status;
    *size = list->limit > 0 && list->limit < PAGE ? (uint32_t)list->limit : PAGE;
    do {
        status = cli_call(channel, list->service, list->method, request, CLI_CALL_MS, &page, err);
        kd_message_free(before);
        before = page;
        if (status != KD_OK)
            break;
        take_page(list, page, out);
        *token = *(char **)field_of(page, "next_page_token", NULL);
    } while (**token && (list->limit == 0 || out->n < list->limit));
    kd_message_free(before);
    *token = none;
    return status;
}

int cli_print_list(
    const cli_common *common, const char *command, const cli_list *list, ProtobufCMessage *request)
{
    kd_channel *channel = NULL;
    kd_error err = KD_ERROR_INIT;
    rows out = {0};
    if (common->json)
        out.array = cli_must(json_array());
    else
        out.table = cli_table_new(list->heads, list->n_heads);
    kd_status status = cli_connect(common, &channel, &err);
    if (status == KD_OK)
        status = read_pages(list, channel, request, &out, &err);
    cli_disconnect(channel);
    if (status != KD_OK) {
        json_decref(out.array);
        cli_table_free(out.table);
        return cli_error(common, command, &err);
    }
    if (common->json) {
        cli_print_json(json_pack("{s: o}", list->field, out.array));
    } else if (out.n == 0) {
        puts(list->empty);
        cli_table_free(out.table);
    } else {
        cli_table_print(out.table);
    }
    return EXIT_DONE;
}
