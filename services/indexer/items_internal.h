/* services/indexer/items_internal.h: what collection_items.c and collection_filter.c share. */
#ifndef KD_INDEXER_ITEMS_INTERNAL_H
#define KD_INDEXER_ITEMS_INTERNAL_H

#include "services/indexer/collection_items.h"

/* A bigger table that cannot be had only makes look-ups slower; a first one that cannot be had is
 * seen by the caller: the element is then in no table. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

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
    uint32_t place;
    UT_hash_handle hh;
    char uri[];
} entry;

struct items {
    entry *entries; /* a uthash table, owned; as the next two */
    label_id *classes;
    label_id *super_classes;
    uint64_t text_bytes;

    uint32_t *class_of, *super_class_of; /* by place, owned, as vacant */
    uint32_t *vacant;                    /* places that no image has… */
    size_t n_vacant;                     /* …the last one is taken first */
    size_t n_places, room;
};

entry *items_find(const items *all, uint64_t image_id); /* NULL: not there */

#endif
