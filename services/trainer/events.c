#include "services/trainer/events.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "tensorboard/event.pb-c.h"

#define HEAD_BYTES 12u /* length, its sum */
#define TAIL_BYTES 4u  /* the data's sum */
#define VERSION "brain.Event:2"

struct train_events {
    int fd;
    char *path;      /* owned */
    kd_buf added;    /* whole records that aren't on the disk */
    uint64_t synced; /* the file's size without them */
};

/* ---- Records ---- */

static void put_le(uint8_t *to, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get_le(const uint8_t *from, size_t n)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n; i++)
        value |= (uint64_t)from[i] << (8 * i);
    return value;
}

/* TFRecord's mask: the sum of bytes that hold sums of their own would be a poor one. */
static uint32_t mask(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static kd_status add_record(train_events *events, const Tensorboard__Event *event, kd_error *err)
{
    const size_t len = tensorboard__event__get_packed_size(event);
    uint8_t *const record = kd_buf_reserve(&events->added, HEAD_BYTES + len + TAIL_BYTES);
    if (!record) {
        events->added.failed = false; /* the records before are whole */
        return kd_error_memory(err, events->path);
    }
    put_le(record, len, 8);
    put_le(record + 8, mask(kd_crc32c(0, record, 8)), 4);
    (void)tensorboard__event__pack(event, record + HEAD_BYTES);
    put_le(record + HEAD_BYTES + len, mask(kd_crc32c(0, record + HEAD_BYTES, len)), TAIL_BYTES);
    events->added.len += HEAD_BYTES + len + TAIL_BYTES;
    return KD_OK;
}

/* True when a record of at most `left` bytes stands here; *len is its length with all about it. */
static bool record_reads(FILE *file, uint64_t left, uint64_t *len)
{
    uint8_t bytes[4096];
    uint32_t crc = 0;
    if (left < HEAD_BYTES + TAIL_BYTES || fread(bytes, 1, HEAD_BYTES, file) != HEAD_BYTES ||
        get_le(bytes + 8, 4) != mask(kd_crc32c(0, bytes, 8)))
        return false;
    const uint64_t data = get_le(bytes, 8);
    if (data > left - HEAD_BYTES - TAIL_BYTES)
        return false;
    for (uint64_t rest = data; rest > 0;) {
        const size_t want = rest < sizeof bytes ? (size_t)rest : sizeof bytes;
        if (fread(bytes, 1, want, file) != want)
            return false;
        crc = kd_crc32c(crc, bytes, want);
        rest -= want;
    }
    *len = HEAD_BYTES + data + TAIL_BYTES;
    return fread(bytes, 1, TAIL_BYTES, file) == TAIL_BYTES && get_le(bytes, 4) == mask(crc);
}

static bool records_read(const char *path, uint64_t keep)
{
    FILE *const file = fopen(path, "rbe");
    uint64_t at = 0, len = 0;
    while (file && at < keep && record_reads(file, keep - at, &len))
        at += len;
    if (file)
        (void)fclose(file);
    return at == keep;
}

/* ---- The file ---- */

static kd_status begin(train_events *events, kd_error *err)
{
    Tensorboard__Event event = TENSORBOARD__EVENT__INIT;
    char version[] = VERSION;
    event.wall_time = (double)kd_wall_ms() / 1000;
    event.what_case = TENSORBOARD__EVENT__WHAT_FILE_VERSION;
    event.file_version = version;
    return add_record(events, &event, err);
}

kd_status train_events_open(train_events **out, const char *path, uint64_t keep, kd_error *err)
{
    train_events *const events = calloc(1, sizeof *events);
    kd_status status = KD_OK;
    *out = NULL;
    if (!events)
        return kd_error_memory(err, path);
    events->path = strdup(path);
    events->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (!events->path)
        status = kd_error_memory(err, path);
    else if (events->fd < 0)
        status = kd_error_errno(err, errno, "cannot open %s", path);
    if (status != KD_OK)
        goto out;
    events->synced = records_read(path, keep) ? keep : 0;
    if (ftruncate(events->fd, (off_t)events->synced) != 0)
        status = kd_error_errno(err, errno, "cannot cut %s", path);
    else if (events->synced == 0)
        status = begin(events, err);
out:
    if (status == KD_OK)
        *out = events;
    else
        train_events_free(events);
    return status;
}

void train_events_free(train_events *events)
{
    if (!events)
        return;
    if (events->fd >= 0)
        (void)close(events->fd);
    kd_buf_free(&events->added);
    free(events->path);
    free(events);
}

kd_status train_events_add(train_events *events, int64_t step, double wall_time,
    const train_scalar *scalars, size_t n, kd_error *err)
{
    kd_status status = KD_OK;
    Tensorboard__Event event = TENSORBOARD__EVENT__INIT;
    Tensorboard__Summary summary = TENSORBOARD__SUMMARY__INIT;
    Tensorboard__Summary__Value *const values = calloc(n + 1, sizeof *values);
    Tensorboard__Summary__Value **const pointers = calloc(n + 1, sizeof *pointers);
    if (!values || !pointers) {
        status = kd_error_memory(err, events->path);
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        assert(kd_utf8_valid(scalars[i].tag, strlen(scalars[i].tag)));
        tensorboard__summary__value__init(&values[i]);
        values[i].tag = (char *)scalars[i].tag; /* is only read */
        values[i].value_case = TENSORBOARD__SUMMARY__VALUE__VALUE_SIMPLE_VALUE;
        values[i].simple_value = (float)scalars[i].value;
        pointers[i] = &values[i];
    }
    summary.n_value = n;
    summary.value = pointers;
    event.wall_time = wall_time;
    event.step = step;
    event.what_case = TENSORBOARD__EVENT__WHAT_SUMMARY;
    event.summary = &summary;
    status = add_record(events, &event, err);
out:
    free(pointers);
    free(values);
    return status;
}

static kd_status write_added(train_events *events, kd_error *err)
{
    for (size_t at = 0; at < events->added.len;) {
        const ssize_t put = pwrite(events->fd, events->added.data + at, events->added.len - at,
            (off_t)(events->synced + at));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return kd_error_errno(err, errno, "cannot write %s", events->path);
        at += (size_t)put;
    }
    /* Also with nothing added: the cut is made to last. */
    if (fsync(events->fd) != 0)
        return kd_error_errno(err, errno, "cannot write %s", events->path);
    return KD_OK;
}

kd_status train_events_sync(train_events *events, uint64_t *bytes, kd_error *err)
{
    const kd_status status = write_added(events, err);
    *bytes = events->synced;
    if (status != KD_OK) { /* half a record would end what TensorBoard reads */
        if (ftruncate(events->fd, (off_t)events->synced) != 0)
            KD_LOG(KD_LOG_WARN, "events_not_cut", KD_STR("path", events->path),
                KD_STR("reason", strerror(errno)));
        return status;
    }
    events->synced += events->added.len;
    events->added.len = 0;
    *bytes = events->synced;
    return KD_OK;
}
