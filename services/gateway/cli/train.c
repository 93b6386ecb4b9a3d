/* kindred train: queues a training job. Its settings come from flags or, under the same names in
 * snake_case, from a JSON file; a flag goes before the file. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/jobs.h"

#define CONFIG_MAX_BYTES (1u << 20)

/* A setting of TrainSpec and how its text is read. */
typedef struct setting {
    const char *flag; /* "--batch-classes" without its dashes */
    enum { SETTING_TEXT, SETTING_U32, SETTING_U64, SETTING_REAL } type;
    size_t offset;
    const char *help, *value;
} setting;

#define SPEC(field) offsetof(Kindred__V1__TrainSpec, field)
static const setting settings[] = {
    {"loss", SETTING_TEXT, SPEC(loss), "the loss: triplet", "LOSS"},
    {"model", SETTING_TEXT, SPEC(model), "start from this model; random weights unless given",
        "ID"},
    {"name", SETTING_TEXT, SPEC(name), "the new model's name", "NAME"},
    {"labels", SETTING_TEXT, SPEC(labels), "what counts as the same: class or super-class (class)",
        "KIND"},
    {"epochs", SETTING_U32, SPEC(epochs), "passes over the set (5)", "N"},
    {"image-size", SETTING_U32, SPEC(image_size),
        "side of the model input, pixels (the parent's, or 224)", "N"},
    {"batch-classes", SETTING_U32, SPEC(batch_classes), "labels in a batch (16)", "N"},
    {"batch-images", SETTING_U32, SPEC(batch_images), "images of each label in a batch (4)", "N"},
    {"learning-rate", SETTING_REAL, SPEC(learning_rate), "step size at its highest (0.0001)", "X"},
    {"margin", SETTING_REAL, SPEC(margin), "margin of the triplet loss (the soft margin)", "X"},
    {"seed", SETTING_U64, SPEC(seed), "seed of sampling, augmentation and random weights (0)", "N"},
};
#undef SPEC
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

/* Everything that was asked for; texts are borrowed from argv or owned by config. */
typedef struct request {
    const char *command;
    Kindred__V1__TrainSpec spec;
    bool given[N_SETTINGS]; /* by a flag */
    const char *config;
    json_t *from_file; /* owned: holds the texts that spec borrows */
    int detach;
} request;

static bool set(request *r, const setting *s, const char *name, const char *text)
{
    void *const at = (char *)&r->spec + s->offset;
    uint64_t number = 0;
    switch (s->type) {
    case SETTING_TEXT:
        *(char **)at = (char *)(uintptr_t)text;
        return true;
    case SETTING_U32:
        if (!cli_number(r->command, name, text, 0, UINT32_MAX, &number))
            return false;
        *(uint32_t *)at = (uint32_t)number;
        return true;
    case SETTING_U64:
        return cli_number(r->command, name, text, 0, UINT64_MAX, at);
    case SETTING_REAL:
        if (kd_parse_double(text, 0, 1e9, at))
            return true;
        (void)cli_usage(r->command, "%s is '%s', not a number from 0 on", name, text);
        return false;
    }
    return false;
}

/* A flag; its val is 1 + the setting's place. */
static bool on_option(void *arg, int val, const char *value)
{
    request *const r = arg;
    const setting *const s = &settings[val - 1];
    char name[64];
    (void)snprintf(name, sizeof name, "--%s", s->flag);
    r->given[val - 1] = true;
    return set(r, s, name, value);
}

/* The place of the setting with this name in snake_case; N_SETTINGS when there is none. */
static size_t find_key(const char *key)
{
    for (size_t i = 0; i < N_SETTINGS; i++) {
        char name[64];
        (void)kd_copy(name, sizeof name, settings[i].flag);
        for (char *c = name; *c; c++)
            if (*c == '-')
                *c = '_';
        if (strcmp(name, key) == 0)
            return i;
    }
    return N_SETTINGS;
}

/* One member of the file's object. */
static bool take_member(request *r, const char *key, const json_t *value)
{
    const size_t place = find_key(key);
    char name[600];
    (void)snprintf(name, sizeof name, "%s in %s", key, r->config);
    if (place == N_SETTINGS) {
        (void)cli_usage(r->command, "%s: '%s' is not a setting of training", r->config, key);
        return false;
    }
    const bool text_wanted = settings[place].type == SETTING_TEXT;
    if (text_wanted ? !json_is_string(value) : !json_is_number(value)) {
        (void)cli_usage(
            r->command, "%s: %s is not a %s", r->config, key, text_wanted ? "string" : "number");
        return false;
    }
    if (r->given[place])
        return true;
    if (text_wanted)
        return set(r, &settings[place], name, json_string_value(value));
    char *const number = cli_must(json_dumps(value, JSON_ENCODE_ANY));
    const bool fine = set(r, &settings[place], name, number);
    free(number);
    return fine;
}

static int read_config(request *r, const cli_common *common)
{
    kd_buf text = KD_BUF_INIT;
    kd_error err = KD_ERROR_INIT;
    json_error_t fault;
    const char *key;
    json_t *value;
    if (kd_file_read(r->config, CONFIG_MAX_BYTES, &text, &err) != KD_OK) {
        kd_buf_free(&text);
        return cli_error(common, r->command, &err);
    }
    r->from_file = json_loadb(
        text.data ? (const char *)text.data : "", text.len, JSON_REJECT_DUPLICATES, &fault);
    kd_buf_free(&text);
    if (!r->from_file)
        return cli_usage(
            r->command, "%s:%d:%d: %s", r->config, fault.line, fault.column, fault.text);
    if (!json_is_object(r->from_file))
        return cli_usage(r->command, "%s is not a JSON object", r->config);
    json_object_foreach(r->from_file, key, value)
    {
        if (!take_member(r, key, value))
            return EXIT_USAGE;
    }
    return -1;
}

static int submit(request *r, const cli_common *common, const char *dataset)
{
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    Kindred__V1__Job *job = NULL;
    char *const path = cli_absolute(dataset);
    r->spec.dataset = path;
    spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_TRAIN;
    spec.train = &r->spec;
    const int exit_status = cli_run_job(common, r->command, &spec, r->detach != 0, &job);
    cli_free_job(job);
    free(path);
    return exit_status;
}

int cmd_train(int argc, const char **argv)
{
    static const struct poptOption end = POPT_TABLEEND;
    request r = {.command = argv[0], .spec = KINDRED__V1__TRAIN_SPEC__INIT};
    struct poptOption options[N_SETTINGS + 3];
    const char **args = NULL;
    cli_common common;
    for (int i = 0; i < N_SETTINGS; i++)
        options[i] = (struct poptOption){
            settings[i].flag, 0, POPT_ARG_STRING, NULL, i + 1, settings[i].help, settings[i].value};
    options[N_SETTINGS] = (struct poptOption){"config", 0, POPT_ARG_STRING, &r.config, 0,
        "a JSON object of these settings, in snake_case; flags go before it", "FILE"};
    options[N_SETTINGS + 1] = (struct poptOption){
        "detach", 0, POPT_ARG_NONE, &r.detach, 0, "print the job's id and leave", NULL};
    options[N_SETTINGS + 2] = end;
    int exit_status = cli_parse(argc, argv, "DIR --loss LOSS [OPTION...]",
        "Trains an embedding on a dataset and publishes it as a model. Ctrl-C leaves; the job goes "
        "on.\nExample: kindred train photos/ --loss triplet --model plain --epochs 5 --name better",
        options, on_option, &r, 1, 1, &common, &args);
    if (exit_status == -1 && r.config)
        exit_status = read_config(&r, &common);
    if (exit_status == -1 && !*r.spec.loss)
        exit_status = cli_usage(argv[0], "--loss LOSS is missing");
    if (exit_status == -1)
        exit_status = submit(&r, &common, args[0]);
    json_decref(r.from_file);
    free(args);
    return exit_status;
}
