/* services/trainer/validate.h: how well a network in training finds a product again. */
#ifndef KD_TRAINER_VALIDATE_H
#define KD_TRAINER_VALIDATE_H

#include "lib/nn/nn.h"
#include "services/trainer/loader.h"
#include "services/trainer/split.h"

typedef struct validation {
    loader *loader;           /* no batch begun */
    const train_split *split; /* n_validation > 0 */
    const uint32_t *labels;   /* of the dataset's images: what counts as found, see by_class */
    uint32_t image_size;
    loader_tick tick; /* told of the images embedded */
    void *tick_arg;
} validation;

/* Images embedded at a time; the loader must allow batches of so many. */
#define VALIDATE_BATCH 32u

/* R@1: the share of validation images whose nearest among the other validation images and the
 * split's gallery has their label. */
KD_MUST_CHECK kd_status validate_recall(
    const validation *v, const kd_net *net, double *recall, kd_error *err);

#endif
