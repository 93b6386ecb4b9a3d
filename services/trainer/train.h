/* services/trainer/train.h: a train job from its spec to the published model. */
#ifndef KD_TRAINER_TRAIN_H
#define KD_TRAINER_TRAIN_H

#include "kindred/v1/gateway.pb-c.h"

#include "lib/models/models.h"
#include "services/trainer/trainer.h"

typedef struct train_progress {
    char phase[64];       /* "epoch 2 of 5" */
    char detail[256];     /* "loss 0.213, active 41 %, val R@1 0.71" */
    uint64_t done, total; /* images, over all epochs */
    double rate;          /* images a second */
} train_progress;

/* Called at least at every step. Another status than KD_OK ends the run with it; KD_UNAVAILABLE
 * stands for the end of this process: the run writes down where it is and goes on when the job is
 * taken again. */
typedef struct train_hooks {
    kd_status (*tick)(void *arg, const train_progress *progress, kd_error *err);
    void *arg;
} train_hooks;

/* Trains and publishes; *out (kd_model_clear) is the model. KD_UNAVAILABLE: not now, see the hooks;
 * or the machine can't read the images now, and later may. Goes on from DATA/runs/JOB where there
 * is a checkpoint of the same settings and data. Running a job again that has published its model
 * finds that model. */
KD_MUST_CHECK kd_status train_job(trainer *t, const char *job_id,
    const Kindred__V1__TrainSpec *spec, const train_hooks *hooks, kd_model *out, kd_error *err);

#endif
