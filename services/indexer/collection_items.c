#include "services/indexer/items_internal.h"

#include <stdlib.h>
#include <string.h>

kd_status items_new(items **out, kd_error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? KD_OK : kd_error_memory(err, "a collection's items");
}

/* ---- Items ---- */

static void entry_free(items *all, entry *e)
{
    labels_drop(&all->classes, e->class_label);
    labels_drop(&all->super_classes, e->super_class_label);
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
    e->class_label = labels_take(&all->classes, item->class_id, item->class_name);
    e->super_class_label =
        labels_take(&all->super_classes, item->super_class_id, item->super_class_name);
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
        .class_name = e->class_label->of->name,
        .super_class_name = e->super_class_label->of->name,
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
    return HASH_COUNT(all->classes.by_id);
}

uint64_t items_super_classes(const items *all)
{
    return HASH_COUNT(all->super_classes.by_id);
}

uint64_t items_bytes(const items *all)
{
    uint64_t cells = 0;
    const column *c, *next;
    HASH_ITER(hh, all->columns, c, next)
    {
        cells += c->room * (sizeof *c->kinds + sizeof *c->cells);
    }
    return HASH_COUNT(all->entries) * sizeof(entry) + all->text_bytes + cells +
           3 * all->room * sizeof(uint32_t) + labels_bytes(&all->classes) +
           labels_bytes(&all->super_classes);
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
