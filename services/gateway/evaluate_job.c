/* Evaluate: embeds gallery and queries by each model, has them measured, writes the report. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "services/gateway/evaluate.h"

/* ---- Sets ---- */

void embedded_free(embedded *e)
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

void embedded_compact(embedded *e, size_t dim)
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

kd_status embedded_new(embedded *out, const kd_dataset *dataset, size_t dim, kd_error *err)
{
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
    return KD_OK;
}

static kd_status embed(running_job *r, const kd_dataset *dataset, const Kindred__V1__Model *model,
    skipped *skip, embedded *out, kd_error *err)
{
    keep_arg k = {out, model->dim};
    kd_status status = embedded_new(out, dataset, model->dim, err);
    if (status == KD_OK)
        status = embed_set(r, dataset, model->id, model->dim, skip, keep_values, &k, err);
    if (status == KD_OK)
        embedded_compact(out, model->dim);
    return status;
}

/* ---- One protocol ---- */

static kd_status add_pictures(running_job *r, evaluation *e, measured *out, const embedded *queries,
    const embedded *gallery, kd_error *err)
{
    kd_status status = e->shown.items
                           ? KD_OK
                           : shown_choose(&e->shown, queries, r->spec->evaluate, e->n_models, err);
    if (status == KD_OK)
        status = rows_make(
            r, &e->shown, queries, gallery, out->eval.hits, out->eval.counts, &out->rows, err);
    if (status == KD_OK)
        status = add_details(r, queries, gallery, out->model->dim, e->n_models, out, err);
    return status;
}

static kd_status evaluate_model(running_job *r, evaluation *e, size_t number, kd_error *err)
{
    const protocol *const p = &e->protocol;
    measured *const out = &e->models[number];
    const Kindred__V1__Model *const model = out->model;
    embedded gallery = {.dataset = NULL}, queries = {.dataset = NULL};
    const bool same = p->gallery == p->queries;
    const embedded *const asked = same ? &queries : &gallery;
    char phase[sizeof r->phase];
    const int64_t begun = kd_mono_ms();
    (void)snprintf(phase, sizeof phase, "%s: embedding by %s", p->name, out->label);
    job_phase(r, phase);
    const bool stored = r->spec->evaluate->collection[0] != '\0';
    kd_status status = (stored && same ? embedded_from_collection : embed)(
        r, p->queries, model, &e->skipped, &queries, err);
    if (status == KD_OK && !same)
        status = (stored ? embedded_from_collection : embed)(
            r, p->gallery, model, &e->skipped, &gallery, err);
    const double seconds = (double)(kd_mono_ms() - begun) / 1e3;
    if (e->pictures && seconds > 0 && !stored) /* later protocols have what the cache holds */
        out->rate = (double)(queries.n + gallery.n) / seconds;
    if (status == KD_OK) {
        (void)snprintf(phase, sizeof phase, "%s: measuring %s", p->name, out->label);
        job_phase(r, phase);
        status =
            measure(r, p, &queries, asked, model->dim, number > 0 ? &e->models[0] : NULL, out, err);
    }
    if (status == KD_OK && e->pictures)
        status = add_pictures(r, e, out, &queries, asked, err);
    embedded_free(&gallery);
    embedded_free(&queries);
    return status;
}

static kd_status evaluate(running_job *r, evaluation *e, kd_error *err)
{
    kd_status status = KD_OK;
    for (size_t i = 0; status == KD_OK && i < e->n_models; i++) {
        if (i > 0) { /* the same images again: counted once */
            skipped_clear(&e->skipped);
            skipped_init(&e->skipped);
        }
        status = evaluate_model(r, e, i, err);
    }
    return status;
}

static void evaluation_free(evaluation *e)
{
    for (size_t i = 0; i < e->n_models; i++) {
        rows_free(e->models[i].rows, e->shown.n);
        rows_free(e->models[i].misses, e->models[i].n_misses);
        kd_details_free(&e->models[i].details);
        kd_eval_free(&e->models[i].eval);
    }
    shown_free(&e->shown);
    skipped_clear(&e->skipped);
    protocol_free(&e->protocol);
}

/* Images to embed, all models' together. */
static uint64_t work_of(const evaluation *e)
{
    size_t gallery, queries;
    (void)kd_dataset_items(e->protocol.gallery, &gallery);
    (void)kd_dataset_items(e->protocol.queries, &queries);
    return e->n_models * (queries + (e->protocol.gallery == e->protocol.queries ? 0 : gallery));
}

/* ---- Report ---- */

static kd_status write_file(const char *dir, const char *name, const kd_buf *text, kd_error *err)
{
    char *const path = kd_format("%s/%s", dir, name);
    const kd_status status =
        path ? kd_file_write(path, text->data, text->len, err) : kd_error_memory(err, "a path");
    free(path);
    return status;
}

/* What of an evaluation the report shows: listed has room for its models, hash is its queries'. */
static kd_report report_of(const evaluation *e, kd_report_model *listed, const char *hash)
{
    const protocol *const p = &e->protocol;
    size_t gallery, queries;
    (void)kd_dataset_items(p->gallery, &gallery);
    (void)kd_dataset_items(p->queries, &queries);
    for (size_t i = 0; i < e->n_models; i++) {
        const measured *const m = &e->models[i];
        listed[i] = (kd_report_model){.id = m->model->id,
            .name = m->label,
            .image_size = m->model->image_size,
            .of = {m->of[KD_EVAL_CLASS], m->of[KD_EVAL_SUPER_CLASS]},
            .images_per_second = m->rate,
            .rows = m->rows,
            .n_rows = e->shown.n,
            .misses = m->misses,
            .n_misses = m->n_misses,
            .details = e->pictures ? &m->details : NULL};
    }
    return (kd_report){.title = "kindred evaluation",
        .dataset = kd_dataset_dir(p->queries),
        .protocol = p->name,
        .gallery = gallery,
        .queries = queries,
        .skipped = e->skipped.count,
        .classes = kd_dataset_class_count(p->queries),
        .super_classes = kd_dataset_super_class_count(p->queries),
        .data_hash = hash,
        .created_unix_ms = kd_wall_ms(),
        .skipped_names = (const char *const *)e->skipped.names,
        .n_skipped_names = e->skipped.n_names,
        .rows_left_out = e->shown.left_out,
        .models = listed,
        .n_models = e->n_models};
}

static kd_status write_both(const char *dir, const kd_report *report, kd_error *err)
{
    kd_buf json = KD_BUF_INIT, html = KD_BUF_INIT;
    kd_status status = kd_report_json(report, &json, err);
    if (status == KD_OK)
        status = kd_report_html(report, &html, err);
    if (status == KD_OK)
        status = write_file(dir, "report.html", &html, err);
    if (status == KD_OK)
        status = write_file(dir, "report.json", &json, err);
    kd_buf_free(&html);
    kd_buf_free(&json);
    return status;
}

static kd_status write_report(running_job *r, const evaluation *all, size_t n,
    const findings *found, char **dir, kd_error *err)
{
    kd_report_model(*const listed)[MODELS_MOST] = calloc(n, sizeof *listed);
    kd_report reports[PROTOCOLS_MOST];
    char hashes[PROTOCOLS_MOST][KD_SHA256_TEXT];
    kd_status status = KD_OK;
    *dir = kd_format("%s/%s", r->gateway->reports_dir, r->job->id);
    if (!listed || !*dir)
        status = kd_error_memory(err, "the report");
    if (status == KD_OK)
        status = strips_begin(*dir, err);
    for (size_t i = 0; status == KD_OK && i < all[0].n_models; i++)
        status =
            strips_write(r, *dir, &all[0].protocol, &all[0].models[i], i + 1, &all[0].shown, err);
    for (size_t i = 0; status == KD_OK && i < n; i++) {
        status = kd_dataset_hash(all[i].protocol.queries, hashes[i], err);
        reports[i] = report_of(&all[i], listed[i], hashes[i]);
    }
    if (status == KD_OK) {
        reports[0].show = (const char *const *)r->spec->evaluate->show;
        reports[0].n_show = r->spec->evaluate->n_show;
        reports[0].findings = found ? &found->report : NULL;
        reports[0].also = reports + 1;
        reports[0].n_also = n - 1;
        status = write_both(*dir, &reports[0], err);
    }
    if (status != KD_OK && status != KD_ABORTED && *dir) /* aborted: another attempt writes there */
        strips_drop(*dir);
    free(listed);
    return status;
}

/* ---- The job ---- */

static kd_status get_models(running_job *r, models_asked *out, kd_error *err)
{
    const Kindred__V1__EvaluateSpec *const spec = r->spec->evaluate;
    kd_status status = KD_OK;
    if (spec->n_models > MODELS_MOST || spec->n_protocols > PROTOCOLS_MOST)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%zu models and %zu protocols are too many",
            spec->n_models, spec->n_protocols);
    for (size_t i = 0; status == KD_OK && i < spec->n_models; i++) {
        Kindred__V1__GetModelRequest get = KINDRED__V1__GET_MODEL_REQUEST__INIT;
        get.model = spec->models[i];
        status =
            job_ask(r, r->gateway->trainer, TRAINER, "GetModel", &get.base, &out->got[out->n], err);
        out->n += status == KD_OK;
    }
    return status;
}

static kd_status open_all(
    running_job *r, evaluation *all, size_t n, const models_asked *models, kd_error *err)
{
    const Kindred__V1__EvaluateSpec *const spec = r->spec->evaluate;
    kd_status status = KD_OK;
    for (size_t i = 0; status == KD_OK && i < n; i++) {
        evaluation *const e = &all[i];
        const char *const name = i < spec->n_protocols ? spec->protocols[i] : "";
        e->n_models = models->n;
        e->pictures = i == 0;
        for (size_t m = 0; m < models->n; m++) {
            e->models[m].model = models->got[m]->model;
            e->models[m].label = m < spec->n_labels ? spec->labels[m] : models->got[m]->model->name;
        }
        status = protocol_open(&e->protocol, r, name, models, err);
        if (status == KD_OK)
            r->total += work_of(e);
    }
    return status;
}

kd_status run_evaluate(running_job *r, Kindred__V1__JobResult *result, kd_error *err)
{
    const Kindred__V1__EvaluateSpec *const spec = r->spec->evaluate;
    const size_t n = spec->n_protocols > 0 ? spec->n_protocols : 1;
    models_asked models = {.n = 0};
    findings found = {.report = {.n = 0}};
    char *dir = NULL;
    evaluation *const all = calloc(n, sizeof *all);
    if (!all)
        return kd_error_memory(err, "the evaluation");
    for (size_t i = 0; i < n; i++)
        skipped_init(&all[i].skipped);
    kd_status status = get_models(r, &models, err);
    if (status == KD_OK)
        status = open_all(r, all, n, &models, err);
    if (status == KD_OK && spec->check)
        status = findings_make(r, &all[0].protocol, &found, err);
    for (size_t i = 0; status == KD_OK && i < n; i++)
        status = evaluate(r, &all[i], err);
    if (status == KD_OK)
        job_phase(r, "writing the report");
    if (status == KD_OK)
        status = write_report(r, all, n, spec->check ? &found : NULL, &dir, err);
    if (status == KD_OK)
        status = result_measured(result, all, n, err);
    if (status == KD_OK) {
        result->report = dir;
        dir = NULL;
        result_skipped(result, &all[0].skipped);
        if (spec->collection[0] != '\0') {
            result->index_recall = all[0].models[0].index_recall;
            result->collection = strdup(spec->collection);
            if (!result->collection)
                status = kd_error_memory(err, "the result");
        }
    }
    for (size_t i = 0; i < n; i++)
        evaluation_free(&all[i]);
    for (size_t i = 0; i < models.n; i++)
        kd_message_free(models.got[i]);
    free(all);
    free(dir);
    findings_free(&found);
    return status;
}
