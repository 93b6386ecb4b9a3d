/* What came of kindred reproduce. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/reproduce.h"

/* ---- The table ---- */

static void add_row(cli_table *table, const char *system, const char *protocol, const char *labels,
    const Kindred__V1__Metrics *m)
{
    enum { VALUES = 6 };
    char text[VALUES][CLI_TEXT], queries[CLI_TEXT];
    if (!m)
        return;
    const double values[VALUES] = {
        m->map_at_5, m->accuracy, m->precision, m->recall, m->f1, m->recall_at_1};
    for (size_t i = 0; i < VALUES; i++) /* without queries that count nothing was measured */
        (void)snprintf(text[i], sizeof text[i], m->queries > 0 ? "%.4f" : "-", values[i]);
    cli_table_row(table, (const char *const[]){protocol, labels, system, text[0], text[1], text[2],
                             text[3], text[4], text[5], cli_count(m->queries, queries)});
}

/* One kind of label of all systems. */
static void add_rows(cli_table *table, const char *protocol, bool super,
    Kindred__V1__ModelMetrics *const *metrics, size_t n)
{
    for (size_t i = 0; i < n && i < REPRODUCE_SYSTEMS; i++)
        add_row(table, reproduce_system(i), protocol, super ? "super-class" : "class",
            super ? metrics[i]->by_super_class : metrics[i]->by_class);
}

static void print_table(const Kindred__V1__JobResult *result)
{
    static const char *const heads[] = {"PROTOCOL", "LABELS", "SYSTEM", "MAP@5", "ACCURACY",
        "PRECISION", "RECALL", "F1", "R@1", "QUERIES"};
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    for (int super = 0; super < 2; super++)
        add_rows(table, result->protocol, super, result->metrics, result->n_metrics);
    for (size_t i = 0; i < result->n_also; i++) {
        const Kindred__V1__ProtocolMetrics *const also = result->also[i];
        for (int super = 0; super < 2; super++)
            add_rows(table, also->protocol, super, also->metrics, also->n_metrics);
    }
    cli_table_print(table);
}

/* ---- JSON ---- */

static json_t *metrics_json(Kindred__V1__ModelMetrics *const *metrics, size_t n)
{
    json_t *const systems = json_array();
    for (size_t i = 0; i < n && i < REPRODUCE_SYSTEMS; i++) {
        json_t *const row = cli_must(kd_message_json(&metrics[i]->base));
        (void)json_object_set_new(row, "system", cli_json_text(reproduce_system(i)));
        (void)json_array_append_new(systems, row);
    }
    return systems;
}

static json_t *protocol_json(const char *protocol, uint64_t gallery, uint64_t queries,
    Kindred__V1__ModelMetrics *const *metrics, size_t n)
{
    return json_pack("{s: o, s: I, s: I, s: o}", "protocol", cli_json_text(protocol), "gallery",
        (json_int_t)gallery, "queries", (json_int_t)queries, "systems", metrics_json(metrics, n));
}

static json_t *part_json(const reproduction *r, size_t system)
{
    const reproduce_part *const part = &r->parts[system];
    json_t *const object =
        json_pack("{s: o, s: o, s: o}", "system", cli_json_text(reproduce_system(system)),
            "model_id", cli_json_text(part->model_id), "collection", cli_json_text(part->name));
    if (part->train)
        (void)json_object_set_new(object, "job", cli_must(kd_message_json(&part->train->base)));
    return object;
}

static json_t *to_json(const reproduction *r)
{
    const Kindred__V1__JobResult *const result = r->evaluation->result;
    json_t *const parts = json_array();
    json_t *const protocols = json_array();
    for (size_t i = 0; i < r->preset->n_systems; i++)
        (void)json_array_append_new(parts, part_json(r, i));
    (void)json_array_append_new(protocols, protocol_json(result->protocol, result->gallery,
                                               result->images, result->metrics, result->n_metrics));
    for (size_t i = 0; i < result->n_also; i++) {
        const Kindred__V1__ProtocolMetrics *const also = result->also[i];
        (void)json_array_append_new(protocols, protocol_json(also->protocol, also->gallery,
                                                   also->queries, also->metrics, also->n_metrics));
    }
    return cli_must(
        json_pack("{s: o, s: o, s: I, s: o, s: o, s: o}", "preset", cli_json_text(r->preset->name),
            "dataset", cli_json_text(r->dataset), "seed", (json_int_t)r->seed, "systems", parts,
            "protocols", protocols, "evaluation", cli_json_text(r->evaluation->id)));
}

void reproduce_print(const reproduction *r)
{
    if (r->common->json)
        cli_print_json(to_json(r));
    else
        print_table(r->evaluation->result);
}

/* ---- Files ---- */

static kd_status write_json(const reproduction *r, kd_error *err)
{
    json_t *const object = to_json(r);
    char *const text = cli_must(json_dumps(object, JSON_INDENT(2)));
    char *const path = cli_must(kd_format("%s/reproduce.json", r->out));
    const kd_status status = kd_file_write(path, text, strlen(text), err);
    if (status == KD_OK && !r->common->json)
        printf("wrote %s\n", path);
    free(path);
    free(text);
    json_decref(object);
    return status;
}

/* A training whose folder was removed has none any more. */
static kd_status write_curves(const reproduction *r, size_t system, kd_error *err)
{
    const Kindred__V1__Job *const job = r->parts[system].train;
    if (!job)
        return KD_OK;
    char *const path = cli_must(kd_format("%s/curves-%s.html", r->out, reproduce_system(system)));
    kd_status status = cli_fetch_curves(r->common, job->id, path, err);
    if (status == KD_NOT_FOUND) {
        (void)fprintf(stderr, "%s is left out: %s\n", path, err->message);
        status = KD_OK;
    }
    free(path);
    return status;
}

int reproduce_write(const reproduction *r)
{
    kd_error err = KD_ERROR_INIT;
    kd_status status = write_json(r, &err);
    for (size_t i = 1; status == KD_OK && i < r->preset->n_systems; i++)
        status = write_curves(r, i, &err);
    return status == KD_OK ? cli_fetch_report(r->common, r->command, r->evaluation->id, r->out)
                           : cli_error(r->common, r->command, &err);
}
