#include "services/indexer/collection_items.h"

#include <stdlib.h>
#include <string.h>

/* A bigger table that cannot be had only makes look-ups slower; a first one that cannot be had is
 * seen by the caller: the element is then in no table. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#include "lib/base/buf.h"

/* One name of one class. An id has one name, unless its images were not all given the same. */
typedef struct label {
    uint64_t uses;
    struct label *next; /* another name of the same id */
    char name[];
} label;

/* All names of one id. */
typedef struct label_id {
    uint32_t id;
    label *names; /* owned, never empty */
    UT_hash_handle hh;
} label_id;

typedef struct entry {
    uint64_t image_id;
    uint32_t class_id, super_class_id;
    label *class_label, *super_class_label; /* a use each */
    UT_hash_handle hh;
    char uri[];
} entry;

struct items {
    entry *entries; /* a uthash table, owned; as the next two */
    label_id *classes;
    label_id *super_classes;
    uint64_t text_bytes;
};

kd_status items_new(items **out, kd_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? KD_OK : kd_error_memory(err, "a collection's items");
}

/* ---- Labels ---- */

static label_id *label_id_take(label_id **table, uint32_t id)
{
    label_id *found = NULL;
    HASH_FIND(hh, *table, &id, sizeof id, found);
    if (found)
        return found;
    found = calloc(1, sizeof *found);
    if (!found)
        return NULL;
    found->id = id;
    HASH_ADD(hh, *table, id, sizeof found->id, found);
    if (!found->hh.tbl) {
        free(found);
        return NULL;
    }
    return found;
}

static void label_id_drop_if_unused(label_id **table, label_id *of)
{
    if (of->names)
        return;
    HASH_DELETE(hh, *table, of);
    free(of);
}

/* A use of the label, given back by label_drop; NULL without memory. */
static label *label_take(label_id **table, uint32_t id, const char *name)
{
    label_id *const of = label_id_take(table, id);
    if (!of)
        return NULL;
    label *found = of->names;
    while (found && strcmp(found->name, name) != 0)
        found = found->next;
    if (!found) {
        const size_t size = strlen(name) + 1;
        found = malloc(sizeof *found + size);
        if (!found) {
            label_id_drop_if_unused(table, of);
            return NULL;
        }
        *found = (label){.uses = 0, .next = of->names};
        memcpy(found->name, name, size);
        of->names = found;
    }
    found->uses++;
    return found;
}

static void label_drop(label_id **table, uint32_t id, label *used)
{
    if (!used || --used->uses > 0)
        return;
    label_id *of = NULL;
    HASH_FIND(hh, *table, &id, sizeof id, of);
    for (label **at = of ? &of->names : NULL; at && *at; at = &(*at)->next) {
        if (*at == used) {
            *at = used->next;
            break;
        }
    }
    free(used);
    if (of)
        label_id_drop_if_unused(table, of);
}

/* ---- Items ---- */

static void entry_free(items *all, entry *e)
{
    label_drop(&all->classes, e->class_id, e->class_label);
    label_drop(&all->super_classes, e->super_class_id, e->super_class_label);
    all->text_bytes -= strlen(e->uri) + 1;
    free(e);
}

void items_free(items *all)
{
    if (!all)
        return;
    entry *e, *next;
    HASH_ITER(hh, all->entries, e, next)
    {
        HASH_DELETE(hh, all->entries, e);
        entry_free(all, e);
    }
    free(all);
}

kd_status items_put(items *all, const collection_item *item, kd_error *err)
{
    const size_t size = strlen(item->uri) + 1;
    entry *const e = calloc(1, sizeof *e + size);
    if (!e)
        return kd_error_memory(err, "a collection's items");
    memcpy(e->uri, item->uri, size);
    all->text_bytes += size;
    e->image_id = item->image_id;
    e->class_id = item->class_id;
    e->super_class_id = item->super_class_id;
    e->class_label = label_take(&all->classes, item->class_id, item->class_name);
    e->super_class_label =
        label_take(&all->super_classes, item->super_class_id, item->super_class_name);
    if (!e->class_label || !e->super_class_label) {
        entry_free(all, e);
        return kd_error_memory(err, "a collection's items");
    }
    entry *old = NULL;
    HASH_FIND(hh, all->entries, &e->image_id, sizeof e->image_id, old);
    HASH_ADD(hh, all->entries, image_id, sizeof e->image_id, e);
    if (!e->hh.tbl) {
        entry_free(all, e);
        return kd_error_memory(err, "a collection's items");
    }
    if (old) { /* there are two with the id: this one goes */
        HASH_DELETE(hh, all->entries, old);
        entry_free(all, old);
    }
    return KD_OK;
}

static entry *find(const items *all, uint64_t image_id)
{
    entry *found = NULL;
    HASH_FIND(hh, all->entries, &image_id, sizeof image_id, found);
    return found;
}

void items_remove(items *all, uint64_t image_id)
{
    entry *const e = find(all, image_id);
    if (!e)
        return;
    HASH_DELETE(hh, all->entries, e);
    entry_free(all, e);
}

bool items_get(const items *all, uint64_t image_id, collection_item *item)
{
    const entry *const e = find(all, image_id);
    if (!e)
        return false;
    *item = (collection_item){.image_id = image_id,
        .class_id = e->class_id,
        .super_class_id = e->super_class_id,
        .class_name = e->class_label->name,
        .super_class_name = e->super_class_label->name,
        .uri = e->uri};
    return true;
}

uint64_t items_count(const items *all)
{
    return HASH_COUNT(all->entries);
}

uint64_t items_classes(const items *all)
{
    return HASH_COUNT(all->classes);
}

uint64_t items_super_classes(const items *all)
{
    return HASH_COUNT(all->super_classes);
}

uint64_t items_bytes(const items *all)
{
    const uint64_t labels = HASH_COUNT(all->classes) + HASH_COUNT(all->super_classes);
    return HASH_COUNT(all->entries) * sizeof(entry) + all->text_bytes +
           labels * (sizeof(label_id) + sizeof(label));
}

size_t items_resolve_super_class(const items *all, const char *word, uint32_t *ids, size_t room)
{
    size_t n = 0;
    const label_id *of, *next;
    HASH_ITER(hh, all->super_classes, of, next)
    {
        for (const label *l = of->names; l; l = l->next) {
            if (strcmp(l->name, word) != 0)
                continue;
            if (n < room)
                ids[n] = of->id;
            n++;
        }
    }
    uint64_t number;
    if (n > 0 || !kd_parse_u64(word, 0, UINT32_MAX, &number))
        return n;
    const uint32_t id = (uint32_t)number;
    HASH_FIND(hh, all->super_classes, &id, sizeof id, of);
    if (!of)
        return 0;
    if (room > 0)
        ids[0] = id;
    return 1;
}
