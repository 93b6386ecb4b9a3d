/* services/trainer/events.h: a run's scalars as TensorBoard reads them: an event file.
 *
 * The file is TFRecords (length and bytes, each with a masked CRC-32C) of the Event messages of
 * proto/tensorboard/event.proto. It goes with the checkpoint: a run that goes on from one cuts the
 * file at what it held then, so that no step is in it twice. */
#ifndef KD_TRAINER_EVENTS_H
#define KD_TRAINER_EVENTS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

/* TensorBoard reads files that have "tfevents" in their name. It is the same in every try of a run,
 * on whatever machine. */
#define TRAIN_EVENTS_NAME "events.out.tfevents.kindred"

typedef struct train_scalar {
    const char *tag; /* UTF-8, such as "train/loss"; before the "/" is the group */
    double value;    /* kept as float32 */
} train_scalar;

typedef struct train_events train_events;

/* Opens the file at path for appending, cut at keep bytes: what a checkpoint says was written when
 * it was saved. A file that isn't there, is shorter than keep or whose records don't read up to
 * keep begins anew, as one with keep 0 does; nothing of it is on the disk before a sync. */
KD_MUST_CHECK kd_status train_events_open(
    train_events **out, const char *path, uint64_t keep, kd_error *err);

/* Buffers one event with n scalars; wall_time is in seconds since 1970. On failure nothing is
 * added. */
KD_MUST_CHECK kd_status train_events_add(train_events *events, int64_t step, double wall_time,
    const train_scalar *scalars, size_t n, kd_error *err);

/* Writes and fsyncs what was added. *bytes is the file's size now, which a checkpoint should keep.
 * On failure (KD_RESOURCE_EXHAUSTED when the disk is full) the file ends where the last sync left
 * it and the next sync writes what was added since. */
KD_MUST_CHECK kd_status train_events_sync(train_events *events, uint64_t *bytes, kd_error *err);

/* Drops what wasn't synced; NULL is fine. */
void train_events_free(train_events *events);

#endif
