/* A collection's file on a disk that cannot be written. SQLite reads a file in WAL mode there only
 * when what belongs to the log is there, or when it is told that nobody will change the file. */
#include "services/indexer/collection_db_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* PATH/collection.db as a URI whose file does not change; to be freed. */
static char *unchanging(const char *path)
{
    kd_buf uri = KD_BUF_INIT;
    kd_buf_puts(&uri, "file:");
    for (const char *c = path; *c; c++) {
        if (strchr("%?#", *c))
            kd_buf_printf(&uri, "%%%02x", (unsigned)*c);
        else
            kd_buf_append(&uri, c, 1);
    }
    kd_buf_puts(&uri, "/collection.db?immutable=1");
    if (!kd_buf_ok(&uri))
        kd_buf_free(&uri);
    return (char *)uri.data;
}

/* Bytes; 0 where it is not there. */
static uint64_t size_of(const char *path, const char *file)
{
    struct stat info;
    char *const whole = kd_format("%s/%s", path, file);
    const bool there = whole && stat(whole, &info) == 0;
    free(whole);
    return there ? (uint64_t)info.st_size : 0;
}

static kd_status connect_to_read(sqlite3 **out, const char *path, const char *name, kd_error *err)
{
    if (size_of(path, "collection.db-wal") > 0) {
        if (size_of(path, "collection.db-shm") > 0)
            return db_connect(out, path, name, SQLITE_OPEN_READONLY, err);
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "collection '%s': the file or disk is read-only, and it was not closed before: it must "
            "be opened once where it can be written",
            name);
    }
    char *const uri = unchanging(path);
    if (!uri)
        return kd_error_memory(err, "a path");
    const kd_status status =
        db_connect_file(out, uri, name, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err);
    free(uri);
    return status;
}

kd_status db_connect_any(
    sqlite3 **out, const char *path, const char *name, bool *read_only, kd_error *err)
{
    kd_status status = db_connect(out, path, name, SQLITE_OPEN_READWRITE, err);
    /* SQLite falls back to reading alone without a word. */
    *read_only = status == KD_OK && sqlite3_db_readonly(*out, "main") == 1;
    if (*read_only) {
        (void)sqlite3_close(*out);
        *out = NULL;
        status = connect_to_read(out, path, name, err);
    }
    return status;
}
