/* services/trainer/split.h: which images train, and which tell how well.
 *
 * A closed set is cut at image level: of each label with 4 images or more one in ten (at least
 * one) validates. The choice depends on the seed, the labels and which images are usable alone. */
#ifndef KD_TRAINER_SPLIT_H
#define KD_TRAINER_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

#define SPLIT_LEAST_IMAGES 4u /* of a label that gives some up */
#define SPLIT_ONE_IN 10u
#define SPLIT_MAX_VALIDATION 1000u
#define SPLIT_MAX_GALLERY 1500u

/* Image numbers; all owned. */
typedef struct train_split {
    uint32_t *train, *validation;
    uint32_t *gallery; /* of train, of the labels that validate: what validation looks among */
    size_t n_train, n_validation, n_gallery;
} train_split;

/* labels[i] and usable[i] belong to image i of n. */
KD_MUST_CHECK kd_status train_split_make(train_split *out, const uint32_t *labels,
    const bool *usable, size_t n, uint64_t seed, kd_error *err);
void train_split_free(train_split *split);

#endif
