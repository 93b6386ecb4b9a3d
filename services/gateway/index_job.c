/* Index: a dataset's images into a collection. Everything it does can be done again: the collection
 * is made if absent, images are replaced by id. */
#include <stdlib.h>
#include <string.h>

#include "services/gateway/gateway.h"

typedef struct index_run {
    running_job *job;
    const kd_dataset *dataset;
    const kd_item *items;
    const char *model_id;
    size_t dim;
} index_run;

static kd_status upsert(
    void *arg, size_t first, size_t n, const float *values, const bool *ok, kd_error *err)
{
    const index_run *const x = arg;
    Kindred__V1__UpsertRequest request = KINDRED__V1__UPSERT_REQUEST__INIT;
    Kindred__V1__UpsertResponse *response = NULL;
    Kindred__V1__UpsertItem *const rows = calloc(n, sizeof *rows);
    Kindred__V1__Item *const items = calloc(n, sizeof *items);
    Kindred__V1__UpsertItem **const list = calloc(n, sizeof(Kindred__V1__UpsertItem *));
    kd_status status = rows && items && list ? KD_OK : kd_error_memory(err, "a batch");
    for (size_t i = 0; status == KD_OK && i < n; i++) {
        const kd_item *const from = &x->items[first + i];
        if (!ok[i])
            continue;
        const size_t j = request.n_items++;
        list[j] = &rows[j];
        kindred__v1__upsert_item__init(&rows[j]);
        kindred__v1__item__init(&items[j]);
        items[j].image_id = from->image_id;
        items[j].class_id = from->class_id;
        items[j].super_class_id = from->super_class_id;
        items[j].class_name = (char *)kd_dataset_class_name(x->dataset, from->class_id);
        items[j].super_class_name =
            (char *)kd_dataset_super_class_name(x->dataset, from->super_class_id);
        rows[j].item = &items[j];
        rows[j].n_values = x->dim;
        rows[j].values = (float *)(values + i * x->dim); /* packed from, never written to */
        items[j].uri = kd_dataset_full_path(x->dataset, from);
        if (!items[j].uri) {
            items[j].uri = (char *)protobuf_c_empty_string;
            status = kd_error_memory(err, "a path");
        }
    }
    if (status == KD_OK && request.n_items > 0) {
        request.collection = x->job->spec->index->collection;
        request.model_id = (char *)x->model_id;
        request.items = list;
        status = job_ask(
            x->job, x->job->gateway->indexer, INDEXER, "Upsert", &request.base, &response, err);
    }
    for (size_t j = 0; j < request.n_items; j++)
        result_free_text(items[j].uri);
    kd_message_free(response);
    free(list);
    free(items);
    free(rows);
    return status;
}

static kd_status make_collection(running_job *r, const Kindred__V1__Model *model, kd_error *err)
{
    Kindred__V1__CreateCollectionRequest request = KINDRED__V1__CREATE_COLLECTION_REQUEST__INIT;
    Kindred__V1__CreateCollectionResponse *response = NULL;
    request.name = r->spec->index->collection;
    request.model_id = model->id;
    request.dim = model->dim;
    request.if_absent = true;
    const kd_status status =
        job_ask(r, r->gateway->indexer, INDEXER, "CreateCollection", &request.base, &response, err);
    kd_message_free(response);
    return status;
}

static kd_status fill_result(Kindred__V1__JobResult *result, const running_job *r,
    const kd_dataset *dataset, const Kindred__V1__Model *model, kd_error *err)
{
    char hash[KD_SHA256_TEXT];
    const kd_status status = kd_dataset_hash(dataset, hash, err);
    if (status != KD_OK)
        return status;
    result->model_id = strdup(model->id);
    result->model_name = strdup(model->name);
    result->collection = strdup(r->spec->index->collection);
    result->data_hash = strdup(hash);
    return result->model_id && result->model_name && result->collection && result->data_hash
               ? KD_OK
               : kd_error_memory(err, "the result");
}

kd_status run_index(running_job *r, Kindred__V1__JobResult *result, kd_error *err)
{
    const Kindred__V1__IndexSpec *const spec = r->spec->index;
    Kindred__V1__GetModelRequest get = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *got = NULL;
    kd_dataset *dataset = NULL;
    char *real = NULL;
    kd_split split = KD_SPLIT_TRAIN;
    skipped skip;
    skipped_init(&skip);
    (void)kd_split_parse(spec->split, &split); /* checked when it was submitted */
    get.model = spec->model;
    kd_status status = check_path(r->gateway, spec->dataset, &real, err);
    if (status == KD_OK)
        status = kd_dataset_open(&dataset, real, split, err);
    if (status == KD_OK)
        status = job_ask(r, r->gateway->trainer, TRAINER, "GetModel", &get.base, &got, err);
    if (status == KD_OK)
        status = make_collection(r, got->model, err);
    if (status == KD_OK) {
        index_run x = {
            .job = r, .dataset = dataset, .model_id = got->model->id, .dim = got->model->dim};
        size_t n;
        x.items = kd_dataset_items(dataset, &n);
        r->total = n;
        job_phase(r, "indexing");
        status = embed_set(r, dataset, x.model_id, x.dim, &skip, upsert, &x, err);
        result->images = n - skip.count;
    }
    if (status == KD_OK)
        status = fill_result(result, r, dataset, got->model, err);
    result_skipped(result, &skip);
    skipped_clear(&skip);
    kd_message_free(got);
    kd_dataset_free(dataset);
    free(real);
    return status;
}
