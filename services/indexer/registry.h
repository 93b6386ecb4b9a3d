/* services/indexer/registry.h: all collections under one folder, and the aliases that lead to them.
 *
 * DIR/NAME/ is a collection; DIR/.aliases.json says where aliases lead, and where they led before.
 * Folders that begin with a dot are steps of a change that has not ended (new, replaced or deleted
 * collections); opening clears them up, so that a crash leaves each collection as it was before the
 * change or after it.
 *
 * A damaged collection is kept where it is, listed with what is wrong, and stops no other; it can
 * be deleted or restored. One that could not be opened for want of disk or memory is opened by a
 * later look-up, as is one that could not be put back after a crash.
 *
 * Threads: every function but open and close may be called from any thread. Loading (restore) holds
 * up other changes of the registry, not searches. */
#ifndef KD_INDEXER_REGISTRY_H
#define KD_INDEXER_REGISTRY_H

#include "services/indexer/collection.h"

#define REGISTRY_MAX_COLLECTIONS 1000u
#define REGISTRY_MAX_ALIASES 1000u

typedef struct registry registry;

/* Makes dir if it is missing, and opens every collection in it; options may be NULL. Damage is
 * logged, not returned. Fails with KD_PERMISSION_DENIED, KD_RESOURCE_EXHAUSTED, KD_INTERNAL about
 * dir itself. */
KD_MUST_CHECK kd_status registry_open(
    registry **out, const char *dir, const collection_options *options, kd_error *err);
void registry_close(registry *r); /* NULL is fine; collections that are still held live on */

/* The collection by name or alias, held for the caller (collection_release). KD_NOT_FOUND; for a
 * damaged one the status and sentence of its damage. */
KD_MUST_CHECK kd_status registry_find(
    registry *r, const char *name, collection **out, kd_error *err);

/* The open collection that comes next by name, held for the caller, which name becomes; NULL: none.
 */
collection *registry_after(registry *r, char name[COLLECTION_NAME_SIZE]);

/* *out is held for the caller; settings may be NULL; *created tells whether it is new.
 * KD_ALREADY_EXISTS when the name is a collection's or an alias; with if_absent a collection of the
 * same model and dim is fine and one of another is KD_FAILED_PRECONDITION. KD_INVALID_ARGUMENT,
 * KD_RESOURCE_EXHAUSTED (disk, limit).
 */
KD_MUST_CHECK kd_status registry_create(registry *r, const char *name, const char *model_id,
    size_t dim, const collection_settings *settings, bool if_absent, collection **out,
    bool *created, kd_error *err);

/* Removes a collection with its file. KD_NOT_FOUND; KD_FAILED_PRECONDITION while an alias leads to
 * it. An alias does not stand for its collection here: KD_INVALID_ARGUMENT. */
KD_MUST_CHECK kd_status registry_delete(registry *r, const char *name, kd_error *err);

/* Makes the collection `name` from a file that collection_snapshot wrote, in place of what has the
 * name; the file is read and verified whole first. *out is held for the caller. KD_NOT_FOUND
 * (file), KD_DATA_LOSS (it is damaged: nothing changes), KD_ALREADY_EXISTS (the name is an alias).
 */
KD_MUST_CHECK kd_status registry_restore(
    registry *r, const char *name, const char *file, collection **out, kd_error *err);

/* Lets alias lead to the collection `name` from now on, in one step; an empty name removes the
 * alias. previous is where it led, "" if nowhere, and where registry_roll_back_alias leads it.
 * KD_NOT_FOUND (collection, or alias to remove), KD_ALREADY_EXISTS when the alias is a collection's
 * name. */
KD_MUST_CHECK kd_status registry_set_alias(registry *r, const char *alias, const char *name,
    char previous[COLLECTION_NAME_SIZE], kd_error *err);

/* Lets alias lead to where it led before, in one step, and back again when it is repeated. name is
 * where it leads now, previous where it led. KD_NOT_FOUND (alias); KD_FAILED_PRECONDITION when it
 * has led to no other collection, or to one that is gone. */
KD_MUST_CHECK kd_status registry_roll_back_alias(registry *r, const char *alias,
    char name[COLLECTION_NAME_SIZE], char previous[COLLECTION_NAME_SIZE], kd_error *err);

typedef struct registry_entry {
    collection_info info;                  /* name only when damaged */
    kd_error damage;                       /* KD_OK: all is well */
    char (*aliases)[COLLECTION_NAME_SIZE]; /* owned, n_aliases of them, by name */
    size_t n_aliases;
    char (*previously)[COLLECTION_NAME_SIZE]; /* owned: those that led here before, by name */
    size_t n_previously;
} registry_entry;

/* Collections by name, the first after `after` ("" for all), at most limit. The caller frees
 * *entries with registry_entries_free. */
KD_MUST_CHECK kd_status registry_list(registry *r, const char *after, size_t limit,
    registry_entry **entries, size_t *n, kd_error *err);
/* One, by name or alias; damaged ones too. registry_entries_free(entry, 1). */
KD_MUST_CHECK kd_status registry_describe(
    registry *r, const char *name, registry_entry **entry, kd_error *err);
void registry_entries_free(registry_entry *entries, size_t n);

#endif
