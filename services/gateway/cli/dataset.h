/* services/gateway/cli/dataset.h: what `kindred dataset check` says of what it found. */
#ifndef KD_CLI_DATASET_H
#define KD_CLI_DATASET_H

#include "lib/check/check.h"

#define CLI_NAMED 20u        /* findings of a kind that people are shown */
#define CLI_NAMED_MEMBERS 4u /* images of a group */
#define CLI_LISTED 1000u     /* findings of a kind in JSON */
#define CLI_LISTED_MEMBERS 100u

typedef struct cli_findings {
    const kd_dataset *dataset;
    const kd_check *check;
    kd_check_options options;
    const char *hash;
    bool passed;
} cli_findings;

/* On standard output. */
void cli_findings_table(const cli_findings *f);
void cli_findings_json(const cli_findings *f);

#endif
