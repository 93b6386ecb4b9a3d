/* services/indexer/collection_db_internal.h: what collection_db.c and collection_db_write.c share.
 */
#ifndef KD_INDEXER_COLLECTION_DB_INTERNAL_H
#define KD_INDEXER_COLLECTION_DB_INTERNAL_H

#include <sqlite3.h>

#include "lib/base/buf.h"
#include "services/indexer/collection_db.h"

enum { STORE, CHECKSUM, DELETE, PAGE, SET_META, N_STATEMENTS };

struct db {
    sqlite3 *sqlite; /* owned, as the statements */
    sqlite3_stmt *statements[N_STATEMENTS];
    char name[COLLECTION_NAME_SIZE];
    db_meta meta;
    int version;    /* of the file when it was opened */
    kd_buf scratch; /* a row's bytes, for its checksum */
};

/* A status for an SQLite code; `cannot DOING` is part of the sentence. */
kd_status db_fail(const char *name, sqlite3 *sqlite, int code, const char *doing, kd_error *err);
kd_status db_fail_reading(const db *d, int code, kd_error *err);

KD_MUST_CHECK kd_status db_new(db **out, const char *name, kd_error *err); /* not connected */
KD_MUST_CHECK kd_status db_connect(
    sqlite3 **out, const char *path, const char *name, int flags, kd_error *err);
KD_MUST_CHECK kd_status db_execute(db *d, const char *sql, const char *doing, kd_error *err);
KD_MUST_CHECK kd_status db_row_checksum(
    db *d, const collection_row *row, int64_t *out, kd_error *err);
KD_MUST_CHECK kd_status db_write_meta(db *d, const db_meta *meta, kd_error *err);

#endif
