#include "services/gateway/cli/vectors.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "services/gateway/cli/cli.h"

kd_status cli_vectors_bytes(cli_vectors *v, void *bytes, size_t n, kd_error *err)
{
    if (fread(bytes, 1, n, v->stream) == n)
        return KD_OK;
    if (ferror(v->stream))
        return kd_error_errno(err, errno, "cannot read %s", v->path);
    return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is cut short", v->path);
}

static kd_status read_header(cli_vectors *v, kd_error *err)
{
    uint8_t magic[6] = {0};
    const size_t n = fread(magic, 1, sizeof magic, v->stream);
    if (fseeko(v->stream, 0, SEEK_SET) != 0)
        return kd_error_errno(err, errno, "cannot read %s", v->path);
    if (n == sizeof magic && memcmp(magic, "\x93NUMPY", sizeof magic) == 0)
        return cli_npy_header(v, err);
    if (n >= 4 && magic[0] == 'I')
        return cli_faiss_header(v, err);
    return kd_error_set(
        err, KD_INVALID_ARGUMENT, "%s is neither a NumPy array (.npy) nor a FAISS index", v->path);
}

kd_status cli_vectors_open(cli_vectors *out, const char *path, kd_error *err)
{
    *out = (cli_vectors){.path = cli_must(strdup(path))};
    kd_status status = KD_OK;
    if (!kd_is_file(path)) {
        status = kd_error_set(err, KD_INVALID_ARGUMENT, "there is no file %s", path);
    } else if (!(out->stream = fopen(path, "rbe"))) {
        status = kd_error_errno(err, errno, "cannot read %s", path);
    } else {
        status = read_header(out, err);
        if (status == KD_OK && fseeko(out->stream, (off_t)out->values_at, SEEK_SET) != 0)
            status = kd_error_errno(err, errno, "cannot read %s", path);
    }
    if (status != KD_OK)
        cli_vectors_close(out);
    return status;
}

kd_status cli_vectors_read(cli_vectors *v, float *values, size_t n, kd_error *err)
{
    const kd_status status = cli_vectors_bytes(v, values, n * v->dim * sizeof *values, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n * v->dim; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits = le32toh(bits);
        memcpy(&values[i], &bits, sizeof bits);
    }
    return KD_OK;
}

void cli_vectors_close(cli_vectors *v)
{
    if (v->stream)
        (void)fclose(v->stream);
    free(v->path);
    free(v->ids);
    *v = (cli_vectors){0};
}
