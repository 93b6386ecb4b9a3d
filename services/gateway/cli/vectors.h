/* services/gateway/cli/vectors.h: files of vectors: NumPy's arrays (.npy) and FAISS's flat indexes
 * (.faiss, .index), read and written row by row, so that memory does not grow with them but for 8
 * bytes an id. FAISS's own reader holds the whole index, and would bring FAISS and BLAS into the
 * command.
 *
 * Written of FAISS is an IndexIDMap2 over an IndexFlatIP; read are IndexFlat of inner product or
 * L2, in an IndexIDMap, an IndexIDMap2 or alone. */
#ifndef KD_CLI_VECTORS_H
#define KD_CLI_VECTORS_H

#include <stdbool.h>

#include "services/gateway/cli/npy.h"

/* ---- Reading ---- */
typedef struct cli_vectors {
    FILE *stream;
    char *path;
    uint64_t rows;
    size_t dim;
    uint64_t values_at; /* in the file */
    uint64_t *ids;      /* rows of them, owned; NULL: the file has none */
} cli_vectors;

/* Of either kind, told by its first bytes. KD_INVALID_ARGUMENT says what it is not, or that it is
 * cut short. */
KD_MUST_CHECK kd_status cli_vectors_open(cli_vectors *out, const char *path, kd_error *err);
/* The next n rows into values (n × dim); there are as many left. */
KD_MUST_CHECK kd_status cli_vectors_read(cli_vectors *v, float *values, size_t n, kd_error *err);
void cli_vectors_close(cli_vectors *v); /* a {0} one is fine */

/* Shared by the readers: exactly n bytes, or KD_INVALID_ARGUMENT. */
KD_MUST_CHECK kd_status cli_vectors_bytes(cli_vectors *v, void *bytes, size_t n, kd_error *err);
KD_MUST_CHECK kd_status cli_npy_header(cli_vectors *v, kd_error *err);   /* npy.c */
KD_MUST_CHECK kd_status cli_faiss_header(cli_vectors *v, kd_error *err); /* faiss.c; the ids, too */

/* ---- Writing ---- */
bool cli_faiss_named(const char *path); /* by its ending */

typedef struct cli_faiss {
    kd_new_file file;
    uint64_t rows, room;
    uint64_t *ids; /* owned */
    size_t dim;
} cli_faiss;

KD_MUST_CHECK kd_status cli_faiss_begin(cli_faiss *f, const char *path, size_t dim, kd_error *err);
KD_MUST_CHECK kd_status cli_faiss_row(
    cli_faiss *f, uint64_t id, const float *values, kd_error *err);
/* The file is there under its path, whole, or nothing is. */
KD_MUST_CHECK kd_status cli_faiss_commit(cli_faiss *f, kd_error *err);
void cli_faiss_drop(cli_faiss *f); /* a committed or {0} one is fine */

#endif
