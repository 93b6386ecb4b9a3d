#include "services/indexer/labels.h"

#include <stdlib.h>
#include <string.h>

const label_id *labels_find(const labels *all, uint32_t id)
{
    label_id *found = NULL;
    HASH_FIND(hh, all->by_id, &id, sizeof id, found);
    return found;
}

const label_name *labels_find_name(const labels *all, const char *name)
{
    label_name *found = NULL;
    HASH_FIND(hh, all->by_name, name, strlen(name), found);
    return found;
}

/* ---- Both tables ---- */

static label_id *take_id(labels *all, uint32_t id)
{
    label_id *of = NULL;
    HASH_FIND(hh, all->by_id, &id, sizeof id, of);
    if (of)
        return of;
    of = calloc(1, sizeof *of);
    if (!of)
        return NULL;
    of->id = id;
    HASH_ADD(hh, all->by_id, id, sizeof of->id, of);
    if (!of->hh.tbl) {
        free(of);
        return NULL;
    }
    return of;
}

static void drop_unused_id(labels *all, label_id *of)
{
    if (of->names)
        return;
    HASH_DELETE(hh, all->by_id, of);
    free(of);
}

static label_name *take_name(labels *all, const char *name)
{
    const size_t len = strlen(name);
    label_name *of = NULL;
    HASH_FIND(hh, all->by_name, name, len, of);
    if (of)
        return of;
    of = calloc(1, sizeof *of + len + 1);
    if (!of)
        return NULL;
    memcpy(of->name, name, len + 1);
    HASH_ADD(hh, all->by_name, name[0], len, of);
    if (!of->hh.tbl) {
        free(of);
        return NULL;
    }
    return of;
}

static void drop_unused_name(labels *all, label_name *of)
{
    if (of->ids)
        return;
    HASH_DELETE(hh, all->by_name, of);
    free(of);
}

/* Among the ids of its name, and in no other list yet. */
static label *label_new(labels *all, uint32_t id, const char *name)
{
    label_name *const of = take_name(all, name);
    label *const made = of ? malloc(sizeof *made) : NULL;
    if (!made) {
        if (of)
            drop_unused_name(all, of);
        return NULL;
    }
    *made = (label){.id = id, .of = of, .same = of->ids, .same_at = &of->ids};
    if (made->same)
        made->same->same_at = &made->same;
    of->ids = made;
    return made;
}

label *labels_take(labels *all, uint32_t id, const char *name)
{
    label_id *const of = take_id(all, id);
    if (!of)
        return NULL;
    label *found = of->names;
    while (found && strcmp(found->of->name, name) != 0)
        found = found->next;
    if (!found) {
        found = label_new(all, id, name);
        if (!found) {
            drop_unused_id(all, of);
            return NULL;
        }
        found->next = of->names;
        of->names = found;
    }
    found->uses++;
    return found;
}

void labels_drop(labels *all, label *used)
{
    if (!used || --used->uses > 0)
        return;
    label_id *of = NULL;
    HASH_FIND(hh, all->by_id, &used->id, sizeof used->id, of);
    for (label **at = of ? &of->names : NULL; at && *at; at = &(*at)->next) {
        if (*at == used) {
            *at = used->next;
            break;
        }
    }
    if (of)
        drop_unused_id(all, of);
    *used->same_at = used->same;
    if (used->same)
        used->same->same_at = used->same_at;
    drop_unused_name(all, used->of);
    free(used);
}

uint64_t labels_bytes(const labels *all)
{
    return HASH_COUNT(all->by_id) * (sizeof(label_id) + sizeof(label)) +
           HASH_COUNT(all->by_name) * sizeof(label_name);
}
