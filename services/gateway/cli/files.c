#include "services/gateway/cli/files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/progress.h"

#define READ_WAIT_MS 200 /* how soon Ctrl-C is heard */

kd_status cli_file_begin(cli_file *file, const char *path, kd_error *err)
{
    *file = (cli_file)CLI_FILE_INIT;
    file->path = cli_must(strdup(path));
    file->beside = cli_must(kd_format("%s.XXXXXX", path));
    const int fd = mkostemp(file->beside, O_CLOEXEC);
    if (fd < 0) {
        const kd_status status = kd_error_errno(err, errno, "cannot write beside %s", path);
        free(file->beside);
        file->beside = NULL; /* nothing to remove */
        cli_file_drop(file);
        return status;
    }
    file->stream = cli_must(fdopen(fd, "wb"));
    return KD_OK;
}

kd_status cli_file_commit(cli_file *file, kd_error *err)
{
    kd_status status = KD_OK;
    const int fd = fileno(file->stream);
    if (ferror(file->stream) || fflush(file->stream) != 0 || fchmod(fd, 0644) != 0 ||
        fsync(fd) != 0)
        status = kd_error_errno(err, errno, "cannot write %s", file->path);
    if (fclose(file->stream) != 0 && status == KD_OK)
        status = kd_error_errno(err, errno, "cannot write %s", file->path);
    file->stream = NULL;
    if (status == KD_OK && rename(file->beside, file->path) != 0)
        status = kd_error_errno(err, errno, "cannot replace %s", file->path);
    if (status == KD_OK) {
        free(file->beside);
        file->beside = NULL;
    }
    cli_file_drop(file);
    return status;
}

void cli_file_drop(cli_file *file)
{
    if (file->stream)
        (void)fclose(file->stream);
    if (file->beside)
        (void)unlink(file->beside);
    free(file->beside);
    free(file->path);
    *file = (cli_file)CLI_FILE_INIT;
}

kd_status cli_read_image(const char *path, kd_buf *out, kd_error *err)
{
    return kd_file_read(path, KD_IMAGE_MAX_BYTES, out, err);
}

char *cli_absolute(const char *path)
{
    char *const real = realpath(path, NULL);
    if (real)
        return real;
    if (path[0] == '/') /* may be there on the server's side */
        return cli_must(strdup(path));
    char *const here = cli_must(getcwd(NULL, 0));
    char *const whole = cli_must(kd_format("%s/%s", here, path));
    free(here);
    return whole;
}

/* ---- Streams of pieces ---- */

static const void *piece_field(const ProtobufCMessage *piece, const char *name)
{
    const ProtobufCFieldDescriptor *const field =
        protobuf_c_message_descriptor_get_field_by_name(piece->descriptor, name);
    assert(field);
    return (const uint8_t *)piece + field->offset;
}

/* Takes pieces until the stream's good end. */
static kd_status take_pieces(
    kd_stream *stream, cli_file *file, uint64_t *bytes, uint64_t *total, kd_error *err)
{
    for (;;) {
        ProtobufCMessage *piece = NULL;
        bool waiting;
        const kd_status status = kd_stream_read(stream, READ_WAIT_MS, &piece, &waiting, err);
        if (cli_interrupted()) {
            kd_message_free(piece);
            return kd_error_set(err, KD_CANCELLED, "interrupted; %s is not written", file->path);
        }
        if (waiting)
            continue;
        if (status != KD_OK || !piece)
            return status;
        const ProtobufCBinaryData *const data = piece_field(piece, "data");
        *total = *(const uint64_t *)piece_field(piece, "total_bytes");
        *bytes += data->len;
        const bool written = fwrite(data->data, 1, data->len, file->stream) == data->len;
        kd_message_free(piece);
        if (!written)
            return kd_error_errno(err, errno, "cannot write %s", file->path);
    }
}

kd_status cli_fetch(kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, const char *path, uint64_t *bytes,
    kd_error *err)
{
    cli_file file = CLI_FILE_INIT;
    kd_stream *stream = NULL;
    uint64_t total = 0;
    *bytes = 0;
    kd_status status = kd_stream_open(&stream, channel, service, method, request, NULL, err);
    if (status != KD_OK)
        return status;
    status = cli_file_begin(&file, path, err);
    if (status == KD_OK)
        status = take_pieces(stream, &file, bytes, &total, err);
    if (status == KD_OK && *bytes != total)
        status = kd_error_set(err, KD_DATA_LOSS, "%llu bytes of %llu came for %s",
            (unsigned long long)*bytes, (unsigned long long)total, path);
    if (status == KD_OK)
        status = cli_file_commit(&file, err);
    cli_file_drop(&file);
    kd_stream_close(stream);
    return status;
}
