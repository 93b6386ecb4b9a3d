#include "services/gateway/cli/npy.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

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
    *npy = (cli_npy){.file = CLI_FILE_INIT};
    kd_status status = cli_file_begin(&npy->file, path, err);
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
    return cli_file_commit(&npy->file, err);
}

void cli_npy_drop(cli_npy *npy)
{
    cli_file_drop(&npy->file);
}
