/* services/indexer/registry_internal.h: what registry.c and registry_changes.c share. */
#ifndef KD_INDEXER_REGISTRY_INTERNAL_H
#define KD_INDEXER_REGISTRY_INTERNAL_H

#include <pthread.h>

#include "services/indexer/registry.h"
#include "services/indexer/registry_aliases.h"

typedef struct place {
    char name[COLLECTION_NAME_SIZE];
    collection *c;    /* held; NULL when damaged */
    kd_error damage;  /* then why */
    int64_t again_ms; /* then: not opened again before */
} place;

/* Two locks. changes: held through each change of the registry, disk included. table: what look-ups
 * read; a change takes it for writing only to put its result there. A collection's own locks are
 * taken inside of these, never around them. */
struct registry {
    collection_options options;
    char *dir; /* owned, as the next two */
    char *aliases_file;
    place *places; /* by name, room for REGISTRY_MAX_COLLECTIONS */
    size_t n;
    aliases aliases;
    pthread_mutex_t changes;
    pthread_rwlock_t table;
};

#define STEP_NEW "new"   /* not complete: may go */
#define STEP_OLD "old"   /* replaced by one that may not be there yet */
#define STEP_GONE "gone" /* deleted */

/* The folder of a collection (step ""), or of a change to it. To be freed; NULL without memory. */
char *registry_folder(const registry *r, const char *name, const char *step);

/* With table or changes locked; NULL: none. */
place *registry_place(const registry *r, const char *name);

/* With both locked, or while opening. Takes over the caller's hold of c; there is room. */
void registry_place_add(registry *r, const char *name, collection *c, const kd_error *damage);

/* True for a place that could not be opened for a reason that may have passed (a full disk, no
 * memory), unlike damage, and was not tried lately. */
bool registry_may_open(const place *p);
/* Opens it, if that is still so and no change of the registry is under way: searches wait for none.
 * With no lock. */
void registry_open_again(registry *r, const char *name);

#endif
