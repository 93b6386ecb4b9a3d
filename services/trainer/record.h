/* services/trainer/record.h: what a training has done so far, as it stands in its checkpoint, its
 * log and the published model. */
#ifndef KD_TRAINER_RECORD_H
#define KD_TRAINER_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

/* Sums over the steps of an epoch. */
typedef struct step_sums {
    double loss, active_share, positive_distance, negative_distance;
    uint64_t steps, images;
    double seconds;
} step_sums;

typedef struct epoch_point { /* of the learning curve: means over an epoch */
    uint32_t epoch;          /* from 1 */
    double loss, active_share, positive_distance, negative_distance;
    double recall_at_1; /* on the validation images; below 0 where there are none */
    double seconds, images_per_second;
} epoch_point;

typedef struct train_record {
    json_t *facts;      /* owned: settings and data, what a checkpoint must agree with */
    epoch_point *curve; /* owned: one for each epoch that is over */
    uint32_t epochs_done;
    uint32_t step;      /* steps done of the epoch that runs */
    step_sums sums;     /* of the epoch that runs */
    uint32_t best;      /* the epoch whose weights are the best so far; 0: none */
    double best_recall; /* its recall_at_1 */
} train_record;

/* Room for `epochs` points; takes the reference to facts. */
KD_MUST_CHECK kd_status train_record_init(
    train_record *record, json_t *facts, uint32_t epochs, kd_error *err);
void train_record_free(train_record *record);
void train_record_reset(train_record *record); /* as at the start */

/* Ends the epoch that runs: its point joins the curve. True when it is the best so far (of equal
 * ones the later: it has seen more). */
bool train_record_end_epoch(train_record *record, double recall_at_1);

/* The texts are owned by the caller (free); NULL without memory. */
char *train_record_meta(const train_record *record); /* for the checkpoint */
char *train_record_log(const train_record *record);  /* one JSON line for each epoch */
/* For the model: facts, curve, best epoch, what computed it and which job. */
char *train_record_training(const train_record *record, const char *job_id, const char *runtime);

/* Takes over what a checkpoint's meta says. False, and nothing changes, when it is not of the same
 * settings and data. */
bool train_record_restore(train_record *record, const char *meta, uint32_t epochs);

#endif
