/* Attributes as columns, so that a condition is one pass over one array. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"
#include "services/indexer/attributes.h"
#include "services/indexer/items_internal.h"

static column *find(const items *all, const char *name)
{
    column *found = NULL;
    HASH_FIND_STR(all->columns, name, found);
    return found;
}

static void column_free(items *all, column *c)
{
    HASH_DELETE(hh, all->columns, c);
    free(c->kinds);
    free(c->cells);
    free(c);
}

static void drop_unused(items *all)
{
    column *c, *next;
    HASH_ITER(hh, all->columns, c, next)
    {
        if (c->uses == 0)
            column_free(all, c);
    }
}

void columns_free(items *all)
{
    column *c, *next;
    HASH_ITER(hh, all->columns, c, next)
    {
        column_free(all, c);
    }
}

static column *column_new(items *all, const char *name)
{
    const size_t size = strlen(name) + 1;
    column *const c = calloc(1, sizeof *c + size);
    if (!c)
        return NULL;
    memcpy(c->name, name, size);
    HASH_ADD_STR(all->columns, name, c);
    if (c->hh.tbl)
        return c;
    free(c);
    return NULL;
}

static bool reach(column *c, const items *all)
{
    if (c->room >= all->room)
        return true;
    uint8_t *const kinds = realloc(c->kinds, all->room * sizeof *kinds);
    if (kinds)
        c->kinds = kinds;
    cell *const cells = realloc(c->cells, all->room * sizeof *cells);
    if (cells)
        c->cells = cells;
    if (!kinds || !cells)
        return false;
    memset(kinds + c->room, CELL_NONE, all->room - c->room);
    c->room = all->room;
    return true;
}

static void fill(column *c, uint32_t place, const json_t *value)
{
    c->uses++;
    if (json_is_string(value)) {
        c->kinds[place] = CELL_TEXT;
        c->cells[place].text = kd_xxh3(json_string_value(value), json_string_length(value));
    } else {
        c->kinds[place] = CELL_NUMBER;
        c->cells[place].number = json_number_value(value);
    }
}

void columns_clear(items *all, uint32_t place)
{
    column *c, *next;
    HASH_ITER(hh, all->columns, c, next)
    {
        if (place >= c->room || c->kinds[place] == CELL_NONE)
            continue;
        c->kinds[place] = CELL_NONE;
        if (--c->uses == 0)
            column_free(all, c);
    }
}

kd_status columns_set(items *all, uint32_t place, const char *attributes, kd_error *err)
{
    if (*attributes == '\0') {
        columns_clear(all, place);
        return KD_OK;
    }
    json_t *const members = attributes_read(attributes);
    const char *name;
    json_t *value;
    bool good = members != NULL;
    json_object_foreach(members, name, value)
    {
        column *c = good ? find(all, name) : NULL;
        if (good && !c)
            c = column_new(all, name);
        good = c && reach(c, all);
    }
    if (good) {
        json_object_foreach(members, name, value)
        {
            find(all, name)->uses++; /* so that clearing leaves it */
        }
        columns_clear(all, place);
        json_object_foreach(members, name, value)
        {
            column *const c = find(all, name);
            c->uses--;
            fill(c, place, value);
        }
    } else {
        drop_unused(all);
    }
    json_decref(members);
    return good ? KD_OK : kd_error_memory(err, "a collection's attributes");
}

bool items_count_columns(const items *all, const collection_row *rows, size_t n, size_t *count)
{
    json_t *const names = json_object();
    bool good = names != NULL;
    for (size_t i = 0; i < n && good; i++) {
        if (*rows[i].item.attributes == '\0')
            continue;
        json_t *const members = attributes_read(rows[i].item.attributes);
        good = members && json_object_update(names, members) == 0;
        json_decref(members);
    }
    *count = 0;
    const column *c, *next;
    HASH_ITER(hh, all->columns, c, next)
    {
        (void)json_object_del(names, c->name);
        ++*count;
    }
    *count += json_object_size(names);
    json_decref(names);
    return good;
}
