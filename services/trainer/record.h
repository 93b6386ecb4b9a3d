/* services/trainer/record.h: what a training has done so far, as it stands in its checkpoint, its
 * log, its page and the published model. */
#ifndef KD_TRAINER_RECORD_H
#define KD_TRAINER_RECORD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "services/trainer/collapse.h"

/* The numbers of an epoch. The first ones are means over its steps. */
typedef enum point_value {
    POINT_LOSS,
    POINT_ACTIVE_SHARE,
    POINT_POSITIVE_DISTANCE,
    POINT_NEGATIVE_DISTANCE,
    POINT_GRADIENT_NORM,
    POINT_TRAIN_ACCURACY, /* of the head on the batches, as the seeds plot it */
    POINT_STEP_VALUES,
    /* On the validation images. */
    POINT_RECALL_AT_1 = POINT_STEP_VALUES,
    POINT_MAP_AT_5,
    POINT_ACCURACY, /* of the head, on those whose label it knows */
    POINT_EFFECTIVE_RANK,
    /* Of the epoch. */
    POINT_LEARNING_RATE, /* the backbone's, at its last step */
    POINT_SECONDS,
    POINT_IMAGES_PER_SECOND,
    POINT_VALUES,
} point_value;
/* "recall_at_1", and the chart it belongs to, "retrieval"; static. */
const char *point_name(point_value value);
const char *point_group(point_value value);

typedef struct epoch_point {     /* of the learning curve */
    uint32_t epoch;              /* from 1 */
    double values[POINT_VALUES]; /* NaN where there is none */
} epoch_point;

/* Sums over the steps of an epoch. */
typedef struct step_sums {
    double values[POINT_STEP_VALUES];
    uint64_t steps, images;
    double seconds;
} step_sums;

#define RECORD_BEST 2u /* epochs whose weights are kept */
#define RECORD_MAX_FIXES 3u

typedef struct train_record {
    json_t *facts;      /* owned: settings and data, what a checkpoint must agree with */
    json_t *held;       /* owned: ids of the images that do not train, for the model alone */
    epoch_point *curve; /* owned: one for each epoch that is over */
    point_value metric; /* what makes an epoch good; without it the last epoch is the best */
    uint32_t epochs_done;
    uint32_t step;              /* steps done of the epoch that runs */
    step_sums sums;             /* of the epoch that runs */
    uint32_t best[RECORD_BEST]; /* the epochs whose weights are kept, the best first; 0: none */
    collapse_watch watch;
    uint64_t event_bytes;          /* of the event file that belong to it */
    uint32_t n_fixes;              /* of a collapse */
    char *fixes[RECORD_MAX_FIXES]; /* owned: what was seen and changed, in words */
} train_record;

/* Room for `epochs` points; takes the references to facts and held. */
KD_MUST_CHECK kd_status train_record_init(train_record *record, json_t *facts, json_t *held,
    uint32_t epochs, point_value metric, kd_error *err);
void train_record_free(train_record *record);
void train_record_reset(train_record *record); /* as at the start */

/* Ends the epoch that runs: its point, with the values from POINT_STEP_VALUES on as given, joins
 * the curve and the best epochs are chosen anew (of equal ones the later: it has seen more). True
 * when this one's weights are to be kept. */
bool train_record_end_epoch(train_record *record, const double values[POINT_VALUES]);

/* Goes back to the start because of what `fix` says (copied): what was learned since may be what
 * collapsed. */
KD_MUST_CHECK kd_status train_record_fix(train_record *record, const char *fix, kd_error *err);

/* The texts are owned by the caller (free); NULL without memory. */
char *train_record_meta(const train_record *record); /* for the checkpoint */
char *train_record_log(const train_record *record);  /* one JSON line for each epoch */
/* For the model: facts, curve, best epoch, what computed it and which job. */
char *train_record_training(const train_record *record, const char *job_id, const char *runtime);

/* Takes over what a checkpoint's meta says. False, and nothing changes, when it is not of the same
 * settings and data. */
bool train_record_restore(train_record *record, const char *meta, uint32_t epochs);

#endif
