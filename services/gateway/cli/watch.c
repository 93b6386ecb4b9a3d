/* Long work from its submission to its end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "services/gateway/cli/jobs.h"
#include "services/gateway/cli/progress.h"

#define READ_WAIT_MS 200 /* how soon Ctrl-C is heard */
#define LOST_MS 60000    /* the supervisor restarts a gateway sooner */
#define RETRY_MS 500

typedef struct watch {
    const cli_common *common;
    const char *command, *job_id;
    bool quiet; /* the result is not printed */
    cli_bar bar;
    bool seen;             /* the gateway has told of the job once */
    int64_t since_ms;      /* when it was last heard of; monotonic */
    Kindred__V1__Job *job; /* owned: the last that was heard */
} watch;

void cli_free_job(Kindred__V1__Job *job)
{
    if (job)
        kd_message_free(&job->base);
}

static bool is_over(const Kindred__V1__Job *job)
{
    return job && (job->state == KINDRED__V1__JOB_STATE__JOB_STATE_DONE ||
                      job->state == KINDRED__V1__JOB_STATE__JOB_STATE_FAILED ||
                      job->state == KINDRED__V1__JOB_STATE__JOB_STATE_CANCELLED);
}

static void show(watch *w)
{
    const Kindred__V1__JobProgress *const progress = w->job->progress;
    cli_progress now = {.phase = "starting"};
    if (w->job->state == KINDRED__V1__JOB_STATE__JOB_STATE_QUEUED)
        now.phase = w->job->attempt > 0 ? "waiting to be tried again" : "waiting in the queue";
    else if (progress)
        now = (cli_progress){
            progress->phase, progress->done, progress->total, progress->rate, progress->detail};
    cli_bar_show(&w->bar, &now);
}

/* Keeps the job that the answer carries. */
static void take(watch *w, ProtobufCMessage *message)
{
    Kindred__V1__WatchJobResponse *const answer = (Kindred__V1__WatchJobResponse *)message;
    w->seen = true;
    w->since_ms = kd_mono_ms();
    if (answer->job) {
        cli_free_job(w->job);
        w->job = answer->job;
        answer->job = NULL;
        show(w);
    }
    kd_message_free(message);
}

/* One connection's worth of watching: until the job is over, Ctrl-C, or the stream ends. */
static kd_status follow(watch *w, kd_error *err)
{
    Kindred__V1__WatchJobRequest request = KINDRED__V1__WATCH_JOB_REQUEST__INIT;
    kd_channel *channel = NULL;
    kd_stream *stream = NULL;
    request.job_id = (char *)(uintptr_t)w->job_id;
    kd_status status = cli_connect(w->common, &channel, err);
    if (status == KD_OK)
        status =
            kd_stream_open(&stream, channel, CLI_GATEWAY, "WatchJob", &request.base, NULL, err);
    while (status == KD_OK && !is_over(w->job) && !cli_interrupted()) {
        ProtobufCMessage *message = NULL;
        bool waiting;
        status = kd_stream_read(stream, READ_WAIT_MS, &message, &waiting, err);
        if (waiting) {
            status = KD_OK;
            w->since_ms = kd_mono_ms();
        } else if (message) {
            take(w, message);
        } else if (status == KD_OK) { /* it drains */
            status = kd_error_set(err, KD_UNAVAILABLE, "%s stopped telling of job %s",
                kd_channel_address(channel), w->job_id);
        }
    }
    kd_stream_close(stream);
    cli_disconnect(channel);
    return status;
}

/* Follows the job over losses of the gateway. */
static kd_status follow_to_end(watch *w, kd_error *err)
{
    for (;;) {
        const kd_status status = follow(w, err);
        if (is_over(w->job) || cli_interrupted())
            return KD_OK;
        if (status != KD_UNAVAILABLE && status != KD_CANCELLED)
            return status;
        if (!w->seen || kd_mono_ms() - w->since_ms > LOST_MS)
            return status;
        cli_bar_show(&w->bar, &(cli_progress){.phase = "the gateway is gone; trying again"});
        kd_sleep_ms(RETRY_MS);
    }
}

/* What is said of a job that is over. */
static int conclude(const watch *w)
{
    const Kindred__V1__Job *const job = w->job;
    kd_error err = KD_ERROR_INIT;
    if (job->state == KINDRED__V1__JOB_STATE__JOB_STATE_DONE) {
        if (w->common->json && !w->quiet)
            cli_print_message(&job->base);
        else if (!w->quiet)
            cli_print_result(job);
        return EXIT_DONE;
    }
    if (job->state == KINDRED__V1__JOB_STATE__JOB_STATE_CANCELLED)
        (void)kd_error_set(&err, KD_CANCELLED, "job %s was cancelled", job->id);
    else
        (void)kd_error_set(&err, job->error ? (kd_status)job->error->code : KD_UNKNOWN,
            "job %s failed: %s", job->id, job->error ? job->error->message : "it does not say why");
    (void)cli_error(w->common, w->command, &err);
    return EXIT_FAILED; /* the command was right, whatever the job's own code */
}

static int run_watch(watch *w, Kindred__V1__Job **done)
{
    kd_error err = KD_ERROR_INIT;
    int exit_status;
    *done = NULL;
    cli_interrupt_catch();
    const kd_status status = follow_to_end(w, &err);
    cli_bar_clear(&w->bar);
    if (status != KD_OK) {
        exit_status = cli_error(w->common, w->command, &err);
    } else if (!is_over(w->job)) {
        (void)fprintf(
            stderr, "kindred %s: the job goes on: kindred job watch %s\n", w->command, w->job_id);
        exit_status = EXIT_FAILED; /* what comes next in a script would find half the work */
    } else {
        exit_status = conclude(w);
        if (exit_status == EXIT_DONE) {
            *done = w->job;
            w->job = NULL;
        }
    }
    cli_free_job(w->job);
    return exit_status;
}

int cli_watch_job(const cli_common *common, const char *command, const char *job_id, cli_watch how,
    Kindred__V1__Job **done)
{
    watch w = {.common = common,
        .command = command,
        .job_id = job_id,
        .quiet = how == CLI_WATCH_QUIET,
        .seen = how != CLI_WATCH_SHOW,
        .since_ms = kd_mono_ms()};
    cli_bar_init(&w.bar, command, common->json);
    return run_watch(&w, done);
}

kd_status cli_submit_job(const cli_common *common, Kindred__V1__JobSpec *spec,
    const char *request_id, Kindred__V1__Job **job, kd_error *err)
{
    Kindred__V1__SubmitJobRequest request = KINDRED__V1__SUBMIT_JOB_REQUEST__INIT;
    Kindred__V1__SubmitJobResponse *response = NULL;
    uint8_t random[8] = {0};
    char made_up[2 * sizeof random + 1] = "";
    *job = NULL;
    if (!request_id && getrandom(random, sizeof random, 0) == (ssize_t)sizeof random)
        kd_hex(random, sizeof random, made_up);
    request.spec = spec;
    request.request_id = (char *)(uintptr_t)(request_id ? request_id : made_up);
    kd_status status =
        cli_ask(common, CLI_GATEWAY, "SubmitJob", &request.base, CLI_CALL_MS, &response, err);
    if (status == KD_OK && !response->job)
        status = kd_error_set(err, KD_INTERNAL, "the gateway answered without a job");
    if (status == KD_OK) {
        *job = response->job;
        response->job = NULL;
    }
    kd_message_free(response);
    return status;
}

int cli_run_job(const cli_common *common, const char *command, Kindred__V1__JobSpec *spec,
    bool detach, cli_watch how, Kindred__V1__Job **done)
{
    Kindred__V1__Job *job = NULL;
    kd_error err = KD_ERROR_INIT;
    int exit_status = EXIT_DONE;

    *done = NULL;
    if (cli_submit_job(common, spec, NULL, &job, &err) != KD_OK)
        exit_status = cli_error(common, command, &err);
    else if (detach && common->json)
        cli_print_message(&job->base);
    else if (detach)
        puts(job->id);
    else
        exit_status = cli_watch_job(common, command, job->id, how, done);
    cli_free_job(job);
    return exit_status;
}
