/* services/trainer/run.h: a training run from the inside: train.c makes one, epochs.c and steps.c
 * move it, files.c keeps what it writes. */
#ifndef KD_TRAINER_RUN_H
#define KD_TRAINER_RUN_H

#include "lib/dataset/dataset.h"
#include "services/trainer/collapse.h"
#include "services/trainer/config.h"
#include "services/trainer/events.h"
#include "services/trainer/features.h"
#include "services/trainer/loader.h"
#include "services/trainer/record.h"
#include "services/trainer/split.h"
#include "services/trainer/train.h"

typedef struct train_run {
    trainer *trainer; /* borrowed, as are the next two */
    const char *job_id;
    const train_hooks *hooks;
    train_config asked;            /* as it was asked for … */
    train_config config;           /* … and with the fixes of a collapse */
    kd_model parent;               /* all zero when it starts from random weights */
    char name[KD_MODEL_NAME_TEXT]; /* of the model to come */
    /* Files of DATA/runs/JOB; the best epochs' weights are epoch-N.safetensors. */
    char *folder, *checkpoint, *log, *page, *events_path;
    train_events *events;
    /* Data. */
    kd_dataset *dataset;
    char data_hash[KD_SHA256_TEXT];
    const kd_item *items;
    size_t n_items;
    uint32_t *classes, *groups; /* of each item: class, super-class */
    const uint32_t *labels;     /* one of the two: what trains */
    uint32_t *head_labels;      /* dense numbers of the labels that train; UINT32_MAX for others */
    uint32_t n_labels;          /* that train */
    loader *loader;
    train_split split;
    kd_sampler *sampler; /* deals numbers of split.train */
    size_t lone;         /* labels with one image */
    /* With a frozen backbone: computed once. */
    feature_rows features; /* of split.train */
    uint32_t *feature_of;  /* each item's row in it, UINT32_MAX without */
    feature_rows validation;
    /* What learns. */
    kd_net *net;
    kd_training *training;
    train_record record;
    train_progress progress;
} train_run;

/* What comes of the end of an epoch's steps. */
typedef enum steps_end {
    STEPS_DONE,
    STEPS_COLLAPSED,
} steps_end;

/* An epoch's shape. */
typedef struct train_epoch {
    size_t n_batches, batch; /* batches, images in each */
    uint64_t base;           /* images before it */
    uint64_t total;          /* images of the run */
    int64_t saved_ms;        /* when the last checkpoint was written */
    uint32_t *images;        /* room for a batch */
    uint32_t *labels;
    float *features; /* likewise, with a frozen backbone */
    kd_counter *steps_made, *images_seen;
    kd_gauge *loss;
    size_t n_validated;           /* rows of the validation */
    kd_error skipped;             /* why a batch was not trained on, the last one */
    char collapse[COLLAPSE_TEXT]; /* what was seen */
} train_epoch;

/* ---- train.c ---- */
/* Network and training anew, from the parent. */
KD_MUST_CHECK kd_status train_start_net(train_run *run, kd_error *err);

/* ---- facts.c ---- */
/* What the weights depend on, but for the number of threads. NULL without memory. */
json_t *train_facts(const train_run *run);
json_t *train_held_ids(const train_run *run); /* of the images that do not train; likewise */

/* ---- steps.c ---- */
/* Makes the steps of the epoch that are left. */
KD_MUST_CHECK kd_status train_steps(train_run *run, train_epoch *e, steps_end *end, kd_error *err);
/* The backbone's rate at that step of the epoch. */
double train_rate(const train_run *run, const train_epoch *e, size_t step);
/* Tells the hooks what is going on, and learns whether to go on. */
void train_describe(train_run *run, const train_epoch *e, const char *also);
KD_MUST_CHECK kd_status train_tick(train_run *run, kd_error *err);

/* ---- epochs.c ---- */
/* Trains from where the record stands to the last epoch: all files are on disk after each. */
KD_MUST_CHECK kd_status train_epochs(train_run *run, kd_error *err);

/* ---- files.c ---- */
KD_MUST_CHECK kd_status train_files_init(train_run *run, kd_error *err); /* paths, folder */
char *train_best_path(const train_run *run, uint32_t number);            /* free */
/* Opens the event file, cut where the record stands. */
KD_MUST_CHECK kd_status train_events_start(train_run *run, kd_error *err);
KD_MUST_CHECK kd_status train_save_checkpoint(train_run *run, kd_error *err);
/* After an epoch. keep: its weights are among the best. */
KD_MUST_CHECK kd_status train_save_epoch(train_run *run, bool keep, kd_error *err);
/* The page; note: how it ended, NULL while it runs. Best effort: a run doesn't fail for its page.
 */
void train_save_page(const train_run *run, const char *note, bool running);

#endif
