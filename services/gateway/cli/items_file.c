#include "services/gateway/cli/items_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"

kd_status cli_items_open(cli_items *items, const char *path, uint64_t *lines, kd_error *err)
{
    *items = (cli_items){.path = cli_must(strdup(path))};
    *lines = 0;
    items->stream = fopen(path, "re");
    if (!items->stream) {
        const kd_status status = kd_error_errno(err, errno, "cannot read %s", path);
        cli_items_close(items);
        return status;
    }
    while (getline(&items->line, &items->room, items->stream) >= 0)
        ++*lines;
    clearerr(items->stream);
    return fseeko(items->stream, 0, SEEK_SET) == 0
               ? KD_OK
               : kd_error_errno(err, errno, "cannot read %s", path);
}

void cli_items_close(cli_items *items)
{
    if (items->stream)
        (void)fclose(items->stream);
    free(items->path);
    free(items->line);
    *items = (cli_items){0};
}

void cli_item_init(cli_item *item)
{
    *item = (cli_item){.json = NULL};
    kindred__v1__item__init(&item->message);
}

void cli_item_clear(cli_item *item)
{
    json_decref(item->json);
    free(item->key);
    free(item->attributes);
    free(item->list);
    cli_item_init(item);
}

static kd_status wrong(const cli_items *items, const char *what, const char *why, kd_error *err)
{
    return kd_error_set(err, KD_INVALID_ARGUMENT, "%s, line %llu: %.100s %s", items->path,
        (unsigned long long)items->number, what, why);
}

/* Absent leaves *out. */
static kd_status take_number(const cli_items *items, const json_t *object, const char *name,
    uint64_t most, uint64_t *out, kd_error *err)
{
    const json_t *const value = json_object_get(object, name);
    if (!value)
        return KD_OK;
    const json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number > most)
        return wrong(items, name, "is not a number that it may be", err);
    *out = (uint64_t)number;
    return KD_OK;
}

static kd_status take_text(
    const cli_items *items, const json_t *object, const char *name, char **out, kd_error *err)
{
    const json_t *const value = json_object_get(object, name);
    if (value && !json_is_string(value))
        return wrong(items, name, "is not a text", err);
    if (value)
        *out = (char *)(uintptr_t)json_string_value(value);
    return KD_OK;
}

static kd_status take_attributes(const cli_items *items, cli_item *item, kd_error *err)
{
    json_t *const members = json_object_get(item->json, "attributes");
    const size_t n = json_object_size(members);
    const char *name;
    json_t *value;
    if (members && !json_is_object(members))
        return wrong(items, "attributes", "is not an object", err);
    if (n == 0)
        return KD_OK;
    item->attributes = cli_must(calloc(n, sizeof *item->attributes));
    item->list = cli_must(calloc(n, sizeof(Kindred__V1__Attribute *)));
    json_object_foreach(members, name, value)
    {
        Kindred__V1__Attribute *const a = &item->attributes[item->message.n_attributes];
        kindred__v1__attribute__init(a);
        a->name = (char *)(uintptr_t)name;
        if (json_is_string(value)) {
            a->value_case = KINDRED__V1__ATTRIBUTE__VALUE_TEXT;
            a->text = (char *)(uintptr_t)json_string_value(value);
        } else if (json_is_number(value)) {
            a->value_case = KINDRED__V1__ATTRIBUTE__VALUE_NUMBER;
            a->number = json_number_value(value);
        } else {
            return wrong(items, name, "is neither a text nor a number", err);
        }
        item->list[item->message.n_attributes++] = a;
    }
    item->message.attributes = item->list;
    return KD_OK;
}

static kd_status take_object(const cli_items *items, cli_item *item, kd_error *err)
{
    Kindred__V1__Item *const m = &item->message;
    json_error_t why = {.text = ""};
    uint64_t class_id = 0, super_class_id = 0;
    item->json = json_loads(items->line, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(item->json))
        return wrong(items, "it is no JSON object:", why.text, err);
    kd_status status = take_number(items, item->json, "image_id", INT64_MAX, &m->image_id, err);
    if (status == KD_OK)
        status = take_number(items, item->json, "class_id", UINT32_MAX, &class_id, err);
    if (status == KD_OK)
        status = take_number(items, item->json, "super_class_id", UINT32_MAX, &super_class_id, err);
    if (status == KD_OK)
        status = take_text(items, item->json, "key", &m->key, err);
    if (status == KD_OK)
        status = take_text(items, item->json, "class_name", &m->class_name, err);
    if (status == KD_OK)
        status = take_text(items, item->json, "super_class_name", &m->super_class_name, err);
    if (status == KD_OK)
        status = take_text(items, item->json, "uri", &m->uri, err);
    if (status == KD_OK)
        status = take_attributes(items, item, err);
    m->class_id = (uint32_t)class_id;
    m->super_class_id = (uint32_t)super_class_id;
    if (status == KD_OK && !*m->key && !json_object_get(item->json, "image_id"))
        status = wrong(items, "it has neither an image_id", "nor a key", err);
    return status;
}

kd_status cli_items_next(cli_items *items, cli_item *item, kd_error *err)
{
    cli_item_init(item);
    items->number++;
    const ssize_t len = getline(&items->line, &items->room, items->stream);
    if (len < 0)
        return wrong(items, "it", "is missing", err);
    if (len > 0 && items->line[len - 1] == '\n')
        items->line[len - 1] = '\0';
    if (items->line[0] == '{')
        return take_object(items, item, err);
    if (items->line[0] == '\0')
        return wrong(items, "it", "is empty", err);
    if (!kd_parse_u64(items->line, 0, INT64_MAX, &item->message.image_id))
        item->message.key = item->key = cli_must(strdup(items->line));
    return KD_OK;
}
