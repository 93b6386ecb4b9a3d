/* W3C trace context: https://www.w3.org/TR/trace-context/ */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <grpc/slice.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/rpc/internal.h"

static void random_bytes(void *bytes, size_t len)
{
    if (getrandom(bytes, len, 0) != (ssize_t)len) {
        const int64_t now = kd_mono_ns(); /* an id need only be unlikely, never secret */
        memset(bytes, 1, len);
        memcpy(bytes, &now, sizeof now);
    }
}

static void write_trace(const uint8_t id[16], const uint8_t span[8], char trace[KD_TRACE_TEXT])
{
    static const char version[] = {'0', '0', '-'};
    memcpy(trace, version, sizeof version);
    kd_hex(id, 16, trace + 3);
    trace[35] = '-';
    kd_hex(span, 8, trace + 36);
    memcpy(trace + 52, "-01", 4);
}

void kd_trace_make(char trace[KD_TRACE_TEXT])
{
    uint8_t bytes[24]; /* trace id, span id */
    random_bytes(bytes, sizeof bytes);
    write_trace(bytes, bytes + 16, trace);
}

void kd_trace_source_init(kd_trace_source *source)
{
    random_bytes(source->seed, sizeof source->seed);
    atomic_init(&source->next, 0);
}

/* Hashes of a random seed and a number. */
static void trace_next(kd_trace_source *source, char trace[KD_TRACE_TEXT])
{
    const uint64_t n = atomic_fetch_add(&source->next, 1);
    uint64_t parts[3];
    for (size_t i = 0; i < 3; i++) {
        const uint64_t from[4] = {source->seed[0], source->seed[1], n, i};
        parts[i] = kd_xxh3(from, sizeof from);
    }
    write_trace((const uint8_t *)parts, (const uint8_t *)&parts[2], trace);
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

bool kd_trace_valid(const char *text)
{
    return well_formed(text, strlen(text));
}

void kd_trace_read(
    kd_trace_source *source, const grpc_metadata_array *metadata, char trace[KD_TRACE_TEXT])
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
    trace_next(source, trace);
}

grpc_metadata kd_trace_metadata(const char *trace)
{
    grpc_metadata metadata;
    memset(&metadata, 0, sizeof metadata);
    metadata.key = grpc_slice_from_static_string("traceparent");
    metadata.value = grpc_slice_from_copied_string(trace);
    return metadata;
}
