/* services/gateway/cli/files.h: files that the command reads and writes for its user. */
#ifndef KD_CLI_FILES_H
#define KD_CLI_FILES_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/status.h"
#include "lib/rpc/rpc.h"

/* An image to send: at most KD_IMAGE_MAX_BYTES. */
KD_MUST_CHECK kd_status cli_read_image(const char *path, kd_buf *out, kd_error *err);

/* The path as the server's side needs it: absolute, without links where it is there. A new string
 * (free), never NULL. */
char *cli_absolute(const char *path);

/* ---- fetch.c ---- */
/* Writes what a server stream sends in pieces (fields data and total_bytes) to path. *bytes is the
 * size. KD_CANCELLED after Ctrl-C, where cli_interrupt_catch was called. */
KD_MUST_CHECK kd_status cli_fetch(kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, const char *path, uint64_t *bytes,
    kd_error *err);

#endif
