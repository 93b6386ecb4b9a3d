#include "services/gateway/cli/reproduce_jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"
#include "lib/base/buf.h"
#include "services/gateway/cli/collection.h"

/* ---- Jobs that may be there already ---- */

/* Would the job do the work of the specification? */
static bool same_work(const Kindred__V1__JobSpec *job, const Kindred__V1__JobSpec *spec)
{
    if (!job || job->spec_case != spec->spec_case)
        return false;
    if (job->spec_case == KINDRED__V1__JOB_SPEC__SPEC_TRAIN)
        return strcmp(job->train->name, spec->train->name) == 0;
    return strcmp(job->index->collection, spec->index->collection) == 0 &&
           strcmp(job->index->dataset, spec->index->dataset) == 0;
}

typedef struct search {
    const Kindred__V1__JobSpec *spec;
    char *id; /* owned: of the newest */
    Kindred__V1__JobState state;
} search;

static bool look(void *arg, const ProtobufCMessage *item)
{
    search *const s = arg;
    const Kindred__V1__Job *const job = (const Kindred__V1__Job *)item;
    if (!same_work(job->spec, s->spec))
        return true;
    s->id = cli_must(strdup(job->id));
    s->state = job->state;
    return false;
}

static kd_status find_job(const reproduction *r, const char *kind, search *s, kd_error *err)
{
    Kindred__V1__ListJobsRequest request = KINDRED__V1__LIST_JOBS_REQUEST__INIT;
    const cli_pages pages = {
        .service = CLI_GATEWAY, .method = "ListJobs", .field = "jobs", .timeout_ms = CLI_CALL_MS};
    kd_channel *channel = NULL;
    request.kind = (char *)(uintptr_t)kind;
    kd_status status = cli_connect(r->common, &channel, err);
    if (status == KD_OK)
        status = cli_each(channel, &pages, &request.base, look, s, err);
    cli_disconnect(channel);
    return status;
}

/* Queues it again. Somebody else may have done so since. */
static kd_status retry(const reproduction *r, const char *id, kd_error *err)
{
    Kindred__V1__RetryJobRequest request = KINDRED__V1__RETRY_JOB_REQUEST__INIT;
    Kindred__V1__RetryJobResponse *response = NULL;
    request.job_id = (char *)(uintptr_t)id;
    const kd_status status =
        cli_ask(r->common, CLI_GATEWAY, "RetryJob", &request.base, CLI_CALL_MS, &response, err);
    kd_message_free(response);
    return status == KD_FAILED_PRECONDITION ? KD_OK : status;
}

/* Has the work done whose result is not there: by the newest job of it, unless that one is done,
 * else by a new one, the same for all who ask at once. */
static int have_done(const reproduction *r, const char *name, Kindred__V1__JobSpec *spec,
    const search *newest, Kindred__V1__Job **job)
{
    kd_error err = KD_ERROR_INIT;
    Kindred__V1__Job *submitted = NULL;
    kd_status status = KD_OK;
    if (newest->state == KINDRED__V1__JOB_STATE__JOB_STATE_FAILED ||
        newest->state == KINDRED__V1__JOB_STATE__JOB_STATE_CANCELLED)
        status = retry(r, newest->id, &err);
    if (!newest->id || newest->state == KINDRED__V1__JOB_STATE__JOB_STATE_DONE) {
        const char *const after = newest->id ? newest->id : "";
        char *const request_id = cli_must(kd_format("%.8s%s", name + strlen(name) - 8, after));
        status = cli_submit_job(r->common, spec, request_id, &submitted, &err);
        free(request_id);
    }
    const char *const id = submitted ? submitted->id : newest->id;
    const int exit_status = status == KD_OK
                                ? cli_watch_job(r->common, r->command, id, CLI_WATCH_QUIET, job)
                                : cli_error(r->common, r->command, &err);
    cli_free_job(submitted);
    return exit_status;
}

/* ---- Trainings ---- */

/* Takes the model if it is there. */
static kd_status take_model(
    reproduction *r, reproduce_part *part, const char *model, bool *there, kd_error *err)
{
    Kindred__V1__GetModelRequest request = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *response = NULL;
    Kindred__V1__GetJobRequest get = KINDRED__V1__GET_JOB_REQUEST__INIT;
    Kindred__V1__GetJobResponse *got = NULL;
    request.model = (char *)(uintptr_t)model;
    kd_status status =
        cli_ask(r->common, CLI_TRAINER, "GetModel", &request.base, CLI_CALL_MS, &response, err);
    *there = status == KD_OK;
    if (status == KD_NOT_FOUND)
        return KD_OK;
    if (status == KD_OK) {
        json_t *const record = json_loads(response->model->training_json, 0, NULL);
        part->model_id = cli_must(strdup(response->model->id));
        r->nothing_held = json_array_size(json_object_get(record, "validation_image_ids")) == 0;
        json_decref(record);
        get.job_id = response->model->source;
        status = cli_ask(r->common, CLI_GATEWAY, "GetJob", &get.base, CLI_CALL_MS, &got, err);
    }
    if (status == KD_OK) {
        part->train = got->job;
        got->job = NULL;
    }
    kd_message_free(got);
    kd_message_free(response);
    return status == KD_NOT_FOUND ? KD_OK : status; /* jobs may be forgotten, models are not */
}

int reproduce_train(reproduction *r, reproduce_part *part, Kindred__V1__TrainSpec *training)
{
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    Kindred__V1__Job *job = NULL;
    kd_error err = KD_ERROR_INIT;
    int exit_status = EXIT_DONE;
    search newest = {.spec = &spec};
    bool there = false;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_TRAIN;
    spec.train = training;
    kd_status status = take_model(r, part, part->name, &there, &err);
    if (status == KD_OK && !there)
        status = find_job(r, "train", &newest, &err);
    if (status == KD_OK && !there) {
        exit_status = have_done(r, part->name, &spec, &newest, &job);
        if (job && job->result) /* which may have found these weights under another name */
            status = take_model(r, part, job->result->model_id, &there, &err);
        if (exit_status == EXIT_DONE && status == KD_OK && !there)
            status = kd_error_set(
                &err, KD_INTERNAL, "job %s brought no model", job ? job->id : "that was not told");
        cli_free_job(job);
    }
    free(newest.id);
    return status == KD_OK ? exit_status : cli_error(r->common, r->command, &err);
}

/* ---- Collections ---- */

/* Does it hold vectors of the part's model, all that a finished job put there? */
static kd_status is_indexed(
    const reproduction *r, const reproduce_part *part, const search *s, bool *is, kd_error *err)
{
    Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *response = NULL;
    *is = false;
    if (!s->id || s->state != KINDRED__V1__JOB_STATE__JOB_STATE_DONE)
        return KD_OK;
    request.name = (char *)(uintptr_t)part->name;
    const kd_status status = cli_ask(
        r->common, CLI_INDEXER, "GetCollection", &request.base, CLI_CALL_MS, &response, err);
    *is = status == KD_OK && response->collection &&
          strcmp(response->collection->model_id, part->model_id) == 0;
    kd_message_free(response);
    return status == KD_NOT_FOUND ? KD_OK : status;
}

int reproduce_index(const reproduction *r, const reproduce_part *part)
{
    Kindred__V1__IndexSpec index = KINDRED__V1__INDEX_SPEC__INIT;
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    Kindred__V1__Job *job = NULL;
    kd_error err = KD_ERROR_INIT;
    search newest = {.spec = &spec};
    bool there = false;
    index.dataset = r->dataset;
    index.model = part->model_id;
    index.collection = (char *)(uintptr_t)part->name;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_INDEX;
    spec.index = &index;
    kd_status status = find_job(r, "index", &newest, &err);
    if (status == KD_OK)
        status = is_indexed(r, part, &newest, &there, &err);
    int exit_status = status == KD_OK ? EXIT_DONE : cli_error(r->common, r->command, &err);
    if (status == KD_OK && !there)
        exit_status = have_done(r, part->name, &spec, &newest, &job);
    cli_free_job(job);
    free(newest.id);
    return exit_status;
}

/* ---- The evaluation ---- */

int reproduce_evaluate(reproduction *r, Kindred__V1__EvaluateSpec *evaluation)
{
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    Kindred__V1__Job *job = NULL;
    kd_error err = KD_ERROR_INIT;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_EVALUATE;
    spec.evaluate = evaluation;
    if (cli_submit_job(r->common, &spec, NULL, &job, &err) != KD_OK)
        return cli_error(r->common, r->command, &err);
    int exit_status =
        cli_watch_job(r->common, r->command, job->id, CLI_WATCH_QUIET, &r->evaluation);
    if (exit_status == EXIT_DONE && !r->evaluation->result) {
        (void)kd_error_set(&err, KD_INTERNAL, "job %s brought nothing", job->id);
        exit_status = cli_error(r->common, r->command, &err);
    }
    cli_free_job(job);
    return exit_status;
}
