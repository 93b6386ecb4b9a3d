#include "services/trainer/validate.h"

#include <math.h>
#include <stdlib.h>

#include "lib/eval/eval.h"

#define CHUNK 256u /* rows embedded or classified at a time */

typedef struct tables {
    float *vectors;    /* rows × dim */
    uint64_t *numbers; /* 0, 1, …: the rows' ids */
    uint32_t *labels;  /* of the rows */
} tables;

static void tables_free(tables *t)
{
    free(t->vectors);
    free(t->numbers);
    free(t->labels);
}

static kd_status tables_make(tables *t, const validation *v, size_t dim, kd_error *err)
{
    const size_t n = v->rows->n;
    t->vectors = calloc(n, dim * sizeof *t->vectors);
    t->numbers = calloc(n, sizeof *t->numbers);
    t->labels = calloc(n, sizeof *t->labels);
    if (!t->vectors || !t->numbers || !t->labels)
        return kd_error_memory(err, "the validation's embeddings");
    for (size_t i = 0; i < n; i++) {
        t->numbers[i] = i;
        t->labels[i] = v->labels[v->rows->images[i]];
    }
    return KD_OK;
}

static kd_status measure_retrieval(
    const validation *v, const tables *t, size_t dim, validation_result *out, kd_error *err)
{
    const kd_eval_input input = {.queries = t->vectors,
        .n_queries = v->n_queries,
        .gallery = t->vectors,
        .n_gallery = v->rows->n,
        .dim = dim,
        .gallery_ids = t->numbers,
        .selves = t->numbers,
        .query_labels = {t->labels, t->labels},
        .gallery_labels = {t->labels, t->labels}};
    kd_eval eval;
    kd_metrics_set metrics;
    kd_error why = KD_ERROR_INIT;
    kd_status status = kd_eval_run(&input, &eval, err);
    if (status != KD_OK)
        return status;
    status = kd_eval_metrics(&eval, KD_EVAL_CLASS, NULL, &metrics, &why);
    kd_eval_free(&eval);
    if (status == KD_FAILED_PRECONDITION) /* no query has a positive that could be read */
        return KD_OK;
    if (status != KD_OK)
        return kd_error_set(err, status, "%s", why.message);
    out->recall_at_1 = metrics.values[KD_RECALL_AT_1];
    out->map_at_5 = metrics.values[KD_MAP_AT_5];
    return KD_OK;
}

static kd_status measure_head(const validation *v, validation_result *out, kd_error *err)
{
    uint32_t said[CHUNK];
    size_t known = 0, right = 0;
    for (size_t from = 0; from < v->n_queries; from += CHUNK) {
        const size_t left = v->n_queries - from, n = left < CHUNK ? left : CHUNK;
        const kd_status status = kd_training_classify(
            v->training, v->rows->values + from * KD_NN_FEATURES, n, said, err);
        if (status != KD_OK)
            return status;
        for (size_t i = 0; i < n; i++) {
            const uint32_t truth = v->head_labels[v->rows->images[from + i]];
            known += truth != UINT32_MAX;
            right += truth != UINT32_MAX && truth == said[i];
        }
    }
    if (known > 0)
        out->accuracy = (double)right / (double)known;
    return KD_OK;
}

kd_status validate(const validation *v, validation_result *out, kd_error *err)
{
    const size_t dim = kd_net_dim(v->net), n = v->rows->n;
    tables t = {0};
    const double none = (double)NAN;
    *out = (validation_result){none, none, none, none};
    if (v->n_queries == 0)
        return KD_OK;
    kd_status status = tables_make(&t, v, dim, err);
    for (size_t from = 0; status == KD_OK && from < n; from += CHUNK)
        status = kd_net_embed(v->net, v->rows->values + from * KD_NN_FEATURES,
            n - from < CHUNK ? n - from : CHUNK, t.vectors + from * dim, err);
    if (status == KD_OK)
        status = measure_retrieval(v, &t, dim, out, err);
    if (status == KD_OK && v->head_labels)
        status = measure_head(v, out, err);
    if (status == KD_OK)
        status = kd_effective_rank(t.vectors, n, dim, &out->effective_rank, err);
    tables_free(&t);
    return status;
}
