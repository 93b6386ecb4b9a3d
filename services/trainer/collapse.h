/* services/trainer/collapse.h: notices a training whose embeddings have come to lie on one point.
 *
 * The loss then sits at its margin and moves no more, and nothing but its curve tells. Running
 * means over the steps, of a weight that forgets most within ten, are judged from the twentieth
 * step on; after an epoch the effective rank of the validation embeddings is judged as well. */
#ifndef KD_TRAINER_COLLAPSE_H
#define KD_TRAINER_COLLAPSE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/nn/training.h"

#define COLLAPSE_STEPS 20u
#define COLLAPSE_RANK 2.0       /* directions that embeddings must at least fill */
#define COLLAPSE_LEAST_ROWS 50u /* that an effective rank is believed of */
#define COLLAPSE_TEXT 320

/* Plain numbers, so that a checkpoint holds them. All zero at the start. */
typedef struct collapse_watch {
    double positive, negative, active, loss;
    uint32_t steps;
} collapse_watch;

void collapse_note(collapse_watch *watch, const kd_step_stats *stats);

/* Both mean distances are nothing beside what the loss asks for. text says what was seen. */
bool collapse_of_steps(
    const collapse_watch *watch, const kd_loss_options *loss, char text[COLLAPSE_TEXT]);
/* rank of n embeddings. */
bool collapse_of_rank(double rank, size_t n, size_t dim, char text[COLLAPSE_TEXT]);

/* What to try, for a run with these settings. */
void collapse_advice(const kd_loss_options *loss, double learning_rate, char text[COLLAPSE_TEXT]);

#endif
