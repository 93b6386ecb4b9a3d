/* What can be said at once about a job: that it could never run. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "services/gateway/evaluate.h"

/* A dataset that opens; *real is its folder. */
static kd_status check_dataset(
    const gateway *g, const char *path, kd_split split, char **real, kd_error *err)
{
    kd_dataset *dataset = NULL;
    kd_status status = check_path(g, path, real, err);
    if (status == KD_OK)
        status = kd_dataset_open(&dataset, *real, split, err);
    kd_dataset_free(dataset);
    return status;
}

/* The model is there; *id (free) is its id. */
static kd_status check_model(gateway *g, kd_call *call, const char *model, char **id, kd_error *err)
{
    Kindred__V1__GetModelRequest request = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *response = NULL;
    *id = NULL;
    if (model[0] == '\0')
        return kd_error_set(err, KD_INVALID_ARGUMENT, "no model was given");
    request.model = (char *)model;
    kd_status status = ask(call, g->trainer, TRAINER, "GetModel", &request.base, &response, err);
    if (status == KD_OK && !(*id = strdup(response->model->id)))
        status = kd_error_memory(err, "a model's id");
    kd_message_free(response);
    return status;
}

static kd_status check_split(const char *word, kd_split *split, kd_error *err)
{
    if (!kd_split_parse(word, split))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "'%.40s' is not a split: there are train, test and all", word);
    return KD_OK;
}

static kd_status pack(Kindred__V1__JobSpec *spec, kd_buf *out, kd_error *err)
{
    const size_t len = kindred__v1__job_spec__get_packed_size(spec);
    uint8_t *const at = kd_buf_reserve(out, len);
    if (!at)
        return kd_error_memory(err, "a job");
    out->len += kindred__v1__job_spec__pack(spec, at);
    return KD_OK;
}

/* The trainer knows its settings. */
static kd_status check_settings(
    gateway *g, kd_call *call, Kindred__V1__TrainSpec *train, kd_error *err)
{
    Kindred__V1__CheckTrainingRequest request = KINDRED__V1__CHECK_TRAINING_REQUEST__INIT;
    Kindred__V1__CheckTrainingResponse *response = NULL;
    request.spec = train;
    const kd_status status =
        ask(call, g->trainer, TRAINER, "CheckTraining", &request.base, &response, err);
    kd_message_free(response);
    return status;
}

static kd_status check_train(
    gateway *g, kd_call *call, const Kindred__V1__TrainSpec *asked, kd_buf *out, kd_error *err)
{
    Kindred__V1__TrainSpec train = *asked;
    train.base.n_unknown_fields = 0; /* else they are packed and kept too */
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    char *dataset = NULL, *model = NULL;
    kd_status status = KD_OK;
    if (train.name[0] != '\0')
        status = kd_check_name("model", train.name, err);
    if (status == KD_OK)
        status = check_dataset(g, train.dataset, KD_SPLIT_TRAIN, &dataset, err);
    if (status == KD_OK && train.model[0] != '\0')
        status = check_model(g, call, train.model, &model, err);
    if (status == KD_OK) {
        train.dataset = dataset;
        train.model = model ? model : (char *)"";
        status = check_settings(g, call, &train, err);
    }
    if (status == KD_OK) {
        spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_TRAIN;
        spec.train = &train;
        status = pack(&spec, out, err);
    }
    free(dataset);
    free(model);
    return status;
}

/* A collection of that name holds vectors of this model, or there is none. */
static kd_status check_collection(
    gateway *g, kd_call *call, const char *name, const char *model_id, kd_error *err)
{
    Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *response = NULL;
    kd_status status = kd_check_name("collection", name, err);
    if (status != KD_OK)
        return status;
    request.name = (char *)name;
    status = ask(call, g->indexer, INDEXER, "GetCollection", &request.base, &response, err);
    if (status == KD_NOT_FOUND)
        return KD_OK;
    if (status == KD_OK)
        status = check_intact(response->collection, err);
    if (status == KD_OK && strcmp(response->collection->model_id, model_id) != 0)
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "collection '%s' holds vectors of model %s, not of %s", name,
            response->collection->model_id, model_id);
    kd_message_free(response);
    return status;
}

static kd_status check_index(
    gateway *g, kd_call *call, const Kindred__V1__IndexSpec *asked, kd_buf *out, kd_error *err)
{
    Kindred__V1__IndexSpec index = *asked;
    index.base.n_unknown_fields = 0;
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    char *dataset = NULL, *model = NULL;
    kd_split split;
    if (index.split[0] == '\0')
        index.split = (char *)"train";
    kd_status status = check_split(index.split, &split, err);
    if (status == KD_OK)
        status = check_dataset(g, index.dataset, split, &dataset, err);
    if (status == KD_OK)
        status = check_model(g, call, index.model, &model, err);
    if (model)
        status = check_collection(g, call, index.collection, model, err);
    if (status == KD_OK) {
        index.dataset = dataset;
        index.model = model;
        spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_INDEX;
        spec.index = &index;
        status = pack(&spec, out, err);
    }
    free(dataset);
    free(model);
    return status;
}

static kd_status check_protocol(const char *p, const char *gallery, kd_error *err)
{
    static const char *const names[] = {"", "closed-set", "sop", "catalogue", "val"};
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        known = known || strcmp(p, names[i]) == 0;
    if (!known)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "'%.40s' is not a protocol: there are closed-set, sop, catalogue and val", p);
    if (strcmp(p, "catalogue") == 0 && gallery[0] == '\0')
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the catalogue protocol wants a gallery listing");
    return KD_OK;
}

/* *split: what the protocols need. */
static kd_status check_protocols(
    const Kindred__V1__EvaluateSpec *evaluate, kd_split *split, kd_error *err)
{
    bool catalogue = evaluate->n_protocols == 0;
    unsigned needed = catalogue ? KD_SPLIT_TEST : 0;
    if (evaluate->n_protocols > PROTOCOLS_MOST)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "%zu protocols were given, allowed are up to %u", evaluate->n_protocols,
            PROTOCOLS_MOST);
    for (size_t i = 0; i < evaluate->n_protocols; i++) {
        const char *const p = evaluate->protocols[i];
        const kd_status status = check_protocol(p, evaluate->gallery, err);
        if (status != KD_OK)
            return status;
        catalogue = catalogue || p[0] == '\0' || strcmp(p, "catalogue") == 0;
        needed |= strcmp(p, "val") == 0 ? KD_SPLIT_TRAIN : KD_SPLIT_TEST;
        for (size_t j = 0; j < i; j++)
            if (strcmp(p, evaluate->protocols[j]) == 0)
                return kd_error_set(
                    err, KD_INVALID_ARGUMENT, "protocol '%s' is asked for twice", p);
    }
    *split = (kd_split)needed;
    if (evaluate->gallery[0] != '\0' && !catalogue)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "protocol %s takes no gallery listing",
            evaluate->protocols[0]);
    return KD_OK;
}

static kd_status check_counts(const Kindred__V1__EvaluateSpec *evaluate, kd_error *err)
{
    if (evaluate->n_models == 0 || evaluate->n_models > MODELS_MOST)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%zu models were given, allowed are 1 to %u",
            evaluate->n_models, MODELS_MOST);
    if (evaluate->n_labels > 0 && evaluate->n_labels != evaluate->n_models)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%zu labels were given for %zu models",
            evaluate->n_labels, evaluate->n_models);
    for (size_t i = 0; i < evaluate->n_labels; i++) {
        const size_t len = strlen(evaluate->labels[i]);
        if (len == 0 || len > LABEL_MOST)
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "label '%.80s' has %zu bytes, allowed are 1 to %u", evaluate->labels[i], len,
                LABEL_MOST);
    }
    if (evaluate->vote_k > KD_EVAL_MAX_VOTE)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "vote_k is %u, allowed are 1 to %u",
            evaluate->vote_k, KD_EVAL_MAX_VOTE);
    const char *const weighting = evaluate->vote_weighting;
    if (weighting[0] != '\0' && strcmp(weighting, "equal") != 0 && strcmp(weighting, "score") != 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "vote_weighting is '%.40s', allowed are \"equal\" and \"score\"", weighting);
    return KD_OK;
}

/* What is to be shown is among the first protocol's queries. */
static kd_status check_show(
    const char *dir, const Kindred__V1__EvaluateSpec *evaluate, kd_error *err)
{
    const bool val = evaluate->n_protocols > 0 && strcmp(evaluate->protocols[0], "val") == 0;
    kd_dataset *queries = NULL;
    if (evaluate->n_show == 0)
        return KD_OK;
    kd_status status = kd_dataset_open(&queries, dir, val ? KD_SPLIT_TRAIN : KD_SPLIT_TEST, err);
    if (status == KD_OK)
        status = show_check(queries, (const char *const *)evaluate->show, evaluate->n_show, err);
    kd_dataset_free(queries);
    return status;
}

/* What a collection is measured by: one protocol and its own model, *model (owned); NULL when there
 * is no collection. */
static kd_status check_measured(gateway *g, kd_call *call,
    const Kindred__V1__EvaluateSpec *evaluate, char **model, kd_error *err)
{
    Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *response = NULL;
    if (evaluate->collection[0] == '\0')
        return KD_OK;
    if (evaluate->n_models > 1 || evaluate->n_protocols > 1)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "a collection is measured by its own model and one protocol, and %zu models and %zu "
            "protocols were given",
            evaluate->n_models, evaluate->n_protocols);
    request.name = evaluate->collection;
    kd_status status =
        ask(call, g->indexer, INDEXER, "GetCollection", &request.base, &response, err);
    if (status == KD_OK)
        status = check_intact(response->collection, err);
    if (status == KD_OK && !(*model = strdup(response->collection->model_id)))
        status = kd_error_memory(err, "a model's id");
    kd_message_free(response);
    return status;
}

static kd_status check_evaluate(
    gateway *g, kd_call *call, const Kindred__V1__EvaluateSpec *asked, kd_buf *out, kd_error *err)
{
    Kindred__V1__EvaluateSpec evaluate = *asked;
    evaluate.base.n_unknown_fields = 0;
    Kindred__V1__JobSpec spec = KINDRED__V1__JOB_SPEC__INIT;
    char *dataset = NULL, *gallery = NULL, *own = NULL, *models[MODELS_MOST] = {NULL};
    kd_split split = KD_SPLIT_ALL;
    kd_status status = check_protocols(asked, &split, err);
    if (status == KD_OK)
        status = check_measured(g, call, asked, &own, err);
    if (own && evaluate.n_models == 0) {
        evaluate.n_models = 1;
        evaluate.models = &own;
    }
    if (status == KD_OK)
        status = check_counts(&evaluate, err);
    if (status == KD_OK)
        status = check_dataset(g, evaluate.dataset,
            split == KD_SPLIT_TRAIN ? KD_SPLIT_TRAIN : KD_SPLIT_TEST, &dataset, err);
    if (status == KD_OK && split == KD_SPLIT_ALL) { /* both, not what there is of them */
        free(dataset);
        status = check_dataset(g, evaluate.dataset, KD_SPLIT_TRAIN, &dataset, err);
    }
    if (status == KD_OK)
        status = check_show(dataset, asked, err);
    if (status == KD_OK && evaluate.gallery[0] != '\0') {
        kd_dataset *listing = NULL;
        status = check_path(g, evaluate.gallery, &gallery, err);
        if (status == KD_OK)
            status = kd_dataset_open_listing(&listing, gallery, err);
        kd_dataset_free(listing);
    }
    for (size_t i = 0; status == KD_OK && i < evaluate.n_models; i++)
        status = check_model(g, call, evaluate.models[i], &models[i], err);
    if (status == KD_OK && own && strcmp(own, models[0]) != 0)
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "collection '%s' holds vectors of model %s, not of %s", evaluate.collection, own,
            models[0]);
    if (status == KD_OK) {
        evaluate.dataset = dataset;
        evaluate.gallery = gallery ? gallery : (char *)"";
        evaluate.models = models;
        spec.spec_case = KINDRED__V1__JOB_SPEC__SPEC_EVALUATE;
        spec.evaluate = &evaluate;
        status = pack(&spec, out, err);
    }
    for (size_t i = 0; i < MODELS_MOST; i++)
        free(models[i]);
    free(own);
    free(gallery);
    free(dataset);
    return status;
}

kd_status submit_check(gateway *g, kd_call *call, const Kindred__V1__JobSpec *spec, kd_buf *out,
    const char **queue, const char **kind, kd_error *err)
{
    *queue = GATEWAY_QUEUE;
    switch (spec ? spec->spec_case : KINDRED__V1__JOB_SPEC__SPEC__NOT_SET) {
    case KINDRED__V1__JOB_SPEC__SPEC_TRAIN:
        *queue = TRAINER_QUEUE;
        *kind = "train";
        return check_train(g, call, spec->train, out, err);
    case KINDRED__V1__JOB_SPEC__SPEC_INDEX:
        *kind = "index";
        return check_index(g, call, spec->index, out, err);
    case KINDRED__V1__JOB_SPEC__SPEC_EVALUATE:
        *kind = "evaluate";
        return check_evaluate(g, call, spec->evaluate, out, err);
    default:
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the job says nothing to do: train, index or evaluate");
    }
}
