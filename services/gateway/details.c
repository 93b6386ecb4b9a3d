/* What the report shows beyond the means: details by label, the map, the worst misses. */
#include <stdlib.h>
#include <string.h>

#include "lib/eval/details.h"
#include "services/gateway/evaluate.h"

#define MISSES 12u     /* of one model */
#define ALL_MISSES 48u /* of all models: each has six pictures in the page */
#define LEAST_MISSES 3u

static const char *label_name(void *arg, kd_eval_kind kind, uint32_t label)
{
    const kd_dataset *const gallery = arg;
    return kind == KD_EVAL_CLASS ? kd_dataset_class_name(gallery, label)
                                 : kd_dataset_super_class_name(gallery, label);
}

/* ---- Map ---- */

/* Rows of evenly chosen queries, the same images for each model. */
static size_t choose_points(const embedded *queries, size_t *chosen)
{
    const size_t most = queries->n_items < KD_REPORT_POINTS ? queries->n_items : KD_REPORT_POINTS;
    size_t n = 0, row = 0;
    for (size_t i = 0; i < most; i++) {
        const size_t item = (size_t)((double)i * (double)queries->n_items / (double)most);
        while (row < queries->n && queries->rows[row] < item)
            row++;
        if (row < queries->n && queries->rows[row] == item)
            chosen[n++] = row;
    }
    return n;
}

static kd_status make_map(const embedded *queries, size_t dim, const kd_label_names *names,
    kd_report_details *out, kd_error *err)
{
    size_t *const chosen = malloc(KD_REPORT_POINTS * sizeof *chosen);
    float *const rows = malloc(KD_REPORT_POINTS * dim * sizeof *rows);
    uint32_t *const labels = malloc(KD_REPORT_POINTS * sizeof *labels);
    kd_status status =
        chosen && rows && labels ? KD_OK : kd_error_memory(err, "the map of the embeddings");
    if (status == KD_OK) {
        const size_t n = choose_points(queries, chosen);
        for (size_t i = 0; i < n; i++) {
            memcpy(rows + i * dim, queries->values + chosen[i] * dim, dim * sizeof *rows);
            labels[i] = queries->supers[chosen[i]];
        }
        status = kd_details_map(out, rows, labels, n, dim, names, err);
    }
    free(labels);
    free(rows);
    free(chosen);
    return status;
}

/* ---- Misses ---- */

static kd_status make_misses(running_job *r, const embedded *queries, const embedded *gallery,
    size_t most, measured *out, kd_error *err)
{
    size_t asked[MISSES], items[MISSES], n = 0;
    kd_status status = kd_details_misses(&out->eval, most, asked, &n, err);
    for (size_t i = 0; i < n; i++)
        items[i] = queries->rows[asked[i]];
    const shown s = {.items = items, .n = n, .side = picture_side((1 + ROW_HITS) * ALL_MISSES)};
    if (status == KD_OK)
        status =
            rows_make(r, &s, queries, gallery, out->eval.hits, out->eval.counts, &out->misses, err);
    if (status != KD_OK)
        return status;
    out->n_misses = n;
    for (size_t i = 0; i < n; i++)
        out->misses[i].first = out->eval.answers[KD_EVAL_CLASS][asked[i]].first;
    return KD_OK;
}

kd_status add_details(running_job *r, const embedded *queries, const embedded *gallery, size_t dim,
    size_t n_models, measured *out, kd_error *err)
{
    const kd_label_names names = {label_name, (void *)gallery->dataset};
    const size_t share = ALL_MISSES / n_models;
    const size_t most = share > MISSES ? MISSES : share < LEAST_MISSES ? LEAST_MISSES : share;
    kd_status status = kd_details_make(&out->eval, &names, &out->details, err);
    if (status == KD_OK)
        status = make_map(queries, dim, &names, &out->details, err);
    if (status == KD_OK)
        status = make_misses(r, queries, gallery, most, out, err);
    return status;
}
