/* Evaluate: embeds gallery and queries by each model, has them measured, writes the report. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "services/gateway/evaluate.h"

/* ---- Sets ---- */

static void embedded_free(embedded *e)
{
    free(e->values);
    free(e->ok);
    free(e->rows);
    free(e->ids);
    free(e->classes);
    free(e->supers);
    *e = (embedded){.dataset = NULL};
}

typedef struct keep_arg {
    embedded *e;
    size_t dim;
} keep_arg;

static kd_status keep_values(
    void *arg, size_t first, size_t n, const float *values, const bool *ok, kd_error *err)
{
    const keep_arg *const k = arg;
    (void)err;
    memcpy(k->e->values + first * k->dim, values,
        n * k->dim * sizeof *values); /* chunks don't overlap */
    memcpy(k->e->ok + first, ok, n * sizeof *ok);
    return KD_OK;
}

/* Closes the gaps of skipped images and notes ids and labels. */
static void compact(embedded *e, size_t dim)
{
    for (size_t i = 0; i < e->n_items; i++) {
        if (!e->ok[i])
            continue;
        if (e->n != i)
            memmove(e->values + e->n * dim, e->values + i * dim, dim * sizeof *e->values);
        e->rows[e->n] = i;
        e->ids[e->n] = e->items[i].image_id;
        e->classes[e->n] = e->items[i].class_id;
        e->supers[e->n] = e->items[i].super_class_id;
        e->n++;
    }
}

static kd_status embed(running_job *r, const kd_dataset *dataset, const Kindred__V1__Model *model,
    skipped *skip, embedded *out, kd_error *err)
{
    const size_t dim = model->dim;
    *out = (embedded){.dataset = dataset};
    out->items = kd_dataset_items(dataset, &out->n_items);
    out->values = malloc(out->n_items * dim * sizeof *out->values);
    out->ok = calloc(out->n_items, sizeof *out->ok);
    out->rows = calloc(out->n_items, sizeof *out->rows);
    out->ids = calloc(out->n_items, sizeof *out->ids);
    out->classes = calloc(out->n_items, sizeof *out->classes);
    out->supers = calloc(out->n_items, sizeof *out->supers);
    if (!out->values || !out->ok || !out->rows || !out->ids || !out->classes || !out->supers)
        return kd_error_memory(err, "the embeddings");
    keep_arg k = {out, dim};
    const kd_status status = embed_set(r, dataset, model->id, dim, skip, keep_values, &k, err);
    if (status == KD_OK)
        compact(out, dim);
    return status;
}

/* ---- Protocol ---- */

static int compare_u32(const void *a, const void *b)
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
    qsort(classes, n, sizeof *classes, compare_u32);
    *covered = true;
    for (size_t i = 0; i < m && *covered; i++)
        *covered = bsearch(&want[i].class_id, classes, n, sizeof *classes, compare_u32) != NULL;
    free(classes);
    return KD_OK;
}

static void protocol_free(protocol *p)
{
    kd_dataset_free(p->test);
    kd_dataset_free(p->train);
    kd_dataset_free(p->listing);
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

static kd_status open_protocol(running_job *r, protocol *p, kd_error *err)
{
    const Kindred__V1__EvaluateSpec *const spec = r->spec->evaluate;
    char *real = NULL, *gallery = NULL;
    kd_status status = check_path(r->gateway, spec->dataset, &real, err);
    if (status == KD_OK)
        status = kd_dataset_open(&p->test, real, KD_SPLIT_TEST, err);
    p->queries = p->test;
    if (status == KD_OK && spec->gallery[0] != '\0') {
        p->name = "catalogue";
        status = check_path(r->gateway, spec->gallery, &gallery, err);
        if (status == KD_OK)
            status = kd_dataset_open_listing(&p->listing, gallery, err);
        p->gallery = p->listing;
    } else if (status == KD_OK && strcmp(spec->protocol, "sop") == 0) {
        p->name = "sop";
        p->gallery = p->test;
    } else if (status == KD_OK) {
        status = open_train(p, real, strcmp(spec->protocol, "closed-set") == 0, err);
    }
    free(gallery);
    free(real);
    return status;
}

/* ---- One model ---- */

static kd_status evaluate_model(running_job *r, const protocol *p, measured *models, size_t n,
    size_t number, shown *s, skipped *skip, kd_error *err)
{
    measured *const out = &models[number];
    const Kindred__V1__Model *const model = out->model;
    embedded gallery = {.dataset = NULL}, queries = {.dataset = NULL};
    const bool same = p->gallery == p->queries;
    char phase[96];
    const int64_t begun = kd_mono_ms();
    (void)snprintf(phase, sizeof phase, "embedding by %s", model->name);
    job_phase(r, phase);
    kd_status status = embed(r, p->queries, model, skip, &queries, err);
    if (status == KD_OK && !same)
        status = embed(r, p->gallery, model, skip, &gallery, err);
    const double seconds = (double)(kd_mono_ms() - begun) / 1e3;
    out->rate = seconds > 0 ? (double)(queries.n + gallery.n) / seconds : 0;
    if (status == KD_OK) {
        (void)snprintf(phase, sizeof phase, "measuring %s", model->name);
        job_phase(r, phase);
        status = measure(r, p, &queries, same ? &queries : &gallery, model->dim,
            number > 0 ? &models[0] : NULL, out, err);
    }
    if (status == KD_OK && !s->items)
        status = shown_choose(s, &queries, n, err);
    if (status == KD_OK)
        status = rows_make(r->gateway, s, &queries, same ? &queries : &gallery, out->eval.hits,
            out->eval.counts, &out->rows, err);
    if (status == KD_OK)
        status =
            add_details(r->gateway, &queries, same ? &queries : &gallery, model->dim, n, out, err);
    embedded_free(&gallery);
    embedded_free(&queries);
    return status;
}

/* ---- Report and result ---- */

static kd_status write_file(const char *dir, const char *name, const kd_buf *text, kd_error *err)
{
    char *const path = kd_format("%s/%s", dir, name);
    const kd_status status =
        path ? kd_file_write(path, text->data, text->len, err) : kd_error_memory(err, "a path");
    free(path);
    return status;
}

static kd_status write_report(running_job *r, const protocol *p, const measured *models, size_t n,
    const shown *s, const skipped *skip, const findings *found, char **dir, kd_error *err)
{
    kd_report_model listed[16] = {0};
    char hash[KD_SHA256_TEXT];
    size_t gallery, queries;
    (void)kd_dataset_items(p->gallery, &gallery);
    (void)kd_dataset_items(p->queries, &queries);
    kd_status status = kd_dataset_hash(p->queries, hash, err);
    for (size_t i = 0; i < n; i++)
        listed[i] = (kd_report_model){.id = models[i].model->id,
            .name = models[i].model->name,
            .image_size = models[i].model->image_size,
            .of = {models[i].of[KD_EVAL_CLASS], models[i].of[KD_EVAL_SUPER_CLASS]},
            .images_per_second = models[i].rate,
            .rows = models[i].rows,
            .n_rows = s->n,
            .misses = models[i].misses,
            .n_misses = models[i].n_misses,
            .details = &models[i].details};
    const kd_report report = {.title = "kindred evaluation",
        .dataset = kd_dataset_dir(p->queries),
        .protocol = p->name,
        .gallery = gallery,
        .queries = queries,
        .skipped = skip->count,
        .classes = kd_dataset_class_count(p->queries),
        .super_classes = kd_dataset_super_class_count(p->queries),
        .data_hash = hash,
        .created_unix_ms = kd_wall_ms(),
        .skipped_names = (const char *const *)skip->names,
        .n_skipped_names = skip->n_names,
        .findings = found ? &found->report : NULL,
        .models = listed,
        .n_models = n};
    kd_buf json = KD_BUF_INIT, html = KD_BUF_INIT;
    *dir = kd_format("%s/%s", r->gateway->reports_dir, r->job->id);
    if (status == KD_OK && !*dir)
        status = kd_error_memory(err, "a path");
    if (status == KD_OK)
        status = kd_report_json(&report, &json, err);
    if (status == KD_OK)
        status = kd_report_html(&report, &html, err);
    if (status == KD_OK)
        status = kd_make_dirs(*dir, err);
    if (status == KD_OK)
        status = write_file(*dir, "report.html", &html, err);
    if (status == KD_OK)
        status = write_file(*dir, "report.json", &json, err);
    kd_buf_free(&html);
    kd_buf_free(&json);
    return status;
}

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

static kd_status fill_result(Kindred__V1__JobResult *result, const protocol *p,
    const measured *models, size_t n, kd_error *err)
{
    size_t gallery, queries;
    (void)kd_dataset_items(p->gallery, &gallery);
    (void)kd_dataset_items(p->queries, &queries);
    result->images = queries;
    result->gallery = gallery;
    result->protocol = strdup(p->name);
    result->metrics = calloc(n ? n : 1, sizeof *result->metrics);
    bool fine = result->protocol && result->metrics;
    for (size_t i = 0; fine && i < n; i++) {
        Kindred__V1__ModelMetrics *const m = malloc(sizeof *m);
        if (!m)
            return kd_error_memory(err, "the result");
        kindred__v1__model_metrics__init(m);
        result->metrics[result->n_metrics++] = m;
        m->model_id = strdup(models[i].model->id);
        m->model_name = strdup(models[i].model->name);
        m->by_class = metrics_message(&models[i].of[KD_EVAL_CLASS].means);
        m->by_super_class = metrics_message(&models[i].of[KD_EVAL_SUPER_CLASS].means);
        fine = m->model_id && m->model_name && m->by_class && m->by_super_class;
    }
    return fine ? KD_OK : kd_error_memory(err, "the result");
}

static kd_status get_model(running_job *r, const char *id, measured *out, kd_error *err)
{
    Kindred__V1__GetModelRequest get = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    get.model = (char *)id;
    const kd_status status =
        job_ask(r, r->gateway->trainer, TRAINER, "GetModel", &get.base, &out->got, err);
    if (status == KD_OK)
        out->model = out->got->model;
    return status;
}

kd_status run_evaluate(running_job *r, Kindred__V1__JobResult *result, kd_error *err)
{
    const Kindred__V1__EvaluateSpec *const spec = r->spec->evaluate;
    measured models[16] = {0};
    protocol p = {.name = NULL};
    shown s = {NULL, 0, 0};
    findings found = {.report = {.n = 0}};
    skipped skip;
    char *dir = NULL;
    const size_t n = spec->n_models;
    skipped_init(&skip);
    kd_status status = n <= 16 ? open_protocol(r, &p, err)
                               : kd_error_set(err, KD_INVALID_ARGUMENT, "more than 16 models");
    if (status == KD_OK) {
        size_t gallery, queries;
        (void)kd_dataset_items(p.gallery, &gallery);
        (void)kd_dataset_items(p.queries, &queries);
        r->total = n * (queries + (p.gallery == p.queries ? 0 : gallery));
    }
    for (size_t i = 0; status == KD_OK && i < n; i++)
        status = get_model(r, spec->models[i], &models[i], err);
    if (status == KD_OK && spec->check)
        status = findings_make(r, &p, &found, err);
    for (size_t i = 0; status == KD_OK && i < n; i++) {
        if (i > 0) { /* the same images again: counted once */
            skipped_clear(&skip);
            skipped_init(&skip);
        }
        status = evaluate_model(r, &p, models, n, i, &s, &skip, err);
    }
    if (status == KD_OK)
        status = write_report(r, &p, models, n, &s, &skip, spec->check ? &found : NULL, &dir, err);
    if (status == KD_OK)
        status = fill_result(result, &p, models, n, err);
    if (status == KD_OK) {
        result->report = dir;
        dir = NULL;
        result_skipped(result, &skip);
    }
    for (size_t i = 0; i < n && i < 16; i++) {
        rows_free(models[i].rows, s.n);
        rows_free(models[i].misses, models[i].n_misses);
        kd_details_free(&models[i].details);
        kd_eval_free(&models[i].eval);
        kd_message_free(models[i].got);
    }
    free(dir);
    findings_free(&found);
    shown_free(&s);
    skipped_clear(&skip);
    protocol_free(&p);
    return status;
}
