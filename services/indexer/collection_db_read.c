/* The half of collection_db.h that reads a file's rows and verifies them. */
#include "services/indexer/collection_db_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"

enum { LOAD_PORTION = 512, TEXTS = 5, KEY_TEXT = 4 };

/* A portion of rows with their own copies of text and vectors. */
typedef struct portion {
    collection_row rows[LOAD_PORTION];
    size_t n;
    float *values; /* LOAD_PORTION × dim */
    char *texts[LOAD_PORTION];
} portion;

static void portion_clear(portion *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->texts[i]);
    p->n = 0;
}

static kd_status damaged_row(const db *d, uint64_t image_id, kd_error *err)
{
    return kd_error_set(err, KD_DATA_LOSS,
        "collection '%s' is damaged: the row of image %" PRIu64 " fails its checksum", d->name,
        image_id);
}

static kd_status take_vector(
    db *d, sqlite3_stmt *s, int column, uint64_t image_id, float *values, kd_error *err)
{
    const void *const vector = sqlite3_column_blob(s, column);
    const size_t bytes = d->meta.dim * sizeof(float);
    if (!vector || (size_t)sqlite3_column_bytes(s, column) != bytes)
        return damaged_row(d, image_id, err);
    memcpy(values, vector, bytes);
    return KD_OK;
}

kd_status db_vector(db *d, uint64_t image_id, uint64_t hash, float *values, kd_error *err)
{
    sqlite3_stmt *const s = d->statements[VECTOR];
    (void)sqlite3_bind_int64(s, 1, (int64_t)image_id);
    kd_status status;
    switch (sqlite3_step(s)) {
    case SQLITE_ROW:
        status = take_vector(d, s, 0, image_id, values, err);
        break;
    case SQLITE_DONE:
        status = damaged_row(d, image_id, err);
        break;
    default:
        return db_fail_reading(d, sqlite3_reset(s), err);
    }
    (void)sqlite3_reset(s);
    if (status == KD_OK && kd_xxh3(values, d->meta.dim * sizeof *values) != hash)
        status = damaged_row(d, image_id, err);
    return status;
}

/* Columns: image_id, class_id, super_class_id, class_name, super_class_name, uri, attributes,
 * key, checksum, then the vector's hash, or in files before DB_SPLIT the vector. */
static kd_status take_row(
    db *d, sqlite3_stmt *s, const db_reader *to, portion *p, uint64_t *digest, kd_error *err)
{
    const uint64_t image_id = (uint64_t)sqlite3_column_int64(s, 0);
    const int64_t class_id = sqlite3_column_int64(s, 1);
    const int64_t super_class_id = sqlite3_column_int64(s, 2);
    const char *text[TEXTS];
    size_t size[TEXTS], total = 0;
    bool good = class_id >= 0 && class_id <= UINT32_MAX && super_class_id >= 0 &&
                super_class_id <= UINT32_MAX;
    for (int i = 0; i < TEXTS; i++) {
        text[i] = (const char *)sqlite3_column_text(s, 3 + i);
        size[i] = text[i] ? strlen(text[i]) + 1 : 0;
        total += size[i];
        good = good && (text[i] || i == KEY_TEXT);
    }
    if (!good)
        return damaged_row(d, image_id, err);

    char *const copy = malloc(total), *at = copy;
    if (!copy)
        return kd_error_memory(err, "a row of a collection");
    for (int i = 0; i < TEXTS; i++) {
        if (!text[i])
            continue;
        memcpy(at, text[i], size[i]);
        text[i] = at;
        at += size[i];
    }
    float *const values = p->values + p->n * d->meta.dim;
    p->texts[p->n] = copy;
    collection_row *const row = &p->rows[p->n++];
    *row = (collection_row){.item = {.image_id = image_id,
                                .class_id = (uint32_t)class_id,
                                .super_class_id = (uint32_t)super_class_id,
                                .class_name = text[0],
                                .super_class_name = text[1],
                                .uri = text[2],
                                .attributes = text[3],
                                .key = text[KEY_TEXT]},
        .values = values,
        .n_values = d->meta.dim};
    int64_t checksum = 0;
    const bool split = d->version >= DB_SPLIT;
    const uint64_t hash = split ? (uint64_t)sqlite3_column_int64(s, 9) : 0;
    kd_status status = split ? KD_OK : take_vector(d, s, 9, image_id, values, err);
    if (status == KD_OK)
        status = db_row_checksum(d, row, split ? &hash : NULL, &checksum, err);
    if (status == KD_OK && checksum != sqlite3_column_int64(s, 8))
        status = damaged_row(d, image_id, err);
    if (status == KD_OK && split) {
        if (to->has && to->has(to->arg, image_id, hash))
            row->values = NULL;
        else
            status = db_vector(d, image_id, hash, values, err);
    }
    *digest ^= (uint64_t)checksum;
    return status;
}

static kd_status load_rows(db *d, sqlite3_stmt *s, const db_reader *to, portion *p, kd_error *err)
{
    kd_status status = KD_OK;
    uint64_t n = 0, digest = 0;
    int code;
    while (status == KD_OK && (code = sqlite3_step(s)) != SQLITE_DONE) {
        if (code != SQLITE_ROW)
            return db_fail_reading(d, code, err);
        status = take_row(d, s, to, p, &digest, err);
        n++;
        if (status == KD_OK && p->n == LOAD_PORTION) {
            status = to->each(to->arg, p->rows, p->n, err);
            portion_clear(p);
        }
    }
    if (status == KD_OK && p->n > 0)
        status = to->each(to->arg, p->rows, p->n, err);
    if (status == KD_OK && (n != d->meta.n_items || digest != d->meta.digest))
        status = kd_error_set(err, KD_DATA_LOSS,
            "collection '%s' is damaged: it has %" PRIu64 " rows and should have %" PRIu64
            ", or others",
            d->name, n, d->meta.n_items);
    return status;
}

kd_status db_load_from(db *d, const char *sql, const db_reader *to, kd_error *err)
{
    sqlite3_stmt *s = NULL;
    const int code = sqlite3_prepare_v2(d->sqlite, sql, -1, &s, NULL);
    if (code != SQLITE_OK)
        return db_fail_reading(d, code, err);
    kd_status status;
    portion *p = calloc(1, sizeof *p);
    if (p)
        p->values = malloc(LOAD_PORTION * d->meta.dim * sizeof *p->values);
    if (p && p->values)
        status = load_rows(d, s, to, p, err);
    else
        status = kd_error_memory(err, "a portion of a collection");
    if (p) {
        portion_clear(p);
        free(p->values);
    }
    free(p);
    (void)sqlite3_finalize(s);
    return status;
}

kd_status db_load(db *d, const db_reader *to, kd_error *err)
{
    return db_load_from(d,
        "SELECT image_id, class_id, super_class_id, class_name, super_class_name, uri, "
        "attributes, key, checksum, vector_hash FROM items ORDER BY image_id",
        to, err);
}

kd_status db_find_key(db *d, const char *key, uint64_t *image_id, bool *there, kd_error *err)
{
    sqlite3_stmt *const s = d->statements[KEY];
    (void)sqlite3_bind_text(s, 1, key, -1, SQLITE_STATIC);
    *there = sqlite3_step(s) == SQLITE_ROW;
    if (*there)
        *image_id = (uint64_t)sqlite3_column_int64(s, 0);
    const int code = sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    return code == SQLITE_OK ? KD_OK : db_fail_reading(d, code, err);
}

static bool is_whole(const db *d, sqlite3_stmt *s)
{
    const void *const vector = sqlite3_column_blob(s, 2);
    const size_t bytes = d->meta.dim * sizeof(float);
    return vector && (size_t)sqlite3_column_bytes(s, 2) == bytes &&
           kd_xxh3(vector, bytes) == (uint64_t)sqlite3_column_int64(s, 1);
}

kd_status db_verify_vectors(
    db *d, uint64_t *from, size_t limit, db_bad_vector *bad, size_t *n_bad, kd_error *err)
{
    sqlite3_stmt *s = NULL;
    size_t n = 0;
    *n_bad = 0;
    int code = sqlite3_prepare_v2(d->sqlite,
        "SELECT image_id, vector_hash, vector FROM items LEFT JOIN vectors USING (image_id) "
        "WHERE image_id >= ? ORDER BY image_id LIMIT ?",
        -1, &s, NULL);
    if (code != SQLITE_OK)
        return db_fail_reading(d, code, err);
    (void)sqlite3_bind_int64(s, 1, (int64_t)*from);
    (void)sqlite3_bind_int64(s, 2, (int64_t)limit);
    for (; (code = sqlite3_step(s)) == SQLITE_ROW; n++) {
        const uint64_t image_id = (uint64_t)sqlite3_column_int64(s, 0);
        if (!is_whole(d, s))
            bad[(*n_bad)++] = (db_bad_vector){image_id, (uint64_t)sqlite3_column_int64(s, 1)};
        *from = image_id < COLLECTION_MAX_ID ? image_id + 1 : DB_VERIFIED;
    }
    (void)sqlite3_finalize(s);
    if (code != SQLITE_DONE)
        return db_fail_reading(d, code, err);
    if (n < limit || *from > COLLECTION_MAX_ID)
        *from = DB_VERIFIED;
    return KD_OK;
}
