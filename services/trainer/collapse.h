/* services/trainer/collapse.h: notices a training that has nothing more to learn from: its
 * embeddings have come to lie on one point, or its loss sits at its margin.
 *
 * Such a run goes on as if nothing were, and only its curve tells. What is judged: running means
 * over the steps, from the twentieth on; each epoch's means; what the last hundred steps brought;
 * the effective rank of the validation embeddings. */
#ifndef KD_TRAINER_COLLAPSE_H
#define KD_TRAINER_COLLAPSE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/nn/training.h"

#define COLLAPSE_STEPS 20u
#define COLLAPSE_RANK 2.0       /* directions that embeddings must at least fill */
#define COLLAPSE_LEAST_ROWS 50u /* that an effective rank is believed of */
#define COLLAPSE_EPOCHS 3u
#define COLLAPSE_MARGIN_STEPS 100u
#define COLLAPSE_TEXT 320

/* Plain numbers, so that a checkpoint holds them. All zero at the start. */
typedef struct collapse_watch {
    double positive, negative, active, loss;
    uint32_t steps;
} collapse_watch;

void collapse_note(collapse_watch *watch, const kd_step_stats *stats);

/* An epoch's means. */
typedef struct collapse_means {
    double positive, negative, active, loss;
} collapse_means;

/* Each: text says what was seen. */
bool collapse_of_steps(
    const collapse_watch *watch, const kd_loss_options *loss, char text[COLLAPSE_TEXT]);
bool collapse_of_epoch(
    const collapse_means *means, const kd_loss_options *loss, char text[COLLAPSE_TEXT]);
/* The means of the last n epochs: the loss sits at its margin. Of losses that have one in
 * distances: triplet and contrastive. Ask of COLLAPSE_EPOCHS epochs and COLLAPSE_MARGIN_STEPS steps
 * at least: a run needs some to begin to learn. */
bool collapse_of_margin(
    const collapse_means *means, size_t n, const kd_loss_options *loss, char text[COLLAPSE_TEXT]);
/* rank of n embeddings. */
bool collapse_of_rank(double rank, size_t n, size_t dim, char text[COLLAPSE_TEXT]);

/* What to try, for a run with these settings. */
void collapse_advice(const kd_loss_options *loss, double learning_rate, char text[COLLAPSE_TEXT]);

#endif
