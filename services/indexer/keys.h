/* services/indexer/keys.h: the names of a collection's images, in memory. An image that is named by
 * a key has a number as well, which the collection chooses and which everything else goes by.
 *
 * Threads: look-ups side by side, changes alone; the caller holds the lock. */
#ifndef KD_INDEXER_KEYS_H
#define KD_INDEXER_KEYS_H

#include "services/indexer/collection.h"

typedef struct keys keys;

KD_MUST_CHECK kd_status keys_new(keys **out, kd_error *err);
void keys_free(keys *all); /* NULL is fine */

/* Notes that the image has this key, which is copied; NULL: none, and nothing is done.
 * KD_INVALID_ARGUMENT when another image has it, KD_RESOURCE_EXHAUSTED. */
KD_MUST_CHECK kd_status keys_put(keys *all, uint64_t image_id, const char *key, kd_error *err);
void keys_remove(keys *all, uint64_t image_id); /* absent is fine */

const char *keys_of(const keys *all, uint64_t image_id); /* borrowed until a change; NULL: none */
bool keys_find(const keys *all, const char *key, uint64_t *image_id);
uint64_t keys_bytes(const keys *all); /* memory in use, about */

/* A number that no image with a key has had since the collection was opened. They begin where
 * nobody who counts comes, and JavaScript still tells them apart. */
#define KEYS_FIRST ((uint64_t)1 << 52)
uint64_t keys_next(keys *all);

#endif
