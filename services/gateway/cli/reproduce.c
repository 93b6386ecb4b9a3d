/* kindred reproduce: trains, indexes and measures the systems of the program that kindred began
 * from. Models and collections have names that follow from the data, the weights and the settings,
 * so that the same command finds what an earlier one made, and joins or goes on with what it began.
 * The report is made anew: minutes, by what measures now. */
#include "services/gateway/cli/reproduce.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/base/hash.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/progress.h"
#include "services/gateway/cli/reproduce_jobs.h"

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

/* "reproduce-triplet-1a2b3c4d": of the system and all that it depends on. */
static void name_part(const reproduction *r, size_t system, const kd_buf *settings, char *name)
{
    kd_buf all = KD_BUF_INIT;
    kd_buf_printf(&all, "%s %s ", r->data_hash, r->parts[0].model_id);
    kd_buf_append(&all, settings->data, settings->len);
    (void)cli_must(kd_buf_ok(&all) ? all.data : NULL);
    (void)snprintf(name, REPRODUCE_NAME, "reproduce-%s-%08x", reproduce_system(system),
        (unsigned)(kd_xxh3(all.data, all.len) & UINT32_MAX));
    kd_buf_free(&all);
}

/* ---- The steps ---- */

/* Before anything is made: what can't be measured in the end need not begin. */
static kd_status look_at_dataset(reproduction *r, kd_error *err)
{
    Kindred__V1__GetDatasetRequest request = KINDRED__V1__GET_DATASET_REQUEST__INIT;
    Kindred__V1__GetDatasetResponse *response = NULL;
    request.dataset = r->dataset;
    kd_status status =
        cli_ask(r->common, CLI_GATEWAY, "GetDataset", &request.base, CLI_CALL_MS, &response, err);
    if (status == KD_OK && (!response->train || !response->test))
        status = kd_error_set(err, KD_NOT_FOUND, "%s has no %s images", r->dataset,
            response->train ? "test" : "training");
    else if (status == KD_OK)
        r->data_hash = cli_must(strdup(response->train->data_hash));
    kd_message_free(response);
    return status;
}

static kd_status import_plain(reproduction *r, kd_error *err)
{
    Kindred__V1__ImportModelRequest request = KINDRED__V1__IMPORT_MODEL_REQUEST__INIT;
    Kindred__V1__ImportModelResponse *response = NULL;
    static const kd_buf none = KD_BUF_INIT;
    char *const path = r->weights ? cli_absolute(r->weights) : NULL;
    request.image_size = image_size(r);
    request.random = path == NULL;
    request.seed = path ? 0 : r->seed;
    if (path)
        request.path = path;
    kd_status status =
        cli_ask(r->common, CLI_TRAINER, "ImportModel", &request.base, IMPORT_MS, &response, err);
    if (status == KD_OK && !response->model)
        status = kd_error_set(err, KD_INTERNAL, "the trainer answered without a model");
    else if (status == KD_OK) {
        r->parts[0].model_id = cli_must(strdup(response->model->id));
        name_part(r, 0, &none, r->parts[0].name);
        say(r, reproduce_system(0),
            path ? "has its weights" : "has random weights: --weights FILE gives it others");
    }
    kd_message_free(response);
    free(path);
    return status;
}

static int train(reproduction *r, size_t system)
{
    reproduce_part *const part = &r->parts[system];
    Kindred__V1__TrainSpec training = reproduce_training(r->preset, system);
    kd_buf settings = KD_BUF_INIT;
    char text[CLI_TEXT];
    training.seed = r->seed;
    training.image_size = image_size(r);
    if (r->epochs > 0)
        training.epochs = (uint32_t)r->epochs;
    const size_t len = kindred__v1__train_spec__get_packed_size(&training);
    uint8_t *const at = cli_must(kd_buf_reserve(&settings, len));
    settings.len = kindred__v1__train_spec__pack(&training, at);
    name_part(r, system, &settings, part->name);
    kd_buf_free(&settings);
    training.dataset = r->dataset;
    training.model = r->parts[0].model_id;
    training.name = part->name;
    const int exit_status = reproduce_train(r, part, &training);
    if (exit_status != EXIT_DONE)
        return exit_status;
    if (!part->train) {
        say(r, reproduce_system(system), "is trained");
    } else {
        char *const told = cli_must(kd_format("trained in %s",
            cli_duration(part->train->finished_unix_ms - part->train->started_unix_ms, text)));
        say(r, reproduce_system(system), told);
        free(told);
    }
    return EXIT_DONE;
}

static int build_index(const reproduction *r, size_t system)
{
    const int exit_status = reproduce_index(r, &r->parts[system]);
    if (exit_status == EXIT_DONE) {
        char *const told = cli_must(kd_format("indexed as %s", r->parts[system].name));
        say(r, reproduce_system(system), told);
        free(told);
    }
    return exit_status;
}

static int evaluate(reproduction *r)
{
    Kindred__V1__EvaluateSpec evaluation = KINDRED__V1__EVALUATE_SPEC__INIT;
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
    evaluation.n_protocols = r->nothing_held ? 1 : 2;
    if (r->nothing_held && !r->common->json)
        puts("no class or super-class has four images to hold one of back: val is left out");
    return reproduce_evaluate(r, &evaluation);
}

static int finish(const reproduction *r)
{
    int exit_status = r->out ? reproduce_write(r) : EXIT_DONE;
    if (exit_status == EXIT_DONE)
        reproduce_print(r);
    return exit_status;
}

static int run(reproduction *r)
{
    const size_t n = r->preset->n_systems;
    kd_error err = KD_ERROR_INIT;
    int exit_status = EXIT_DONE;
    cli_interrupt_catch();
    kd_status status = r->out ? kd_make_dirs(r->out, &err) : KD_OK;
    if (status == KD_OK)
        status = look_at_dataset(r, &err);
    if (status == KD_OK)
        status = import_plain(r, &err);
    if (status != KD_OK)
        return cli_error(r->common, r->command, &err);
    for (size_t i = 1; exit_status == EXIT_DONE && i < n; i++)
        exit_status = cli_interrupted() ? EXIT_FAILED : train(r, i);
    for (size_t i = 0; exit_status == EXIT_DONE && i < n; i++)
        exit_status = cli_interrupted() ? EXIT_FAILED : build_index(r, i);
    if (exit_status == EXIT_DONE)
        exit_status = cli_interrupted() ? EXIT_FAILED : evaluate(r);
    if (exit_status == EXIT_DONE)
        exit_status = finish(r);
    if (exit_status != EXIT_DONE && cli_interrupted())
        (void)fprintf(
            stderr, "kindred %s: the same command goes on where this one stopped\n", r->command);
    return exit_status;
}

int cmd_reproduce(int argc, const char **argv)
{
    const char *preset = "quick", *seed = NULL, *size = NULL, *epochs = NULL, **args = NULL;
    reproduction r = {.command = argv[0]};
    cli_common common;
    const struct poptOption options[] = {
        {"preset", 0, POPT_ARG_STRING, &preset, 0,
            "quick (128 x 128, six epochs), original (its schedule and losses) or best (our "
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
        "with a fifth of the training images held back, indexes the training set by each and by "
        "the plain network, and measures them all on the test images and on those held back. What "
        "is interrupted goes on where it stopped when the command is given again.\n"
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
    free(r.data_hash);
    free(r.dataset);
    free(args);
    return exit_status;
}
