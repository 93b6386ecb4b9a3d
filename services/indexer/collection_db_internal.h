/* services/indexer/collection_db_internal.h: what the files of collection_db.h
 * share. */
#ifndef KD_INDEXER_COLLECTION_DB_INTERNAL_H
#define KD_INDEXER_COLLECTION_DB_INTERNAL_H

#include <sqlite3.h>

#include "lib/base/buf.h"
#include "services/indexer/collection_db.h"

enum {
    STORE,
    STORE_VECTOR,
    VECTOR,
    CHECKSUM,
    DELETE,
    DELETE_VECTOR,
    PAGE,
    KEY,
    SET_META,
    N_STATEMENTS
};

/* Versions of the file. Before DB_SPLIT a row held its vector, and was read whole to be read. */
enum { DB_ATTRIBUTES = 2, DB_SPLIT = 3, DB_SCHEMA = DB_SPLIT };
enum { DB_RECALL_STEPS = 1000000 };
#define DB_WAL "collection.db-wal"

/* Behind meta's other columns, which older files have. */
#define DB_SETTINGS(between)                                                                       \
    "index_kind INTEGER NOT NULL DEFAULT 0" between                                                \
    "index_storage INTEGER NOT NULL DEFAULT 0" between                                             \
    "target_recall INTEGER NOT NULL DEFAULT 0" between                                             \
    "durability_window_ms INTEGER NOT NULL DEFAULT 0"

/* A row of items can be checked without its vector, by the vector's hash. */
#define DB_TABLES                                                                                  \
    "CREATE TABLE items (image_id INTEGER PRIMARY KEY, class_id INTEGER NOT NULL,"                 \
    "  super_class_id INTEGER NOT NULL, class_name TEXT NOT NULL, super_class_name TEXT NOT NULL," \
    "  uri TEXT NOT NULL, checksum INTEGER NOT NULL, vector_hash INTEGER NOT NULL,"                \
    "  attributes TEXT NOT NULL, key TEXT);"                                                       \
    "CREATE UNIQUE INDEX items_by_key ON items (key) WHERE key IS NOT NULL;"                       \
    "CREATE TABLE vectors (image_id INTEGER PRIMARY KEY, vector BLOB NOT NULL);"

struct db {
    sqlite3 *sqlite; /* owned, as the statements */
    sqlite3_stmt *statements[N_STATEMENTS];
    char name[COLLECTION_NAME_SIZE];
    db_meta meta;
    int version;    /* of the file when it was opened */
    char *path;     /* of the folder, owned; NULL while there is no need to connect again */
    bool read_only; /* the disk could not be written when it was opened */
    kd_buf scratch; /* a row's bytes, for its checksum */
};

/* A status for an SQLite code; `cannot DOING` is part of the sentence. */
kd_status db_fail(const char *name, sqlite3 *sqlite, int code, const char *doing, kd_error *err);
kd_status db_fail_reading(const db *d, int code, kd_error *err);

KD_MUST_CHECK kd_status db_new(db **out, const char *name, kd_error *err); /* not connected */
KD_MUST_CHECK kd_status db_connect(
    sqlite3 **out, const char *path, const char *name, int flags, kd_error *err);
KD_MUST_CHECK kd_status db_connect_file(
    sqlite3 **out, const char *file, const char *name, int flags, kd_error *err);
/* collection_db_readonly.c: for writing, or where the disk does not let it for reading. */
KD_MUST_CHECK kd_status db_connect_any(
    sqlite3 **out, const char *path, const char *name, bool *read_only, kd_error *err);
/* Before a change: connects again, if only reading was possible before. */
KD_MUST_CHECK kd_status db_writable(db *d, kd_error *err);
KD_MUST_CHECK kd_status db_execute(db *d, const char *sql, const char *doing, kd_error *err);
/* Over the vector's hash; NULL: over the vector, as before DB_SPLIT. */
KD_MUST_CHECK kd_status db_row_checksum(
    db *d, const collection_row *row, const uint64_t *vector_hash, int64_t *out, kd_error *err);
KD_MUST_CHECK kd_status db_write_meta(db *d, const db_meta *meta, kd_error *err);

/* A statement of a change, once. */
KD_MUST_CHECK kd_status db_run(db *d, sqlite3_stmt *s, kd_error *err);
KD_MUST_CHECK kd_status db_prepare(db *d, kd_error *err);
/* A row that is not there yet. */
KD_MUST_CHECK kd_status db_store_row(
    db *d, const collection_row *row, db_meta *meta, kd_error *err);
KD_MUST_CHECK kd_status db_load_from(db *d, const char *sql, const db_reader *to, kd_error *err);
/* To DB_SCHEMA, all or nothing; leaves the statements prepared. */
KD_MUST_CHECK kd_status db_migrate(db *d, kd_error *err);
/* As meta's durability wants it. */
KD_MUST_CHECK kd_status db_set_synchronous(db *d, kd_error *err);

#endif
