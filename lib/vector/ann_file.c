/* An approximate index in a file: a head with a checksum, then its arrays as they lie in memory,
 * each with a checksum in the head. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "lib/vector/ann.h"

#define MAGIC "kdann02" /* the arrays' meaning; a change of it is another number */
enum { MOST_PARTS = 5 };

typedef struct head {
    char magic[8];
    uint32_t kind, storage;
    uint64_t n, dim, ids_hash, seed, effort;
    float target, recall;
    uint32_t entry, unused;
    struct {
        uint64_t size, hash;
    } parts[MOST_PARTS];
    uint64_t hash; /* of what is above */
} head;

typedef struct part {
    void *bytes;
    size_t size;
} part;

static void list_parts(kd_ann *ann, part parts[MOST_PARTS])
{
    const size_t n = ann->rows.n;
    memset(parts, 0, MOST_PARTS * sizeof *parts);
    if (ann->exact)
        return;
    parts[0] = (part){ann->codes.owned, kd_codes_bytes(&ann->codes)};
    if (ann->kind == KD_ANN_HNSW) {
        kd_hnsw *const g = &ann->hnsw;
        parts[1] = (part){g->levels, n};
        parts[2] = (part){g->places, n * sizeof *g->places};
        parts[3] = (part){g->base, n * (1 + KD_HNSW_BASE) * sizeof *g->base};
        parts[4] = (part){g->above, (size_t)g->n_above * (1 + KD_HNSW_LINKS) * sizeof *g->above};
    } else {
        kd_ivf *const ivf = &ann->ivf;
        parts[1] = (part){ivf->centres, ivf->lists * ivf->dim * sizeof *ivf->centres};
        parts[2] = (part){ivf->starts, (ivf->lists + 1) * sizeof *ivf->starts};
        parts[3] = (part){ivf->order, n * sizeof *ivf->order};
    }
}

static uint64_t hash_ids(const kd_rows *rows)
{
    return kd_xxh3(rows->ids, rows->n * sizeof *rows->ids);
}

/* ---- Save ---- */

static kd_status write_parts(
    FILE *file, const head *h, const part *parts, const char *path, kd_error *err)
{
    bool good = fwrite(h, sizeof *h, 1, file) == 1;
    for (size_t i = 0; i < MOST_PARTS && good; i++)
        good = parts[i].size == 0 || fwrite(parts[i].bytes, parts[i].size, 1, file) == 1;
    return good ? KD_OK : kd_error_errno(err, errno, "cannot write %s", path);
}

kd_status kd_ann_save(const kd_ann *ann, const char *path, kd_error *err)
{
    part parts[MOST_PARTS];
    head h;
    assert(ann && path);
    memset(&h, 0, sizeof h); /* what lies between the fields is hashed, too */
    memcpy(h.magic, MAGIC, sizeof MAGIC);
    h.kind = ann->kind;
    h.storage = ann->codes.storage;
    h.n = ann->rows.n;
    h.dim = ann->rows.dim;
    h.ids_hash = hash_ids(&ann->rows);
    h.seed = ann->seed;
    h.effort = ann->effort;
    h.target = ann->target;
    h.recall = ann->recall;
    h.entry = ann->hnsw.entry;
    list_parts((kd_ann *)ann, parts); /* only read here */
    for (size_t i = 0; i < MOST_PARTS; i++) {
        h.parts[i].size = parts[i].size;
        h.parts[i].hash = kd_xxh3(parts[i].bytes, parts[i].size);
    }
    h.hash = kd_xxh3(&h, offsetof(head, hash));

    kd_new_file file;
    kd_status status = kd_new_file_begin(&file, path, err);
    if (status == KD_OK)
        status = write_parts(file.stream, &h, parts, path, err);
    if (status == KD_OK)
        return kd_new_file_commit(&file, err);
    kd_new_file_drop(&file);
    return status;
}

/* ---- Load ---- */

/* Their statuses are written out: clang-tidy can't see that kd_error_set's is never KD_OK. */
static kd_status damaged(const char *path, kd_error *err)
{
    (void)kd_error_set(err, KD_DATA_LOSS, "the index file %s is damaged", path);
    return KD_DATA_LOSS;
}

static kd_status unfit(const char *path, const char *why, kd_error *err)
{
    (void)kd_error_set(err, KD_FAILED_PRECONDITION, "the index file %s is %s", path, why);
    return KD_FAILED_PRECONDITION;
}

static kd_status read_head(
    FILE *file, const kd_rows *rows, const char *path, head *h, kd_error *err)
{
    if (fread(h, sizeof *h, 1, file) != 1)
        return damaged(path, err);
    if (memcmp(h->magic, MAGIC, sizeof MAGIC) != 0)
        return unfit(path, "of another version", err);
    if (h->hash != kd_xxh3(h, offsetof(head, hash)) || h->kind > KD_ANN_IVF ||
        h->storage > KD_ANN_INT8)
        return damaged(path, err);
    if (h->n != rows->n || h->dim != rows->dim || h->ids_hash != hash_ids(rows))
        return unfit(path, "of other vectors", err);
    return KD_OK;
}

static kd_status read_parts(FILE *file, const head *h, kd_ann *ann, const char *path, kd_error *err)
{
    part parts[MOST_PARTS];
    list_parts(ann, parts);
    for (size_t i = 0; i < MOST_PARTS; i++) {
        const part *const p = &parts[i];
        if (p->size != h->parts[i].size || (p->size && fread(p->bytes, p->size, 1, file) != 1) ||
            kd_xxh3(p->bytes, p->size) != h->parts[i].hash)
            return damaged(path, err);
    }
    return fgetc(file) == EOF ? KD_OK : damaged(path, err);
}

kd_status kd_ann_load(kd_ann **out, const kd_rows *rows, const char *path, kd_error *err)
{
    assert(out && rows && path);
    kd_ann *ann = NULL;
    head h;
    *out = NULL;
    FILE *const file = fopen(path, "rbe");
    if (!file)
        return kd_error_errno(err, errno, "cannot read %s", path);
    kd_status status = read_head(file, rows, path, &h, err);
    /* The seed makes the levels again, and with them the sizes. */
    if (status == KD_OK)
        status = kd_ann_new(&ann, rows, h.kind, h.storage, h.seed, err);
    if (status == KD_OK)
        status = read_parts(file, &h, ann, path, err);
    (void)fclose(file);
    if (status != KD_OK) {
        kd_ann_free(ann);
        return status;
    }
    ann->hnsw.entry = h.entry;
    ann->effort = h.effort;
    ann->target = h.target;
    ann->recall = h.recall;
    *out = ann;
    return KD_OK;
}
