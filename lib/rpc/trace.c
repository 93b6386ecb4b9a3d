/* W3C trace context: https://www.w3.org/TR/trace-context/ */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <grpc/slice.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/rpc/internal.h"

void kd_trace_make(char trace[KD_TRACE_TEXT])
{
    uint8_t bytes[24]; /* trace id, span id */
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) {
        const int64_t now = kd_mono_ns(); /* an id need only be unlikely, never secret */
        memset(bytes, 1, sizeof bytes);
        memcpy(bytes, &now, sizeof now);
    }
    char id[33], span[17];
    kd_hex(bytes, 16, id);
    kd_hex(bytes + 16, 8, span);
    (void)snprintf(trace, KD_TRACE_TEXT, "00-%s-%s-01", id, span);
}

static bool well_formed(const char *text, size_t len)
{
    if (len != KD_TRACE_TEXT - 1 || memcmp(text, "00-", 3) != 0 || text[35] != '-' ||
        text[52] != '-')
        return false;
    for (size_t i = 3; i < len; i++)
        if (i != 35 && i != 52 && !strchr("0123456789abcdef", text[i]))
            return false;
    return true;
}

void kd_trace_read(const grpc_metadata_array *metadata, char trace[KD_TRACE_TEXT])
{
    for (size_t i = 0; i < metadata->count; i++) {
        const grpc_slice value = metadata->metadata[i].value;
        if (grpc_slice_str_cmp(metadata->metadata[i].key, "traceparent") != 0)
            continue;
        const char *const text = (const char *)GRPC_SLICE_START_PTR(value);
        if (well_formed(text, GRPC_SLICE_LENGTH(value))) {
            memcpy(trace, text, KD_TRACE_TEXT - 1);
            trace[KD_TRACE_TEXT - 1] = '\0';
            return;
        }
    }
    kd_trace_make(trace);
}

grpc_metadata kd_trace_metadata(const char *trace)
{
    grpc_metadata metadata;
    memset(&metadata, 0, sizeof metadata);
    metadata.key = grpc_slice_from_static_string("traceparent");
    metadata.value = grpc_slice_from_copied_string(trace);
    return metadata;
}
