/* services/indexer/collection_items.h: the attributes of a collection's images in memory, by image
 * id. Names of classes and super-classes are kept once and counted.
 *
 * Threads: look-ups side by side, changes alone; the caller holds the lock. */
#ifndef KD_INDEXER_COLLECTION_ITEMS_H
#define KD_INDEXER_COLLECTION_ITEMS_H

#include "services/indexer/collection.h"

typedef struct items items;

KD_MUST_CHECK kd_status items_new(items **out, kd_error *err);
void items_free(items *all); /* NULL is fine */

/* Copies the item; one with the same id is replaced. KD_RESOURCE_EXHAUSTED changes nothing. */
KD_MUST_CHECK kd_status items_put(items *all, const collection_item *item, kd_error *err);
void items_remove(items *all, uint64_t image_id); /* absent is fine */

/* *item borrows from all until its next change; false when there is no such image. */
bool items_get(const items *all, uint64_t image_id, collection_item *item);

uint64_t items_count(const items *all);
uint64_t items_classes(const items *all); /* distinct ids in use */
uint64_t items_super_classes(const items *all);
uint64_t items_bytes(const items *all); /* memory in use, about */

/* The ids of the super-class that a word names: all ids in use with that name, else the id itself.
 * At most room are written to ids; returns how many there are, 0 when no image has it. */
size_t items_resolve_super_class(const items *all, const char *word, uint32_t *ids, size_t room);

#endif
