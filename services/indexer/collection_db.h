/* services/indexer/collection_db.h: a collection's SQLite file. Only collection.c uses it.
 *
 * WAL mode, synchronous=FULL: a change that returned KD_OK survives kill -9 and power loss. Every
 * row has a checksum over all its fields. The single row of meta counts the rows and holds the
 * exclusive or of their checksums, so that rows that vanished are noticed as well.
 *
 * Threads: one at a time; the caller holds the lock. db_snapshot may run beside everything. */
#ifndef KD_INDEXER_COLLECTION_DB_H
#define KD_INDEXER_COLLECTION_DB_H

#include "services/indexer/collection.h"

typedef struct db db;

typedef struct db_meta {
    char model_id[COLLECTION_NAME_SIZE];
    size_t dim;
    int64_t created_ms;
    uint64_t n_items; /* kept by the changes below, as digest */
    uint64_t digest;
} db_meta;

/* Makes the folder and the file with its meta row; durable when it returns. */
KD_MUST_CHECK kd_status db_create(
    const char *path, const char *name, const db_meta *meta, kd_error *err);

/* name is for the sentences of errors. */
KD_MUST_CHECK kd_status db_open(
    db **out, const char *path, const char *name, db_meta *meta, kd_error *err);
void db_close(db *d); /* NULL is fine */

/* Gives every row to each, in portions of at most COLLECTION_MAX_BATCH, and verifies them and their
 * number. The rows are borrowed for the call. Stops at the first failure of its own or of each's.
 */
typedef kd_status (*db_each)(void *arg, const collection_row *rows, size_t n, kd_error *err);
KD_MUST_CHECK kd_status db_load(db *d, db_each each, void *arg, kd_error *err);

/* One transaction each. Rows have been checked by the caller. */
KD_MUST_CHECK kd_status db_upsert(db *d, const collection_row *rows, size_t n, kd_error *err);
KD_MUST_CHECK kd_status db_remove(
    db *d, const uint64_t *ids, size_t n, size_t *removed, kd_error *err);

/* Ids from `from` upwards, at most limit. */
KD_MUST_CHECK kd_status db_page(
    db *d, uint64_t from, size_t limit, uint64_t *ids, size_t *n, kd_error *err);

/* Over a connection of its own. *bytes (may be NULL) is the file's size. */
KD_MUST_CHECK kd_status db_snapshot(
    const char *path, const char *name, const char *file, uint64_t *bytes, kd_error *err);

uint64_t db_bytes(const char *path); /* on disk, in the collection's folder */

#endif
