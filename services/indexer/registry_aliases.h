/* services/indexer/registry_aliases.h: the aliases of a registry and their file. The registry
 * locks. */
#ifndef KD_INDEXER_REGISTRY_ALIASES_H
#define KD_INDEXER_REGISTRY_ALIASES_H

#include "services/indexer/registry.h"

typedef struct alias {
    char name[COLLECTION_NAME_SIZE];
    char target[COLLECTION_NAME_SIZE];
    char previous[COLLECTION_NAME_SIZE]; /* where it led before; "": nowhere else */
} alias;

typedef struct aliases {
    alias *list; /* owned, by name */
    size_t n;
} aliases;

/* From the file, if it is there. KD_DATA_LOSS when it is not what aliases_save writes. */
KD_MUST_CHECK kd_status aliases_load(aliases *out, const char *file, kd_error *err);
KD_MUST_CHECK kd_status aliases_save(const aliases *all, const char *file, kd_error *err);
void aliases_free(aliases *all);

const alias *aliases_find(const aliases *all, const char *name); /* NULL: none; borrowed */

/* Of the aliases that lead to the collection, or led to it before, by name: *names is owned by the
 * caller (free), n of them. */
KD_MUST_CHECK kd_status aliases_of(const aliases *all, const char *target, bool before,
    char (**names)[COLLECTION_NAME_SIZE], size_t *n, kd_error *err);

/* A copy with one alias set, or removed where target is empty. Where it led becomes its previous.
 */
KD_MUST_CHECK kd_status aliases_with(
    aliases *out, const aliases *all, const char *name, const char *target, kd_error *err);

#endif
