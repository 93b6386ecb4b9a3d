#include "services/indexer/items_internal.h"

#include <stdlib.h>
#include <string.h>

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
    all->text_bytes -= strlen(e->uri) + strlen(e->attributes) + 2;
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
    columns_free(all);
    free(all->class_of);
    free(all->super_class_of);
    free(all->vacant);
    free(all);
}

/* ---- Places ---- */

static bool grow(uint32_t **numbers, size_t room)
{
    uint32_t *const grown = realloc(*numbers, room * sizeof *grown);
    if (grown)
        *numbers = grown;
    return grown != NULL;
}

/* Makes sure that there is a vacant place. */
static bool reserve_place(items *all)
{
    if (all->n_vacant > 0)
        return true;
    if (all->n_places == all->room) {
        const size_t room = all->room ? all->room * 2 : 64;
        if (room > UINT32_MAX || !grow(&all->class_of, room) || !grow(&all->super_class_of, room) ||
            !grow(&all->vacant, room))
            return false;
        all->room = room;
    }
    all->vacant[all->n_vacant++] = (uint32_t)all->n_places++;
    return true;
}

kd_status items_put(items *all, const collection_item *item, kd_error *err)
{
    const size_t size = strlen(item->uri) + 1, more = strlen(item->attributes) + 1;
    entry *const e = calloc(1, sizeof *e + size + more);
    if (!e)
        return kd_error_memory(err, "a collection's items");
    memcpy(e->uri, item->uri, size);
    e->attributes = e->uri + size;
    memcpy(e->attributes, item->attributes, more);
    all->text_bytes += size + more;
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
    if (!old && !reserve_place(all)) {
        entry_free(all, e);
        return kd_error_memory(err, "a collection's items");
    }
    HASH_ADD(hh, all->entries, image_id, sizeof e->image_id, e);
    if (!e->hh.tbl) {
        entry_free(all, e);
        return kd_error_memory(err, "a collection's items");
    }
    e->place = old ? old->place : all->vacant[all->n_vacant - 1];
    const kd_status status = columns_set(all, e->place, e->attributes, err);
    if (status != KD_OK) {
        HASH_DELETE(hh, all->entries, e);
        entry_free(all, e);
        return status;
    }
    if (!old)
        all->n_vacant--;
    all->class_of[e->place] = e->class_id;
    all->super_class_of[e->place] = e->super_class_id;
    if (old) { /* there are two with the id: this one goes */
        HASH_DELETE(hh, all->entries, old);
        entry_free(all, old);
    }
    return KD_OK;
}

entry *items_find(const items *all, uint64_t image_id)
{
    entry *found = NULL;
    HASH_FIND(hh, all->entries, &image_id, sizeof image_id, found);
    return found;
}

void items_remove(items *all, uint64_t image_id)
{
    entry *const e = items_find(all, image_id);
    if (!e)
        return;
    all->vacant[all->n_vacant++] = e->place;
    columns_clear(all, e->place);
    HASH_DELETE(hh, all->entries, e);
    entry_free(all, e);
}

bool items_get(const items *all, uint64_t image_id, collection_item *item)
{
    const entry *const e = items_find(all, image_id);
    if (!e)
        return false;
    *item = (collection_item){.image_id = image_id,
        .class_id = e->class_id,
        .super_class_id = e->super_class_id,
        .class_name = e->class_label->name,
        .super_class_name = e->super_class_label->name,
        .uri = e->uri,
        .attributes = e->attributes};
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
    uint64_t cells = 0;
    const column *c, *next;
    HASH_ITER(hh, all->columns, c, next)
    {
        cells += c->room * (sizeof *c->kinds + sizeof *c->cells);
    }
    return HASH_COUNT(all->entries) * sizeof(entry) + all->text_bytes + cells +
           3 * all->room * sizeof(uint32_t) + labels * (sizeof(label_id) + sizeof(label));
}

uint32_t items_place(const items *all, uint64_t image_id)
{
    return items_find(all, image_id)->place;
}

bool items_find_place(const items *all, uint64_t image_id, uint32_t *place)
{
    const entry *const e = items_find(all, image_id);
    if (e)
        *place = e->place;
    return e != NULL;
}

size_t items_places(const items *all)
{
    return all->n_places;
}

const uint32_t *items_class_of(const items *all)
{
    return all->class_of;
}
