/* services/indexer/items_internal.h: what collection_items.c and collection_filter.c share with
 * columns.c. */
#ifndef KD_INDEXER_ITEMS_INTERNAL_H
#define KD_INDEXER_ITEMS_INTERNAL_H

#include "services/indexer/collection_items.h"
#include "services/indexer/labels.h"

/* One attribute of all images that have it, by place. */
typedef struct column {
    uint8_t *kinds;
    union cell *cells; /* owned, as kinds: room of each */
    size_t room, uses;
    UT_hash_handle hh;
    char name[];
} column;

typedef union cell {
    double number;
    uint64_t text; /* its hash: of a million texts two are alike once in 30 million collections */
} cell;
enum { CELL_NONE, CELL_NUMBER, CELL_TEXT };

typedef struct entry {
    uint64_t image_id;
    uint32_t class_id, super_class_id;
    label *class_label, *super_class_label; /* a use each */
    uint32_t place;
    char *attributes; /* in uri's memory, behind it */
    UT_hash_handle hh;
    char uri[];
} entry;

struct items {
    entry *entries; /* a uthash table, owned */
    labels classes, super_classes;
    uint64_t text_bytes;

    uint32_t *class_of, *super_class_of; /* by place, owned, as vacant */
    uint32_t *vacant;                    /* places that no image has… */
    size_t n_vacant;                     /* …the last one is taken first */
    size_t n_places, room;
    column *columns; /* a uthash table, owned */
};

/* columns.c. Puts an image's attributes in place of those that its place had; on failure nothing is
 * changed. */
KD_MUST_CHECK kd_status columns_set(
    items *all, uint32_t place, const char *attributes, kd_error *err);
void columns_clear(items *all, uint32_t place);
void columns_free(items *all);

entry *items_find(const items *all, uint64_t image_id); /* NULL: not there */

#endif
