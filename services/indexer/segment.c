#include "services/indexer/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"

#define MAGIC "kdvec01" /* what lies where; a change of it is another number */
enum { HEAD = 4096 };   /* bytes: vectors begin on a page */

/* The file: head, n × dim floats, n ids, n hashes. */
typedef struct head {
    char magic[8];
    uint64_t n, dim;
    uint64_t table_hash; /* of ids and hashes */
    uint64_t hash;       /* of what is above */
} head;

static size_t vector_bytes(size_t n, size_t dim)
{
    const size_t bytes = n * dim * sizeof(float);
    return (bytes + sizeof(uint64_t) - 1) / sizeof(uint64_t) * sizeof(uint64_t);
}

char *segment_file(const char *path, uint64_t number, const char *ending)
{
    return kd_format("%s/segments/%08" PRIu64 ".%s", path, number, ending);
}

void segment_free(segment *s)
{
    if (!s)
        return;
    kd_ann_free(s->ann);
    kd_index_free(s->frozen);
    if (s->map)
        (void)munmap(s->map, s->map_bytes);
    free(s->tags);
    free(s);
}

static segment *segment_new(size_t n)
{
    segment *const s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->tags = malloc((n + 1) * sizeof *s->tags);
    if (s->tags)
        return s;
    free(s);
    return NULL;
}

kd_status segment_freeze(segment **out, kd_index *index, kd_error *err)
{
    const kd_rows rows = kd_index_rows(index);
    *out = segment_new(rows.n);
    if (!*out)
        return kd_error_memory(err, "a segment");
    if (rows.n)
        memcpy((*out)->tags, rows.tags, rows.n * sizeof *rows.tags);
    (*out)->rows = rows;
    (*out)->rows.tags = (*out)->tags;
    (*out)->frozen = index;
    return KD_OK;
}

/* ---- Reading ---- */

static kd_status damaged(const char *file, const char *what, kd_error *err)
{
    return kd_error_set(err, KD_DATA_LOSS, "the segment %s is damaged: %s", file, what);
}

static bool vector_is(const float *vector, size_t dim, uint64_t hash)
{
    return kd_xxh3(vector, dim * sizeof *vector) == hash;
}

static kd_status verify(const segment *s, const head *h, const char *file, kd_error *err)
{
    const kd_rows *const rows = &s->rows;
    if (h->table_hash != kd_xxh3(rows->ids, 2 * rows->n * sizeof *rows->ids))
        return damaged(file, "its table fails its checksum", err);
    for (size_t i = 0; i < rows->n; i++) {
        if (i > 0 && rows->ids[i - 1] >= rows->ids[i])
            return damaged(file, "its ids are in no order", err);
        if (!vector_is(rows->vectors + i * rows->dim, rows->dim, s->hashes[i]))
            return damaged(file, "a vector fails its checksum", err);
    }
    return KD_OK;
}

/* NULL: *status says why. */
static void *map(const char *file, size_t *bytes, kd_status *status, kd_error *err)
{
    struct stat info;
    void *at = NULL;
    const int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        *status = kd_error_errno(err, errno, "cannot open %s", file);
        return NULL;
    }
    if (fstat(fd, &info) != 0) {
        *status = kd_error_errno(err, errno, "cannot read %s", file);
    } else if (info.st_size < HEAD) {
        *status = damaged(file, "it is cut off", err);
    } else {
        *bytes = (size_t)info.st_size;
        at = mmap(NULL, *bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) {
            *status = kd_error_errno(err, errno, "cannot map %s", file);
            at = NULL;
        }
    }
    (void)close(fd);
    return at;
}

static kd_status read_head(
    const void *at, size_t bytes, size_t dim, const char *file, head *h, kd_error *err)
{
    memcpy(h, at, sizeof *h);
    if (memcmp(h->magic, MAGIC, sizeof MAGIC) != 0)
        return damaged(file, "it is none, or of another version", err);
    if (h->hash != kd_xxh3(h, offsetof(head, hash)) || h->dim != dim || h->n >= UINT32_MAX ||
        bytes != HEAD + vector_bytes(h->n, dim) + 2 * h->n * sizeof(uint64_t))
        return damaged(file, "its head is not valid", err);
    return KD_OK;
}

static kd_status open_file(
    segment **out, const char *file, uint64_t number, size_t dim, kd_error *err)
{
    kd_status status = KD_INTERNAL;
    size_t bytes = 0;
    head h;
    void *const at = map(file, &bytes, &status, err);
    if (!at)
        return status;
    status = read_head(at, bytes, dim, file, &h, err);
    segment *s = NULL;
    if (status == KD_OK) {
        s = segment_new(h.n);
        if (!s)
            status = kd_error_memory(err, "a segment");
    }
    if (status != KD_OK) {
        (void)munmap(at, bytes);
        return status;
    }
    const uintptr_t vectors = (uintptr_t)at + HEAD;
    const uint64_t *const ids = (const uint64_t *)(vectors + vector_bytes(h.n, dim));
    s->number = number;
    s->map = at;
    s->map_bytes = bytes;
    s->rows = (kd_rows){(const float *)vectors, ids, s->tags, h.n, dim};
    s->hashes = ids + h.n;
    s->dead = h.n;
    memset(s->tags, 0xff, h.n * sizeof *s->tags);
    (void)madvise(s->map, s->map_bytes, MADV_SEQUENTIAL);
    status = verify(s, &h, file, err);
    (void)madvise(s->map, s->map_bytes, MADV_NORMAL);
    if (status != KD_OK) {
        segment_free(s);
        return status;
    }
    *out = s;
    return KD_OK;
}

kd_status segment_open(
    segment **out, const char *path, uint64_t number, const char *ending, size_t dim, kd_error *err)
{
    *out = NULL;
    char *const file = segment_file(path, number, ending);
    if (!file)
        return kd_error_memory(err, "a path");
    const kd_status status = open_file(out, file, number, dim, err);
    free(file);
    return status;
}

/* ---- Writing ---- */

typedef struct writing {
    FILE *file;
    const char *name;
    const segment_pick *picks;
    size_t n, dim;
    const atomic_bool *halt;
} writing;

static kd_status cannot_write(const writing *w, kd_error *err)
{
    return kd_error_errno(err, errno, "cannot write %s", w->name);
}

/* hashes takes those of the vectors. */
static kd_status write_vectors(const writing *w, uint64_t *hashes, kd_error *err)
{
    static const uint8_t zeros[sizeof(uint64_t)];
    for (size_t i = 0; i < w->n; i++) {
        const segment *const from = w->picks[i].from;
        const size_t row = w->picks[i].row;
        const float *const vector = from->rows.vectors + row * w->dim;
        if (i % 1024 == 0 && atomic_load(w->halt))
            return kd_error_set(err, KD_CANCELLED, "stopped writing %s", w->name);
        hashes[i] = kd_xxh3(vector, w->dim * sizeof *vector);
        if (from->hashes && from->hashes[row] != hashes[i])
            return kd_error_set(err, KD_DATA_LOSS,
                "the vector of image %" PRIu64 " in segment %" PRIu64 " was damaged",
                w->picks[i].id, from->number);
        if (fwrite(vector, sizeof *vector, w->dim, w->file) != w->dim)
            return cannot_write(w, err);
    }
    const size_t pad = vector_bytes(w->n, w->dim) - w->n * w->dim * sizeof(float);
    return fwrite(zeros, 1, pad, w->file) == pad ? KD_OK : cannot_write(w, err);
}

static kd_status write_all(const writing *w, kd_error *err)
{
    union {
        head head;
        uint8_t bytes[HEAD];
    } first;
    memset(&first, 0, sizeof first);
    uint64_t *const table = malloc((2 * w->n + 1) * sizeof *table);
    if (!table)
        return kd_error_memory(err, "a segment's table");
    for (size_t i = 0; i < w->n; i++)
        table[i] = w->picks[i].id;
    kd_status status = KD_OK;
    if (fwrite(&first, sizeof first, 1, w->file) != 1)
        status = cannot_write(w, err);
    if (status == KD_OK)
        status = write_vectors(w, table + w->n, err);
    memcpy(first.head.magic, MAGIC, sizeof MAGIC);
    first.head.n = w->n;
    first.head.dim = w->dim;
    first.head.table_hash = kd_xxh3(table, 2 * w->n * sizeof *table);
    first.head.hash = kd_xxh3(&first.head, offsetof(head, hash));
    if (status == KD_OK &&
        (fwrite(table, sizeof *table, 2 * w->n, w->file) != 2 * w->n ||
            fseek(w->file, 0, SEEK_SET) != 0 || fwrite(&first, sizeof first, 1, w->file) != 1))
        status = cannot_write(w, err);
    free(table);
    return status;
}

kd_status segment_write(const char *path, uint64_t number, const char *ending, size_t dim,
    const segment_pick *picks, size_t n, const atomic_bool *halt, kd_error *err)
{
    kd_new_file file = KD_NEW_FILE_INIT;
    char *const folder = kd_format("%s/segments", path);
    char *const name = segment_file(path, number, ending);
    kd_status status = folder && name ? KD_OK : kd_error_memory(err, "a path");
    if (status == KD_OK && !kd_is_dir(folder)) {
        status = kd_make_dirs(folder, err);
        if (status == KD_OK)
            status = kd_fsync_path(path, err);
    }
    segment_unlink(path, number); /* an index that was left behind is of others */
    if (status == KD_OK)
        status = kd_new_file_begin(&file, name, err);
    const writing w = {file.stream, name, picks, n, dim, halt};
    if (status == KD_OK)
        status = write_all(&w, err);
    if (status == KD_OK)
        status = kd_new_file_commit(&file, err);
    kd_new_file_drop(&file);
    free(name);
    free(folder);
    return status;
}

kd_status segment_keep(const char *path, uint64_t number, kd_error *err)
{
    char *const from = segment_file(path, number, SEGMENT_WAITING);
    char *const to = segment_file(path, number, SEGMENT_FILE);
    char *const folder = kd_format("%s/segments", path);
    kd_status status = from && to && folder ? KD_OK : kd_error_memory(err, "a path");
    if (status == KD_OK && rename(from, to) != 0)
        status = kd_error_errno(err, errno, "cannot rename %s", from);
    if (status == KD_OK)
        status = kd_fsync_path(folder, err);
    free(from);
    free(to);
    free(folder);
    return status;
}

static void unlink_one(const char *path, uint64_t number, const char *ending)
{
    char *const file = segment_file(path, number, ending);
    if (file)
        (void)unlink(file);
    free(file);
}

void segment_unlink_index(const char *path, uint64_t number)
{
    unlink_one(path, number, "ann");
}

/* No index outlives its vectors. */
void segment_unlink(const char *path, uint64_t number)
{
    unlink_one(path, number, "ann");
    unlink_one(path, number, SEGMENT_WAITING);
    unlink_one(path, number, SEGMENT_FILE);
}
