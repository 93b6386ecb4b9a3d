/* kindred reproduce: trains, indexes and measures the systems of the program that kindred began
 * from. Each step is a job or a model of a name that follows from what was asked for, so that the
 * same command goes on where an earlier one stopped. */
#include "services/gateway/cli/reproduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"
#include "lib/base/buf.h"
#include "lib/base/hash.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/progress.h"

#define TRAINER (&kindred__v1__trainer_service__descriptor)
#define INDEXER (&kindred__v1__indexer_service__descriptor)
#define IMPORT_MS 600000

static uint32_t image_size(const reproduction *r)
{
    return r->image_size > 0 ? (uint32_t)r->image_size : r->preset->image_size;
}

static void say(const reproduction *r, const char *system, const char *what)
{
    if (!r->common->json) {
        printf("%-13s  %s\n", system, what);
        (void)fflush(stdout);
    }
}

/* "quick-triplet-1a2b3c4d": of the preset, the system and all that it depends on. */
static void name_part(
    const reproduction *r, size_t system, const void *content, size_t len, char *name)
{
    (void)snprintf(name, REPRODUCE_NAME, "%s-%s-%08x", r->preset->name, reproduce_system(system),
        (unsigned)(kd_xxh3(content, len) & UINT32_MAX));
}

/* ---- Jobs that may be there already ---- */

/* Is this the job that would do the work of the other specification? */
static bool same_work(const Kindred__V1__JobSpec *a, const Kindred__V1__JobSpec *b)
{
    if (!a || a->spec_case != b->spec_case)
        return false;
    if (a->spec_case == KINDRED__V1__JOB_SPEC__SPEC_TRAIN)
        return strcmp(a->train->name, b->train->name) == 0;
    if (a->spec_case == KINDRED__V1__JOB_SPEC__SPEC_INDEX)
        return strcmp(a->index->collection, b->index->collection) == 0;
    bool same = a->evaluate->n_models == b->evaluate->n_models &&
                a->evaluate->n_protocols == b->evaluate->n_protocols;
    for (size_t i = 0; same && i < a->evaluate->n_models; i++)
        same = strcmp(a->evaluate->models[i], b->evaluate->models[i]) == 0;
    for (size_t i = 0; same && i < a->evaluate->n_protocols; i++)
        same = strcmp(a->evaluate->protocols[i], b->evaluate->protocols[i]) == 0;
    return same;
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

static kd_status retry(const reproduction *r, const char *id, kd_error *err)
{
    Kindred__V1__RetryJobRequest request = KINDRED__V1__RETRY_JOB_REQUEST__INIT;
    Kindred__V1__RetryJobResponse *response = NULL;
    request.job_id = (char *)(uintptr_t)id;
    const kd_status status =
        cli_ask(r->common, CLI_GATEWAY, "RetryJob", &request.base, CLI_CALL_MS, &response, err);
    kd_message_free(response);
    return status;
}

/* Is what the job brought still there? A removed model is trained again. */
static kd_status still_there(
    const reproduction *r, const Kindred__V1__JobSpec *spec, bool *there, kd_error *err)
{
    Kindred__V1__GetModelRequest model = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetCollectionRequest collection = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    kd_status status;
    *there = false;
    if (spec->spec_case == KINDRED__V1__JOB_SPEC__SPEC_TRAIN) {
        model.model = spec->train->name;
        status = cli_ask(r->common, TRAINER, "GetModel", &model.base, CLI_CALL_MS, &response, err);
    } else if (spec->spec_case == KINDRED__V1__JOB_SPEC__SPEC_INDEX) {
        collection.name = spec->index->collection;
        status = cli_ask(
            r->common, INDEXER, "GetCollection", &collection.base, CLI_CALL_MS, &response, err);
    } else {
        return KD_OK; /* a report is made anew: minutes, and by what measures now */
    }
    *there = status == KD_OK;
    kd_message_free(response);
    return status == KD_NOT_FOUND ? KD_OK : status;
}

/* Has the work done: takes over what an earlier command began. *job is the job that did it, owned.
 * Returns the exit status. */
static int ensure(
    const reproduction *r, const char *kind, Kindred__V1__JobSpec *spec, Kindred__V1__Job **job)
{
    search s = {.spec = spec};
    kd_error err = KD_ERROR_INIT;
    bool anew = true;
    kd_status status = find_job(r, kind, &s, &err);
    if (status == KD_OK && s.id) {
        anew = false;
        if (s.state == KINDRED__V1__JOB_STATE__JOB_STATE_DONE) {
            bool there = false;
            status = still_there(r, spec, &there, &err);
            anew = !there;
        } else if (s.state != KINDRED__V1__JOB_STATE__JOB_STATE_QUEUED &&
                   s.state != KINDRED__V1__JOB_STATE__JOB_STATE_RUNNING) {
            status = retry(r, s.id, &err);
        }
    }
    int exit_status;
    if (status != KD_OK)
        exit_status = cli_error(r->common, r->command, &err);
    else if (anew)
        exit_status = cli_run_job(r->common, r->command, spec, CLI_RUN_QUIET, job);
    else
        exit_status = cli_watch_job(r->common, r->command, s.id, CLI_RUN_QUIET, job);
    free(s.id);
    return exit_status;
}

/* ---- The steps ---- */

/* The weights may be published under another name already: that one is taken, then. */
static kd_status import(
    const reproduction *r, Kindred__V1__ImportModelRequest *request, char **id, kd_error *err)
{
    Kindred__V1__ImportModelResponse *response = NULL;
    kd_status status =
        cli_ask(r->common, TRAINER, "ImportModel", &request->base, IMPORT_MS, &response, err);
    if (status == KD_ALREADY_EXISTS) {
        request->name = (char *)protobuf_c_empty_string;
        status =
            cli_ask(r->common, TRAINER, "ImportModel", &request->base, IMPORT_MS, &response, err);
    }
    if (status == KD_OK && response->model)
        *id = cli_must(strdup(response->model->id));
    else if (status == KD_OK)
        status = kd_error_set(err, KD_INTERNAL, "the trainer answered without a model");
    kd_message_free(response);
    return status;
}

static int import_plain(reproduction *r)
{
    Kindred__V1__ImportModelRequest request = KINDRED__V1__IMPORT_MODEL_REQUEST__INIT;
    reproduce_part *const part = &r->parts[0];
    kd_error err = KD_ERROR_INIT;
    char *const path = r->weights ? cli_absolute(r->weights) : NULL;
    char *const content = cli_must(kd_format("%s\n%llu\n%u\n%s", path ? path : "",
        (unsigned long long)r->seed, image_size(r), r->dataset));
    name_part(r, 0, content, strlen(content), part->name);
    request.name = part->name;
    request.image_size = image_size(r);
    request.random = path == NULL;
    request.seed = path ? 0 : r->seed;
    if (path)
        request.path = path;
    const kd_status status = import(r, &request, &part->model_id, &err);
    free(content);
    free(path);
    if (status != KD_OK)
        return cli_error(r->common, r->command, &err);
    say(r, reproduce_system(0),
        r->weights ? "has its weights" : "has random weights: --weights FILE gives it others");
    return EXIT_DONE;
}

static int train(reproduction *r, size_t system)
{
    reproduce_part *const part = &r->parts[system];
    Kindred__V1__TrainSpec training = reproduce_training(r->preset, system);
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    kd_buf packed = KD_BUF_INIT;
    training.dataset = r->dataset;
    training.model = r->parts[0].model_id;
    training.seed = r->seed;
    training.image_size = image_size(r);
    if (r->epochs > 0)
        training.epochs = (uint32_t)r->epochs;
    const size_t len = kindred__v1__train_spec__get_packed_size(&training);
    uint8_t *const at = cli_must(kd_buf_reserve(&packed, len));
    packed.len = kindred__v1__train_spec__pack(&training, at);
    name_part(r, system, packed.data, packed.len, part->name);
    kd_buf_free(&packed);
    training.name = part->name;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_TRAIN;
    spec.train = &training;
    const int exit_status = ensure(r, "train", &spec, &part->train);
    if (exit_status != EXIT_DONE)
        return exit_status;
    const Kindred__V1__JobResult *const result = part->train->result;
    if (!result || !*result->model_id) {
        kd_error err = KD_ERROR_INIT;
        (void)kd_error_set(&err, KD_INTERNAL, "job %s brought no model", part->train->id);
        return cli_error(r->common, r->command, &err);
    }
    part->model_id = cli_must(strdup(result->model_id));
    char text[CLI_TEXT];
    char *const told = cli_must(kd_format("trained in %s",
        cli_duration(part->train->finished_unix_ms - part->train->started_unix_ms, text)));
    say(r, reproduce_system(system), told);
    free(told);
    return EXIT_DONE;
}

static int build_index(const reproduction *r, size_t system)
{
    const reproduce_part *const part = &r->parts[system];
    Kindred__V1__IndexSpec index = KINDRED__V1__INDEX_SPEC__INIT;
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    Kindred__V1__Job *job = NULL;
    index.dataset = r->dataset;
    index.model = part->model_id;
    index.collection = (char *)(uintptr_t)part->name;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_INDEX;
    spec.index = &index;
    const int exit_status = ensure(r, "index", &spec, &job);
    if (exit_status == EXIT_DONE) {
        char *const told = cli_must(kd_format("indexed as %s", part->name));
        say(r, reproduce_system(system), told);
        free(told);
    }
    cli_free_job(job);
    return exit_status;
}

static int evaluate(reproduction *r)
{
    Kindred__V1__EvaluateSpec evaluation = KINDRED__V1__EVALUATE_SPEC__INIT;
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    char *models[REPRODUCE_SYSTEMS], *labels[REPRODUCE_SYSTEMS];
    char *protocols[] = {(char *)(uintptr_t)"", (char *)(uintptr_t)"val"};
    for (size_t i = 0; i < r->preset->n_systems; i++) {
        models[i] = r->parts[i].model_id;
        labels[i] = (char *)(uintptr_t)reproduce_system(i);
    }
    evaluation.dataset = r->dataset;
    evaluation.models = models;
    evaluation.n_models = r->preset->n_systems;
    evaluation.labels = labels;
    evaluation.n_labels = r->preset->n_systems;
    evaluation.protocols = protocols;
    evaluation.n_protocols = 2;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_EVALUATE;
    spec.evaluate = &evaluation;
    return ensure(r, "evaluate", &spec, &r->evaluation);
}

static int run(reproduction *r)
{
    const size_t n = r->preset->n_systems;
    int exit_status = import_plain(r);
    for (size_t i = 1; exit_status == EXIT_DONE && i < n; i++)
        exit_status = train(r, i);
    for (size_t i = 0; exit_status == EXIT_DONE && i < n; i++)
        exit_status = build_index(r, i);
    if (exit_status == EXIT_DONE)
        exit_status = evaluate(r);
    if (exit_status == EXIT_DONE)
        reproduce_print(r);
    else if (exit_status != EXIT_USAGE)
        (void)fprintf(
            stderr, "kindred %s: the same command goes on where this one stopped\n", r->command);
    if (exit_status == EXIT_DONE && r->out)
        exit_status = reproduce_write(r);
    return exit_status;
}

int cmd_reproduce(int argc, const char **argv)
{
    const char *preset = "quick", *seed = NULL, *size = NULL, *epochs = NULL, **args = NULL;
    reproduction r = {.command = argv[0]};
    cli_common common;
    const struct poptOption options[] = {
        {"preset", 0, POPT_ARG_STRING, &preset, 0,
            "quick (128 × 128, six epochs), original (its schedule and losses) or best (our "
            "recipes) (quick)",
            "NAME"},
        {"weights", 0, POPT_ARG_STRING, &r.weights, 0,
            "the ResNet18 to begin with, .safetensors or .pth, on the server's side; random unless "
            "given",
            "FILE"},
        {"epochs", 0, POPT_ARG_STRING, &epochs, 0, "of each training (the preset's)", "N"},
        {"image-size", 0, POPT_ARG_STRING, &size, 0,
            "side of the model input, pixels (the preset's)", "N"},
        {"seed", 0, POPT_ARG_STRING, &seed, 0, "of the cut and the trainings (0)", "N"},
        {"out", 0, POPT_ARG_STRING, &r.out, 0,
            "write the table, the report and the learning curves here", "DIR"},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "DIR [OPTION...]",
        "Trains ResNet18 by cross-entropy (on super-classes), ArcFace, contrastive and triplet "
        "loss "
        "with a\nfifth of the training images held back, indexes the training set by each and by "
        "the plain network,\nand measures all five on the test images and on those held back. What "
        "is interrupted goes on\nwhere it stopped when the command is given again.\n"
        "Example: kindred reproduce photos/ --weights resnet18.safetensors --out reproduced",
        options, NULL, NULL, 1, 1, &common, &args);
    r.preset = reproduce_preset_find(preset);
    if (exit_status == -1 && !r.preset)
        exit_status = cli_usage(argv[0], "--preset is '%s', not quick, original or best", preset);
    if (exit_status == -1 &&
        ((seed && !cli_number(argv[0], "--seed", seed, 0, INT64_MAX, &r.seed)) ||
            (size && !cli_number(argv[0], "--image-size", size, 32, 512, &r.image_size)) ||
            (epochs && !cli_number(argv[0], "--epochs", epochs, 1, 1000, &r.epochs))))
        exit_status = EXIT_USAGE;
    if (exit_status == -1 && r.preset) {
        r.common = &common;
        r.dataset = cli_absolute(args[0]);
        exit_status = run(&r);
    }
    for (size_t i = 0; i < REPRODUCE_SYSTEMS; i++) {
        free(r.parts[i].model_id);
        cli_free_job(r.parts[i].train);
    }
    cli_free_job(r.evaluation);
    free(r.dataset);
    free(args);
    return exit_status;
}
