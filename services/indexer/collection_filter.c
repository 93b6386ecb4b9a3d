/* Which images a search's filter lets through. */
#include "services/indexer/items_internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/hash.h"

/* ---- Words ---- */

/* The ids that words name, ascending. */
typedef struct id_set {
    uint32_t *ids; /* owned */
    size_t n;
} id_set;

static int id_order(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static bool id_set_add(id_set *set, uint32_t id)
{
    uint32_t *const grown = realloc(set->ids, (set->n + 1) * sizeof *grown);
    if (!grown)
        return false;
    set->ids = grown;
    set->ids[set->n++] = id;
    return true;
}

/* All ids in use with that name, else the id itself. False without memory. */
static bool id_set_resolve(id_set *set, const labels *table, const char *word)
{
    const label_name *const of = labels_find_name(table, word);
    for (const label *l = of ? of->ids : NULL; l; l = l->same)
        if (!id_set_add(set, l->id))
            return false;
    uint64_t number;
    if (of || !kd_parse_u64(word, 0, UINT32_MAX, &number))
        return true;
    return !labels_find(table, (uint32_t)number) || id_set_add(set, (uint32_t)number);
}

/* ---- Masks ---- */

static void keep(uint8_t *mask, size_t place, bool in)
{
    if (!in)
        mask[place / 8] &= (uint8_t)~(1u << (place % 8));
}

/* Leaves the places whose id in ids_of is one that the words name. */
static kd_status keep_named(const items *all, const labels *table, const uint32_t *ids_of,
    const char *const *words, size_t n_words, const char *what, uint8_t *mask, kd_error *err)
{
    id_set set = {0};
    kd_status status = KD_OK;
    for (size_t i = 0; i < n_words && status == KD_OK; i++) {
        const size_t before = set.n;
        if (!id_set_resolve(&set, table, words[i]))
            status = kd_error_memory(err, "a search's filter");
        else if (set.n == before)
            status = kd_error_set(err, KD_NOT_FOUND, "no %s '%.100s'", what, words[i]);
    }
    if (status == KD_OK && set.ids) {
        qsort(set.ids, set.n, sizeof *set.ids, id_order);
        for (size_t place = 0; place < all->n_places; place++)
            keep(mask, place,
                bsearch(&ids_of[place], set.ids, set.n, sizeof *set.ids, id_order) != NULL);
    }
    free(set.ids);
    return status;
}

/* Leaves the places of these images; ids that are not there are passed over. */
static kd_status keep_ids(
    const items *all, const uint64_t *ids, size_t n, uint8_t *mask, size_t bytes, kd_error *err)
{
    uint8_t *const listed = calloc(bytes, 1);
    if (!listed)
        return kd_error_memory(err, "a search's filter");
    for (size_t i = 0; i < n; i++) {
        const entry *const e = items_find(all, ids[i]);
        if (e)
            listed[e->place / 8] |= (uint8_t)(1u << (e->place % 8));
    }
    for (size_t i = 0; i < bytes; i++)
        mask[i] &= listed[i];
    free(listed);
    return KD_OK;
}

static bool holds(
    const column *c, size_t place, const collection_condition *test, const uint64_t *hashes)
{
    if (place >= c->room)
        return false;
    if (test->n_texts == 0)
        return c->kinds[place] == CELL_NUMBER && c->cells[place].number >= test->min &&
               c->cells[place].number <= test->max;
    bool found = false;
    for (size_t i = 0; i < test->n_texts; i++)
        found |= hashes[i] == c->cells[place].text;
    return found && c->kinds[place] == CELL_TEXT;
}

static kd_status keep_meeting(
    const items *all, const collection_condition *test, uint8_t *mask, kd_error *err)
{
    column *c = NULL;
    HASH_FIND_STR(all->columns, test->name, c);
    if (!c)
        return kd_error_set(err, KD_NOT_FOUND, "no attribute '%.100s'", test->name);
    uint64_t *const hashes = malloc((test->n_texts + 1) * sizeof *hashes);
    if (!hashes)
        return kd_error_memory(err, "a search's filter");
    for (size_t i = 0; i < test->n_texts; i++)
        hashes[i] = kd_xxh3(test->texts[i], strlen(test->texts[i]));
    for (size_t place = 0; place < all->n_places; place++)
        keep(mask, place, holds(c, place, test, hashes));
    free(hashes);
    return KD_OK;
}

kd_status items_mask(
    const items *all, const collection_filter *filter, uint8_t **mask, kd_error *err)
{
    *mask = NULL;
    if (filter->n_super_classes + filter->n_classes + filter->n_image_ids + filter->n_conditions ==
        0)
        return KD_OK;
    const size_t bytes = all->n_places / 8 + 1;
    uint8_t *const bits = malloc(bytes);
    if (!bits)
        return kd_error_memory(err, "a search's filter");
    memset(bits, 0xff, bytes);
    kd_status status = KD_OK;
    if (filter->n_super_classes)
        status = keep_named(all, &all->super_classes, all->super_class_of, filter->super_classes,
            filter->n_super_classes, "super-class", bits, err);
    if (status == KD_OK && filter->n_classes)
        status = keep_named(all, &all->classes, all->class_of, filter->classes, filter->n_classes,
            "class", bits, err);
    if (status == KD_OK && filter->n_image_ids)
        status = keep_ids(all, filter->image_ids, filter->n_image_ids, bits, bytes, err);
    for (size_t i = 0; status == KD_OK && i < filter->n_conditions; i++)
        status = keep_meeting(all, &filter->conditions[i], bits, err);
    if (status == KD_OK)
        *mask = bits;
    else
        free(bits);
    return status;
}
