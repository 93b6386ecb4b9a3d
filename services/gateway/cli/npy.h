/* services/gateway/cli/npy.h: a NumPy file (format 1.0, '<f4', C order) of rows that come one by
 * one: the header's room is fixed, and filled in at the end. */
#ifndef KD_CLI_NPY_H
#define KD_CLI_NPY_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/file.h"

typedef struct cli_npy {
    kd_new_file file;
    uint64_t rows;
    size_t dim; /* 0 until the first row */
} cli_npy;

KD_MUST_CHECK kd_status cli_npy_begin(cli_npy *npy, const char *path, kd_error *err);
/* KD_INTERNAL for a row of another length than the first. */
KD_MUST_CHECK kd_status cli_npy_row(cli_npy *npy, const float *values, size_t dim, kd_error *err);
/* The file is there under its path, whole, or nothing is. */
KD_MUST_CHECK kd_status cli_npy_commit(cli_npy *npy, kd_error *err);
void cli_npy_drop(cli_npy *npy); /* a committed one is fine */

#endif
