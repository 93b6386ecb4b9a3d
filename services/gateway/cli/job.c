/* kindred job: long work that is queued, runs or is over. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"

#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"
#include "services/gateway/cli/progress.h"

/* ---- Lists ---- */

static void job_row(cli_table *table, const ProtobufCMessage *item)
{
    const Kindred__V1__Job *const job = (const Kindred__V1__Job *)item;
    const Kindred__V1__JobProgress *const progress = job->progress;
    char attempt[CLI_TEXT], created[CLI_TEXT], took[CLI_TEXT] = "", now[160] = "";
    if (job->state == KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING && progress && progress->total > 0)
        (void)snprintf(now, sizeof now, "%.100s %u%%", progress->phase,
            (unsigned)(100.0 * (double)progress->done / (double)progress->total));
    else if (job->error)
        (void)snprintf(now, sizeof now, "%.150s", job->error->message);
    if (job->started_unix_ms > 0)
        (void)cli_duration((job->finished_unix_ms > 0 ? job->finished_unix_ms : kd_wall_ms()) -
                               job->started_unix_ms,
            took);
    cli_table_row(table,
        (const char *const[]){job->id, job->kind, job->dead ? "dead" : cli_state_name(job->state),
            cli_count(job->attempt, attempt), cli_when(job->created_unix_ms, created), took, now});
}

/* Trainings beside one another: what was asked for and what came of it. */
static void training_row(cli_table *table, const ProtobufCMessage *item)
{
    static const char *const none = "";
    const Kindred__V1__Job *const job = (const Kindred__V1__Job *)item;
    const Kindred__V1__TrainSpec *const spec =
        job->spec && job->spec->spec_case == KINDRED__V1__JOB_SPEC__SPEC_TRAIN ? job->spec->train
                                                                               : NULL;
    const Kindred__V1__TrainSummary *const t = job->result ? job->result->training : NULL;
    char took[CLI_TEXT] = "", text[6][CLI_TEXT] = {"", "", "", "", "", ""};
    if (!spec)
        return;
    const double rate = t ? t->learning_rate : spec->learning_rate;
    if (rate > 0)
        (void)snprintf(text[0], sizeof text[0], "%g", rate);
    if (t)
        (void)snprintf(text[1], sizeof text[1], "%u/%u", t->best_epoch, t->epochs);
    if (t && t->recall_at_1)
        (void)snprintf(text[2], sizeof text[2], "%.4f", t->recall_at_1->value);
    if (t && t->map_at_5)
        (void)snprintf(text[3], sizeof text[3], "%.4f", t->map_at_5->value);
    if (t && t->accuracy)
        (void)snprintf(text[4], sizeof text[4], "%.4f", t->accuracy->value);
    if (t)
        (void)snprintf(text[5], sizeof text[5], "%.4f", t->loss);
    if (job->started_unix_ms > 0)
        (void)cli_duration((job->finished_unix_ms > 0 ? job->finished_unix_ms : kd_wall_ms()) -
                               job->started_unix_ms,
            took);
    cli_table_row(
        table, (const char *const[]){job->id, job->dead ? "dead" : cli_state_name(job->state),
                   job->result ? job->result->model_name : none, spec->loss,
                   *spec->labels ? spec->labels : "class", text[0], text[1], text[2], text[3],
                   text[4], text[5], took});
}

static int job_list(int argc, const char **argv)
{
    static const char *const heads[] = {"ID", "KIND", "STATE", "TRIES", "CREATED", "TOOK", ""};
    static const char *const training_heads[] = {"ID", "STATE", "MODEL", "LOSS", "LABELS", "RATE",
        "BEST", "R@1", "MAP@5", "ACCURACY", "LAST LOSS", "TOOK"};
    const char *state = NULL, *limit = NULL, **args = NULL;
    int dead = 0, training = 0;
    cli_common common;
    const struct poptOption options[] = {
        {"training", 0, POPT_ARG_NONE, &training, 0,
            "only trainings, with what came of them (on their validation images)", NULL},
        {"state", 0, POPT_ARG_STRING, &state, 0,
            "only queued, running, done, failed or cancelled ones", "STATE"},
        {"dead", 0, POPT_ARG_NONE, &dead, 0, "only those given up after their last try", NULL},
        {"limit", 0, POPT_ARG_STRING, &limit, 0, "at most this many", "N"}, POPT_TABLEEND};
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Lists the jobs, newest first.\nExample: kindred job list --state failed", options, NULL,
        NULL, 0, 0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;

    Kindred__V1__ListJobsRequest request = KINDRED__V1__LIST_JOBS_REQUEST__INIT;
    cli_list list = {.pages = {.service = CLI_GATEWAY,
                         .method = "ListJobs",
                         .field = "jobs",
                         .timeout_ms = CLI_CALL_MS},
        .empty = "no jobs",
        .heads = heads,
        .n_heads = sizeof heads / sizeof heads[0],
        .row = job_row};
    if (state && !cli_state_parse(state, &request.state))
        return cli_usage(
            argv[0], "--state is '%s', not queued, running, done, failed or cancelled", state);
    if (limit && !cli_number(argv[0], "--limit", limit, 1, UINT64_MAX, &list.pages.limit))
        return EXIT_USAGE;
    request.dead = dead != 0;
    if (training) {
        request.kind = (char *)(uintptr_t)"train";
        list.heads = training_heads;
        list.n_heads = sizeof training_heads / sizeof training_heads[0];
        list.row = training_row;
    }
    return cli_print_list(&common, argv[0], &list, &request.base);
}

/* ---- One job ---- */

/* Leaves out what was not given: zeros and empty strings. */
static void drop_unset(json_t *object)
{
    const char *key;
    json_t *value;
    void *next;
    json_object_foreach_safe(object, next, key, value)
    {
        if (json_is_object(value) && json_object_get(value, "value"))
            continue; /* a number that was given, be it zero */
        if (json_is_object(value))
            drop_unset(value);
        const bool unset = (json_is_string(value) && json_string_length(value) == 0) ||
                           (json_is_integer(value) && json_integer_value(value) == 0) ||
                           (json_is_real(value) && !(json_real_value(value) > 0)) ||
                           (json_is_array(value) && json_array_size(value) == 0);
        if (unset)
            (void)json_object_del(object, key);
    }
}

/* What the job is to do, as JSON without what was left to the defaults. A new string (free). */
static char *spec_text(const Kindred__V1__JobSpec *spec)
{
    json_t *const object = cli_must(kd_message_json(&spec->base));
    drop_unset(object);
    void *const inner = json_object_iter(object);
    char *const text = json_dumps(inner ? json_object_iter_value(inner) : object, 0);
    json_decref(object);
    return cli_must(text);
}

static void print_job(const Kindred__V1__Job *job)
{
    char text[CLI_TEXT], tries[CLI_TEXT], progress[512];
    cli_table *const table = cli_table_new(NULL, 2);
    cli_table_field(table, "id", job->id);
    cli_table_field(table, "kind", job->kind);
    cli_table_field(table, "state", cli_state_name(job->state));
    if (job->dead)
        cli_table_field(table, "dead", "given up after its last try");
    cli_table_field(table, "tries", cli_count(job->attempt, tries));
    if (job->spec) {
        char *const spec = spec_text(job->spec);
        cli_table_field(table, "work", spec);
        free(spec);
    }
    cli_table_field(table, "created", cli_when(job->created_unix_ms, text));
    cli_table_field(table, "started", cli_when(job->started_unix_ms, text));
    cli_table_field(table, "finished", cli_when(job->finished_unix_ms, text));
    if (job->started_unix_ms > 0 && job->finished_unix_ms > 0)
        cli_table_field(
            table, "took", cli_duration(job->finished_unix_ms - job->started_unix_ms, text));
    if (job->progress && job->state == KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING) {
        const Kindred__V1__JobProgress *const p = job->progress;
        const cli_progress now = {p->phase, p->done, p->total, p->rate, p->detail};
        cli_progress_text(&now, 0, progress, sizeof progress);
        cli_table_field(table, "progress", progress);
    }
    if (job->error)
        cli_table_field(table, "error", job->error->message);
    cli_table_print(table);
    if (job->state == KINDRED__V1__JOB_STATE__JOB_STATE_DONE)
        cli_print_result(job);
}

kd_status cli_fetch_curves(
    const cli_common *common, const char *job_id, const char *path, kd_error *err)
{
    Kindred__V1__GetRunFileRequest request = KINDRED__V1__GET_RUN_FILE_REQUEST__INIT;
    kd_channel *channel = NULL;
    uint64_t bytes = 0;
    request.job_id = (char *)(uintptr_t)job_id;
    kd_status status = cli_connect(common, &channel, err);
    if (status == KD_OK)
        status = cli_fetch(channel, CLI_TRAINER, "GetRunFile", &request.base, path, &bytes, err);
    cli_disconnect(channel);
    if (status == KD_OK && !common->json)
        printf("wrote %s\n", path);
    return status;
}

static int job_show(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL, *html = NULL;
    const struct poptOption options[] = {
        {"html", 0, POPT_ARG_STRING, &html, 0, "of a training: write its learning curves here",
            "FILE"},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "ID [OPTION...]",
        "Shows a job: what it is to do, how far it is, what it brought.\n"
        "Example: kindred job show ID --html curves.html",
        options, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;

    Kindred__V1__GetJobRequest request = KINDRED__V1__GET_JOB_REQUEST__INIT;
    Kindred__V1__GetJobResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    request.job_id = (char *)(uintptr_t)args[0];
    exit_status = EXIT_DONE;
    kd_status status =
        cli_ask(&common, CLI_GATEWAY, "GetJob", &request.base, CLI_CALL_MS, &response, &err);
    if (status == KD_OK && html)
        status = cli_fetch_curves(&common, args[0], html, &err);
    if (status != KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (response->job && common.json)
        cli_print_message(&response->job->base);
    else if (response->job)
        print_job(response->job);
    kd_message_free(response);
    free(args);
    return exit_status;
}

static int job_watch(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    Kindred__V1__Job *job = NULL;
    int exit_status = cli_parse(argc, argv, "ID [OPTION...]",
        "Shows a job's progress until it is over, then its result. Ctrl-C leaves; the job goes "
        "on.\n"
        "Example: kindred job watch ID",
        NULL, NULL, NULL, 1, 1, &common, &args);
    if (exit_status < 0)
        exit_status = cli_watch_job(&common, argv[0], args[0], CLI_WATCH_SHOW, &job);
    cli_free_job(job);
    free(args);
    return exit_status;
}

/* CancelJob and RetryJob: an id in, the job out; requests and responses are laid out alike. */
static int change_job(int argc, const char **argv, const char *help, const char *method)
{
    cli_common common;
    const char **args = NULL;
    int exit_status =
        cli_parse(argc, argv, "ID [OPTION...]", help, NULL, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;

    const bool retry = strcmp(method, "RetryJob") == 0;
    Kindred__V1__CancelJobRequest cancel_request = KINDRED__V1__CANCEL_JOB_REQUEST__INIT;
    Kindred__V1__RetryJobRequest retry_request = KINDRED__V1__RETRY_JOB_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    kd_error err = KD_ERROR_INIT;
    cancel_request.job_id = retry_request.job_id = (char *)(uintptr_t)args[0];
    const kd_status status = cli_ask(&common, CLI_GATEWAY, method,
        retry ? &retry_request.base : &cancel_request.base, CLI_CALL_MS, &response, &err);
    exit_status = EXIT_DONE;
    if (status != KD_OK) {
        exit_status = cli_error(&common, argv[0], &err);
    } else {
        const Kindred__V1__Job *const job =
            retry ? ((const Kindred__V1__RetryJobResponse *)response)->job
                  : ((const Kindred__V1__CancelJobResponse *)response)->job;
        if (common.json && job)
            cli_print_message(&job->base);
        else if (retry)
            printf("job %s is queued again\n", args[0]);
        else if (job && job->state == KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING)
            printf("job %s ends at its next step\n", args[0]);
        else
            printf("job %s is cancelled\n", args[0]);
    }
    kd_message_free(response);
    free(args);
    return exit_status;
}

static int job_cancel(int argc, const char **argv)
{
    return change_job(argc, argv,
        "Ends a queued job at once, a running one at its next step.\nExample: kindred job cancel "
        "ID",
        "CancelJob");
}

static int job_retry(int argc, const char **argv)
{
    return change_job(argc, argv,
        "Queues a failed or cancelled job again.\nExample: kindred job retry ID", "RetryJob");
}

int cmd_job(int argc, const char **argv)
{
    static const cli_command commands[] = {
        {"list", job_list, "list the jobs, newest first"},
        {"show", job_show, "show one"},
        {"watch", job_watch, "show its progress until it is over"},
        {"cancel", job_cancel, "end it"},
        {"retry", job_retry, "queue a failed or cancelled one again"},
    };
    return cli_dispatch(argc, argv, "job", "Long work: training, indexing, evaluation.", commands,
        sizeof commands / sizeof commands[0]);
}
