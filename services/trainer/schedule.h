/* services/trainer/schedule.h: how the learning rate goes over a training, as plain numbers.
 *
 * Without warm-up the rates are those of torch.optim.lr_scheduler: CosineAnnealingLR over the run's
 * steps, OneCycleLR (its momentum cycle apart), StepLR and ReduceLROnPlateau. */
#ifndef KD_TRAINER_SCHEDULE_H
#define KD_TRAINER_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum train_schedule {
    SCHEDULE_COSINE,    /* down a cosine to floor × peak */
    SCHEDULE_ONE_CYCLE, /* from peak / 25 up a cosine over 30 % of the steps, down to peak / 250,000
                         */
    SCHEDULE_STEP,      /* × factor after each step_epochs */
    SCHEDULE_PLATEAU,   /* × factor where the metric has not grown for more than patience epochs */
    SCHEDULE_CONSTANT,
} train_schedule;

typedef struct train_schedule_options {
    train_schedule kind;
    double peak;   /* the rate */
    double warmup; /* share of all steps, 0..0.5, over which the rate first goes up a line; more
                      than 0 is one step at the least; not of ONE_CYCLE, which has its own */
    double floor;  /* COSINE: 0..1 */
    double factor; /* STEP, PLATEAU: more than 0, below 1 */
    uint32_t step_epochs; /* STEP: from 1 */
    uint32_t patience;    /* PLATEAU */
} train_schedule_options;
#define TRAIN_SCHEDULE_OPTIONS_INIT                                                                \
    {.kind = SCHEDULE_COSINE,                                                                      \
        .peak = 1e-4,                                                                              \
        .warmup = 0.05,                                                                            \
        .floor = 0.01,                                                                             \
        .factor = 0.1,                                                                             \
        .step_epochs = 10,                                                                         \
        .patience = 3}

/* What PLATEAU knows of the epochs before. All finite: a checkpoint can hold it. */
typedef struct train_plateau {
    double best;   /* metric; -1: none yet */
    double factor; /* of the rate, by now */
    uint32_t bad;  /* epochs without betterment, since the best or since the rate fell */
} train_plateau;
#define TRAIN_PLATEAU_INIT {.best = -1, .factor = 1}

bool train_schedule_parse(const char *word, train_schedule *out); /* by these names: */
/* "cosine", "one-cycle", "step", "plateau" or "constant"; static. */
const char *train_schedule_name(train_schedule kind);

/* The rate at `step` (from 0) of total_steps, in `epoch` (from 0). plateau: of PLATEAU, else NULL
 * will do. */
double train_schedule_rate(const train_schedule_options *options, uint64_t step,
    uint64_t total_steps, uint32_t epoch, const train_plateau *plateau);

/* An epoch is over, with a metric from 0 up of which more is better. Better is more than the best
 * by a 10,000th of it. True when the rate fell. */
bool train_plateau_note(
    train_plateau *plateau, const train_schedule_options *options, double metric);

#endif
