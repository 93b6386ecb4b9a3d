/* services/gateway/cli/reproduce.h: the systems of the program that kindred began from, and how
 * each preset trains them.
 *
 * reproduce_presets.c says what is trained, reproduce.c goes from step to step, reproduce_jobs.c
 * has each done, reproduce_result.c says what came of it. */
#ifndef KD_CLI_REPRODUCE_H
#define KD_CLI_REPRODUCE_H

#include "services/gateway/cli/jobs.h"

#define REPRODUCE_SYSTEMS 6u
#define REPRODUCE_NAME 64u

typedef struct reproduce_preset {
    const char *name; /* "quick" */
    uint32_t image_size;
    size_t n_systems; /* of the systems, the first of which is the plain network */
} reproduce_preset;

/* By name; NULL when there is none. Static. */
const reproduce_preset *reproduce_preset_find(const char *name);

/* "plain", "cross-entropy" and so on; static. */
const char *reproduce_system(size_t system);

/* What trains a system that is not the plain one: loss, schedule and augmentation; the caller adds
 * dataset, model, name, seed and image size. Texts are static. Each preset holds back a fifth of
 * each class's images, the same for all of its systems. */
Kindred__V1__TrainSpec reproduce_training(const reproduce_preset *preset, size_t system);

/* One system's way through. */
typedef struct reproduce_part {
    char name[REPRODUCE_NAME]; /* of model and collection */
    char *model_id;            /* owned */
    Kindred__V1__Job *train;   /* owned; NULL for the plain one, and where it is forgotten */
} reproduce_part;

typedef struct reproduction {
    const cli_common *common;
    const char *command;
    const reproduce_preset *preset;
    const char *weights, *out; /* may be NULL */
    char *dataset;             /* owned, absolute */
    char *data_hash;           /* owned: of the training set */
    bool nothing_held;         /* neither classes nor super-classes have images to hold back */
    uint64_t seed;
    uint64_t image_size, epochs; /* 0: the preset's */
    reproduce_part parts[REPRODUCE_SYSTEMS];
    Kindred__V1__Job *evaluation; /* owned */
} reproduction;

/* ---- reproduce_result.c ---- */
/* The table, or with --json one object. */
void reproduce_print(const reproduction *r);
/* reproduce.json (the same object), the report and each training's learning curves into r->out.
 * Returns the exit status. */
int reproduce_write(const reproduction *r);

#endif
