/* services/trainer/features.h: images as the backbone's features, without augmentation. */
#ifndef KD_TRAINER_FEATURES_H
#define KD_TRAINER_FEATURES_H

#include "lib/nn/nn.h"
#include "services/trainer/loader.h"

/* Images embedded at a time; the loader must allow batches of so many. */
#define FEATURES_BATCH 32u

typedef struct feature_rows {
    uint32_t *images; /* owned: those that could be read, in the order asked for */
    float *values;    /* owned: n × KD_NN_FEATURES */
    size_t n;
} feature_rows;

/* tick is told of the images done. The loader has no batch begun, before and after. */
KD_MUST_CHECK kd_status features_compute(feature_rows *out, loader *l, const kd_net *net,
    uint32_t image_size, const uint32_t *images, size_t n, loader_tick tick, void *tick_arg,
    kd_error *err);
void features_free(feature_rows *rows);

#endif
