#include "services/gateway/cli/vectors.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/cli/cli.h"

#define HEADER_BYTES 128u /* a multiple of 64, as the format asks */
#define PREFIX_BYTES 10u  /* magic, version, length of the text */

static kd_status write_header(cli_npy *npy, kd_error *err)
{
    char header[HEADER_BYTES];
    memset(header, ' ', sizeof header);
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)(HEADER_BYTES - PREFIX_BYTES);
    header[9] = 0;
    char text[HEADER_BYTES];
    const int len = snprintf(text, sizeof text,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %zu), }",
        (unsigned long long)npy->rows, npy->dim);
    memcpy(header + PREFIX_BYTES, text, (size_t)len); /* at most 58 + 20 + 20 bytes: it fits */
    header[HEADER_BYTES - 1] = '\n';
    if (fseeko(npy->file.stream, 0, SEEK_SET) != 0 ||
        fwrite(header, 1, sizeof header, npy->file.stream) != sizeof header)
        return kd_error_errno(err, errno, "cannot write %s", npy->file.path);
    return KD_OK;
}

kd_status cli_npy_begin(cli_npy *npy, const char *path, kd_error *err)
{
    *npy = (cli_npy){.file = KD_NEW_FILE_INIT};
    kd_status status = kd_new_file_begin(&npy->file, path, err);
    if (status == KD_OK)
        status = write_header(npy, err);
    if (status != KD_OK)
        cli_npy_drop(npy);
    return status;
}

kd_status cli_npy_row(cli_npy *npy, const float *values, size_t dim, kd_error *err)
{
    if (npy->rows > 0 && dim != npy->dim)
        return kd_error_set(
            err, KD_INTERNAL, "an embedding has %zu values, the first had %zu", dim, npy->dim);
    npy->dim = dim;
    for (size_t i = 0; i < dim; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits = htole32(bits);
        if (fwrite(&bits, sizeof bits, 1, npy->file.stream) != 1)
            return kd_error_errno(err, errno, "cannot write %s", npy->file.path);
    }
    npy->rows++;
    return KD_OK;
}

kd_status cli_npy_commit(cli_npy *npy, kd_error *err)
{
    const kd_status status = write_header(npy, err);
    if (status != KD_OK) {
        cli_npy_drop(npy);
        return status;
    }
    return kd_new_file_commit(&npy->file, err);
}

void cli_npy_drop(cli_npy *npy)
{
    kd_new_file_drop(&npy->file);
}

/* ---- Reading ---- */

#define MAX_HEADER 65536u
#define MOST_DIM 65536u
#define MOST_ROWS ((uint64_t)1 << 40)

/* What stands behind 'KEY': in the header's dictionary; NULL: it is not there. */
static const char *value_of(const char *header, const char *key)
{
    const char *at = strstr(header, key);
    if (!at)
        return NULL;
    at += strlen(key);
    at += strspn(at, " ");
    return *at == ':' ? at + 1 + strspn(at + 1, " ") : NULL;
}

/* "(ROWS, DIM)" */
static bool take_shape(const char *shape, uint64_t *rows, uint64_t *dim)
{
    char first[24] = "", second[24] = "";
    const size_t n = *shape == '(' ? strspn(shape + 1, "0123456789") : 0;
    if (n == 0 || n >= sizeof first || strncmp(shape + 1 + n, ", ", 2) != 0)
        return false;
    const char *const rest = shape + n + 3;
    const size_t m = strspn(rest, "0123456789");
    if (m == 0 || m >= sizeof second || rest[m] != ')')
        return false;
    memcpy(first, shape + 1, n);
    memcpy(second, rest, m);
    return kd_parse_u64(first, 0, MOST_ROWS, rows) && kd_parse_u64(second, 1, MOST_DIM, dim);
}

static kd_status take_header(cli_vectors *v, const char *header, kd_error *err)
{
    const char *const type = value_of(header, "'descr'");
    const char *const fortran = value_of(header, "'fortran_order'");
    const char *const shape = value_of(header, "'shape'");
    uint64_t rows = 0, dim = 0;
    if (!type || !fortran || !shape)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s has no header of a NumPy array", v->path);
    if (strncmp(type, "'<f4'", 5) != 0 || strncmp(fortran, "False", 5) != 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s holds values of type %.8s, in %s order; float32 in C order is needed: "
            "numpy.save(FILE, numpy.ascontiguousarray(vectors, dtype='<f4'))",
            v->path, type, strncmp(fortran, "False", 5) == 0 ? "C" : "Fortran");
    if (!take_shape(shape, &rows, &dim))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s has the shape %.40s; rows of vectors are needed: (n, dim)", v->path, shape);
    v->rows = rows;
    v->dim = dim;
    return KD_OK;
}

static kd_status check_size(const cli_vectors *v, kd_error *err)
{
    if (fseeko(v->stream, 0, SEEK_END) != 0)
        return kd_error_errno(err, errno, "cannot read %s", v->path);
    const uint64_t is = (uint64_t)ftello(v->stream);
    const uint64_t should = v->values_at + v->rows * v->dim * sizeof(float);
    return is == should ? KD_OK
                        : kd_error_set(err, KD_INVALID_ARGUMENT,
                              "%s has %llu bytes and should have %llu by its shape", v->path,
                              (unsigned long long)is, (unsigned long long)should);
}

kd_status cli_npy_header(cli_vectors *v, kd_error *err)
{
    uint8_t prefix[12];
    kd_status status = cli_vectors_bytes(v, prefix, 8, err);
    const bool wide = status == KD_OK && prefix[6] >= 2; /* versions 2 and 3: 4 bytes of length */
    if (status == KD_OK)
        status = cli_vectors_bytes(v, prefix + 8, wide ? 4 : 2, err);
    if (status != KD_OK)
        return status;
    const size_t len = (size_t)prefix[8] | (size_t)prefix[9] << 8 |
                       (wide ? (size_t)prefix[10] << 16 | (size_t)prefix[11] << 24 : 0);
    if (prefix[6] == 0 || prefix[6] > 3 || len > MAX_HEADER)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "%s is a NumPy array of an unknown version", v->path);
    char *const header = cli_must(calloc(len + 1, 1));
    status = cli_vectors_bytes(v, header, len, err);
    v->values_at = (wide ? 12 : 10) + len;
    if (status == KD_OK)
        status = take_header(v, header, err);
    if (status == KD_OK)
        status = check_size(v, err);
    free(header);
    return status;
}
