/* Who asks and who is asked. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/evaluate.h"

void protocol_free(protocol *p)
{
    kd_dataset_free(p->test);
    kd_dataset_free(p->train);
    kd_dataset_free(p->listing);
    kd_dataset_free(p->held);
    kd_dataset_free(p->kept);
}

/* ---- Closed set or Stanford Online Products' ---- */

int compare_labels(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Is every class of the test set in train? */
static kd_status classes_covered(
    const kd_dataset *train, const kd_dataset *test, bool *covered, kd_error *err)
{
    size_t n, m;
    const kd_item *const have = kd_dataset_items(train, &n);
    const kd_item *const want = kd_dataset_items(test, &m);
    uint32_t *const classes = malloc((n ? n : 1) * sizeof *classes);
    if (!classes)
        return kd_error_memory(err, "the classes");
    for (size_t i = 0; i < n; i++)
        classes[i] = have[i].class_id;
    qsort(classes, n, sizeof *classes, compare_labels);
    *covered = true;
    for (size_t i = 0; i < m && *covered; i++)
        *covered = bsearch(&want[i].class_id, classes, n, sizeof *classes, compare_labels) != NULL;
    free(classes);
    return KD_OK;
}

static kd_status open_train(protocol *p, const char *dir, bool asked, kd_error *err)
{
    bool covered = true;
    kd_status status = kd_dataset_open(&p->train, dir, KD_SPLIT_TRAIN, err);
    if (!asked && status == KD_NOT_FOUND) /* a set without train: SOP's protocol */
        covered = false;
    else if (status != KD_OK)
        return status;
    if (!asked && covered && (status = classes_covered(p->train, p->test, &covered, err)) != KD_OK)
        return status;
    p->name = covered ? "closed-set" : "sop";
    p->gallery = covered ? p->train : p->test;
    return KD_OK;
}

/* ---- What the models held back ---- */

/* What the models' records say about the images that did not train them. */
typedef struct held_back {
    json_t *ids;  /* owned: of the first model that held some back */
    char *name;   /* owned: of that model */
    bool classes; /* they are whole classes */
} held_back;

/* Adds what one model's record says. A model that was not trained here has seen nothing; of one
 * that was trained on another set nobody knows which of these images it has seen. */
static kd_status hear_record(
    held_back *h, const Kindred__V1__Model *model, const char *hash, kd_error *err)
{
    json_t *const record = json_loads(model->training_json, 0, NULL);
    json_t *const ids = json_object_get(record, "validation_image_ids");
    const char *const cut = json_string_value(json_object_get(record, "validation"));
    kd_status status = KD_OK;
    if (model->data_hash[0] == '\0')
        status = KD_OK;
    else if (strcmp(model->data_hash, hash) != 0)
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "model %s was trained on another training set than this one", model->name);
    else if (!ids || json_array_size(ids) == 0)
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "model %s held no images back: it has seen all that could ask", model->name);
    else if (h->ids && !json_equal(h->ids, ids))
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "models %s and %s held different images back: the same seed, validation and "
            "validation_share hold the same ones back",
            h->name, model->name);
    else if (!h->ids && !(h->name = strdup(model->name)))
        status = kd_error_memory(err, "a model's name");
    else if (!h->ids) {
        h->ids = json_incref(ids);
        h->classes = cut && strcmp(cut, "classes") == 0;
    }
    json_decref(record);
    return status;
}

/* The model and those it was trained from. */
static kd_status hear_model(
    running_job *r, held_back *h, const Kindred__V1__Model *model, const char *hash, kd_error *err)
{
    Kindred__V1__GetModelRequest get = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *got = NULL;
    kd_status status = hear_record(h, model, hash, err);
    while (status == KD_OK && model->parent[0] != '\0') {
        Kindred__V1__GetModelResponse *parent = NULL;
        get.model = model->parent;
        status = job_ask(r, r->gateway->trainer, TRAINER, "GetModel", &get.base, &parent, err);
        if (status == KD_NOT_FOUND)
            status = kd_error_set(err, KD_FAILED_PRECONDITION,
                "model %s came from %s, which is gone: nobody knows what that one has seen",
                model->name, model->parent);
        if (status == KD_OK)
            status = hear_record(h, parent->model, hash, err);
        if (status == KD_OK)
            model = parent->model;
        kd_message_free(got);
        got = parent;
    }
    kd_message_free(got);
    return status;
}

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Marks the images of the list. */
static kd_status mark(const kd_dataset *dataset, json_t *list, bool *marks, kd_error *err)
{
    const size_t n_ids = json_array_size(list);
    size_t n;
    const kd_item *const items = kd_dataset_items(dataset, &n);
    uint64_t *const ids = malloc((n_ids ? n_ids : 1) * sizeof *ids);
    if (!ids)
        return kd_error_memory(err, "the images that were held back");
    for (size_t i = 0; i < n_ids; i++)
        ids[i] = (uint64_t)json_integer_value(json_array_get(list, i));
    qsort(ids, n_ids, sizeof *ids, compare_u64);
    for (size_t i = 0; i < n; i++)
        marks[i] = bsearch(&items[i].image_id, ids, n_ids, sizeof *ids, compare_u64) != NULL;
    free(ids);
    return KD_OK;
}

/* Makes queries and gallery of train. Whole classes that were held back have their positives among
 * themselves, so that they stay in the gallery. */
static kd_status cut(protocol *p, const held_back *h, kd_error *err)
{
    size_t n;
    (void)kd_dataset_items(p->train, &n);
    bool *const marks = calloc(n + 1, sizeof *marks);
    kd_status status =
        marks ? mark(p->train, h->ids, marks, err) : kd_error_memory(err, "the images");
    if (status == KD_OK)
        status = kd_dataset_subset(&p->held, p->train, marks, err);
    for (size_t i = 0; status == KD_OK && i < n; i++)
        marks[i] = !marks[i];
    if (status == KD_OK && !h->classes)
        status = kd_dataset_subset(&p->kept, p->train, marks, err);
    free(marks);
    p->name = "val";
    p->queries = p->held;
    p->gallery = h->classes ? p->train : p->kept;
    return status;
}

static kd_status open_val(
    running_job *r, protocol *p, const char *dir, const models_asked *models, kd_error *err)
{
    char hash[KD_SHA256_TEXT];
    held_back h = {NULL};
    kd_status status = kd_dataset_open(&p->train, dir, KD_SPLIT_TRAIN, err);
    if (status == KD_OK)
        status = kd_dataset_hash(p->train, hash, err);
    for (size_t i = 0; status == KD_OK && i < models->n; i++)
        status = hear_model(r, &h, models->got[i]->model, hash, err);
    if (status == KD_OK && !h.ids)
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "protocol val asks with the images that a model held back, and none of the models was "
            "trained on this set");
    if (status == KD_OK)
        status = cut(p, &h, err);
    json_decref(h.ids);
    free(h.name);
    return status;
}

/* ---- Opening ---- */

static kd_status open_catalogue(const gateway *g, protocol *p, const char *listing, kd_error *err)
{
    char *real = NULL;
    kd_status status = check_path(g, listing, &real, err);
    if (status == KD_OK)
        status = kd_dataset_open_listing(&p->listing, real, err);
    p->name = "catalogue";
    p->gallery = p->listing;
    free(real);
    return status;
}

kd_status protocol_open(
    protocol *p, running_job *r, const char *name, const models_asked *models, kd_error *err)
{
    const gateway *const g = r->gateway;
    const Kindred__V1__EvaluateSpec *const spec = r->spec->evaluate;
    const bool listing = spec->gallery[0] != '\0' && name[0] == '\0';
    char *real = NULL;
    *p = (protocol){.name = NULL};
    kd_status status = check_path(g, spec->dataset, &real, err);
    if (status == KD_OK && strcmp(name, "val") == 0) {
        status = open_val(r, p, real, models, err);
    } else if (status == KD_OK) {
        status = kd_dataset_open(&p->test, real, KD_SPLIT_TEST, err);
        p->queries = p->test;
        if (status == KD_OK && (listing || strcmp(name, "catalogue") == 0)) {
            status = open_catalogue(g, p, spec->gallery, err);
        } else if (status == KD_OK && strcmp(name, "sop") == 0) {
            p->name = "sop";
            p->gallery = p->test;
        } else if (status == KD_OK) {
            status = open_train(p, real, strcmp(name, "closed-set") == 0, err);
        }
    }
    free(real);
    return status;
}
