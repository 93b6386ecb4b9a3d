/* services/trainer/validate.h: how well a network in training finds a product again. */
#ifndef KD_TRAINER_VALIDATE_H
#define KD_TRAINER_VALIDATE_H

#include "lib/nn/training.h"
#include "services/trainer/features.h"

typedef struct validation {
    const kd_net *net;
    kd_training *training;
    const feature_rows *rows; /* first the queries, which are also in the gallery, then the rest */
    size_t n_queries;
    const uint32_t *labels; /* what must be found again, of the dataset's images */
    const uint32_t
        *head_labels; /* what the head says, UINT32_MAX where it can't know; NULL: no head */
} validation;

typedef struct validation_result { /* NaN where there is none */
    double recall_at_1, map_at_5;  /* lib/eval's */
    double accuracy;               /* of the head, on queries whose label it knows */
    double effective_rank;         /* of all rows' embeddings */
} validation_result;

KD_MUST_CHECK kd_status validate(const validation *v, validation_result *out, kd_error *err);

#endif
