/* kindred model: the published models. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"
#include "services/gateway/cli/progress.h"

#define IMPORT_MS 600000 /* a large file from a slow disk, hashed and checked */

/* ---- import, init ---- */

static int publish(
    const cli_common *common, const char *command, Kindred__V1__ImportModelRequest *request)
{
    Kindred__V1__ImportModelResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    const kd_status status =
        cli_ask(common, CLI_TRAINER, "ImportModel", &request->base, IMPORT_MS, &response, &err);
    int exit_status = EXIT_DONE;
    if (status == KD_OK && !response->model)
        (void)kd_error_set(&err, KD_INTERNAL, "the trainer answered without a model");
    if (status != KD_OK || !response->model) {
        exit_status = cli_error(common, command, &err);
    } else if (common->json) {
        json_t *const model = cli_must(kd_message_json(&response->model->base));
        (void)json_object_set_new(model, "existed", json_boolean(response->existed));
        cli_print_json(model);
    } else {
        printf("model %s (%s)%s\n", response->model->id, response->model->name,
            response->existed ? " was there already" : "");
    }
    kd_message_free(response);
    return exit_status;
}

static bool image_size(const char *command, const char *text, uint32_t *out)
{
    uint64_t size = 0;
    if (text && !cli_number(command, "--image-size", text, 1, UINT32_MAX, &size))
        return false;
    *out = (uint32_t)size;
    return true;
}

static int model_import(int argc, const char **argv)
{
    const char *name = NULL, *size = NULL, **args = NULL;
    cli_common common;
    const struct poptOption options[] = {
        {"name", 0, POPT_ARG_STRING, &name, 0, "the model's name; its id unless given", "NAME"},
        {"image-size", 0, POPT_ARG_STRING, &size, 0, "side of the model input, pixels (224)", "N"},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "FILE [OPTION...]",
        "Makes a model from a weights file: .safetensors, or PyTorch's .pth. The file is read on "
        "the server's side and must lie under its dataset folders.\n"
        "Example: kindred model import resnet18.pth --name plain",
        options, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;

    Kindred__V1__ImportModelRequest request = KINDRED__V1__IMPORT_MODEL_REQUEST__INIT;
    char *const path = cli_absolute(args[0]);
    exit_status = EXIT_USAGE;
    request.path = path;
    if (name)
        request.name = (char *)(uintptr_t)name;
    if (image_size(argv[0], size, &request.image_size))
        exit_status = publish(&common, argv[0], &request);
    free(path);
    free(args);
    return exit_status;
}

static int model_init(int argc, const char **argv)
{
    const char *name = NULL, *size = NULL, *seed = NULL, **args = NULL;
    cli_common common;
    const struct poptOption options[] = {
        {"name", 0, POPT_ARG_STRING, &name, 0, "the model's name; its id unless given", "NAME"},
        {"seed", 0, POPT_ARG_STRING, &seed, 0, "seed of the weights (0)", "N"},
        {"image-size", 0, POPT_ARG_STRING, &size, 0, "side of the model input, pixels (224)", "N"},
        POPT_TABLEEND};
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Makes a fresh model with random weights.\nExample: kindred model init --name fresh --seed "
        "1",
        options, NULL, NULL, 0, 0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;

    Kindred__V1__ImportModelRequest request = KINDRED__V1__IMPORT_MODEL_REQUEST__INIT;
    request.random = true;
    if (name)
        request.name = (char *)(uintptr_t)name;
    if ((seed && !cli_number(argv[0], "--seed", seed, 0, UINT64_MAX, &request.seed)) ||
        !image_size(argv[0], size, &request.image_size))
        return EXIT_USAGE;
    return publish(&common, argv[0], &request);
}

/* ---- list, show, rm ---- */

static void model_row(cli_table *table, const ProtobufCMessage *item)
{
    const Kindred__V1__Model *const model = (const Kindred__V1__Model *)item;
    char dim[CLI_TEXT], size[CLI_TEXT], bytes[CLI_TEXT], created[CLI_TEXT];
    cli_table_row(table, (const char *const[]){model->id, model->name, model->architecture,
                             cli_count(model->dim, dim), cli_count(model->image_size, size),
                             model->parent, model->source, cli_bytes(model->bytes, bytes),
                             cli_when(model->created_unix_ms, created)});
}

static int model_list(int argc, const char **argv)
{
    static const char *const heads[] = {
        "ID", "NAME", "ARCHITECTURE", "DIM", "IMAGE", "PARENT", "SOURCE", "SIZE", "CREATED"};
    cli_common common;
    const char **args = NULL;
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Lists the models, newest first.\nExample: kindred model list --json", NULL, NULL, NULL, 0,
        0, &common, &args);
    free(args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__ListModelsRequest request = KINDRED__V1__LIST_MODELS_REQUEST__INIT;
    const cli_list list = {.pages = {.service = CLI_TRAINER,
                               .method = "ListModels",
                               .field = "models",
                               .timeout_ms = CLI_CALL_MS},
        .empty = "no models",
        .heads = heads,
        .n_heads = sizeof heads / sizeof heads[0],
        .row = model_row};
    return cli_print_list(&common, argv[0], &list, &request.base);
}

static void print_model(const Kindred__V1__Model *model)
{
    char text[CLI_TEXT];
    cli_table *const table = cli_table_new(NULL, 2);
    cli_table_field(table, "id", model->id);
    cli_table_field(table, "name", model->name);
    cli_table_field(table, "architecture", model->architecture);
    cli_table_field(table, "dim", cli_count(model->dim, text));
    cli_table_field(table, "image size", cli_count(model->image_size, text));
    cli_table_field(table, "preprocessing", model->preprocessing_hash);
    cli_table_field(table, "parent", model->parent);
    cli_table_field(table, "source", model->source);
    cli_table_field(table, "data", model->data_hash);
    cli_table_field(table, "created", cli_when(model->created_unix_ms, text));
    cli_table_field(table, "size", cli_bytes(model->bytes, text));
    json_t *const training = json_loads(model->training_json, 0, NULL);
    (void)json_object_del(training, "validation_image_ids"); /* for programs: --json has them */
    char *const text_of = training ? json_dumps(training, JSON_COMPACT) : NULL;
    cli_table_field(table, "training", text_of);
    cli_table_print(table);
    free(text_of);
    json_decref(training);
}

static int model_show(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    int exit_status = cli_parse(argc, argv, "ID [OPTION...]",
        "Shows a model, by id or name.\nExample: kindred model show plain", NULL, NULL, NULL, 1, 1,
        &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__GetModelRequest request = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    request.model = (char *)(uintptr_t)args[0];
    exit_status = EXIT_DONE;
    if (cli_ask(&common, CLI_TRAINER, "GetModel", &request.base, CLI_CALL_MS, &response, &err) !=
        KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (response->model && common.json)
        cli_print_message(&response->model->base);
    else if (response->model)
        print_model(response->model);
    kd_message_free(response);
    free(args);
    return exit_status;
}

static int model_rm(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    int exit_status = cli_parse(argc, argv, "ID [OPTION...]",
        "Removes a model, by id or name; one whose vectors a collection holds stays.\n"
        "Example: kindred model rm old",
        NULL, NULL, NULL, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    Kindred__V1__DeleteModelRequest request = KINDRED__V1__DELETE_MODEL_REQUEST__INIT;
    Kindred__V1__DeleteModelResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    request.model = (char *)(uintptr_t)args[0];
    exit_status = EXIT_DONE;
    if (cli_ask(&common, CLI_TRAINER, "DeleteModel", &request.base, CLI_CALL_MS, &response, &err) !=
        KD_OK)
        exit_status = cli_error(&common, argv[0], &err);
    else if (response->model && common.json)
        cli_print_message(&response->model->base);
    else
        printf("model %s is removed\n", args[0]);
    kd_message_free(response);
    free(args);
    return exit_status;
}

/* ---- export ---- */

/* The form that a file's name asks for; NULL when it says nothing. */
static const char *format_of(const char *path)
{
    const char *const dot = strrchr(path, '.');
    if (dot && (strcmp(dot, ".pth") == 0 || strcmp(dot, ".pt") == 0))
        return "pth";
    return dot && strcmp(dot, ".safetensors") == 0 ? "safetensors" : NULL;
}

static int export_to(const cli_common *common, const char *command, const char *model,
    const char *path, const char *format)
{
    Kindred__V1__ExportModelRequest request = KINDRED__V1__EXPORT_MODEL_REQUEST__INIT;
    kd_channel *channel = NULL;
    kd_error err = KD_ERROR_INIT;
    uint64_t bytes = 0;
    char text[CLI_TEXT];
    request.model = (char *)(uintptr_t)model;
    request.format = (char *)(uintptr_t)format;
    cli_interrupt_catch();
    kd_status status = cli_connect(common, &channel, &err);
    if (status == KD_OK)
        status = cli_fetch(channel, CLI_TRAINER, "ExportModel", &request.base, path, &bytes, &err);
    cli_disconnect(channel);
    if (status != KD_OK)
        return cli_error(common, command, &err);
    if (common->json)
        cli_print_json(json_pack("{s: o, s: o, s: o, s: I}", "model", cli_json_text(model), "file",
            cli_json_text(path), "format", cli_json_text(format), "bytes", (json_int_t)bytes));
    else
        printf("%s: %s as %s, %s\n", path, model, format, cli_bytes(bytes, text));
    return EXIT_DONE;
}

static int model_export(int argc, const char **argv)
{
    const char *format = NULL, **args = NULL;
    cli_common common;
    const struct poptOption options[] = {
        {"format", 0, POPT_ARG_STRING, &format, 0,
            "safetensors or pth; else the file's ending says it", "FORMAT"},
        POPT_TABLEEND};
    int exit_status = cli_parse(argc, argv, "ID FILE [OPTION...]",
        "Writes a model's weights to a file.\nExample: kindred model export plain plain.pth",
        options, NULL, NULL, 2, 2, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    if (!format)
        format = format_of(args[1]);
    exit_status = export_to(&common, argv[0], args[0], args[1], format ? format : "safetensors");
    free(args);
    return exit_status;
}

int cmd_model(int argc, const char **argv)
{
    static const cli_command commands[] = {
        {"import", model_import, "make a model from a weights file"},
        {"init", model_init, "make a fresh model with random weights"},
        {"list", model_list, "list the models, newest first"},
        {"show", model_show, "show one"},
        {"export", model_export, "write its weights to a file"},
        {"rm", model_rm, "remove it"},
    };
    return cli_dispatch(argc, argv, "model", "The models that embed.", commands,
        sizeof commands / sizeof commands[0]);
}
