/* services/indexer/collection_items.h: the attributes of a collection's images in memory, by image
 * id. Names of classes and super-classes are kept once and counted. Each image has a place, a
 * number below items_places for as long as it is there: the tag of its vector, and what a filter's
 * mask has a bit for.
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

uint32_t items_place(const items *all, uint64_t image_id); /* of one that is there */
bool items_find_place(const items *all, uint64_t image_id, uint32_t *place);
size_t items_places(const items *all);
const uint32_t *items_class_of(const items *all); /* class id by place; borrowed until a change */

/* How many names of attributes there would be with those of the rows. False without memory. */
bool items_count_columns(const items *all, const collection_row *rows, size_t n, size_t *count);

/* A bit for each place whose image passes, owned by the caller; NULL when the filter is empty.
 * Words are names, of which all ids count, else ids. KD_NOT_FOUND names a word that no image has;
 * KD_RESOURCE_EXHAUSTED. */
KD_MUST_CHECK kd_status items_mask(
    const items *all, const collection_filter *filter, uint8_t **mask, kd_error *err);

#endif
