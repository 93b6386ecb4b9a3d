/* tests/nn/loss_support.h: batches of embeddings by a formula; tools/golden/losses.py has the same
 * ones. */
#ifndef KD_TESTS_NN_LOSS_SUPPORT_H
#define KD_TESTS_NN_LOSS_SUPPORT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/nn/loss.h"

#define LOSS_N 10u
#define LOSS_DIM 6u
#define LOSS_CLASSES 5u /* the last is in no batch */
#define LOSS_EARLIER 3u

typedef enum loss_batch {
    LOSS_PLAIN,      /* one label stands alone */
    LOSS_DUPLICATES, /* 0, 1 (same label) and 4 (another) are one point; 3 and 7 one direction */
    LOSS_OPPOSITE,   /* 1 (same label) and 5 (another) are opposite to 0 */
    LOSS_ONE_LABEL,
} loss_batch;

typedef struct loss_data {
    float embeddings[LOSS_N * LOSS_DIM];
    uint32_t labels[LOSS_N];
    float weights[LOSS_CLASSES * LOSS_DIM];
    float bias[LOSS_CLASSES];
    float earlier[LOSS_EARLIER * LOSS_N * LOSS_DIM];
    uint32_t earlier_labels[LOSS_EARLIER * LOSS_N];
} loss_data;

void loss_fill(loss_data *data, loss_batch batch);

/* Of data, which is borrowed; a head's weights where the loss has one. */
kd_loss_inputs loss_inputs_of(const loss_data *data, kd_loss loss);

/* The defaults, with LOSS_CLASSES for a loss with a head. */
kd_loss_options loss_default_options(kd_loss loss);

#endif
