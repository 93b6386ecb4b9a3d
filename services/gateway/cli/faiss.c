/* FAISS's files of flat indexes, as its write_index and read_index have them: little-endian,
 * without padding. An index is a kind of four letters, a header, and for a flat one the number of
 * its floats and they themselves; an IDMap has a header, the flat index, the number of ids and they
 * themselves.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/vectors.h"

#define HEADER_BYTES 33u /* int d, int64 ntotal, 2 × int64 unused, bool trained, int metric */
#define UNUSED ((uint64_t)1 << 20)
#define INNER_PRODUCT 0u
#define L2 1u
#define MOST_ROWS ((uint64_t)1 << 40)
#define MOST_DIM 65536u

static bool has_ending(const char *path, const char *ending)
{
    const size_t len = strlen(path), tail = strlen(ending);
    return len > tail && strcmp(path + len - tail, ending) == 0;
}

bool cli_faiss_named(const char *path)
{
    return has_ending(path, ".faiss") || has_ending(path, ".index");
}

static uint64_t number(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof value);
    return le64toh(value);
}

static uint32_t small_number(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return le32toh(value);
}

/* ---- Reading ---- */

static kd_status wrong(const cli_vectors *v, const char *why, kd_error *err)
{
    return kd_error_set(
        err, KD_INVALID_ARGUMENT, "%s is no FAISS index as kindred reads it: %s", v->path, why);
}

/* The kind, and rows and dim of its header. */
static kd_status read_index(cli_vectors *v, char kind[5], kd_error *err)
{
    uint8_t header[HEADER_BYTES];
    kd_status status = cli_vectors_bytes(v, kind, 4, err);
    kind[4] = '\0';
    if (status == KD_OK)
        status = cli_vectors_bytes(v, header, sizeof header, err);
    if (status != KD_OK)
        return status;
    const uint32_t dim = small_number(header), metric = small_number(header + 29);
    v->rows = number(header + 4);
    v->dim = dim;
    if (dim == 0 || dim > MOST_DIM || v->rows > MOST_ROWS)
        return wrong(v, "its header is not valid", err);
    return metric == INNER_PRODUCT || metric == L2
               ? KD_OK
               : wrong(v, "its metric is neither inner product nor L2", err);
}

static kd_status read_count(cli_vectors *v, uint64_t expected, kd_error *err)
{
    uint8_t bytes[8];
    const kd_status status = cli_vectors_bytes(v, bytes, sizeof bytes, err);
    if (status != KD_OK || number(bytes) == expected)
        return status;
    return wrong(v, "it does not hold as much as its header says", err);
}

static kd_status read_ids(cli_vectors *v, kd_error *err)
{
    kd_status status = read_count(v, v->rows, err);
    if (status != KD_OK)
        return status;
    v->ids = cli_must(calloc(v->rows + 1, sizeof *v->ids));
    status = cli_vectors_bytes(v, v->ids, v->rows * sizeof *v->ids, err);
    for (uint64_t i = 0; i < v->rows; i++)
        v->ids[i] = le64toh(v->ids[i]);
    return status;
}

kd_status cli_faiss_header(cli_vectors *v, kd_error *err)
{
    char kind[5], message[96];
    kd_status status = read_index(v, kind, err);
    const bool mapped = strcmp(kind, "IxMp") == 0 || strcmp(kind, "IxM2") == 0;
    const uint64_t rows = v->rows;
    const size_t dim = v->dim;
    if (status == KD_OK && mapped)
        status = read_index(v, kind, err);
    if (status != KD_OK)
        return status;
    if (strcmp(kind, "IxFI") != 0 && strcmp(kind, "IxF2") != 0 && strcmp(kind, "IxFl") != 0) {
        (void)snprintf(message, sizeof message,
            "its kind is '%s', and only a flat one holds the vectors as they are", kind);
        return wrong(v, message, err);
    }
    if (mapped && (v->rows != rows || v->dim != dim))
        return wrong(v, "its map is of another size", err);
    status = read_count(v, v->rows * v->dim, err);
    if (status != KD_OK)
        return status;
    v->values_at = (uint64_t)ftello(v->stream);
    if (fseeko(v->stream, 0, SEEK_END) != 0)
        return kd_error_errno(err, errno, "cannot read %s", v->path);
    const uint64_t bytes = v->rows * v->dim * sizeof(float);
    if ((uint64_t)ftello(v->stream) < v->values_at + bytes)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is cut short", v->path);
    if (fseeko(v->stream, (off_t)(v->values_at + bytes), SEEK_SET) != 0)
        return kd_error_errno(err, errno, "cannot read %s", v->path);
    return mapped ? read_ids(v, err) : KD_OK;
}

/* ---- Writing ---- */

static void put(cli_faiss *f, const void *bytes, size_t n)
{
    (void)fwrite(bytes, 1, n, f->file.stream); /* a failure is seen at the end */
}

static void put_number(cli_faiss *f, uint64_t value)
{
    const uint64_t bytes = htole64(value);
    put(f, &bytes, sizeof bytes);
}

static void put_small_number(cli_faiss *f, uint32_t value)
{
    const uint32_t bytes = htole32(value);
    put(f, &bytes, sizeof bytes);
}

static void put_index(cli_faiss *f, const char *kind)
{
    const uint8_t trained = 1;
    put(f, kind, 4);
    put_small_number(f, (uint32_t)f->dim);
    put_number(f, f->rows);
    put_number(f, UNUSED);
    put_number(f, UNUSED);
    put(f, &trained, 1);
    put_small_number(f, INNER_PRODUCT);
}

/* With rows as they are now; again once all are known. */
static void put_head(cli_faiss *f)
{
    put_index(f, "IxM2");
    put_index(f, "IxFI");
    put_number(f, f->rows * f->dim);
}

kd_status cli_faiss_begin(cli_faiss *f, const char *path, size_t dim, kd_error *err)
{
    *f = (cli_faiss){.file = KD_NEW_FILE_INIT, .dim = dim};
    const kd_status status = kd_new_file_begin(&f->file, path, err);
    if (status == KD_OK)
        put_head(f);
    return status;
}

kd_status cli_faiss_row(cli_faiss *f, uint64_t id, const float *values, kd_error *err)
{
    if (f->rows == f->room) {
        f->room = f->room ? 2 * f->room : 1024;
        f->ids = cli_must(realloc(f->ids, f->room * sizeof *f->ids));
    }
    f->ids[f->rows++] = id;
    for (size_t i = 0; i < f->dim; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        put_small_number(f, bits);
    }
    return ferror(f->file.stream) ? kd_error_errno(err, errno, "cannot write %s", f->file.path)
                                  : KD_OK;
}

kd_status cli_faiss_commit(cli_faiss *f, kd_error *err)
{
    put_number(f, f->rows);
    for (uint64_t i = 0; i < f->rows; i++)
        put_number(f, f->ids[i]);
    if (fseeko(f->file.stream, 0, SEEK_SET) != 0) {
        const kd_status status = kd_error_errno(err, errno, "cannot write %s", f->file.path);
        cli_faiss_drop(f);
        return status;
    }
    put_head(f);
    free(f->ids);
    f->ids = NULL;
    return kd_new_file_commit(&f->file, err);
}

void cli_faiss_drop(cli_faiss *f)
{
    free(f->ids);
    f->ids = NULL;
    kd_new_file_drop(&f->file);
}
