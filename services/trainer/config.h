/* services/trainer/config.h: a train job's settings, checked and complete. */
#ifndef KD_TRAINER_CONFIG_H
#define KD_TRAINER_CONFIG_H

#include <jansson.h>

#include "kindred/v1/training.pb-c.h"

#include "lib/dataset/dataset.h"
#include "lib/image/image.h"
#include "lib/models/models.h"
#include "lib/nn/training.h"
#include "services/trainer/record.h"
#include "services/trainer/schedule.h"
#include "services/trainer/split.h"

typedef enum collapse_action {
    COLLAPSE_STOP,
    COLLAPSE_FIX,
    COLLAPSE_IGNORE,
} collapse_action;

typedef struct train_config {
    const char *dataset;          /* as given, borrowed from the spec */
    kd_training_options training; /* without the head's classes, which the data tells */
    uint32_t dim;                 /* of a fresh projection; 0: what the parent has */
    bool super_class;             /* labels are super-classes */
    uint32_t epochs, freeze_epochs, patience;
    kd_sampler_kind sampler;
    uint32_t batch_classes, batch_images, batch_size;
    train_cut cut;
    double share;       /* of the cut */
    point_value metric; /* of the best checkpoint */
    train_schedule_options schedule;
    double head_rate; /* at its highest; the backbone's is the schedule's peak */
    collapse_action on_collapse;
    double checkpoint_minutes;
    uint64_t seed;
    kd_preprocess preprocess;
    kd_augment augment;
} train_config;

/* Fills in the defaults. spec must outlive *out; parent is the model to start from, NULL for random
 * weights. KD_INVALID_ARGUMENT names the field, what it holds and what may stand there. */
KD_MUST_CHECK kd_status train_config_read(
    train_config *out, const Kindred__V1__TrainSpec *spec, const kd_model *parent, kd_error *err);

/* Images in the largest batch. */
size_t train_config_batch(const train_config *config);

/* The settings as a new JSON object; NULL without memory. */
json_t *train_config_json(const train_config *config);

/* What should help a collapsed run, harder with each fix (from 1): a tenth of the learning rate,
 * normalised embeddings and mean terms; then semi-hard negatives as well. changed says it in words.
 */
#define TRAIN_FIX_TEXT 160
void train_config_fix(train_config *config, uint32_t fix, char changed[TRAIN_FIX_TEXT]);

#endif
