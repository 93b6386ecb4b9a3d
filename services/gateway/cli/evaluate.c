/* kindred evaluate: queues the measuring of models and fetches the report. */
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"

#define MOST 256u /* the server takes fewer, and says so */

enum { OPTION_MODEL = 1, OPTION_PROTOCOL, OPTION_SHOW };

typedef struct words {
    const char *option;
    char *at[MOST]; /* borrowed from argv */
    size_t n;
} words;

typedef struct evaluation {
    const char *command;
    words models, protocols, show;
    const char *gallery, *collection, *out;
    int detach, vote_k, check;
    const char *vote_weighting;
} evaluation;

static bool on_option(void *arg, int val, const char *value)
{
    evaluation *const r = arg;
    words *const list = val == OPTION_MODEL      ? &r->models
                        : val == OPTION_PROTOCOL ? &r->protocols
                                                 : &r->show;
    if (list->n == MOST) {
        (void)cli_usage(r->command, "%s is given more than %u times", list->option, MOST);
        return false;
    }
    list->at[list->n++] = (char *)(uintptr_t)value;
    return true;
}

int cli_fetch_report(
    const cli_common *common, const char *command, const char *job_id, const char *dir)
{
    static const char *const files[] = {"report.json", "report.html"};
    Kindred__V1__GetReportRequest request = KINDRED__V1__GET_REPORT_REQUEST__INIT;
    kd_channel *channel = NULL;
    kd_error err = KD_ERROR_INIT;
    uint64_t bytes = 0;
    char text[CLI_TEXT];
    size_t n = 0;
    request.job_id = (char *)(uintptr_t)job_id;
    kd_status status = kd_make_dirs(dir, &err);
    if (status == KD_OK)
        status = cli_connect(common, &channel, &err);
    for (size_t i = 0; i < 2 && status == KD_OK; i++) {
        char *const path = cli_must(kd_format("%s/%s", dir, files[i]));
        request.file = (char *)(uintptr_t)files[i];
        status = cli_fetch(channel, CLI_GATEWAY, "GetReport", &request.base, path, &bytes, &err);
        if (status == KD_OK && !common->json)
            printf("wrote %s\n", path);
        free(path);
    }
    if (status == KD_OK)
        status = cli_fetch_strips(channel, job_id, dir, &n, &err);
    if (status == KD_OK && n > 0 && !common->json)
        printf("wrote %s/rows (%s)\n", dir, cli_some(n, "strip", "strips", text));
    cli_disconnect(channel);
    return status == KD_OK ? EXIT_DONE : cli_error(common, command, &err);
}

static int submit(evaluation *r, const cli_common *common, const char *dataset)
{
    Kindred__V1__EvaluateSpec evaluate = KINDRED__V1__EVALUATE_SPEC__INIT;
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    Kindred__V1__Job *job = NULL;
    char *const path = cli_absolute(dataset);
    char *const gallery = r->gallery ? cli_absolute(r->gallery) : NULL;
    evaluate.dataset = path;
    evaluate.models = r->models.at;
    evaluate.n_models = r->models.n;
    evaluate.protocols = r->protocols.at;
    evaluate.n_protocols = r->protocols.n;
    evaluate.show = r->show.at;
    evaluate.n_show = r->show.n;
    if (r->collection)
        evaluate.collection = (char *)(uintptr_t)r->collection;
    if (gallery)
        evaluate.gallery = gallery;
    evaluate.vote_k = (uint32_t)r->vote_k;
    if (r->vote_weighting)
        evaluate.vote_weighting = (char *)(uintptr_t)r->vote_weighting;
    evaluate.check = r->check != 0;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_EVALUATE;
    spec.evaluate = &evaluate;
    /* With --json one document is printed: the job once its report is there, or what was wrong. */
    const bool after = r->out && common->json;
    int exit_status = cli_run_job(common, r->command, &spec, r->detach != 0,
        after ? CLI_WATCH_QUIET : CLI_WATCH_SUBMITTED, &job);
    if (job && r->out)
        exit_status = cli_fetch_report(common, r->command, job->id, r->out);
    if (job && after && exit_status == EXIT_DONE)
        cli_print_message(&job->base);
    cli_free_job(job);
    free(gallery);
    free(path);
    return exit_status;
}

int cmd_evaluate(int argc, const char **argv)
{
    evaluation r = {.command = argv[0],
        .models = {.option = "--model"},
        .protocols = {.option = "--protocol"},
        .show = {.option = "--show"}};
    const char **args = NULL;
    cli_common common;
    const struct poptOption options[] = {
        {"model", 0, POPT_ARG_STRING, NULL, OPTION_MODEL,
            "a model to measure, by id or name (repeatable)", "ID"},
        {"protocol", 0, POPT_ARG_STRING, NULL, OPTION_PROTOCOL,
            "closed-set (gallery train, queries test), sop (each test image queries all others) or "
            "val (queries are the training images that the models held back); closed-set when "
            "every "
            "test class is in train, unless given (repeatable: the first is shown with pictures)",
            "P"},
        {"gallery", 0, POPT_ARG_STRING, &r.gallery, 0, "a listing file in place of the gallery",
            "FILE"},
        {"collection", 0, POPT_ARG_STRING, &r.collection, 0,
            "measure this collection: its vectors are the gallery, and the nearest those that "
            "searching it finds; its model is the one",
            "NAME"},
        {"vote-k", 0, POPT_ARG_INT, &r.vote_k, 0,
            "how many of the nearest vote on a query's label (5)", "N"},
        {"vote-weighting", 0, POPT_ARG_STRING, &r.vote_weighting, 0,
            "what a vote weighs: equal or score (equal)", "KIND"},
        {"check", 0, POPT_ARG_NONE, &r.check, 0,
            "check the dataset too: the report lists what is wrong with it", NULL},
        {"show", 0, POPT_ARG_STRING, NULL, OPTION_SHOW,
            "picture rows of this class or super-class, by name or id (repeatable); one of each "
            "super-class unless given",
            "NAME"},
        {"out", 0, POPT_ARG_STRING, &r.out, 0,
            "write report.json, report.html and the picture rows (rows/*.png) here", "DIR"},
        {"detach", 0, POPT_ARG_NONE, &r.detach, 0, "print the job's id and leave", NULL},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "DIR {--model ID... | --collection NAME} [OPTION...]",
        "Measures how well models find the products of a dataset, side by side. Ctrl-C leaves; the "
        "job goes on.\nExample: kindred evaluate photos/ --model plain --model better --out "
        "report\n"
        "         kindred evaluate photos/ --collection shop",
        options, on_option, &r, 1, 1, &common, &args);
    if (exit_status == -1 && r.models.n == 0 && !r.collection)
        exit_status = cli_usage(argv[0], "--model ID or --collection NAME is missing");
    if (exit_status == -1 && r.vote_k < 0)
        exit_status = cli_usage(argv[0], "--vote-k is %d, allowed are 1 to 100", r.vote_k);
    if (exit_status == -1 && r.detach && r.out)
        exit_status = cli_usage(argv[0], "--out waits for the report: it doesn't go with --detach");
    if (exit_status == -1)
        exit_status = submit(&r, &common, args[0]);
    free(args);
    return exit_status;
}
