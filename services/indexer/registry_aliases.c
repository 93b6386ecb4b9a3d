#include "services/indexer/registry_aliases.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"

void aliases_free(aliases *all)
{
    free(all->list);
    *all = (aliases){0};
}

static int by_name(const void *left, const void *right)
{
    return strcmp(((const alias *)left)->name, ((const alias *)right)->name);
}

static kd_status damaged(const char *file, const char *why, kd_error *err)
{
    return kd_error_set(err, KD_DATA_LOSS, "the aliases in %s are damaged: %.200s", file, why);
}

/* "TARGET", or {"collection": "TARGET", "previous": "TARGET"}. */
static bool take_alias(alias *a, const char *name, const json_t *value)
{
    const bool both = json_is_object(value);
    const char *const target =
        json_string_value(both ? json_object_get(value, "collection") : value);
    const char *const previous = both ? json_string_value(json_object_get(value, "previous")) : "";
    return kd_check_name("alias", name, NULL) == KD_OK && target && previous &&
           kd_check_name("collection", target, NULL) == KD_OK &&
           (!both || kd_check_name("collection", previous, NULL) == KD_OK) &&
           kd_copy(a->name, sizeof a->name, name) && kd_copy(a->target, sizeof a->target, target) &&
           kd_copy(a->previous, sizeof a->previous, previous);
}

static json_t *alias_json(const alias *a)
{
    return *a->previous
               ? json_pack("{s: s, s: s}", "collection", a->target, "previous", a->previous)
               : json_string(a->target);
}

static kd_status from_json(aliases *out, json_t *root, const char *file, kd_error *err)
{
    const size_t n = json_object_size(root);
    if (!json_is_object(root) || n > REGISTRY_MAX_ALIASES)
        return damaged(file, "not an object of at most 1000 names", err);
    out->list = calloc(n + 1, sizeof *out->list);
    if (!out->list)
        return kd_error_memory(err, "the aliases");
    const char *name;
    json_t *value;
    json_object_foreach(root, name, value)
    {
        if (!take_alias(&out->list[out->n++], name, value))
            return damaged(file, name, err);
    }
    qsort(out->list, out->n, sizeof *out->list, by_name);
    return KD_OK;
}

kd_status aliases_load(aliases *out, const char *file, kd_error *err)
{
    *out = (aliases){0};
    if (!kd_is_file(file))
        return KD_OK;
    kd_buf text = KD_BUF_INIT;
    json_t *root = NULL;
    kd_status status = kd_file_read(file, 1u << 20, &text, err);
    if (status == KD_OK) {
        json_error_t why = {.text = ""};
        root = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &why);
        status = root ? from_json(out, root, file, err) : damaged(file, why.text, err);
    }
    json_decref(root);
    kd_buf_free(&text);
    if (status != KD_OK)
        aliases_free(out);
    return status;
}

kd_status aliases_save(const aliases *all, const char *file, kd_error *err)
{
    json_t *const root = json_object();
    bool good = root != NULL;
    for (size_t i = 0; i < all->n && good; i++)
        good = json_object_set_new(root, all->list[i].name, alias_json(&all->list[i])) == 0;
    char *const text = good ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    const kd_status status =
        text ? kd_file_write(file, text, strlen(text), err) : kd_error_memory(err, "the aliases");
    free(text);
    json_decref(root);
    return status;
}

const alias *aliases_find(const aliases *all, const char *name)
{
    alias key;
    if (!all->n || !kd_copy(key.name, sizeof key.name, name))
        return NULL;
    return bsearch(&key, all->list, all->n, sizeof key, by_name);
}

kd_status aliases_of(const aliases *all, const char *target, bool before,
    char (**names)[COLLECTION_NAME_SIZE], size_t *n, kd_error *err)
{
    *n = 0;
    *names = calloc(all->n + 1, sizeof **names);
    if (!*names)
        return kd_error_memory(err, "a list of aliases");
    for (size_t i = 0; i < all->n; i++) {
        const alias *const a = &all->list[i];
        if (strcmp(before ? a->previous : a->target, target) == 0)
            (void)kd_copy((*names)[(*n)++], COLLECTION_NAME_SIZE, a->name);
    }
    return KD_OK;
}

kd_status aliases_with(
    aliases *out, const aliases *all, const char *name, const char *target, kd_error *err)
{
    *out = (aliases){.list = calloc(all->n + 1, sizeof *out->list)};
    if (!out->list)
        return kd_error_memory(err, "the aliases");
    for (size_t i = 0; i < all->n; i++)
        if (strcmp(all->list[i].name, name) != 0)
            out->list[out->n++] = all->list[i];
    if (*target) {
        alias *const a = &out->list[out->n++];
        const alias *const before = aliases_find(all, name);
        if (before && strcmp(before->target, target) != 0)
            (void)kd_copy(a->previous, sizeof a->previous, before->target);
        else if (before)
            (void)kd_copy(a->previous, sizeof a->previous, before->previous);
        (void)kd_copy(a->name, sizeof a->name, name);
        (void)kd_copy(a->target, sizeof a->target, target);
        qsort(out->list, out->n, sizeof *out->list, by_name);
    }
    return KD_OK;
}
