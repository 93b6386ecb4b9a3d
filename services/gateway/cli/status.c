/* `kindred status`: the gateway's view of the stack, what it holds, and where the local one lies.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"
#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/local.h"

#define STATUS_MS 10000 /* for each question: a hanging service must not hang this */
#define JOB_STATES 6    /* JobState's numbers */

typedef struct facts {
    char gateway[LOCAL_ADDRESS];
    bool is_local; /* the gateway is that of the stack on data */
    local_stack local;
    char *data; /* owned */
    Kindred__V1__GetStatusResponse *stack;
    /* Without the service that knows it a count stays unknown. */
    bool knows_models, knows_collections, knows_jobs;
    uint64_t models, collections, jobs[JOB_STATES];
} facts;

/* ---- Counting: every page of a list ---- */

static bool count_one(void *arg, const ProtobufCMessage *item)
{
    uint64_t *const n = arg;
    (void)item;
    ++*n;
    return true;
}

static bool count_job(void *arg, const ProtobufCMessage *item)
{
    uint64_t *const by_state = arg;
    const int state = (int)((const Kindred__V1__Job *)item)->state;
    by_state[state > 0 && state < JOB_STATES ? state : 0]++;
    return true;
}

static void count_all(kd_channel *channel, facts *f)
{
    Kindred__V1__ListModelsRequest models = KINDRED__V1__LIST_MODELS_REQUEST__INIT;
    Kindred__V1__ListCollectionsRequest collections = KINDRED__V1__LIST_COLLECTIONS_REQUEST__INIT;
    Kindred__V1__ListJobsRequest jobs = KINDRED__V1__LIST_JOBS_REQUEST__INIT;
    const cli_pages model_pages = {.service = &kindred__v1__trainer_service__descriptor,
        .method = "ListModels",
        .field = "models",
        .timeout_ms = STATUS_MS};
    const cli_pages collection_pages = {.service = &kindred__v1__indexer_service__descriptor,
        .method = "ListCollections",
        .field = "collections",
        .timeout_ms = STATUS_MS};
    const cli_pages job_pages = {.service = &kindred__v1__gateway_service__descriptor,
        .method = "ListJobs",
        .field = "jobs",
        .timeout_ms = STATUS_MS};
    f->knows_models =
        cli_each(channel, &model_pages, &models.base, count_one, &f->models, NULL) == KD_OK;
    f->knows_collections = cli_each(channel, &collection_pages, &collections.base, count_one,
                               &f->collections, NULL) == KD_OK;
    f->knows_jobs = cli_each(channel, &job_pages, &jobs.base, count_job, f->jobs, NULL) == KD_OK;
}

/* ---- Gathering ---- */

static kd_status gather(const cli_common *common, facts *f, kd_error *err)
{
    Kindred__V1__GetStatusRequest request = KINDRED__V1__GET_STATUS_REQUEST__INIT;
    kd_channel *channel = NULL;
    kd_status status = cli_connect(common, &channel, err);
    if (status != KD_OK)
        return status;
    (void)kd_copy(f->gateway, sizeof f->gateway, kd_channel_address(channel));
    status = cli_call(channel, &kindred__v1__gateway_service__descriptor, "GetStatus",
        &request.base, STATUS_MS, &f->stack, err);
    if (status == KD_OK)
        count_all(channel, f);
    cli_disconnect(channel);

    char *const given = cli_data_dir(common);
    char *const real = realpath(given, NULL);
    f->data = real ? real : given;
    if (real)
        free(given);
    f->is_local =
        local_read(f->data, &f->local, NULL) == KD_OK && strcmp(f->local.gateway, f->gateway) == 0;
    return status;
}

/* ---- Printing ---- */

static json_t *count_json(bool known, uint64_t n)
{
    return known ? json_integer((json_int_t)n) : json_null();
}

static json_t *jobs_json(const facts *f)
{
    static const char *const names[JOB_STATES] = {
        NULL, "queued", "running", "done", "failed", "cancelled"};
    if (!f->knows_jobs)
        return json_null();
    json_t *const jobs = json_object();
    for (int i = 1; i < JOB_STATES; i++)
        (void)json_object_set_new(jobs, names[i], json_integer((json_int_t)f->jobs[i]));
    return jobs;
}

static void print_json(const facts *f)
{
    json_t *const root = cli_must(kd_message_json(&f->stack->base));
    (void)json_object_set_new(root, "gateway", json_string(f->gateway));
    (void)json_object_set_new(root, "http", f->is_local ? json_string(f->local.http) : json_null());
    (void)json_object_set_new(root, "data", f->is_local ? json_string(f->data) : json_null());
    (void)json_object_set_new(root, "models", count_json(f->knows_models, f->models));
    (void)json_object_set_new(
        root, "collections", count_json(f->knows_collections, f->collections));
    (void)json_object_set_new(root, "jobs", jobs_json(f));
    cli_print_json(root);
}

static const char *count_text(bool known, uint64_t n, char text[CLI_TEXT])
{
    return known ? cli_count(n, text) : "unknown";
}

static void print_table(const facts *f)
{
    static const char *const heads[] = {"SERVICE", "ADDRESS", "STATE"};
    char text[CLI_TEXT], jobs[160] = "unknown";
    cli_table *const fields = cli_table_new(NULL, 2);
    cli_table_field(fields, "gateway", f->gateway);
    cli_table_field(fields, "http", f->is_local ? f->local.http : NULL);
    cli_table_field(fields, "data", f->is_local ? f->data : NULL);
    cli_table_field(fields, "version", f->stack->version);
    cli_table_field(fields, "models", count_text(f->knows_models, f->models, text));
    cli_table_field(fields, "collections", count_text(f->knows_collections, f->collections, text));
    if (f->knows_jobs)
        (void)snprintf(jobs, sizeof jobs,
            "%llu queued, %llu running, %llu done, %llu failed, %llu cancelled",
            (unsigned long long)f->jobs[1], (unsigned long long)f->jobs[2],
            (unsigned long long)f->jobs[3], (unsigned long long)f->jobs[4],
            (unsigned long long)f->jobs[5]);
    cli_table_field(fields, "jobs", jobs);
    cli_table_print(fields);
    putchar('\n');
    cli_table *const services = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < f->stack->n_services; i++) {
        const Kindred__V1__ServiceStatus *const one = f->stack->services[i];
        cli_table_row(services,
            (const char *[]){one->name, one->address, one->serving ? "serving" : one->detail});
    }
    cli_table_print(services);
}

int cmd_status(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    kd_error err = KD_ERROR_INIT;
    facts f = {0};
    int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Shows each service of the stack and what it holds; exit status 3 when none is reached.",
        NULL, NULL, NULL, 0, 0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;

    const kd_status status = gather(&common, &f, &err);
    if (status != KD_OK)
        exit_status = cli_error(&common, "status", &err);
    else
        exit_status = EXIT_DONE;
    if (status == KD_OK && common.json)
        print_json(&f);
    else if (status == KD_OK)
        print_table(&f);
    kd_message_free(f.stack);
    free(f.data);
    return exit_status;
}
