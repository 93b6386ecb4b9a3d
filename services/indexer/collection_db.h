/* services/indexer/collection_db.h: a collection's SQLite file. Only the files of collection.h use
 * it.
 *
 * WAL mode, synchronous=FULL: a change that returned KD_OK survives kill -9 and power loss. With a
 * window of durability synchronous=NORMAL: it survives kill -9, and power loss after db_sync.
 *
 * Every row has a checksum over all its fields, of the vector over its hash (XXH3): a row can be
 * checked without reading its vector, and a vector by itself. The single row of meta counts the
 * rows and holds the exclusive or of their checksums, so that rows that vanished are noticed too.
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
    collection_settings settings;
} db_meta;

/* Makes the folder and the file with its meta row; durable when it returns. */
KD_MUST_CHECK kd_status db_create(
    const char *path, const char *name, const db_meta *meta, kd_error *err);

/* name is for the sentences of errors. A file on a disk that cannot be written is read; changes
 * fail with KD_FAILED_PRECONDITION until it can. */
KD_MUST_CHECK kd_status db_open(
    db **out, const char *path, const char *name, db_meta *meta, kd_error *err);
void db_close(db *d); /* NULL is fine */

/* Gives every row to each, by id, in portions of at most COLLECTION_MAX_BATCH, and verifies them
 * and their number. The rows are borrowed for the call. Stops at the first failure of its own or of
 * each's. has (may be NULL: never) is asked once for each row, in the same order: whether a vector
 * of that hash is at hand; then it is not read, and the row's values are NULL. */
typedef struct db_reader {
    kd_status (*each)(void *arg, const collection_row *rows, size_t n, kd_error *err);
    bool (*has)(void *arg, uint64_t image_id, uint64_t vector_hash);
    void *arg;
} db_reader;
KD_MUST_CHECK kd_status db_load(db *d, const db_reader *to, kd_error *err);

/* The vector of an image; KD_DATA_LOSS unless it has the hash. */
KD_MUST_CHECK kd_status db_vector(
    db *d, uint64_t image_id, uint64_t hash, float *values, kd_error *err);

/* One transaction each. Rows have been checked by the caller. */
KD_MUST_CHECK kd_status db_upsert(db *d, const collection_row *rows, size_t n, kd_error *err);
KD_MUST_CHECK kd_status db_remove(
    db *d, const uint64_t *ids, size_t n, size_t *removed, kd_error *err);

/* Reads the vectors of up to limit images from *from on, which moves on, to DB_VERIFIED at the end.
 * bad has room for limit. */
#define DB_VERIFIED UINT64_MAX
typedef struct db_bad_vector {
    uint64_t image_id, hash; /* that it should have */
} db_bad_vector;
KD_MUST_CHECK kd_status db_verify_vectors(
    db *d, uint64_t *from, size_t limit, db_bad_vector *bad, size_t *n_bad, kd_error *err);
KD_MUST_CHECK kd_status db_mend_vector(
    db *d, uint64_t image_id, const float *values, kd_error *err);

KD_MUST_CHECK kd_status db_set(db *d, const collection_settings *settings, kd_error *err);

/* Makes what was committed survive power loss. Needs no lock. */
KD_MUST_CHECK kd_status db_sync(const char *path, kd_error *err);
KD_MUST_CHECK kd_status db_checkpoint(db *d, kd_error *err); /* that and more, with the lock */

/* The id of the image with this key. */
KD_MUST_CHECK kd_status db_find_key(
    db *d, const char *key, uint64_t *image_id, bool *there, kd_error *err);

/* Ids from `from` upwards, at most limit. */
KD_MUST_CHECK kd_status db_page(
    db *d, uint64_t from, size_t limit, uint64_t *ids, size_t *n, kd_error *err);

/* Over a connection of its own. *bytes (may be NULL) is the file's size. */
KD_MUST_CHECK kd_status db_snapshot(
    const char *path, const char *name, const char *file, uint64_t *bytes, kd_error *err);

uint64_t db_bytes(const char *path); /* on disk, in the collection's folder */

#endif
