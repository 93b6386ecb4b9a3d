/* A run's beginning and end; its middle is epochs.c. */
#include "services/trainer/train.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/trainer/run.h"

#define NAME_TAIL 8u /* digits of the job's id in a made-up name */

/* ---- What is asked for ---- */

static kd_status read_settings(train_run *run, const Kindred__V1__TrainSpec *spec, kd_error *err)
{
    const bool has_parent = spec->model[0] != '\0';
    kd_status status = KD_OK;
    if (has_parent)
        status = kd_models_find(run->trainer->models_dir, spec->model, &run->parent, err);
    if (status == KD_OK)
        status = train_config_read(&run->asked, spec, has_parent ? &run->parent : NULL, err);
    run->config = run->asked;
    return status;
}

/* A name that can't be had is found out before the work, not after it. *done: an earlier try of
 * this job has published already, *out is the model. */
static kd_status choose_name(
    train_run *run, const char *asked, kd_model *out, bool *done, kd_error *err)
{
    const size_t len = strlen(run->job_id);
    const char *const tail = run->job_id + (len > NAME_TAIL ? len - NAME_TAIL : 0);
    kd_model there = {0};
    kd_error why = KD_ERROR_INIT;
    char *const name = asked[0] != '\0'
                           ? kd_format("%s", asked)
                           : kd_format("%s-%s", kd_loss_name(run->config.training.loss.loss), tail);
    kd_status status = name ? kd_check_name("model", name, err) : kd_error_memory(err, "a name");
    if (status == KD_OK)
        (void)kd_copy(run->name, sizeof run->name, name);
    free(name);
    if (status == KD_OK && strlen(run->name) == KD_MODEL_ID_TEXT - 1 &&
        strspn(run->name, "0123456789abcdef") == KD_MODEL_ID_TEXT - 1)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "'%s' can't name a model: it looks like another model's id", run->name);
    if (status != KD_OK)
        return status;
    status = kd_models_find(run->trainer->models_dir, run->name, &there, &why);
    *done = status == KD_OK && strcmp(there.source, run->job_id) == 0;
    if (*done) {
        *out = there;
        return KD_OK;
    }
    if (status == KD_OK)
        status = kd_error_set(
            err, KD_ALREADY_EXISTS, "model %s has the name '%s' already", there.id, run->name);
    else if (status == KD_NOT_FOUND || status == KD_DATA_LOSS || status == KD_FAILED_PRECONDITION)
        status = KD_OK; /* a model that can't be read is no reason not to train */
    else
        status = kd_error_set(err, status, "%s", why.message);
    kd_model_clear(&there);
    return status;
}

/* ---- Data ---- */

static kd_status scan_tick(void *arg, size_t done, kd_error *err)
{
    train_run *const run = arg;
    char *const text = kd_format("%zu of %zu", done, run->n_items);
    (void)kd_copy(run->progress.detail, sizeof run->progress.detail, text ? text : "");
    free(text);
    return run->hooks->tick(run->hooks->arg, &run->progress, err);
}

static kd_status open_dataset(train_run *run, kd_error *err)
{
    const kd_process *const process = run->trainer->process;
    char *path = NULL;
    kd_status status =
        kd_path_under(run->config.dataset, process->datasets, process->n_datasets, &path, err);
    if (status == KD_OK)
        status = kd_dataset_open(&run->dataset, path, KD_SPLIT_TRAIN, err);
    free(path);
    if (status == KD_OK)
        status = kd_dataset_hash(run->dataset, run->data_hash, err);
    if (status != KD_OK)
        return status;
    run->items = kd_dataset_items(run->dataset, &run->n_items);
    run->classes = calloc(run->n_items + 1, sizeof *run->classes);
    run->groups = calloc(run->n_items + 1, sizeof *run->groups);
    if (!run->classes || !run->groups)
        return kd_error_memory(err, "the labels");
    for (size_t i = 0; i < run->n_items; i++) {
        run->classes[i] = run->items[i].class_id;
        run->groups[i] = run->items[i].super_class_id;
    }
    run->labels = run->config.super_class ? run->groups : run->classes;
    return KD_OK;
}

static kd_status make_loader(train_run *run, kd_error *err)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned threads = run->trainer->process->threads;
    const size_t batch = train_config_batch(&run->config);
    const loader_options options = {.dataset = run->dataset,
        .roots = run->trainer->process->datasets,
        .n_roots = run->trainer->process->n_datasets,
        .preprocess = run->config.preprocess,
        .augment = run->config.augment,
        .seed = run->config.seed,
        .threads = threads > 0 ? threads
                   : cores > 0 ? (unsigned)cores
                               : 1,
        .max_batch = batch > FEATURES_BATCH ? batch : FEATURES_BATCH,
        .cache_bytes = LOADER_CACHE_BYTES};
    const kd_status status = loader_new(&run->loader, &options, err);
    if (status != KD_OK)
        return status;
    (void)kd_copy(run->progress.phase, sizeof run->progress.phase, "reading images");
    return loader_scan(run->loader, scan_tick, run, err);
}

static int by_number(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

/* Numbers the labels that train 0, 1, … in rising order. */
static kd_status number_labels(train_run *run, kd_error *err)
{
    const train_split *const split = &run->split;
    uint32_t *const sorted = calloc(split->n_train + 1, sizeof *sorted);
    run->head_labels = calloc(run->n_items + 1, sizeof *run->head_labels);
    if (!sorted || !run->head_labels) {
        free(sorted);
        return kd_error_memory(err, "the labels");
    }
    for (size_t i = 0; i < split->n_train; i++)
        sorted[i] = run->labels[split->train[i]];
    qsort(sorted, split->n_train, sizeof *sorted, by_number);
    for (size_t i = 0; i < split->n_train; i++)
        if (run->n_labels == 0 || sorted[run->n_labels - 1] != sorted[i])
            sorted[run->n_labels++] = sorted[i];
    for (size_t i = 0; i < run->n_items; i++) {
        const uint32_t *const found =
            bsearch(&run->labels[i], sorted, run->n_labels, sizeof *sorted, by_number);
        run->head_labels[i] = found ? (uint32_t)(found - sorted) : UINT32_MAX;
    }
    free(sorted);
    return KD_OK;
}

static kd_status make_split(train_run *run, kd_error *err)
{
    const train_config *const c = &run->config;
    const train_split_input input = {.classes = run->classes,
        .groups = run->groups,
        .usable = loader_usable(run->loader),
        .n = run->n_items,
        .cut = c->cut,
        .share = c->share,
        .seed = c->seed};
    const kd_status status = train_split_make(&run->split, &input, err);
    return status == KD_OK ? number_labels(run, err) : status;
}

static kd_status make_sampler(train_run *run, kd_error *err)
{
    const train_config *const c = &run->config;
    const train_split *const split = &run->split;
    uint32_t *const labels = calloc(split->n_train + 1, sizeof *labels);
    uint32_t *const groups = calloc(split->n_train + 1, sizeof *groups);
    kd_status status = labels && groups ? KD_OK : kd_error_memory(err, "the labels");
    for (size_t i = 0; status == KD_OK && i < split->n_train; i++) {
        labels[i] = run->labels[split->train[i]];
        groups[i] = run->groups[split->train[i]];
    }
    const kd_sampler_options options = {.kind = c->sampler,
        .labels = labels,
        .groups = groups,
        .n = split->n_train,
        .p = c->batch_classes,
        .k = c->batch_images,
        .batch = c->batch_size,
        .seed = c->seed};
    if (status == KD_OK)
        status = kd_sampler_new(&run->sampler, &options, &run->lone, err);
    free(labels);
    free(groups);
    return status;
}

/* ---- Network ---- */

static kd_status load_net(train_run *run, const char *path, kd_error *err)
{
    (void)pthread_mutex_lock(&run->trainer->files);
    const kd_status status = kd_net_load(&run->net, path, err);
    (void)pthread_mutex_unlock(&run->trainer->files);
    return status;
}

static kd_status first_net(train_run *run, kd_error *err)
{
    const train_config *const c = &run->config;
    kd_status status;
    if (run->parent.id[0] == '\0') {
        status = kd_net_new(&run->net, c->seed, err);
    } else {
        char *const path = kd_models_weights_path(run->trainer->models_dir, run->parent.id);
        status = path ? load_net(run, path, err) : kd_error_memory(err, "a path");
        free(path);
    }
    const bool there =
        status == KD_OK && kd_net_projects(run->net) && kd_net_dim(run->net) == c->dim;
    if (status == KD_OK && c->dim > 0 && !there)
        status = kd_net_project(run->net, c->dim, c->seed, err);
    return status;
}

kd_status train_start_net(train_run *run, kd_error *err)
{
    kd_training_options options = run->config.training;
    if (kd_loss_has_head(options.loss.loss))
        options.loss.classes = run->n_labels;
    kd_training_free(run->training);
    kd_net_free(run->net);
    run->training = NULL;
    run->net = NULL;
    kd_status status = first_net(run, err);
    if (status == KD_OK)
        status = kd_training_new(&run->training, run->net, &options, err);
    return status;
}

/* The checkpoint into network, training and record. */
static kd_status read_checkpoint(train_run *run, kd_error *err)
{
    char *meta = NULL;
    char changed[TRAIN_FIX_TEXT];
    kd_status status = kd_training_load(run->training, run->checkpoint, &meta, err);
    if (status == KD_OK && !train_record_restore(&run->record, meta, run->config.epochs))
        status = kd_error_set(
            err, KD_FAILED_PRECONDITION, "%s is of other settings or other data", run->checkpoint);
    free(meta);
    meta = NULL;
    for (size_t i = 0; status == KD_OK && i < RECORD_BEST; i++) {
        char *const path =
            run->record.best[i] > 0 ? train_best_path(run, run->record.best[i]) : NULL;
        if (path && !kd_is_file(path))
            status = kd_error_set(err, KD_NOT_FOUND, "%s is gone", path);
        free(path);
    }
    if (status != KD_OK || run->record.n_fixes == 0)
        return status;
    /* The training was another one since the first fix. */
    for (uint32_t fix = 1; fix <= run->record.n_fixes; fix++)
        train_config_fix(&run->config, fix, changed);
    status = train_start_net(run, err);
    if (status == KD_OK)
        status = kd_training_load(run->training, run->checkpoint, &meta, err);
    free(meta);
    return status;
}

/* Goes on from the checkpoint of an earlier try, where there is one that fits. */
static kd_status resume(train_run *run, kd_error *err)
{
    kd_error why = KD_ERROR_INIT;
    if (!kd_is_file(run->checkpoint))
        return KD_OK;
    const kd_status status = read_checkpoint(run, &why);
    if (status == KD_OK) {
        KD_LOG(KD_LOG_INFO, "training_resumed", KD_STR("job", run->job_id),
            KD_INT("epochs_done", run->record.epochs_done), KD_INT("step", run->record.step));
        return KD_OK;
    }
    if (status != KD_INVALID_ARGUMENT && status != KD_DATA_LOSS && status != KD_NOT_FOUND &&
        status != KD_FAILED_PRECONDITION) /* no fault of the checkpoint's */
        return kd_error_set(err, status, "%s", why.message);
    kd_log_error(KD_LOG_WARN, "checkpoint_unusable", &why);
    train_record_reset(&run->record);
    run->config = run->asked;
    return train_start_net(run, err);
}

/* ---- Features of a frozen backbone ---- */

static kd_status features_tick(void *arg, size_t done, kd_error *err)
{
    train_run *const run = arg;
    run->progress.done = done;
    run->progress.total = run->split.n_train;
    return run->hooks->tick(run->hooks->arg, &run->progress, err);
}

static kd_status make_features(train_run *run, kd_error *err)
{
    if (!run->config.training.freeze_backbone)
        return KD_OK;
    (void)kd_copy(run->progress.phase, sizeof run->progress.phase, "computing features");
    run->progress.detail[0] = '\0';
    kd_status status =
        features_compute(&run->features, run->loader, run->net, run->config.preprocess.image_size,
            run->split.train, run->split.n_train, features_tick, run, err);
    if (status != KD_OK)
        return status;
    run->feature_of = calloc(run->n_items + 1, sizeof *run->feature_of);
    if (!run->feature_of)
        return kd_error_memory(err, "the features' places");
    memset(run->feature_of, 0xff, run->n_items * sizeof *run->feature_of);
    for (size_t i = 0; i < run->features.n; i++)
        run->feature_of[run->features.images[i]] = (uint32_t)i;
    return KD_OK;
}

/* ---- Beginning, end ---- */

static kd_status prepare(train_run *run, kd_error *err)
{
    kd_status status = train_files_init(run, err);
    if (status == KD_OK)
        status = open_dataset(run, err);
    if (status == KD_OK)
        status = make_loader(run, err);
    if (status == KD_OK)
        status = make_split(run, err);
    if (status == KD_OK)
        status = make_sampler(run, err);
    if (status == KD_OK)
        status = train_record_init(&run->record, train_facts(run), train_held_ids(run),
            run->config.epochs, run->config.metric, err);
    if (status == KD_OK)
        status = train_start_net(run, err);
    if (status == KD_OK)
        status = make_features(run, err);
    if (status == KD_OK)
        status = resume(run, err);
    if (status == KD_OK)
        status = train_events_start(run, err);
    return status;
}

static kd_status describe_model(const train_run *run, kd_model *model, kd_error *err)
{
    *model = (kd_model){.dim = kd_net_dim(run->net), .preprocess = run->config.preprocess};
    (void)kd_copy(model->name, sizeof model->name, run->name);
    (void)kd_copy(model->architecture, sizeof model->architecture, KD_NN_ARCHITECTURE);
    (void)kd_copy(model->parent, sizeof model->parent, run->parent.id);
    (void)kd_copy(model->source, sizeof model->source, run->job_id);
    (void)kd_copy(model->data_hash, sizeof model->data_hash, run->data_hash);
    model->training = train_record_training(&run->record, run->job_id, kd_nn_describe());
    return model->training ? KD_OK : kd_error_memory(err, "the model's description");
}

/* Publishing takes the file away, and the run keeps its own: a second name for it. */
static kd_status copy_best(const train_run *run, char **weights, kd_error *err)
{
    char *const best = train_best_path(run, run->record.best[0]);
    *weights = kd_format("%s/published.safetensors", run->folder);
    kd_status status = best && *weights ? KD_OK : kd_error_memory(err, "a path");
    if (status == KD_OK && unlink(*weights) != 0 && errno != ENOENT)
        status = kd_error_set(err, KD_INTERNAL, "cannot remove %s: %s", *weights, strerror(errno));
    if (status == KD_OK && link(best, *weights) != 0) /* some file systems have no second names */
        status = kd_copy_file(best, *weights, err);
    free(best);
    if (status != KD_OK) {
        free(*weights);
        *weights = NULL;
    }
    return status;
}

static kd_status publish(const train_run *run, kd_model *out, kd_error *err)
{
    const char *const dir = run->trainer->models_dir;
    bool existed = false;
    char *weights;
    kd_error why = KD_ERROR_INIT;
    kd_status status = describe_model(run, out, err);
    if (status != KD_OK)
        return status;
    status = copy_best(run, &weights, err);
    if (status != KD_OK)
        return status;
    status = kd_models_publish(dir, weights, out, &existed, &why);
    /* The same training once more gives the same weights: the model that is there is the result. A
     * name that another one took meanwhile loses nothing either: the id stands for it. */
    if (status == KD_ALREADY_EXISTS) {
        out->name[0] = '\0';
        status = kd_models_publish(dir, weights, out, &existed, &why);
    }
    if (status != KD_OK)
        (void)unlink(weights);
    free(weights);
    if (status != KD_OK)
        return kd_error_set(err, status, "%s", why.message);
    KD_LOG(KD_LOG_INFO, existed ? "model_existed" : "model_published", KD_STR("job", run->job_id),
        KD_STR("model", out->id), KD_STR("name", out->name));
    return KD_OK;
}

static void run_free(train_run *run)
{
    kd_training_free(run->training);
    kd_net_free(run->net);
    train_record_free(&run->record);
    kd_sampler_free(run->sampler);
    train_split_free(&run->split);
    loader_free(run->loader);
    kd_dataset_free(run->dataset);
    kd_model_clear(&run->parent);
    train_events_free(run->events);
    features_free(&run->features);
    features_free(&run->validation);
    free(run->feature_of);
    free(run->head_labels);
    free(run->classes);
    free(run->groups);
    free(run->folder);
    free(run->checkpoint);
    free(run->log);
    free(run->page);
    free(run->events_path);
}

kd_status train_job(trainer *t, const char *job_id, const Kindred__V1__TrainSpec *spec,
    const train_hooks *hooks, kd_model *out, kd_error *err)
{
    train_run run = {.trainer = t, .job_id = job_id, .hooks = hooks};
    bool done = false;
    *out = (kd_model){0};
    kd_status status = read_settings(&run, spec, err);
    if (status == KD_OK)
        status = choose_name(&run, spec->name, out, &done, err);
    if (status == KD_OK && !done) {
        status = prepare(&run, err);
        if (status == KD_OK)
            status = train_epochs(&run, err);
        if (status == KD_OK)
            status = publish(&run, out, err);
        if (status == KD_OK)
            train_save_page(&run, NULL, false);
    }
    run_free(&run);
    if (status != KD_OK)
        kd_model_clear(out);
    return status;
}
