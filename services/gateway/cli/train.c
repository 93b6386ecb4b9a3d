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
    enum {
        SETTING_TEXT,
        SETTING_COUNT, /* from 1 on: 0 is the proto's word for its default */
        SETTING_U32,
        SETTING_U64,
        SETTING_REAL,
        SETTING_OPTIONAL, /* a number whose zero is not its default */
        SETTING_FLAG,
    } type;
    size_t offset;
    const char *help, *value;
} setting;

#define SPEC(field) offsetof(Kindred__V1__TrainSpec, field)
static const setting settings[] = {
    {"loss", SETTING_TEXT, SPEC(loss),
        "cross-entropy, norm-softmax, arcface, contrastive, triplet, cosface, multi-similarity, "
        "proxy-anchor or supervised-contrastive",
        "LOSS"},
    {"model", SETTING_TEXT, SPEC(model), "start from this model; random weights unless given",
        "ID"},
    {"name", SETTING_TEXT, SPEC(name), "the new model's name", "NAME"},
    {"labels", SETTING_TEXT, SPEC(labels), "what counts as the same: class or super-class (class)",
        "KIND"},
    {"epochs", SETTING_COUNT, SPEC(epochs), "passes over the set (8)", "N"},
    {"image-size", SETTING_COUNT, SPEC(image_size),
        "side of the model input, pixels (the parent's, or 224)", "N"},
    {"dim", SETTING_COUNT, SPEC(dim),
        "values of the embedding, by a linear projection (the parent's)", "N"},
    {"margin", SETTING_REAL, SPEC(margin),
        "margin of the loss, ArcFace's in degrees (the loss's own; triplet: the soft one)", "X"},
    {"positive-margin", SETTING_OPTIONAL, SPEC(positive_margin),
        "contrastive: positives nearer than this cost nothing (0)", "X"},
    {"scale", SETTING_REAL, SPEC(scale),
        "scale of logits or similarities, 1 / temperature (the loss's own)", "X"},
    {"positive-scale", SETTING_REAL, SPEC(positive_scale),
        "multi-similarity: scale of positives (2)", "X"},
    {"distance", SETTING_TEXT, SPEC(distance),
        "triplet, contrastive: euclidean or cosine (euclidean)", "KIND"},
    {"miner", SETTING_TEXT, SPEC(miner),
        "triplet, contrastive: all, random, semi-hard, batch-hard or distance-weighted (triplet: "
        "batch-hard; all)",
        "KIND"},
    {"reduction", SETTING_TEXT, SPEC(reduction),
        "triplet, contrastive: mean of the terms above zero, or sum (mean)", "KIND"},
    {"raw", SETTING_FLAG, SPEC(raw), "triplet, contrastive: embeddings are not normalised", NULL},
    {"memory", SETTING_U32, SPEC(memory),
        "pair losses: embeddings of earlier batches to compare with (0)", "N"},
    {"sampler", SETTING_TEXT, SPEC(sampler),
        "shuffled, classes or balanced (shuffled for losses with a head, else classes)", "KIND"},
    {"batch-classes", SETTING_COUNT, SPEC(batch_classes), "labels in a batch (16)", "N"},
    {"batch-images", SETTING_COUNT, SPEC(batch_images), "images of each label in a batch (4)", "N"},
    {"batch-size", SETTING_COUNT, SPEC(batch_size), "images in a shuffled batch (64)", "N"},
    {"validation", SETTING_TEXT, SPEC(validation),
        "what is held back to validate: classes, images or none (classes)", "KIND"},
    {"validation-share", SETTING_REAL, SPEC(validation_share), "which share of them (0.1)", "X"},
    {"metric", SETTING_TEXT, SPEC(metric),
        "what makes an epoch the best: map@5 or recall@1 (map@5)", "KIND"},
    {"patience", SETTING_U32, SPEC(patience),
        "end after so many epochs without a better one (never)", "N"},
    {"optimizer", SETTING_TEXT, SPEC(optimizer), "adam, adamw or sgd (adamw)", "KIND"},
    {"learning-rate", SETTING_REAL, SPEC(learning_rate),
        "step size of the backbone at its highest (0.0001)", "X"},
    {"head-learning-rate", SETTING_REAL, SPEC(head_learning_rate),
        "… of projection and head (ten times that)", "X"},
    {"momentum", SETTING_OPTIONAL, SPEC(momentum), "of sgd (0.9)", "X"},
    {"weight-decay", SETTING_OPTIONAL, SPEC(weight_decay), "but for norms and biases (0.0001)",
        "X"},
    {"schedule", SETTING_TEXT, SPEC(schedule),
        "cosine, one-cycle, step, plateau or constant (cosine)", "KIND"},
    {"warmup", SETTING_OPTIONAL, SPEC(warmup), "share of the steps in which the rate rises (0.05)",
        "X"},
    {"step-epochs", SETTING_COUNT, SPEC(step_epochs),
        "step: epochs between two falls (a third of all)", "N"},
    {"decay-factor", SETTING_REAL, SPEC(decay_factor),
        "step, plateau: what a fall multiplies the rate with (0.1)", "X"},
    {"plateau-patience", SETTING_U32, SPEC(plateau_patience),
        "plateau: epochs without a better one before a fall (3)", "N"},
    {"clip-norm", SETTING_REAL, SPEC(clip_norm), "longest gradient (any)", "X"},
    {"freeze-epochs", SETTING_U32, SPEC(freeze_epochs),
        "epochs at the start in which projection and head alone learn (0)", "N"},
    {"freeze-backbone", SETTING_FLAG, SPEC(freeze_backbone),
        "they alone learn, from features computed once: seconds an epoch", NULL},
    {"norm", SETTING_TEXT, SPEC(norm), "batch normalisation: batch or frozen (batch)", "KIND"},
    {"precision", SETTING_TEXT, SPEC(precision), "float32 or bfloat16 (float32)", "KIND"},
    {"flip", SETTING_OPTIONAL, SPEC(flip), "probability of a horizontal flip (0.5)", "P"},
    {"light", SETTING_OPTIONAL, SPEC(light), "… of other brightness and contrast (0.2)", "P"},
    {"crop", SETTING_OPTIONAL, SPEC(crop),
        "least share of the area a random crop keeps, 1 crops nothing (0.5)", "X"},
    {"color", SETTING_OPTIONAL, SPEC(color), "probability of other saturation and hue (0)", "P"},
    {"gray", SETTING_OPTIONAL, SPEC(gray), "… of a grey picture (0)", "P"},
    {"blur", SETTING_OPTIONAL, SPEC(blur), "… of a blur (0)", "P"},
    {"erase", SETTING_OPTIONAL, SPEC(erase), "… of an erased rectangle (0)", "P"},
    {"on-collapse", SETTING_TEXT, SPEC(on_collapse),
        "when all embeddings come to lie on one point: stop, fix or ignore (stop)", "WHAT"},
    {"checkpoint-minutes", SETTING_REAL, SPEC(checkpoint_minutes),
        "minutes between checkpoints within an epoch (5)", "X"},
    {"seed", SETTING_U64, SPEC(seed), "of sampling, augmentation, mining and random weights (0)",
        "N"},
};
#undef SPEC
enum { N_SETTINGS = sizeof settings / sizeof settings[0] };

/* Everything that was asked for; texts are borrowed from argv or owned by config. */
typedef struct request {
    const char *command;
    Kindred__V1__TrainSpec spec;
    Kindred__V1__Real reals[N_SETTINGS]; /* what the spec's optional numbers point to */
    bool given[N_SETTINGS];              /* by a flag */
    const char *config;
    json_t *from_file; /* owned: holds the texts that spec borrows */
    int detach;
} request;

static bool set_real(const request *r, const char *name, const char *text, double *at)
{
    if (kd_parse_double(text, 0, 1e9, at))
        return true;
    (void)cli_usage(r->command, "%s is '%s', not a number from 0 on", name, text);
    return false;
}

static bool set(request *r, const setting *s, const char *name, const char *text)
{
    void *const at = (char *)&r->spec + s->offset;
    uint64_t number = 0;
    switch (s->type) {
    case SETTING_TEXT:
        *(char **)at = (char *)(uintptr_t)text;
        return true;
    case SETTING_COUNT:
    case SETTING_U32:
        if (!cli_number(
                r->command, name, text, s->type == SETTING_COUNT ? 1 : 0, UINT32_MAX, &number))
            return false;
        *(uint32_t *)at = (uint32_t)number;
        return true;
    case SETTING_U64:
        return cli_number(r->command, name, text, 0, UINT64_MAX, at);
    case SETTING_REAL:
        return set_real(r, name, text, at);
    case SETTING_OPTIONAL: {
        Kindred__V1__Real *const real = &r->reals[s - settings];
        kindred__v1__real__init(real);
        *(Kindred__V1__Real **)at = real;
        return set_real(r, name, text, &real->value);
    }
    case SETTING_FLAG: /* of a file: true or false */
        *(protobuf_c_boolean *)at = strcmp(text, "false") != 0;
        return true;
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
    return set(r, s, name, value ? value : "true");
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
    const bool flag_wanted = settings[place].type == SETTING_FLAG;
    if (text_wanted   ? !json_is_string(value)
        : flag_wanted ? !json_is_boolean(value)
                      : !json_is_number(value)) {
        (void)cli_usage(r->command, "%s: %s is not %s", r->config, key,
            text_wanted   ? "a string"
            : flag_wanted ? "true or false"
                          : "a number");
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
    const int exit_status =
        cli_run_job(common, r->command, &spec, r->detach != 0, CLI_WATCH_SUBMITTED, &job);
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
        options[i] = (struct poptOption){settings[i].flag, 0,
            settings[i].type == SETTING_FLAG ? POPT_ARG_NONE : POPT_ARG_STRING, NULL, i + 1,
            settings[i].help, settings[i].value};
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
