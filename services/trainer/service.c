#include "services/trainer/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "kindred/v1/trainer.pb-c.h"

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/models/models.h"
#include "services/trainer/config.h"
#include "services/trainer/events.h"

#define PIECE (1u << 20) /* bytes of an export's message */
#define DEFAULT_PAGE 100u
#define MAX_PAGE 1000u

/* A message that borrows the model's strings. */
static Kindred__V1__Model to_message(const kd_model *model)
{
    Kindred__V1__Model m = KINDRED__V1__MODEL__INIT;
    m.id = (char *)model->id;
    m.name = (char *)model->name;
    m.architecture = (char *)model->architecture;
    m.dim = model->dim;
    m.image_size = model->preprocess.image_size;
    m.preprocessing_hash = (char *)model->preprocess_hash;
    m.parent = (char *)model->parent;
    m.source = (char *)model->source;
    m.data_hash = (char *)model->data_hash;
    m.created_unix_ms = model->created_ms;
    m.bytes = model->bytes;
    m.training_json = model->training ? model->training : (char *)"";
    return m;
}

/* A path in the folder for half-made files that no other call has; NULL without memory. */
static char *temporary(const trainer *t)
{
    static atomic_uint_fast64_t counter;
    return kd_format("%s/%llu", t->tmp_dir, (unsigned long long)atomic_fetch_add(&counter, 1));
}

/* ---- ImportModel ---- */

static kd_status check_import(const Kindred__V1__ImportModelRequest *request, kd_error *err)
{
    const uint32_t size = request->image_size;
    if (request->random && request->path[0] != '\0')
        return kd_error_set(err, KD_INVALID_ARGUMENT, "path and random are both set");
    if (!request->random && request->path[0] == '\0')
        return kd_error_set(err, KD_INVALID_ARGUMENT, "neither path nor random is set");
    if (size != 0 && (size < KD_NN_MIN_IMAGE_SIZE || size > KD_NN_MAX_IMAGE_SIZE))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "image_size is %u, allowed are %u to %u",
            size, KD_NN_MIN_IMAGE_SIZE, KD_NN_MAX_IMAGE_SIZE);
    if (request->name[0] != '\0')
        return kd_check_name("model", request->name, err);
    return KD_OK;
}

/* Writes the weights asked for to `to`, as kindred keeps them. *dim: what they give. */
static kd_status write_weights(trainer *t, const Kindred__V1__ImportModelRequest *request,
    const char *to, uint32_t *dim, kd_error *err)
{
    const kd_process *const process = t->process;
    kd_net *net = NULL;
    char *from = NULL;
    kd_status status = KD_OK;
    if (!request->random)
        status = kd_path_under(request->path, process->datasets, process->n_datasets, &from, err);
    if (status != KD_OK)
        return status;
    (void)pthread_mutex_lock(&t->files);
    status = request->random ? kd_net_new(&net, request->seed, err) : kd_net_load(&net, from, err);
    if (status == KD_OK)
        status = kd_net_save(net, to, err);
    if (status == KD_OK)
        *dim = kd_net_dim(net);
    kd_net_free(net);
    (void)pthread_mutex_unlock(&t->files);
    free(from);
    return status;
}

static void import_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__ImportModelRequest *const request = (const void *)message;
    trainer *const t = state;
    kd_model model = {.preprocess = KD_PREPROCESS_INIT};
    bool existed = false;
    kd_error err = KD_ERROR_INIT;
    char *const weights = temporary(t);
    kd_status status = weights ? check_import(request, &err) : kd_error_memory(&err, "a path");
    if (status == KD_OK)
        status = write_weights(t, request, weights, &model.dim, &err);
    if (status == KD_OK) {
        if (request->image_size != 0)
            model.preprocess.image_size = request->image_size;
        (void)kd_copy(model.name, sizeof model.name, request->name);
        (void)kd_copy(model.architecture, sizeof model.architecture, KD_NN_ARCHITECTURE);
        (void)kd_copy(model.source, sizeof model.source, request->random ? "init" : "import");
        status = kd_models_publish(t->models_dir, weights, &model, &existed, &err);
    }
    if (weights)
        (void)unlink(weights);
    free(weights);
    if (status == KD_OK) {
        Kindred__V1__Model described = to_message(&model);
        Kindred__V1__ImportModelResponse response = KINDRED__V1__IMPORT_MODEL_RESPONSE__INIT;
        response.model = &described;
        response.existed = existed;
        KD_LOG(KD_LOG_INFO, "model_imported", KD_STR("model", model.id), KD_STR("name", model.name),
            KD_STR("source", model.source), KD_INT("existed", existed));
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    kd_model_clear(&model);
}

/* ---- GetModel, ListModels, DeleteModel ---- */

static void get_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__GetModelRequest *const request = (const void *)message;
    const trainer *const t = state;
    kd_model model = {0};
    kd_error err = KD_ERROR_INIT;
    kd_status status = kd_models_find(t->models_dir, request->model, &model, &err);
    if (status == KD_OK && request->verify)
        status = kd_models_verify(t->models_dir, &model, &err);
    if (status == KD_OK) {
        Kindred__V1__Model described = to_message(&model);
        Kindred__V1__GetModelResponse response = KINDRED__V1__GET_MODEL_RESPONSE__INIT;
        response.model = &described;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    kd_model_clear(&model);
}

/* Where the page behind the token begins: the token is the id that ended the page before. */
static kd_status find_page(
    const kd_model *models, size_t n, const char *token, size_t *first, kd_error *err)
{
    *first = 0;
    if (token[0] == '\0')
        return KD_OK;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(models[i].id, token) == 0) {
            *first = i + 1;
            return KD_OK;
        }
    }
    return kd_error_set(err, KD_NOT_FOUND,
        "no model '%s' to go on after: it was removed meanwhile, list from the start", token);
}

/* The ids of the images that did not train it: many, and of use for one model alone. Without memory
 * the record stays as it is. */
static void leave_out_ids(kd_model *model)
{
    json_t *const training = json_loads(model->training ? model->training : "", 0, NULL);
    char *text = NULL;
    if (json_object_del(training, "validation_image_ids") == 0)
        text = json_dumps(training, JSON_COMPACT);
    if (text) {
        free(model->training);
        model->training = text;
    }
    json_decref(training);
}

static void reply_page(kd_call *call, kd_model *models, size_t n, bool more, const kd_error *failed)
{
    Kindred__V1__Model *const page = calloc(n + 1, sizeof *page);
    Kindred__V1__Model **const pointers = calloc(n + 1, sizeof *pointers);
    if (failed->status == KD_OK && page && pointers) {
        Kindred__V1__ListModelsResponse response = KINDRED__V1__LIST_MODELS_RESPONSE__INIT;
        for (size_t i = 0; i < n; i++) {
            leave_out_ids(&models[i]);
            page[i] = to_message(&models[i]);
            pointers[i] = &page[i];
        }
        response.models = pointers;
        response.n_models = n;
        response.next_page_token = more ? (char *)models[n - 1].id : (char *)"";
        kd_call_reply(call, &response.base);
    } else {
        kd_error err = *failed;
        if (err.status == KD_OK)
            (void)kd_error_memory(&err, "a page of models");
        kd_call_fail(call, &err);
    }
    free(page);
    free(pointers);
}

static void list_models(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__ListModelsRequest *const request = (const void *)message;
    const trainer *const t = state;
    size_t most = request->page_size == 0 ? DEFAULT_PAGE : request->page_size;
    kd_model *models = NULL;
    size_t n = 0, first = 0;
    kd_error err = KD_ERROR_INIT;
    kd_status status = kd_models_list(t->models_dir, &models, &n, &err);
    if (status == KD_OK)
        status = find_page(models, n, request->page_token, &first, &err);
    if (most > MAX_PAGE)
        most = MAX_PAGE;
    const size_t left = status == KD_OK ? n - first : 0;
    reply_page(call, models + first, left < most ? left : most, left > most, &err);
    kd_models_free(models, n);
}

static void delete_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__DeleteModelRequest *const request = (const void *)message;
    const trainer *const t = state;
    kd_model model = {0};
    kd_error err = KD_ERROR_INIT;
    kd_status status = kd_models_find(t->models_dir, request->model, &model, &err);
    if (status == KD_OK) {
        status = kd_models_remove(t->models_dir, model.id, &err);
    } else if ((status == KD_DATA_LOSS || status == KD_FAILED_PRECONDITION) &&
               kd_models_remove(t->models_dir, request->model, NULL) == KD_OK) {
        (void)kd_copy(model.id, sizeof model.id, request->model);
        status = KD_OK; /* can't be read, by its id it can go */
    }
    if (status == KD_OK) {
        Kindred__V1__Model described = to_message(&model);
        Kindred__V1__DeleteModelResponse response = KINDRED__V1__DELETE_MODEL_RESPONSE__INIT;
        response.model = &described;
        KD_LOG(KD_LOG_INFO, "model_removed", KD_STR("model", model.id), KD_STR("name", model.name));
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    kd_model_clear(&model);
}

/* ---- ExportModel, GetRunFile ---- */

/* Sends the file from the disk, a piece at a time. The pieces of both calls are laid out alike. */
static kd_status send_file(kd_call *call, const char *path, kd_error *err)
{
    Kindred__V1__ExportModelResponse piece = KINDRED__V1__EXPORT_MODEL_RESPONSE__INIT;
    struct stat info;
    kd_status status = KD_OK;
    uint8_t *const bytes = malloc(PIECE);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!bytes)
        status = kd_error_memory(err, "a piece of the file");
    else if (fd < 0 || fstat(fd, &info) != 0)
        status = kd_error_errno(err, errno, "cannot open %s", path);
    else
        piece.total_bytes = (uint64_t)info.st_size;
    for (uint64_t sent = 0; status == KD_OK && sent < piece.total_bytes;) {
        const ssize_t got = read(fd, bytes, PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            status = got < 0 ? kd_error_errno(err, errno, "cannot read %s", path)
                             : kd_error_set(err, KD_DATA_LOSS, "%s ends too early", path);
            break;
        }
        piece.data = (ProtobufCBinaryData){(size_t)got, bytes};
        status = kd_call_write(call, &piece.base, true);
        if (status != KD_OK)
            (void)kd_error_set(err, status,
                status == KD_CANCELLED ? "the client has gone"
                                       : "too many clients read slowly; try again later");
        sent += (uint64_t)got;
    }
    if (fd >= 0)
        (void)close(fd);
    free(bytes);
    return status;
}

static kd_status send_pth(trainer *t, kd_call *call, const char *weights, kd_error *err)
{
    kd_net *net = NULL;
    char *const path = temporary(t);
    if (!path)
        return kd_error_memory(err, "a path");
    (void)pthread_mutex_lock(&t->files);
    kd_status status = kd_net_load(&net, weights, err);
    if (status == KD_OK)
        status = kd_net_save_pth(net, path, err);
    kd_net_free(net);
    (void)pthread_mutex_unlock(&t->files);
    if (status == KD_OK)
        status = send_file(call, path, err);
    (void)unlink(path);
    free(path);
    return status;
}

static void export_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__ExportModelRequest *const request = (const void *)message;
    trainer *const t = state;
    const bool pth = strcmp(request->format, "pth") == 0;
    kd_model model = {0};
    char *weights = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    if (!pth && request->format[0] != '\0' && strcmp(request->format, "safetensors") != 0)
        status = kd_error_set(&err, KD_INVALID_ARGUMENT,
            "unknown format '%s': there are \"safetensors\" and \"pth\"", request->format);
    if (status == KD_OK)
        status = kd_models_find(t->models_dir, request->model, &model, &err);
    if (status == KD_OK) {
        weights = kd_models_weights_path(t->models_dir, model.id);
        status = weights ? KD_OK : kd_error_memory(&err, "a path");
    }
    if (status == KD_OK)
        (void)(pth ? send_pth(t, call, weights, &err) : send_file(call, weights, &err));
    kd_call_finish(call, &err);
    free(weights);
    kd_model_clear(&model);
}

static void get_run_file(void *state, kd_call *call, const ProtobufCMessage *message)
{
    static const char *const files[] = {"run.html", "log.jsonl", TRAIN_EVENTS_NAME};
    const Kindred__V1__GetRunFileRequest *const request = (const void *)message;
    const trainer *const t = state;
    const char *const asked = request->file[0] != '\0' ? request->file : files[0];
    bool known = false;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
        known = known || strcmp(asked, files[i]) == 0;
    kd_status status = kd_check_name("job", request->job_id, &err);
    if (status == KD_OK && !known)
        status = kd_error_set(&err, KD_INVALID_ARGUMENT,
            "'%.60s' is not a file of a run: there are %s, %s and %s", asked, files[0], files[1],
            files[2]);
    char *const path = kd_format("%s/%s/%s", t->runs_dir, request->job_id, asked);
    if (status == KD_OK && !path)
        status = kd_error_memory(&err, "a path");
    if (status == KD_OK && !kd_is_file(path))
        status = kd_error_set(
            &err, KD_NOT_FOUND, "job '%s' has no %s: no epoch is over", request->job_id, asked);
    if (status == KD_OK)
        (void)send_file(call, path, &err);
    kd_call_finish(call, &err);
    free(path);
}

/* ---- CheckTraining ---- */

static void check_training(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__CheckTrainingRequest *const request = (const void *)message;
    const trainer *const t = state;
    kd_model parent = {0};
    train_config config;
    char *text = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    const Kindred__V1__TrainSpec *const spec = request->spec;
    const bool has_parent = spec && spec->model[0] != '\0';
    if (has_parent)
        status = kd_models_find(t->models_dir, spec->model, &parent, &err);
    if (!spec)
        status = kd_error_set(&err, KD_INVALID_ARGUMENT, "no spec was given");
    else if (status == KD_OK)
        status = train_config_read(&config, spec, has_parent ? &parent : NULL, &err);
    if (status == KD_OK) {
        json_t *const settings = train_config_json(&config);
        text = json_dumps(settings, JSON_COMPACT | JSON_REAL_PRECISION(6));
        json_decref(settings);
        if (!text)
            status = kd_error_memory(&err, "the settings");
    }
    if (status == KD_OK) {
        Kindred__V1__CheckTrainingResponse response = KINDRED__V1__CHECK_TRAINING_RESPONSE__INIT;
        response.settings = text;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    free(text);
    kd_model_clear(&parent);
}

static const kd_method methods[] = {
    {"ImportModel", import_model, true},
    {"GetModel", get_model, true},
    {"ListModels", list_models, true},
    {"ExportModel", export_model, true},
    {"DeleteModel", delete_model, true},
    {"CheckTraining", check_training, true},
    {"GetRunFile", get_run_file, true},
};

kd_status service_add(trainer *t, kd_error *err)
{
    return kd_server_add(t->process->server, &kindred__v1__trainer_service__descriptor, methods,
        sizeof methods / sizeof methods[0], t, err);
}
