/* Files that a service streams in pieces. */
#include <assert.h>
#include <errno.h>

#include "lib/base/file.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/progress.h"

#define READ_WAIT_MS 200 /* how soon Ctrl-C is heard */

static const void *piece_field(const ProtobufCMessage *piece, const char *name)
{
    const ProtobufCFieldDescriptor *const field =
        protobuf_c_message_descriptor_get_field_by_name(piece->descriptor, name);
    assert(field);
    return (const uint8_t *)piece + field->offset;
}

/* Takes pieces until the stream's good end. */
static kd_status take_pieces(
    kd_stream *stream, kd_new_file *file, uint64_t *bytes, uint64_t *total, kd_error *err)
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
    kd_new_file file = KD_NEW_FILE_INIT;
    kd_stream *stream = NULL;
    uint64_t total = 0;
    *bytes = 0;
    kd_status status = kd_stream_open(&stream, channel, service, method, request, NULL, err);
    if (status != KD_OK)
        return status;
    status = kd_new_file_begin(&file, path, err);
    if (status == KD_OK)
        status = take_pieces(stream, &file, bytes, &total, err);
    if (status == KD_OK && *bytes != total)
        status = kd_error_set(err, KD_DATA_LOSS, "%llu bytes of %llu came for %s",
            (unsigned long long)*bytes, (unsigned long long)total, path);
    if (status == KD_OK)
        status = kd_new_file_commit(&file, err);
    kd_new_file_drop(&file);
    kd_stream_close(stream);
    return status;
}
