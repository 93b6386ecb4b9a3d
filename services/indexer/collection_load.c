/* What a collection has in memory, from its files. */
#include "services/indexer/collection_internal.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/log.h"

enum { LOAD_PARTS = 64 }; /* about, of a collection whose segments are gone */

/* Rows come by id and so do those of a segment: one look at each will do. */
typedef struct loading {
    collection *c;
    size_t cursors[PARTS_MOST];
    segment *opened[PARTS_MOST]; /* newest first */
    size_t n_opened;
    size_t seal_rows;
    struct {
        segment *s; /* NULL: in no segment */
        uint32_t row;
    } found[COLLECTION_MAX_BATCH]; /* of the rows of the next portion */
    size_t n_found;
} loading;

/* ---- Segments ---- */

static void log_damage(const collection *c, const kd_error *err)
{
    KD_LOG(KD_LOG_ERROR, "segment_damaged", KD_STR("collection", c->name),
        KD_STR("error", err->message), KD_STR("then", "its rows are read from collection.db"));
}

static void open_segment(loading *l, uint64_t number)
{
    collection *const c = l->c;
    kd_error err = KD_ERROR_INIT;
    segment *s = NULL;
    if (number > c->last_number)
        c->last_number = number;
    if (parts_full(&c->parts)) {
        segment_unlink(c->path, number);
        return;
    }
    const kd_status status = segment_open(&s, c->path, number, SEGMENT_FILE, c->meta.dim, &err);
    if (status == KD_OK) {
        char *const index = segment_file(c->path, number, "ann");
        if (c->meta.settings.index == COLLECTION_EXACT)
            segment_unlink_index(c->path, number);
        else
            s->stored = index && kd_is_file(index);
        free(index);
        parts_add(&c->parts, s);
        l->opened[l->n_opened++] = s;
        return;
    }
    log_damage(c, &err);
    if (status == KD_DATA_LOSS)
        segment_unlink(c->path, number);
}

static int newest_first(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a < b) - (a > b);
}

/* Numbers of *.vec, and removes what was not finished. */
static size_t list_segments(const char *folder, uint64_t *numbers, size_t most)
{
    size_t n = 0;
    DIR *const dir = opendir(folder);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        char *const file = kd_format("%s/%s", folder, entry->d_name);
        const char *const ending = strrchr(entry->d_name, '.');
        char digits[24] = "";
        const size_t len = ending ? (size_t)(ending - entry->d_name) : 0;
        if (len > 0 && len < sizeof digits)
            memcpy(digits, entry->d_name, len);
        if (file && ending &&
            (strcmp(ending, KD_NEW_FILE_ENDING) == 0 || strcmp(ending, "." SEGMENT_WAITING) == 0))
            (void)unlink(file);
        else if (ending && strcmp(ending, "." SEGMENT_FILE) == 0 && n < most &&
                 kd_parse_u64(digits, 1, UINT64_MAX - 1, &numbers[n]))
            n++;
        free(file);
    }
    if (dir)
        (void)closedir(dir);
    qsort(numbers, n, sizeof *numbers, newest_first);
    return n;
}

static kd_status open_segments(loading *l, kd_error *err)
{
    enum { MOST = 4 * PARTS_MOST };
    uint64_t numbers[MOST];
    char *const folder = kd_format("%s/segments", l->c->path);
    if (!folder)
        return kd_error_memory(err, "a path");
    const size_t n = list_segments(folder, numbers, MOST);
    free(folder);
    for (size_t i = 0; i < n; i++)
        open_segment(l, numbers[i]);
    return KD_OK;
}

/* ---- Rows ---- */

static bool has(void *arg, uint64_t image_id, uint64_t vector_hash)
{
    loading *const l = arg;
    segment *found = NULL;
    uint32_t row = 0;
    for (size_t i = 0; i < l->n_opened; i++) {
        segment *const s = l->opened[i];
        size_t *const at = &l->cursors[i];
        while (*at < s->rows.n && s->rows.ids[*at] < image_id)
            ++*at;
        if (!found && *at < s->rows.n && s->rows.ids[*at] == image_id &&
            s->hashes[*at] == vector_hash) {
            found = s;
            row = (uint32_t)*at;
        }
    }
    l->found[l->n_found].s = found;
    l->found[l->n_found++].row = row;
    return found != NULL;
}

/* Puts rows that are in no segment into the growing part, which they may fill. */
static kd_status grow(
    loading *l, const collection_row *rows, const uint32_t *places, size_t n, kd_error *err)
{
    collection *const c = l->c;
    const size_t dim = c->meta.dim;
    uint64_t *const ids = malloc(n * sizeof *ids);
    uint32_t *const tags = malloc(n * sizeof *tags);
    float *const values = malloc(n * dim * sizeof *values);
    kd_status status =
        ids && tags && values ? KD_OK : kd_error_memory(err, "a portion of a collection");
    size_t m = 0;
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        if (!rows[i].values)
            continue;
        ids[m] = rows[i].item.image_id;
        tags[m] = places[i];
        memcpy(values + m++ * dim, rows[i].values, dim * sizeof *values);
    }
    if (status == KD_OK && m > 0)
        status = parts_put(&c->parts, m, ids, tags, values, err);
    free(ids);
    free(tags);
    free(values);
    if (status != KD_INVALID_ARGUMENT)
        return status;
    kd_error why = *err; /* a vector that nobody could have stored */
    return kd_error_set(
        err, KD_DATA_LOSS, "collection '%s' is damaged: %.200s", c->name, why.message);
}

/* So that a collection larger than memory can be loaded without its segments. What can't be written
 * stays in memory. */
static void seal(loading *l)
{
    collection *const c = l->c;
    kd_error err = KD_ERROR_INIT;
    if (kd_index_count(c->parts.growing) < l->seal_rows || parts_full(&c->parts))
        return;
    kd_status status = collection_freeze(c, &err);
    if (status == KD_OK) {
        segment *frozen = NULL;
        for (size_t i = 0; i < PARTS_MOST; i++)
            if (c->parts.segments[i] && c->parts.segments[i]->frozen)
                frozen = c->parts.segments[i];
        status = collection_rewrite(c, &frozen, 1, &err);
    }
    if (status != KD_OK) {
        kd_log_error(KD_LOG_WARN, "segment_not_sealed", &err);
        l->seal_rows = SIZE_MAX;
    }
}

static kd_status each(void *arg, const collection_row *rows, size_t n, kd_error *err)
{
    loading *const l = arg;
    collection *const c = l->c;
    kd_status status = KD_OK;
    uint32_t *const places = malloc(n * sizeof *places);
    if (!places)
        return kd_error_memory(err, "a portion of a collection");
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        status = items_put(c->items, &rows[i].item, err);
        if (status == KD_OK)
            status = keys_put(c->keys, rows[i].item.image_id, rows[i].item.key, err);
        if (status == KD_OK)
            places[i] = items_place(c->items, rows[i].item.image_id);
    }
    if (status == KD_OK)
        status = parts_reserve(&c->parts, items_places(c->items), err);
    for (size_t i = 0; i < n && status == KD_OK; i++)
        if (l->found[i].s)
            parts_revive(&c->parts, l->found[i].s, l->found[i].row, places[i]);
    if (status == KD_OK)
        status = grow(l, rows, places, n, err);
    l->n_found = 0;
    free(places);
    if (status == KD_OK)
        seal(l);
    return status;
}

kd_status collection_load(collection *c, kd_error *err)
{
    loading *const l = calloc(1, sizeof *l);
    if (!l)
        return kd_error_memory(err, "a collection");
    l->c = c;
    l->seal_rows = collection_seal_rows(c);
    if (l->seal_rows < c->meta.n_items / LOAD_PARTS)
        l->seal_rows = (size_t)c->meta.n_items / LOAD_PARTS;
    const db_reader reader = {.each = each, .has = has, .arg = l};
    kd_status status = open_segments(l, err);
    if (status == KD_OK)
        status = db_load(c->db, &reader, err);
    free(l);
    return status;
}
