/* Brings a file of an earlier version up to date. */
#include "services/indexer/collection_db_internal.h"

typedef struct copying {
    db *d;
    db_meta meta; /* of what was copied */
} copying;

static kd_status copy_rows(void *arg, const collection_row *rows, size_t n, kd_error *err)
{
    copying *const c = arg;
    kd_status status = KD_OK;
    for (size_t i = 0; i < n && status == KD_OK; i++)
        status = db_store_row(c->d, &rows[i], &c->meta, err);
    return status;
}

/* What was loaded from is verified, so damage is found and not copied. */
static kd_status split(db *d, copying *to, kd_error *err)
{
    static const char doing[] = "bring it up to date";
    const db_reader reader = {.each = copy_rows, .arg = to};
    kd_status status = KD_OK;
    if (d->version < DB_ATTRIBUTES)
        status = db_execute(
            d, "ALTER TABLE items ADD COLUMN attributes TEXT NOT NULL DEFAULT ''", doing, err);
    if (status == KD_OK)
        status = db_execute(d,
            "ALTER TABLE items RENAME TO items_before;" DB_TABLES
            "ALTER TABLE meta ADD COLUMN " DB_SETTINGS("; ALTER TABLE meta ADD COLUMN "),
            doing, err);
    if (status == KD_OK)
        status = db_prepare(d, err);
    if (status == KD_OK)
        status = db_load_from(d,
            "SELECT image_id, class_id, super_class_id, class_name, super_class_name, uri, "
            "attributes, NULL, checksum, vector FROM items_before ORDER BY image_id",
            &reader, err);
    if (status == KD_OK)
        status = db_write_meta(d, &to->meta, err);
    if (status == KD_OK)
        status = db_execute(d, "DROP TABLE items_before", doing, err);
    return status;
}

kd_status db_migrate(db *d, kd_error *err)
{
    copying to = {.d = d, .meta = d->meta};
    to.meta.n_items = to.meta.digest = 0;
    kd_status status = db_execute(d, "BEGIN IMMEDIATE", "bring it up to date", err);
    if (status == KD_OK)
        status = split(d, &to, err);
    if (status == KD_OK)
        status = db_execute(d, "COMMIT", "bring it up to date", err);
    if (status == KD_OK) {
        d->meta = to.meta;
        d->version = DB_SCHEMA;
    } else if (!sqlite3_get_autocommit(d->sqlite)) {
        (void)sqlite3_exec(d->sqlite, "ROLLBACK", NULL, NULL, NULL);
    }
    return status;
}
