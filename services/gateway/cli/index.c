/* kindred index: queues the embedding of a dataset into a collection. */
#include <stdlib.h>

#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"

int cmd_index(int argc, const char **argv)
{
    const char *model = NULL, *collection = NULL, *split = NULL, **args = NULL;
    int detach = 0;
    cli_common common;
    const struct poptOption options[] = {
        {"model", 0, POPT_ARG_STRING, &model, 0, "the model that embeds, by id or name", "ID"},
        {"collection", 0, POPT_ARG_STRING, &collection, 0, "made when it isn't there", "NAME"},
        {"split", 0, POPT_ARG_STRING, &split, 0, "train, test or all (train)", "SPLIT"},
        {"detach", 0, POPT_ARG_NONE, &detach, 0, "print the job's id and leave", NULL},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "DIR --model ID --collection NAME [OPTION...]",
        "Embeds a dataset's images into a collection. Ctrl-C leaves; the job goes on.\n"
        "Example: kindred index photos/ --model plain --collection shop --split all",
        options, NULL, NULL, 1, 1, &common, &args);
    if (exit_status == -1 && (!model || !collection))
        exit_status =
            cli_usage(argv[0], "%s is missing", model ? "--collection NAME" : "--model ID");
    if (exit_status == -1) {
        Kindred__V1__IndexSpec index = KINDRED__V1__INDEX_SPEC__INIT;
        Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
        Kindred__V1__Job *job = NULL;
        index.dataset = cli_absolute(args[0]);
        index.model = (char *)(uintptr_t)model;
        index.collection = (char *)(uintptr_t)collection;
        if (split)
            index.split = (char *)(uintptr_t)split;
        spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_INDEX;
        spec.index = &index;
        exit_status = cli_run_job(&common, argv[0], &spec, detach != 0, CLI_WATCH_SUBMITTED, &job);
        cli_free_job(job);
        free(index.dataset);
    }
    free(args);
    return exit_status;
}
