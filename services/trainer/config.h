/* services/trainer/config.h: a train job's settings, checked and complete. */
#ifndef KD_TRAINER_CONFIG_H
#define KD_TRAINER_CONFIG_H

#include <jansson.h>

#include "kindred/v1/gateway.pb-c.h"

#include "lib/image/image.h"
#include "lib/models/models.h"
#include "lib/nn/nn.h"
#include "services/trainer/schedule.h"

typedef struct train_config {
    const char *dataset; /* as given, borrowed from the spec */
    kd_loss loss;
    const char *loss_name; /* static */
    bool super_class;      /* labels are super-classes */
    uint32_t epochs, batch_classes, batch_images;
    double learning_rate, margin, weight_decay;
    train_schedule_options schedule; /* its peak is the learning rate */
    bool freeze_norm;
    uint64_t seed;
    kd_preprocess preprocess;
    kd_augment augment;
} train_config;

/* Fills in the defaults. spec must outlive *out; parent is the model to start from, NULL for random
 * weights. KD_INVALID_ARGUMENT names the field, what it holds and what may stand there. */
KD_MUST_CHECK kd_status train_config_read(
    train_config *out, const Kindred__V1__TrainSpec *spec, const kd_model *parent, kd_error *err);

/* The settings as a new JSON object; NULL without memory. */
json_t *train_config_json(const train_config *config);

#endif
