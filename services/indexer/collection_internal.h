/* services/indexer/collection_internal.h: what collection.c, collection_search.c and
 * search_check.c share. */
#ifndef KD_INDEXER_COLLECTION_INTERNAL_H
#define KD_INDEXER_COLLECTION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "services/indexer/collection.h"
#include "services/indexer/collection_db.h"
#include "services/indexer/collection_items.h"

/* Two locks. changes: held through a whole change, disk included, and by whatever else uses db or
 * path. memory: what searches read; a change takes it for writing only after its commit. Whoever
 * holds both took changes first. */
struct collection {
    atomic_uint holders;
    char name[COLLECTION_NAME_SIZE];
    db_meta meta; /* model and dim never change; the counts are those of opening */
    pthread_mutex_t changes;
    char *path; /* owned, as db */
    db *db;     /* NULL: could not be opened again after a move */
    bool retired;
    pthread_rwlock_t memory;
    kd_index *index; /* owned, as items */
    items *items;
};

/* With changes locked: KD_NOT_FOUND when retired, KD_UNAVAILABLE without a file. */
KD_MUST_CHECK kd_status collection_check_usable(const collection *c, kd_error *err);

/* search_check.c: what can be said of a search before memory is locked. */
KD_MUST_CHECK kd_status search_check(
    const collection *c, const collection_search *search, kd_error *err);
/* With memory locked for reading: the query that the examples stand for (dim floats). KD_NOT_FOUND
 * names one that is not there; KD_INVALID_ARGUMENT: they cancel each other out. */
KD_MUST_CHECK kd_status search_examples(
    const collection *c, const collection_examples *like, float *query, kd_error *err);

#endif
