/* kindred dataset: whether a dataset is fit to train on and to measure with. Needs no stack. */
#include <stdlib.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/dataset.h"
#include "services/gateway/cli/progress.h"

#define MAX_ASPECT 1000.0

typedef struct request {
    const char *command;
    const char *side_text, *aspect_text;
    int strict;
    kd_check_options options;
    cli_bar bar;
    int64_t started_ms;
} request;

static bool show_progress(void *arg, const char *phase, size_t done, size_t total)
{
    request *const r = arg;
    const double seconds = (double)(kd_mono_ms() - r->started_ms) / 1000;
    const bool images = done > 0 && total > 0 && seconds > 0 && phase[0] == 'd';
    cli_bar_show(&r->bar, &(cli_progress){.phase = phase,
                              .done = done,
                              .total = total,
                              .rate = images ? (double)done / seconds : 0});
    return !cli_interrupted();
}

static kd_status run_check(request *r, const kd_dataset *dataset, kd_check **check, kd_error *err)
{
    r->options.progress = show_progress;
    r->options.arg = r;
    r->started_ms = kd_mono_ms();
    cli_interrupt_catch();
    const kd_status status = kd_check_new(check, dataset, &r->options, err);
    cli_bar_clear(&r->bar);
    return status;
}

static int check_and_tell(request *r, const cli_common *common, const char *dir)
{
    kd_error err = KD_ERROR_INIT;
    kd_dataset *dataset = NULL;
    kd_check *check = NULL;
    char hash[KD_SHA256_TEXT];
    int exit_status = EXIT_FAILED;
    cli_bar_init(&r->bar, r->command, common->json != 0);
    kd_status status = kd_dataset_open(&dataset, dir, KD_SPLIT_ALL, &err);
    if (status == KD_OK)
        status = kd_dataset_hash(dataset, hash, &err);
    if (status == KD_OK)
        status = run_check(r, dataset, &check, &err);
    if (status == KD_OK) {
        const cli_findings findings = {.dataset = dataset,
            .check = check,
            .options = r->options,
            .hash = hash,
            .passed = kd_check_passed(check, r->strict != 0)};
        if (common->json)
            cli_findings_json(&findings);
        else
            cli_findings_table(&findings);
        exit_status = findings.passed ? EXIT_DONE : EXIT_FAILED;
    } else {
        /* A wrong line of a listing is the dataset's fault, not the usage's: EXIT_FAILED. */
        (void)cli_error(common, r->command, &err);
    }
    kd_check_free(check);
    kd_dataset_free(dataset);
    return exit_status;
}

static bool read_options(request *r)
{
    uint64_t side = r->options.min_side;
    if (r->side_text &&
        !cli_number(r->command, "--min-side", r->side_text, 1, KD_IMAGE_MAX_SIDE, &side))
        return false;
    r->options.min_side = (uint32_t)side;
    if (r->aspect_text && !kd_parse_double(r->aspect_text, 1, MAX_ASPECT, &r->options.max_aspect)) {
        (void)cli_usage(r->command, "--max-aspect is '%s', not a number in 1..%.0f", r->aspect_text,
            MAX_ASPECT);
        return false;
    }
    return true;
}

static int dataset_check(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    request r = {.command = argv[0], .options = KD_CHECK_OPTIONS_INIT};
    const struct poptOption options[] = {{"min-side", 0, POPT_ARG_STRING, &r.side_text, 0,
                                             "name pictures with a side of fewer pixels (64)", "N"},
        {"max-aspect", 0, POPT_ARG_STRING, &r.aspect_text, 0,
            "name pictures more than so many times as long as wide, or as wide as long (4)", "N"},
        {"strict", 0, POPT_ARG_NONE, &r.strict, 0,
            "fail on near-duplicates across the splits or in different classes too", NULL},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "DIR [OPTION...]",
        "Reads and decodes every image of a dataset, and names what would spoil a training or a "
        "measurement: missing and broken files, images that are there twice (across the splits: a "
        "leak; in different classes: a label conflict) or look the same, classes with one image, "
        "odd sizes.\n"
        "Exit status 1 when a file is missing or broken, or the same file leaks or conflicts; the "
        "rest is for people to judge.\n"
        "--json has whole counts beside lists of at most 1000 findings of a kind, and at most 100 "
        "images of a group.\n"
        "Example: kindred dataset check photos/",
        options, NULL, NULL, 1, 1, &common, &args);
    if (exit_status == -1)
        exit_status = read_options(&r) ? check_and_tell(&r, &common, args[0]) : EXIT_USAGE;
    free(args);
    return exit_status;
}

int cmd_dataset(int argc, const char **argv)
{
    static const cli_command commands[] = {
        {"check", dataset_check, "count it, read every image, find duplicates and leaks"},
    };
    return cli_dispatch(argc, argv, "dataset", "Datasets on this machine; no stack is needed.",
        commands, sizeof commands / sizeof commands[0]);
}
