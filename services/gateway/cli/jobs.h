/* services/gateway/cli/jobs.h: jobs, as the commands that start, watch and show them share them. */
#ifndef KD_CLI_JOBS_H
#define KD_CLI_JOBS_H

#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"
#include "services/gateway/cli/cli.h"

#define CLI_GATEWAY (&kindred__v1__gateway_service__descriptor)
#define CLI_INDEXER (&kindred__v1__indexer_service__descriptor)
#define CLI_TRAINER (&kindred__v1__trainer_service__descriptor)

/* ---- watch.c ---- */
/* Queues the work: *job is owned, cli_free_job. request_id: the same gives the same job again
 * within a day; NULL makes one up, so that a lost answer queues nothing twice. */
KD_MUST_CHECK kd_status cli_submit_job(const cli_common *common, Kindred__V1__JobSpec *spec,
    const char *request_id, Kindred__V1__Job **job, kd_error *err);
typedef enum cli_watch {
    CLI_WATCH_SHOW,      /* prints the result */
    CLI_WATCH_SUBMITTED, /* the same for a job that is known to be there */
    CLI_WATCH_QUIET,     /* likewise, but leaves the result to the caller */
} cli_watch;
/* Shows the progress until the job is over, then prints its result. Ctrl-C leaves, the job goes
 * on. A gateway that is lost meanwhile is looked for again for a minute. Returns the exit status;
 * *done is the job that ended well (kd_message_free it by cli_free_job), NULL otherwise and when
 * left. */
int cli_watch_job(const cli_common *common, const char *command, const char *job_id, cli_watch how,
    Kindred__V1__Job **done);
/* Queues the work, and unless detach watches it to its end, as cli_watch_job does. With detach the
 * job's id is printed (the job with --json). */
int cli_run_job(const cli_common *common, const char *command, Kindred__V1__JobSpec *spec,
    bool detach, cli_watch how, Kindred__V1__Job **done);
void cli_free_job(Kindred__V1__Job *job);

/* ---- evaluate.c, job.c ---- */
/* Writes an evaluation's report into the folder dir. Returns the exit status. */
int cli_fetch_report(
    const cli_common *common, const char *command, const char *job_id, const char *dir);
/* Writes a training's learning curves to path. KD_NOT_FOUND: its folder is gone. */
KD_MUST_CHECK kd_status cli_fetch_curves(
    const cli_common *common, const char *job_id, const char *path, kd_error *err);
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
