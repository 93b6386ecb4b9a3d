/* services/indexer/collection_internal.h: what the files of collection.h and collection_work.h
 * share. */
#ifndef KD_INDEXER_COLLECTION_INTERNAL_H
#define KD_INDEXER_COLLECTION_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "services/indexer/collection.h"
#include "services/indexer/collection_db.h"
#include "services/indexer/keys.h"
#include "services/indexer/parts.h"

/* Recall of live queries, as hits that an exact search has and how many of them were found; both
 * are halved now and then, so that old ones count less. */
typedef struct live_recall {
    pthread_mutex_t lock;
    double expected, found;
    uint64_t queries;
} live_recall;

/* Segments that become one, which is written and not yet searched. */
typedef struct merge {
    segment *sources[PARTS_MOST];
    size_t n;
    segment *target; /* owned, as picks; NULL: nothing is alive */
    bool waiting;    /* its file says so */
    segment_pick *picks;
    size_t n_picks;
} merge;

/* Three locks, taken in this order. files: held while files of segments are written or the folder
 * moves. changes: held through a whole change, disk included, and by whatever else uses db or path.
 * memory: what searches read; a change takes it for writing only after its commit, and work on
 * segments for some thousand rows at a time. */
struct collection {
    atomic_uint holders;
    char name[COLLECTION_NAME_SIZE];
    db_meta meta; /* model and dim never change; the counts and settings are those of opening */
    collection_options options; /* none is 0 */
    pthread_mutex_t files;
    atomic_bool halt; /* whoever holds files is to let go of it soon */
    uint64_t last_number;
    pthread_mutex_t changes;
    char *path; /* owned, as db */
    db *db;     /* NULL: could not be opened again after a move */
    bool retired;
    uint64_t verified; /* vectors of db up to this id */
    int64_t verify_ms; /* which failed: not again before */
    kd_error unsynced; /* why the last sync failed: no more is taken until one is done */
    pthread_rwlock_t memory;
    parts parts;
    items *items;   /* owned, as keys */
    keys *keys;     /* of those in items that have one */
    merge *pending; /* owned: searches go through the sources' indexes until it has its own */
    collection_settings settings;
    atomic_bool stopped;           /* no more work on segments */
    atomic_uint window_ms;         /* of settings, for who must not wait */
    atomic_int_least64_t since_ms; /* of the oldest change that is not synced; 0: none */
    int64_t again_ms;              /* of the work on files, which failed */
    kd_error problems[3];          /* with memory: what work of each kind last failed with */
    size_t grown; /* with memory: rows of the growing part, and since when as many */
    int64_t grown_ms;
    live_recall live;
};

enum { COLLECTION_FILES, COLLECTION_INDEXES, COLLECTION_TRUTH };
/* Keeps how a step of work ended, and logs what is new of it. With no lock but files. */
void collection_told(collection *c, kd_error *kept, const kd_error *now);

/* With changes locked, to read: KD_NOT_FOUND when retired, KD_UNAVAILABLE without a file. */
KD_MUST_CHECK kd_status collection_check_open(const collection *c, kd_error *err);
/* Likewise, to change: also why the last sync failed. */
KD_MUST_CHECK kd_status collection_check_usable(const collection *c, kd_error *err);

/* With memory locked: what its searches are like, EXACT, HNSW or IVF. */
collection_index collection_in_use(const collection *c);

/* collection_load.c: fills what is empty from db and the segments' files. */
KD_MUST_CHECK kd_status collection_load(collection *c, kd_error *err);

/* collection_seal.c. Needs files (or that nobody else has the collection): makes one segment of
 * what is alive in the others, moves the rows there and drops them with their files; where they
 * have an index, this is left pending until the new one has, and is nothing yet for who opens the
 * collection after a crash. KD_CANCELLED when it was halted. */
KD_MUST_CHECK kd_status collection_rewrite(
    collection *c, segment *const *sources, size_t n, kd_error *err);
/* With files locked: moves the rows, drops the sources, frees m. */
void merge_finish(collection *c, merge *m);
void merge_free(merge *m); /* leaves its files; NULL is fine */
/* With files locked: the growing part becomes a frozen segment. */
KD_MUST_CHECK kd_status collection_freeze(collection *c, kd_error *err);
size_t collection_seal_rows(const collection *c);
/* With memory locked: a mapped segment that lacks its index, is none of these, and did not fail
 * lately; NULL: all have what they should. The second: that an index is due for. */
segment *collection_unindexed(const collection *c, segment *const *but, size_t n, int64_t now_ms);
segment *collection_to_index(const collection *c);
/* With memory locked: whether there is work on segments, or some is under way. */
bool collection_has_work(const collection *c);

/* collection_keys.c. With changes locked: a copy of the rows (free) in which those with keys have
 * their numbers. */
KD_MUST_CHECK kd_status collection_number(
    collection *c, const collection_row *rows, size_t n, collection_row **out, kd_error *err);

/* search_check.c. With memory locked for reading: the query that the examples stand for (dim
 * floats). KD_NOT_FOUND names one that is not there; KD_INVALID_ARGUMENT: they cancel each other
 * out. */
KD_MUST_CHECK kd_status search_examples(
    const collection *c, const collection_examples *like, float *query, kd_error *err);
/* With memory locked for reading: the vector of an image that may not be there. */
bool collection_vector(const collection *c, uint64_t image_id, float *vector);

#endif
