/* services/gateway/cli/jobs.h: jobs, as the commands that start, watch and show them share them. */
#ifndef KD_CLI_JOBS_H
#define KD_CLI_JOBS_H

#include "kindred/v1/gateway.pb-c.h"
#include "services/gateway/cli/cli.h"

#define CLI_GATEWAY (&kindred__v1__gateway_service__descriptor)

/* ---- watch.c ---- */
typedef enum cli_run {
    CLI_RUN_SHOW,   /* watches the job and prints its result */
    CLI_RUN_QUIET,  /* watches it and leaves the result to the caller */
    CLI_RUN_DETACH, /* prints the job's id (the job with --json) and leaves */
} cli_run;

/* Queues the work, and unless it is to detach watches it to its end, as cli_watch_job does. */
int cli_run_job(const cli_common *common, const char *command, Kindred__V1__JobSpec *spec,
    cli_run how, Kindred__V1__Job **done);
/* Shows the progress until the job is over, then prints its result. Ctrl-C leaves, the job goes
 * on. A gateway that is lost meanwhile is looked for again for a minute. Returns the exit status;
 * *done is the job that ended well (kd_message_free it by cli_free_job), NULL otherwise and when
 * left. */
int cli_watch_job(const cli_common *common, const char *command, const char *job_id, cli_run how,
    Kindred__V1__Job **done);
void cli_free_job(Kindred__V1__Job *job);

/* ---- evaluate.c, job.c ---- */
/* Writes an evaluation's report into the folder dir, a training's learning curves to path. Both
 * return the exit status. */
int cli_fetch_report(
    const cli_common *common, const char *command, const char *job_id, const char *dir);
int cli_fetch_curves(
    const cli_common *common, const char *command, const char *job_id, const char *path);
/* ---- strips.c ---- */
/* Fetches the strips that dir/report.json names to where it names them, below dir. *n: how many. */
KD_MUST_CHECK kd_status cli_fetch_strips(
    kd_channel *channel, const char *job_id, const char *dir, size_t *n, kd_error *err);

/* ---- result.c ---- */
const char *cli_state_name(Kindred__V1__JobState state); /* "running" */
/* "done" and so on; false for another word. */
bool cli_state_parse(const char *word, Kindred__V1__JobState *out);
/* What the job brought, for people. */
void cli_print_result(const Kindred__V1__Job *job);

#endif
