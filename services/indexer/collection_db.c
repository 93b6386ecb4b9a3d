#include "services/indexer/collection_db_internal.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"

enum { BUSY_MS = 5000 };

/* A page of 16 KiB holds seven vectors of 512 floats; with 4 KiB half of the file would be air. */
static const char create_sql[] =
    "PRAGMA page_size=16384; PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
    "BEGIN;"
    "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), schema_version INTEGER NOT NULL,"
    "  model_id TEXT NOT NULL, dim INTEGER NOT NULL, created_ms INTEGER NOT NULL,"
    "  n_items INTEGER NOT NULL, digest INTEGER NOT NULL, checksum INTEGER NOT NULL,"
    "  " DB_SETTINGS(", ") ");" DB_TABLES "COMMIT;";

static const char *const statement_sql[N_STATEMENTS] = {
    [STORE] = "INSERT INTO items (image_id, class_id, super_class_id, class_name, super_class_name,"
              " uri, checksum, vector_hash, attributes, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
              " ON CONFLICT (image_id) DO UPDATE SET class_id = excluded.class_id,"
              " super_class_id = excluded.super_class_id, class_name = excluded.class_name,"
              " super_class_name = excluded.super_class_name, uri = excluded.uri,"
              " checksum = excluded.checksum, vector_hash = excluded.vector_hash,"
              " attributes = excluded.attributes, key = excluded.key",
    [STORE_VECTOR] = "INSERT OR REPLACE INTO vectors VALUES (?, ?)",
    [VECTOR] = "SELECT vector FROM vectors WHERE image_id = ?",
    [CHECKSUM] = "SELECT checksum FROM items WHERE image_id = ?",
    [DELETE] = "DELETE FROM items WHERE image_id = ?",
    [DELETE_VECTOR] = "DELETE FROM vectors WHERE image_id = ?",
    [PAGE] = "SELECT image_id FROM items WHERE image_id >= ? ORDER BY image_id LIMIT ?",
    [KEY] = "SELECT image_id FROM items WHERE key = ?",
    [SET_META] = "INSERT OR REPLACE INTO meta VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
};

/* ---- Errors ---- */

kd_status db_fail(const char *name, sqlite3 *sqlite, int code, const char *doing, kd_error *err)
{
    const char *const why = sqlite3_errstr(code);
    switch (code & 0xff) {
    case SQLITE_FULL: {
        const char *const file = sqlite ? sqlite3_db_filename(sqlite, "main") : NULL;
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "collection '%s': the disk is full, cannot %s: %s", name, doing, file ? file : why);
    }
    case SQLITE_NOMEM:
        return kd_error_memory(err, doing);
    case SQLITE_READONLY:
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "collection '%s': the file or disk is read-only, cannot %s", name, doing);
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return kd_error_set(
            err, KD_PERMISSION_DENIED, "collection '%s': not allowed to %s", name, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return kd_error_set(err, KD_UNAVAILABLE,
            "collection '%s' is in use by another process, cannot %s", name, doing);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return kd_error_set(
            err, KD_DATA_LOSS, "collection '%s' is damaged, cannot %s: %s", name, doing, why);
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        if (sqlite && sqlite3_system_errno(sqlite) != 0)
            return kd_error_errno(
                err, sqlite3_system_errno(sqlite), "collection '%s': cannot %s", name, doing);
        break;
    default:
        break;
    }
    return kd_error_set(err, KD_INTERNAL, "collection '%s': cannot %s: %s", name, doing, why);
}

/* A file that lost a table or a column reads as an SQL error: the fault is the file's. */
kd_status db_fail_reading(const db *d, int code, kd_error *err)
{
    if ((code & 0xff) == SQLITE_ERROR)
        code = SQLITE_CORRUPT;
    return db_fail(d->name, d->sqlite, code, "read it", err);
}

/* ---- Checksums ---- */

static void put_number(kd_buf *to, uint64_t number)
{
    kd_buf_append(to, &number, sizeof number);
}

static void put_text(kd_buf *to, const char *text)
{
    put_number(to, strlen(text));
    kd_buf_puts(to, text);
}

kd_status db_row_checksum(
    db *d, const collection_row *row, const uint64_t *vector_hash, int64_t *out, kd_error *err)
{
    kd_buf *const bytes = &d->scratch;
    bytes->len = 0;
    put_number(bytes, row->item.image_id);
    put_number(bytes, row->item.class_id);
    put_number(bytes, row->item.super_class_id);
    put_text(bytes, row->item.class_name);
    put_text(bytes, row->item.super_class_name);
    put_text(bytes, row->item.uri);
    if (*row->item.attributes)
        put_text(bytes, row->item.attributes);
    if (row->item.key) { /* a number that is no text's length tells it from attributes */
        put_number(bytes, UINT64_MAX);
        put_text(bytes, row->item.key);
    }
    if (vector_hash)
        put_number(bytes, *vector_hash);
    else
        kd_buf_append(bytes, row->values, row->n_values * sizeof *row->values);
    if (!kd_buf_ok(bytes)) {
        kd_buf_free(bytes);
        return kd_error_memory(err, "a row of a collection");
    }
    *out = (int64_t)kd_xxh3(bytes->data, bytes->len);
    return KD_OK;
}

static kd_status meta_checksum(const db_meta *meta, int version, int64_t *out, kd_error *err)
{
    kd_buf bytes = KD_BUF_INIT;
    put_text(&bytes, meta->model_id);
    put_number(&bytes, meta->dim);
    put_number(&bytes, (uint64_t)meta->created_ms);
    put_number(&bytes, meta->n_items);
    put_number(&bytes, meta->digest);
    if (version >= DB_SPLIT) {
        const collection_settings *const how = &meta->settings;
        put_number(&bytes, how->index);
        put_number(&bytes, how->storage);
        put_number(&bytes, (uint64_t)lrintf(how->target_recall * DB_RECALL_STEPS));
        put_number(&bytes, how->durability_window_ms);
    }
    const bool ok = kd_buf_ok(&bytes);
    if (ok)
        *out = (int64_t)kd_xxh3(bytes.data, bytes.len);
    kd_buf_free(&bytes);
    return ok ? KD_OK : kd_error_memory(err, "a collection's description");
}

/* ---- Opening ---- */

static char *file_in(const char *path)
{
    return kd_format("%s/collection.db", path);
}

kd_status db_connect_file(
    sqlite3 **out, const char *file, const char *name, int flags, kd_error *err)
{
    const int code = sqlite3_open_v2(file, out, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (code != SQLITE_OK) {
        const kd_status status = db_fail(name, *out, code, "open it", err);
        (void)sqlite3_close(*out);
        *out = NULL;
        return status;
    }
    (void)sqlite3_extended_result_codes(*out, 1);
    (void)sqlite3_busy_timeout(*out, BUSY_MS);
    return KD_OK;
}

kd_status db_connect(sqlite3 **out, const char *path, const char *name, int flags, kd_error *err)
{
    char *const file = file_in(path);
    *out = NULL;
    if (!file)
        return kd_error_memory(err, "a path");
    const kd_status status = db_connect_file(out, file, name, flags, err);
    free(file);
    return status;
}

kd_status db_prepare(db *d, kd_error *err)
{
    for (size_t i = 0; i < N_STATEMENTS; i++) {
        const int code = sqlite3_prepare_v3(
            d->sqlite, statement_sql[i], -1, SQLITE_PREPARE_PERSISTENT, &d->statements[i], NULL);
        if (code != SQLITE_OK)
            return db_fail_reading(d, code, err);
    }
    return KD_OK;
}

kd_status db_write_meta(db *d, const db_meta *meta, kd_error *err)
{
    int64_t checksum = 0;
    const kd_status status = meta_checksum(meta, DB_SCHEMA, &checksum, err);
    if (status != KD_OK)
        return status;
    sqlite3_stmt *const s = d->statements[SET_META];
    (void)sqlite3_bind_int(s, 1, DB_SCHEMA);
    (void)sqlite3_bind_text(s, 2, meta->model_id, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 3, (int64_t)meta->dim);
    (void)sqlite3_bind_int64(s, 4, meta->created_ms);
    (void)sqlite3_bind_int64(s, 5, (int64_t)meta->n_items);
    (void)sqlite3_bind_int64(s, 6, (int64_t)meta->digest);
    (void)sqlite3_bind_int64(s, 7, checksum);
    (void)sqlite3_bind_int(s, 8, (int)meta->settings.index);
    (void)sqlite3_bind_int(s, 9, (int)meta->settings.storage);
    (void)sqlite3_bind_int(s, 10, (int)lrintf(meta->settings.target_recall * DB_RECALL_STEPS));
    (void)sqlite3_bind_int64(s, 11, meta->settings.durability_window_ms);
    (void)sqlite3_step(s);
    const int code = sqlite3_reset(s);
    return code == SQLITE_OK ? KD_OK : db_fail(d->name, d->sqlite, code, "write to it", err);
}

static bool take_settings(sqlite3_stmt *s, collection_settings *out)
{
    const int index = sqlite3_column_int(s, 8), storage = sqlite3_column_int(s, 9);
    *out = (collection_settings){.index = (collection_index)index,
        .storage = (kd_ann_storage)storage,
        .target_recall = (float)sqlite3_column_int(s, 10) / DB_RECALL_STEPS,
        .durability_window_ms = (uint32_t)sqlite3_column_int64(s, 11)};
    return index >= 0 && storage >= 0 && collection_settings_check(out, NULL) == KD_OK;
}

static kd_status take_meta(db *d, sqlite3_stmt *s, kd_error *err)
{
    const int version = sqlite3_column_int(s, 1);
    if (version > DB_SCHEMA)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "collection '%s' was written by a later kindred (schema %d, known is %d)", d->name,
            version, (int)DB_SCHEMA);
    const char *const model = (const char *)sqlite3_column_text(s, 2);
    const int64_t dim = sqlite3_column_int64(s, 3);
    d->meta.created_ms = sqlite3_column_int64(s, 4);
    d->meta.n_items = (uint64_t)sqlite3_column_int64(s, 5);
    d->meta.digest = (uint64_t)sqlite3_column_int64(s, 6);
    d->version = version;
    d->meta.settings = (collection_settings)COLLECTION_SETTINGS_INIT;
    bool good = version > 0 && model && dim > 0 && dim <= KD_VECTOR_MAX_DIM &&
                kd_copy(d->meta.model_id, sizeof d->meta.model_id, model) &&
                (version < DB_SPLIT || take_settings(s, &d->meta.settings));
    if (good) {
        int64_t checksum = 0;
        d->meta.dim = (size_t)dim;
        const kd_status status = meta_checksum(&d->meta, version, &checksum, err);
        if (status != KD_OK)
            return status;
        good = checksum == sqlite3_column_int64(s, 7);
    }
    if (!good)
        return kd_error_set(
            err, KD_DATA_LOSS, "collection '%s' is damaged: its description is not valid", d->name);
    return KD_OK;
}

static kd_status read_meta(db *d, kd_error *err)
{
    sqlite3_stmt *s = NULL;
    int code = sqlite3_prepare_v2(d->sqlite, "SELECT * FROM meta", -1, &s, NULL);
    if (code != SQLITE_OK)
        return db_fail_reading(d, code, err);
    kd_status status;
    code = sqlite3_step(s);
    if (code == SQLITE_ROW)
        status = take_meta(d, s, err);
    else if (code == SQLITE_DONE)
        status = kd_error_set(
            err, KD_DATA_LOSS, "collection '%s' is damaged: its description is missing", d->name);
    else
        status = db_fail_reading(d, code, err);
    (void)sqlite3_finalize(s);
    return status;
}

kd_status db_execute(db *d, const char *sql, const char *doing, kd_error *err)
{
    const int code = sqlite3_exec(d->sqlite, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? KD_OK : db_fail(d->name, d->sqlite, code, doing, err);
}

kd_status db_new(db **out, const char *name, kd_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return kd_error_memory(err, "a collection");
    (void)kd_copy((*out)->name, sizeof(*out)->name, name);
    return KD_OK;
}

kd_status db_create(const char *path, const char *name, const db_meta *meta, kd_error *err)
{
    db *d = NULL;
    if (mkdir(path, 0755) != 0)
        return kd_error_errno(err, errno, "cannot make the folder of collection '%s'", name);
    kd_status status = db_new(&d, name, err);
    if (status == KD_OK)
        status =
            db_connect(&d->sqlite, path, name, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, err);
    if (status == KD_OK)
        status = db_execute(d, create_sql, "create it", err);
    if (status == KD_OK)
        status = db_prepare(d, err);
    if (status == KD_OK)
        status = db_write_meta(d, meta, err);
    db_close(d);
    if (status == KD_OK)
        status = kd_fsync_path(path, err);
    return status;
}

kd_status db_open(db **out, const char *path, const char *name, db_meta *meta, kd_error *err)
{
    *out = NULL;
    char *const file = file_in(path);
    if (!file)
        return kd_error_memory(err, "a path");
    const bool there = kd_is_file(file);
    free(file);
    if (!there)
        return kd_error_set(err, KD_NOT_FOUND,
            "collection '%s' is damaged: its file collection.db is missing", name);
    db *d = NULL;
    kd_status status = db_new(&d, name, err);
    if (status == KD_OK && !(d->path = strdup(path)))
        status = kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = db_connect_any(&d->sqlite, path, name, &d->read_only, err);
    if (status == KD_OK && !d->read_only)
        status = db_execute(d, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;", "open it", err);
    if (status == KD_OK)
        status = read_meta(d, err);
    if (status == KD_OK && d->version < DB_SCHEMA)
        status = db_migrate(d, err);
    if (status == KD_OK && !d->statements[0])
        status = db_prepare(d, err);
    if (status == KD_OK)
        status = db_set_synchronous(d, err);
    if (status != KD_OK) {
        db_close(d);
        return status;
    }
    *meta = d->meta;
    *out = d;
    return KD_OK;
}

void db_close(db *d)
{
    if (!d)
        return;
    for (size_t i = 0; i < N_STATEMENTS; i++)
        (void)sqlite3_finalize(d->statements[i]);
    (void)sqlite3_close(d->sqlite);
    kd_buf_free(&d->scratch);
    free(d->path);
    free(d);
}

kd_status db_writable(db *d, kd_error *err)
{
    db *again = NULL;
    db_meta meta;
    if (!d->read_only)
        return KD_OK;
    kd_status status = db_open(&again, d->path, d->name, &meta, err);
    if (status != KD_OK || !again)
        return status;
    if (again->read_only)
        status = db_fail(d->name, d->sqlite, SQLITE_READONLY, "write to it", err);
    else if (meta.n_items != d->meta.n_items || meta.digest != d->meta.digest)
        status = kd_error_set(err, KD_ABORTED,
            "collection '%s' was changed while it could only be read: start the indexer again",
            d->name);
    if (status == KD_OK) {
        const db before = *d;
        *d = *again;
        *again = before;
    }
    db_close(again);
    return status;
}

kd_status db_page(db *d, uint64_t from, size_t limit, uint64_t *ids, size_t *n, kd_error *err)
{
    *n = 0;
    if (from > COLLECTION_MAX_ID)
        return KD_OK;
    sqlite3_stmt *const s = d->statements[PAGE];
    (void)sqlite3_bind_int64(s, 1, (int64_t)from);
    (void)sqlite3_bind_int64(s, 2, (int64_t)limit);
    while (sqlite3_step(s) == SQLITE_ROW)
        ids[(*n)++] = (uint64_t)sqlite3_column_int64(s, 0);
    const int code = sqlite3_reset(s);
    return code == SQLITE_OK ? KD_OK : db_fail_reading(d, code, err);
}

uint64_t db_bytes(const char *path)
{
    uint64_t bytes = 0;
    struct stat info;
    char *const file = file_in(path), *const wal = kd_format("%s/" DB_WAL, path);
    if (file && stat(file, &info) == 0)
        bytes += (uint64_t)info.st_size;
    if (wal && stat(wal, &info) == 0)
        bytes += (uint64_t)info.st_size;
    free(file);
    free(wal);
    return bytes;
}
