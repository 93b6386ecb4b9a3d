/* What a job of the gateway brought, as a message whose parts are owned one by one. */
#include <stdlib.h>
#include <string.h>

#include "services/gateway/evaluate.h"

/* ---- Any result ---- */

void result_skipped(Kindred__V1__JobResult *result, skipped *s)
{
    result->skipped = s->count;
    result->skipped_names = calloc(s->n_names ? s->n_names : 1, sizeof *result->skipped_names);
    if (!result->skipped_names)
        return; /* the count stands without the names */
    memcpy(result->skipped_names, s->names, s->n_names * sizeof *s->names);
    result->n_skipped_names = s->n_names;
    s->n_names = 0; /* theirs now */
}

void result_free_text(char *text)
{
    if (text != protobuf_c_empty_string)
        free(text);
}

static void free_metrics(Kindred__V1__ModelMetrics **metrics, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        result_free_text(metrics[i]->model_id);
        result_free_text(metrics[i]->model_name);
        free(metrics[i]->by_class);
        free(metrics[i]->by_super_class);
        free(metrics[i]);
    }
    free(metrics);
}

void result_clear(Kindred__V1__JobResult *result)
{
    for (size_t i = 0; i < result->n_skipped_names; i++)
        free(result->skipped_names[i]);
    free(result->skipped_names);
    free_metrics(result->metrics, result->n_metrics);
    for (size_t i = 0; i < result->n_also; i++) {
        free_metrics(result->also[i]->metrics, result->also[i]->n_metrics);
        result_free_text(result->also[i]->protocol);
        free(result->also[i]);
    }
    free(result->also);
    result_free_text(result->model_id);
    result_free_text(result->model_name);
    result_free_text(result->collection);
    result_free_text(result->data_hash);
    result_free_text(result->report);
    result_free_text(result->protocol);
}

/* ---- Measures ---- */

static Kindred__V1__Metrics *metrics_message(const kd_metrics_set *m)
{
    const double *const v = m->values;
    Kindred__V1__Metrics *const out = malloc(sizeof *out);
    if (!out)
        return NULL;
    kindred__v1__metrics__init(out);
    out->recall_at_1 = v[KD_RECALL_AT_1];
    out->recall_at_5 = v[KD_RECALL_AT_5];
    out->recall_at_10 = v[KD_RECALL_AT_10];
    out->recall_at_100 = v[KD_RECALL_AT_100];
    out->recall_at_1000 = v[KD_RECALL_AT_1000];
    out->precision_at_5 = v[KD_PRECISION_AT_5];
    out->precision_at_10 = v[KD_PRECISION_AT_10];
    out->map_at_5 = v[KD_MAP_AT_5];
    out->map_at_r = v[KD_MAP_AT_R];
    out->r_precision = v[KD_R_PRECISION];
    out->accuracy = v[KD_ACCURACY];
    out->precision = v[KD_PRECISION];
    out->recall = v[KD_RECALL];
    out->f1 = v[KD_F1];
    out->original_map_at_5 = v[KD_ORIGINAL_MAP_AT_5];
    out->queries = m->queries;
    out->without_positives = m->without_positives;
    return out;
}

/* metrics: n that are NULL; what was made of them is the caller's to free, whatever comes. */
static kd_status fill_metrics(
    Kindred__V1__ModelMetrics **metrics, size_t *done, const evaluation *e, kd_error *err)
{
    bool fine = true;
    for (size_t i = 0; fine && i < e->n_models; i++) {
        const measured *const model = &e->models[i];
        Kindred__V1__ModelMetrics *const m = malloc(sizeof *m);
        if (!m)
            return kd_error_memory(err, "the result");
        kindred__v1__model_metrics__init(m);
        metrics[(*done)++] = m;
        m->model_id = strdup(model->model->id);
        m->model_name = strdup(model->model->name);
        m->by_class = metrics_message(&model->of[KD_EVAL_CLASS].means);
        m->by_super_class = metrics_message(&model->of[KD_EVAL_SUPER_CLASS].means);
        fine = m->model_id && m->model_name && m->by_class && m->by_super_class;
    }
    return fine ? KD_OK : kd_error_memory(err, "the result");
}

static void sizes(const protocol *p, uint64_t *gallery, uint64_t *queries)
{
    size_t n;
    (void)kd_dataset_items(p->gallery, &n);
    *gallery = n;
    (void)kd_dataset_items(p->queries, &n);
    *queries = n;
}

static kd_status fill_also(Kindred__V1__JobResult *result, const evaluation *e, kd_error *err)
{
    Kindred__V1__ProtocolMetrics *const also = malloc(sizeof *also);
    if (!also)
        return kd_error_memory(err, "the result");
    kindred__v1__protocol_metrics__init(also);
    result->also[result->n_also++] = also;
    sizes(&e->protocol, &also->gallery, &also->queries);
    also->protocol = strdup(e->protocol.name);
    also->metrics = calloc(e->n_models, sizeof *also->metrics);
    return also->protocol && also->metrics ? fill_metrics(also->metrics, &also->n_metrics, e, err)
                                           : kd_error_memory(err, "the result");
}

kd_status result_measured(
    Kindred__V1__JobResult *result, const evaluation *all, size_t n, kd_error *err)
{
    sizes(&all[0].protocol, &result->gallery, &result->images);
    result->protocol = strdup(all[0].protocol.name);
    result->metrics = calloc(all[0].n_models, sizeof *result->metrics);
    result->also = calloc(n, sizeof *result->also);
    kd_status status = result->protocol && result->metrics && result->also
                           ? fill_metrics(result->metrics, &result->n_metrics, &all[0], err)
                           : kd_error_memory(err, "the result");
    for (size_t i = 1; status == KD_OK && i < n; i++)
        status = fill_also(result, &all[i], err);
    return status;
}
