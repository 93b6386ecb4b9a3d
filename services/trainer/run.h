/* services/trainer/run.h: a training run from the inside: train.c makes one, epochs.c moves it. */
#ifndef KD_TRAINER_RUN_H
#define KD_TRAINER_RUN_H

#include "lib/dataset/dataset.h"
#include "services/trainer/config.h"
#include "services/trainer/loader.h"
#include "services/trainer/record.h"
#include "services/trainer/split.h"
#include "services/trainer/train.h"

typedef struct train_run {
    trainer *trainer; /* borrowed, as are the next two */
    const char *job_id;
    const train_hooks *hooks;
    train_config config;
    kd_model parent;               /* all zero when it starts from random weights */
    char name[KD_MODEL_NAME_TEXT]; /* of the model to come */
    bool named;                    /* … by the user */
    /* Files of DATA/runs/JOB. */
    char *folder, *checkpoint, *best, *log;
    /* Data. */
    kd_dataset *dataset;
    char data_hash[KD_SHA256_TEXT];
    const kd_item *items;
    size_t n_items;
    uint32_t *classes, *groups; /* of each item: class and super-class */
    const uint32_t *labels;     /* one of the two: what trains */
    loader *loader;
    train_split split;
    kd_sampler *sampler; /* deals numbers of split.train */
    size_t lone;         /* labels with one image, which train nothing */
    /* What learns. */
    kd_net *net;
    kd_training *training;
    train_record record;
    train_progress progress;
    /* Running means over the last steps, to notice a collapse. */
    double recent_positive, recent_negative, recent_active;
    uint32_t steps_seen; /* by this process */
    bool collapsed;
} train_run;

/* Trains from where the record stands to the last epoch: log, checkpoint and best weights are on
 * disk after each. */
KD_MUST_CHECK kd_status train_epochs(train_run *run, kd_error *err);

#endif
