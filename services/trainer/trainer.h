/* services/trainer/trainer.h: what the parts of the trainer share.
 *
 * main.c makes it; service.c answers calls with it; worker.c takes jobs and train.c runs them. */
#ifndef KD_TRAINER_TRAINER_H
#define KD_TRAINER_TRAINER_H

#include <pthread.h>

#include "lib/service/service.h"

typedef struct trainer {
    const kd_process *process; /* borrowed */
    char *models_dir;          /* DATA/models, owned */
    char *runs_dir;            /* DATA/runs, owned */
    char *tmp_dir;             /* DATA/run/tmp, owned: half-made files, empty at start */
    /* One call at a time reads or writes a network's file: each takes some hundred MB. */
    pthread_mutex_t files;
    struct worker *worker; /* owned */
} trainer;

#endif
