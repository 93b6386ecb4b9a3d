#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/service/process.h"
#include "services/gateway/gateway.h"
#include "services/gateway/rows.h"

#define PIECE (1u << 20)
#define ASK_TIMEOUT_MS 60000

kd_store *store_take(gateway *g)
{
    return kd_queue_pop(g->stores, -1);
}

void store_give(gateway *g, kd_store *store)
{
    (void)kd_queue_try_push(g->stores, store); /* there is room for each */
}

kd_status check_path(const gateway *g, const char *path, char **real, kd_error *err)
{
    *real = NULL;
    if (path[0] == '\0')
        return kd_error_set(err, KD_INVALID_ARGUMENT, "no path was given");
    if (path[0] != '/')
        return kd_error_set(err, KD_INVALID_ARGUMENT, "'%s' is not an absolute path", path);
    return kd_path_under(path, g->process->datasets, g->process->n_datasets, real, err);
}

kd_status ask(kd_call *call, kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, void *response, kd_error *err)
{
    const kd_call_options options = {
        .timeout_ms = ASK_TIMEOUT_MS, .trace = kd_call_trace(call), .parent = call};
    return kd_channel_call(channel, service, method, request, &options, response, err);
}

kd_status check_intact(const Kindred__V1__Collection *collection, kd_error *err)
{
    if (collection->damage[0] == '\0')
        return KD_OK;
    return kd_error_set(
        err, KD_DATA_LOSS, "collection '%s' is damaged: %s", collection->name, collection->damage);
}

/* For itself, or passed on to the service that is named. */
static void set_log_level(void *state, kd_call *call, const ProtobufCMessage *message)
{
    gateway *const g = state;
    const char *const name = ((const Kindred__V1__SetLogLevelRequest *)message)->service;
    kd_channel *const peer = strcmp(name, "embedder") == 0  ? g->embedder
                             : strcmp(name, "indexer") == 0 ? g->indexer
                             : strcmp(name, "trainer") == 0 ? g->trainer
                                                            : NULL;
    Kindred__V1__SetLogLevelResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    if (!peer) {
        kd_process_set_log_level(g->process, call, message);
        return;
    }
    if (ask(call, peer, PROCESS, "SetLogLevel", message, &response, &err) == KD_OK)
        kd_call_reply(call, &response->base);
    else
        kd_call_fail(call, &err);
    kd_message_free(response);
}

/* ---- Datasets ---- */

/* Absent (*there false) when the folder has no such split. */
static kd_status split_facts(const char *dir, kd_split split, Kindred__V1__SplitFacts *out,
    char hash[KD_SHA256_TEXT], bool *there, kd_error *err)
{
    kd_dataset *dataset = NULL;
    size_t n;
    kindred__v1__split_facts__init(out);
    kd_status status = kd_dataset_open(&dataset, dir, split, err);
    *there = status == KD_OK;
    if (status == KD_OK) {
        (void)kd_dataset_items(dataset, &n);
        out->images = n;
        out->classes = kd_dataset_class_count(dataset);
        out->super_classes = kd_dataset_super_class_count(dataset);
        out->data_hash = hash;
        status = kd_dataset_hash(dataset, hash, err);
    }
    kd_dataset_free(dataset);
    return status;
}

static void get_dataset(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__GetDatasetRequest *const request = (const void *)message;
    const gateway *const g = state;
    Kindred__V1__GetDatasetResponse response = KINDRED__V1__GET_DATASET_RESPONSE__INIT;
    Kindred__V1__SplitFacts splits[2];
    char hashes[2][KD_SHA256_TEXT];
    bool there[2] = {false, false};
    kd_error err = KD_ERROR_INIT;
    char *real = NULL;
    kd_status status = check_path(g, request->dataset, &real, &err);
    if (status == KD_OK)
        status = split_facts(real, KD_SPLIT_TRAIN, &splits[0], hashes[0], &there[0], &err);
    if (status == KD_OK || (status == KD_NOT_FOUND && real)) {
        const kd_status test =
            split_facts(real, KD_SPLIT_TEST, &splits[1], hashes[1], &there[1], &err);
        if (test != KD_NOT_FOUND || !there[0]) /* a set may have one of the two */
            status = test;
    }
    if (status == KD_OK) {
        response.train = there[0] ? &splits[0] : NULL;
        response.test = there[1] ? &splits[1] : NULL;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    free(real);
}

/* ---- Reports ---- */

static kd_status send_file(kd_call *call, const kd_buf *file)
{
    Kindred__V1__GetReportResponse piece = KINDRED__V1__GET_REPORT_RESPONSE__INIT;
    kd_status status = KD_OK;
    piece.total_bytes = file->len;
    for (size_t at = 0; status == KD_OK && at < file->len; at += PIECE) {
        piece.data.data = file->data + at;
        piece.data.len = file->len - at < PIECE ? file->len - at : PIECE;
        status = kd_call_write(call, &piece.base, true);
    }
    return status;
}

static void get_report(void *state, kd_call *call, const ProtobufCMessage *message)
{
    gateway *const g = state;
    const Kindred__V1__GetReportRequest *const request =
        (const Kindred__V1__GetReportRequest *)message;
    kd_error err = KD_ERROR_INIT;
    kd_buf file = KD_BUF_INIT;
    kd_status status = kd_check_name("job", request->job_id, &err);
    if (status == KD_OK && !report_file_type(request->file))
        status = kd_error_set(&err, KD_INVALID_ARGUMENT,
            "'%.200s' is not a file of a report: there are report.html, report.json and the strips "
            "that it names",
            request->file);
    if (status == KD_OK) {
        char *const path = kd_format("%s/%s/%s", g->reports_dir, request->job_id, request->file);
        status = path ? kd_file_read(path, 1u << 30, &file, &err) : kd_error_memory(&err, "a path");
        if (status == KD_NOT_FOUND)
            status = kd_error_set(&err, KD_NOT_FOUND, "job '%s' has no report with a file %s",
                request->job_id, request->file);
        free(path);
    }
    if (status == KD_OK && (status = send_file(call, &file)) != KD_OK)
        (void)kd_error_set(&err, status,
            status == KD_CANCELLED ? "the client has gone"
                                   : "too many clients read slowly; try again later");
    kd_call_finish(call, status == KD_OK ? NULL : &err);
    kd_buf_free(&file);
}

/* ---- Models that are in use stay ---- */

static kd_status check_unused(gateway *g, kd_call *call, const char *model_id, kd_error *err)
{
    Kindred__V1__ListCollectionsRequest request = KINDRED__V1__LIST_COLLECTIONS_REQUEST__INIT;
    Kindred__V1__ListCollectionsResponse *page = NULL;
    kd_status status;
    char *token = NULL;
    request.page_size = 1000;
    do {
        request.page_token = token ? token : (char *)"";
        kd_message_free(page);
        page = NULL;
        status = ask(call, g->indexer, INDEXER, "ListCollections", &request.base, &page, err);
        free(token);
        token = NULL;
        for (size_t i = 0; status == KD_OK && i < page->n_collections; i++) {
            const Kindred__V1__Collection *const c = page->collections[i];
            if (c->damage[0] != '\0')
                status = kd_error_set(err, KD_FAILED_PRECONDITION,
                    "collection '%s' is damaged and may hold vectors of model %s: restore or "
                    "delete it first",
                    c->name, model_id);
            else if (strcmp(c->model_id, model_id) == 0)
                status = kd_error_set(err, KD_FAILED_PRECONDITION,
                    "collection '%s' holds vectors of model %s: delete it first", c->name,
                    model_id);
        }
        if (status == KD_OK && page->next_page_token[0] != '\0' &&
            !(token = strdup(page->next_page_token)))
            status = kd_error_memory(err, "a page token");
    } while (status == KD_OK && token);
    free(token);
    kd_message_free(page);
    return status;
}

static void delete_model(void *state, kd_call *call, const ProtobufCMessage *message)
{
    gateway *const g = state;
    const Kindred__V1__DeleteModelRequest *const request =
        (const Kindred__V1__DeleteModelRequest *)message;
    Kindred__V1__GetModelRequest get = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *got = NULL;
    Kindred__V1__DeleteModelResponse *response = NULL;
    kd_error err = KD_ERROR_INIT;
    get.model = request->model;
    kd_status status = ask(call, g->trainer, TRAINER, "GetModel", &get.base, &got, &err);
    if (status == KD_DATA_LOSS || status == KD_FAILED_PRECONDITION)
        status = KD_OK; /* can't be read, by its id it can go */
    const char *const id = got ? got->model->id : request->model;
    if (status == KD_OK)
        status = check_unused(g, call, id, &err);
    if (status == KD_OK)
        status = ask(call, g->trainer, TRAINER, "DeleteModel", message, &response, &err);
    if (status == KD_OK) {
        /* Frees its memory as well; it is no fault when it wasn't loaded or the embedder is away.
         */
        Kindred__V1__UnloadModelRequest unload = KINDRED__V1__UNLOAD_MODEL_REQUEST__INIT;
        Kindred__V1__UnloadModelResponse *unloaded = NULL;
        kd_error ignored;
        unload.model = (char *)id;
        (void)!ask(call, g->embedder, EMBEDDER, "UnloadModel", &unload.base, &unloaded, &ignored);
        kd_message_free(unloaded);
        kd_call_reply(call, &response->base);
    } else {
        kd_call_fail(call, &err);
    }
    kd_message_free(response);
    kd_message_free(got);
}

kd_status service_add(gateway *g, kd_server *server, kd_error *err)
{
    static const kd_method own[] = {
        {"SearchProducts", search_products, false},
        {"AddImage", add_image, true},
        {"SubmitJob", submit_job, true},
        {"GetJob", get_job, true},
        {"ListJobs", list_jobs, true},
        {"WatchJob", watch_job, false},
        {"CancelJob", cancel_job, true},
        {"RetryJob", retry_job, true},
        {"GetReport", get_report, true},
        {"GetDataset", get_dataset, true},
        {"GetStatus", get_status, true},
    };
    static const kd_method guarded[] = {{"DeleteModel", delete_model, true}};
    static const kd_method passed_on[] = {{"SetLogLevel", set_log_level, true}};
    kd_status status = kd_server_add(server, GATEWAY, own, sizeof own / sizeof own[0], g, err);
    if (status == KD_OK)
        status = kd_server_add(server, TRAINER, guarded, 1, g, err);
    if (status == KD_OK)
        status = kd_server_add(server, PROCESS, passed_on, 1, g, err);
    if (status == KD_OK)
        status = kd_server_add_proxy(server, TRAINER, g->trainer, err);
    if (status == KD_OK)
        status = kd_server_add_proxy(server, INDEXER, g->indexer, err);
    if (status == KD_OK)
        status = kd_server_add_proxy(server, EMBEDDER, g->embedder, err);
    return status;
}
