/* The half of collection_db.h that changes a file or copies it. */
#include "services/indexer/collection_db_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"

static kd_status commit_or_roll_back(db *d, kd_status status, const db_meta *meta, kd_error *err)
{
    if (status == KD_OK)
        status = db_write_meta(d, meta, err);
    if (status == KD_OK)
        status = db_execute(d, "COMMIT", "write to it", err);
    if (status == KD_OK)
        d->meta = *meta;
    else if (!sqlite3_get_autocommit(d->sqlite))
        (void)sqlite3_exec(d->sqlite, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

/* Takes the row of an id, if there is one, out of count and digest. */
static kd_status discount(db *d, uint64_t image_id, db_meta *meta, bool *there, kd_error *err)
{
    sqlite3_stmt *const s = d->statements[CHECKSUM];
    (void)sqlite3_bind_int64(s, 1, (int64_t)image_id);
    *there = sqlite3_step(s) == SQLITE_ROW;
    if (*there) {
        meta->n_items--;
        meta->digest ^= (uint64_t)sqlite3_column_int64(s, 0);
    }
    const int code = sqlite3_reset(s);
    return code == SQLITE_OK ? KD_OK : db_fail_reading(d, code, err);
}

kd_status db_run(db *d, sqlite3_stmt *s, kd_error *err)
{
    (void)sqlite3_step(s);
    const int code = sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return code == SQLITE_OK ? KD_OK : db_fail(d->name, d->sqlite, code, "write to it", err);
}

kd_status db_store_row(db *d, const collection_row *row, db_meta *meta, kd_error *err)
{
    int64_t checksum;
    const size_t bytes = row->n_values * sizeof *row->values;
    const uint64_t hash = kd_xxh3(row->values, bytes);
    kd_status status = db_row_checksum(d, row, &hash, &checksum, err);
    if (status != KD_OK)
        return status;
    sqlite3_stmt *const s = d->statements[STORE];
    (void)sqlite3_bind_int64(s, 1, (int64_t)row->item.image_id);
    (void)sqlite3_bind_int64(s, 2, row->item.class_id);
    (void)sqlite3_bind_int64(s, 3, row->item.super_class_id);
    (void)sqlite3_bind_text(s, 4, row->item.class_name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 5, row->item.super_class_name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 6, row->item.uri, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 7, checksum);
    (void)sqlite3_bind_int64(s, 8, (int64_t)hash);
    (void)sqlite3_bind_text(s, 9, row->item.attributes, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 10, row->item.key, -1, SQLITE_STATIC); /* NULL binds NULL */
    status = db_run(d, s, err);
    if (status != KD_OK)
        return status;
    sqlite3_stmt *const v = d->statements[STORE_VECTOR];
    (void)sqlite3_bind_int64(v, 1, (int64_t)row->item.image_id);
    (void)sqlite3_bind_blob(v, 2, row->values, (int)bytes, SQLITE_STATIC);
    status = db_run(d, v, err);
    if (status != KD_OK)
        return status;
    meta->n_items++;
    meta->digest ^= (uint64_t)checksum;
    return KD_OK;
}

kd_status db_upsert(db *d, const collection_row *rows, size_t n, kd_error *err)
{
    kd_status status = db_writable(d, err);
    db_meta meta = d->meta;
    if (status == KD_OK)
        status = db_execute(d, "BEGIN IMMEDIATE", "write to it", err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        assert(rows[i].n_values == d->meta.dim && rows[i].item.image_id <= COLLECTION_MAX_ID);
        bool there;
        status = discount(d, rows[i].item.image_id, &meta, &there, err);
        if (status == KD_OK)
            status = db_store_row(d, &rows[i], &meta, err);
    }
    return commit_or_roll_back(d, status, &meta, err);
}

static kd_status delete_row(db *d, uint64_t image_id, db_meta *meta, size_t *removed, kd_error *err)
{
    bool there;
    const kd_status status = discount(d, image_id, meta, &there, err);
    if (status != KD_OK || !there)
        return status;
    for (int i = DELETE; i <= DELETE_VECTOR; i++) {
        (void)sqlite3_bind_int64(d->statements[i], 1, (int64_t)image_id);
        const kd_status deleted = db_run(d, d->statements[i], err);
        if (deleted != KD_OK)
            return deleted;
    }
    ++*removed;
    return KD_OK;
}

kd_status db_remove(db *d, const uint64_t *ids, size_t n, size_t *removed, kd_error *err)
{
    *removed = 0;
    kd_status status = db_writable(d, err);
    db_meta meta = d->meta;
    if (status == KD_OK)
        status = db_execute(d, "BEGIN IMMEDIATE", "write to it", err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n && status == KD_OK; i++)
        status = delete_row(d, ids[i], &meta, removed, err);
    status = commit_or_roll_back(d, status, &meta, err);
    if (status != KD_OK)
        *removed = 0;
    return status;
}

kd_status db_mend_vector(db *d, uint64_t image_id, const float *values, kd_error *err)
{
    sqlite3_stmt *const s = d->statements[STORE_VECTOR];
    (void)sqlite3_bind_int64(s, 1, (int64_t)image_id);
    (void)sqlite3_bind_blob(s, 2, values, (int)(d->meta.dim * sizeof *values), SQLITE_STATIC);
    return db_run(d, s, err);
}

kd_status db_set_synchronous(db *d, kd_error *err)
{
    return db_execute(d,
        d->meta.settings.durability_window_ms ? "PRAGMA synchronous=NORMAL"
                                              : "PRAGMA synchronous=FULL",
        "set how it is written", err);
}

/* Lasts whatever the window is: what is said of durability must not be lost. */
kd_status db_set(db *d, const collection_settings *settings, kd_error *err)
{
    kd_status status = db_writable(d, err);
    db_meta meta = d->meta;
    meta.settings = *settings;
    if (status == KD_OK)
        status = db_execute(d, "PRAGMA synchronous=FULL; BEGIN IMMEDIATE", "write to it", err);
    if (status == KD_OK)
        status = commit_or_roll_back(d, KD_OK, &meta, err);
    const kd_status set = db_set_synchronous(d, status == KD_OK ? err : NULL);
    return status == KD_OK ? set : status;
}

kd_status db_sync(const char *path, kd_error *err)
{
    char *const wal = kd_format("%s/" DB_WAL, path);
    if (!wal)
        return kd_error_memory(err, "a path");
    const kd_status status = kd_is_file(wal) ? kd_fsync_path(wal, err) : KD_OK;
    free(wal);
    return status;
}

/* Also after a sync that failed: what the system gave up to write is copied from the log to the
 * file, and synced there. */
kd_status db_checkpoint(db *d, kd_error *err)
{
    const int code =
        sqlite3_wal_checkpoint_v2(d->sqlite, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return code == SQLITE_OK ? KD_OK : db_fail(d->name, d->sqlite, code, "sync it", err);
}

static kd_status copy_into(db *d, const char *file, kd_error *err)
{
    char *const sql = sqlite3_mprintf("VACUUM INTO %Q", file);
    if (!sql)
        return kd_error_memory(err, "a snapshot");
    const kd_status status = db_execute(d, sql, "write a snapshot of it", err);
    sqlite3_free(sql);
    return status;
}

kd_status db_snapshot(
    const char *path, const char *name, const char *file, uint64_t *bytes, kd_error *err)
{
    db *d = NULL;
    struct stat info;
    char *const beside = kd_format("%s.part", file);
    if (!beside)
        return kd_error_memory(err, "a path");
    (void)unlink(beside); /* of an earlier try that was killed */
    kd_status status = db_new(&d, name, err);
    if (status == KD_OK)
        status = db_connect_any(&d->sqlite, path, name, &d->read_only, err);
    if (status == KD_OK)
        status = copy_into(d, beside, err);
    db_close(d);
    if (status == KD_OK)
        status = kd_fsync_path(beside, err);
    if (status == KD_OK && stat(beside, &info) == 0 && bytes)
        *bytes = (uint64_t)info.st_size;
    if (status == KD_OK && rename(beside, file) != 0)
        status = kd_error_errno(err, errno, "cannot write %s", file);
    if (status == KD_OK)
        status = kd_fsync_folder_of(file, err);
    else
        (void)unlink(beside);
    free(beside);
    return status;
}
