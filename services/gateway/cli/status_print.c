/* What `kindred status` prints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "services/gateway/cli/doctor.h"
#include "services/gateway/cli/status.h"

#define MOST_ROWS 20u /* of collections; `kindred collection list` has them all */

/* ---- For programs ---- */

static json_t *count_json(bool known, uint64_t n)
{
    return known ? json_integer((json_int_t)n) : json_null();
}

static void append_collection(void *arg, const Kindred__V1__Collection *c)
{
    (void)json_array_append_new(arg, cli_must(kd_message_json(&c->base)));
}

static json_t *indexes_json(const status_facts *f)
{
    if (!f->knows_collections)
        return json_null();
    json_t *const list = cli_must(json_array());
    status_each_collection(f, append_collection, list);
    return list;
}

static json_t *loaded_json(const status_facts *f)
{
    if (!f->loaded)
        return json_null();
    json_t *const list = cli_must(json_array());
    for (size_t i = 0; i < f->loaded->n_models; i++) {
        const uint64_t bytes = i < f->loaded->n_memory_bytes ? f->loaded->memory_bytes[i] : 0;
        (void)json_array_append_new(
            list, cli_must(json_pack("{s:s, s:s, s:I}", "id", f->loaded->models[i]->id, "name",
                      f->loaded->models[i]->name, "memory_bytes", (json_int_t)bytes)));
    }
    return list;
}

static json_t *warnings_json(const status_facts *f)
{
    json_t *const list = cli_must(json_array());
    for (size_t i = 0; i < f->n_warnings; i++)
        (void)json_array_append_new(
            list, cli_must(json_pack("{s:b, s:o, s:o}", "grave", f->warnings[i].grave, "message",
                      cli_json_text(f->warnings[i].what), "advice",
                      cli_json_text(f->warnings[i].advice))));
    return list;
}

void status_print_json(const status_facts *f)
{
    json_t *const root = cli_must(kd_message_json(&f->stack->base));
    (void)json_object_set_new(root, "gateway", json_string(f->gateway));
    (void)json_object_set_new(root, "http", f->is_local ? json_string(f->local.http) : json_null());
    (void)json_object_set_new(root, "data", f->is_local ? json_string(f->data) : json_null());
    (void)json_object_set_new(root, "models", count_json(f->knows_models, f->models));
    (void)json_object_set_new(
        root, "collections", count_json(f->knows_collections, f->collections));
    if (!f->stack->jobs)
        (void)json_object_set_new(root, "jobs", json_null());
    (void)json_object_set_new(root, "indexes", indexes_json(f));
    (void)json_object_set_new(root, "loaded_models", loaded_json(f));
    (void)json_object_set_new(root, "model_memory_limit_bytes",
        count_json(f->loaded != NULL, f->loaded ? f->loaded->memory_limit_bytes : 0));
    (void)json_object_set_new(
        root, "embeds", f->embeds ? cli_must(kd_message_json(&f->embeds->base)) : json_null());
    (void)json_object_set_new(root, "warnings", warnings_json(f));
    (void)json_object_set_new(root, "healthy", json_boolean(!status_is_grave(f)));
    cli_print_json(root);
}

/* ---- For people ---- */

static void print_services(const status_facts *f)
{
    static const char *const heads[] = {
        "SERVICE", "STATE", "UP FOR", "MEMORY", "VERSION", "ADDRESS"};
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < f->stack->n_services; i++) {
        const Kindred__V1__ServiceStatus *const one = f->stack->services[i];
        char up[CLI_TEXT] = "", memory[CLI_TEXT] = "";
        if (one->serving && one->started_unix_ms > 0)
            (void)cli_duration(kd_wall_ms() - one->started_unix_ms, up);
        if (one->serving && one->memory_bytes > 0)
            (void)cli_bytes(one->memory_bytes, memory);
        cli_table_row(
            table, (const char *[]){one->name, one->serving ? "serving" : "away", up, memory,
                       one->version, one->address[0] ? one->address : f->gateway});
    }
    cli_table_print(table);
}

static void add_jobs(const status_facts *f, cli_table *fields)
{
    const Kindred__V1__JobCounts *const j = f->stack->jobs;
    char text[256] = "unknown";
    if (j)
        (void)snprintf(text, sizeof text,
            "%llu running, %llu queued, %llu done, %llu failed, %llu cancelled",
            (unsigned long long)j->running, (unsigned long long)j->queued,
            (unsigned long long)j->done, (unsigned long long)j->failed,
            (unsigned long long)j->cancelled);
    cli_table_field(fields, "jobs", text);
    if (!j || f->stack->train_queue + f->stack->gateway_queue == 0)
        return;
    (void)snprintf(text, sizeof text, "%llu for the trainer, %llu for the gateway",
        (unsigned long long)f->stack->train_queue, (unsigned long long)f->stack->gateway_queue);
    cli_table_field(fields, "waiting", text);
}

static void add_models(const status_facts *f, cli_table *fields)
{
    char text[CLI_TEXT], bytes[CLI_TEXT];
    kd_buf line = KD_BUF_INIT;
    cli_table_field(fields, "models", f->knows_models ? cli_count(f->models, text) : "unknown");
    if (!f->loaded)
        return;
    kd_buf_printf(&line, "%zu", f->loaded->n_models);
    uint64_t sum = 0;
    for (size_t i = 0; i < f->loaded->n_models; i++) {
        kd_buf_printf(&line, "%s%s", i == 0 ? ": " : ", ", f->loaded->models[i]->name);
        sum += i < f->loaded->n_memory_bytes ? f->loaded->memory_bytes[i] : 0;
    }
    if (f->loaded->memory_limit_bytes > 0)
        kd_buf_printf(&line, "; %s of %s", cli_bytes(sum, text),
            cli_bytes(f->loaded->memory_limit_bytes, bytes));
    cli_must(kd_buf_ok(&line) ? line.data : NULL);
    cli_table_field(fields, "in memory", (const char *)line.data);
    kd_buf_free(&line);
}

static void add_embeds(const status_facts *f, cli_table *fields)
{
    const Kindred__V1__GetEmbedCountsResponse *const e = f->embeds;
    kd_buf line = KD_BUF_INIT;
    if (!e)
        return;
    kd_buf_printf(&line, "%llu images", (unsigned long long)e->images);
    if (e->images > 0 && e->has_cache)
        kd_buf_printf(
            &line, ", %.0f %% found in the cache", 100.0 * (double)e->cached / (double)e->images);
    if (!e->has_cache)
        kd_buf_puts(&line, ", without a cache");
    if (e->broken > 0)
        kd_buf_printf(&line, ", %llu broken", (unsigned long long)e->broken);
    if (e->shed > 0)
        kd_buf_printf(&line, ", %llu refused under too much load", (unsigned long long)e->shed);
    if (e->cache_errors > 0)
        kd_buf_printf(&line, ", the cache failed %llu times", (unsigned long long)e->cache_errors);
    cli_must(kd_buf_ok(&line) ? line.data : NULL);
    cli_table_field(fields, "embedded", (const char *)line.data);
    kd_buf_free(&line);
}

static void add_disk(const status_facts *f, cli_table *fields)
{
    const Kindred__V1__ServiceStatus *const least = doctor_least_disk(f->stack);
    char free_text[CLI_TEXT], total[CLI_TEXT];
    if (!least)
        return;
    char *const text = cli_must(kd_format("%s of %s free",
        cli_bytes(least->disk_free_bytes, free_text), cli_bytes(least->disk_total_bytes, total)));
    cli_table_field(fields, "disk", text);
    free(text);
}

typedef struct rows {
    cli_table *table;
    size_t n;
} rows;

static void add_collection(void *arg, const Kindred__V1__Collection *c)
{
    rows *const r = arg;
    char count[CLI_TEXT], recall_text[CLI_TEXT] = "", target[CLI_TEXT] = "", memory[CLI_TEXT],
                          disk[CLI_TEXT], index[CLI_TEXT];
    double recall;
    if (r->n++ >= MOST_ROWS)
        return;
    if (status_recall(c, &recall)) {
        (void)snprintf(recall_text, sizeof recall_text, "%.3f%s", recall,
            c->index_state->live_queries > 0 ? " live" : "");
        (void)snprintf(target, sizeof target, "%.3f", (double)c->index_settings->target_recall);
    }
    (void)snprintf(index, sizeof index, "%s%s", c->damage[0] ? "damaged" : c->index,
        c->index_state && c->index_state->building ? ", building" : "");
    cli_table_row(
        r->table, (const char *[]){c->name, cli_count(c->count, count), index, recall_text, target,
                      cli_bytes(c->memory_bytes, memory), cli_bytes(c->disk_bytes, disk)});
}

static void print_collections(const status_facts *f)
{
    static const char *const heads[] = {
        "COLLECTION", "IMAGES", "INDEX", "RECALL", "TARGET", "MEMORY", "DISK"};
    if (f->collections == 0)
        return;
    rows r = {cli_table_new(heads, sizeof heads / sizeof heads[0]), 0};
    status_each_collection(f, add_collection, &r);
    putchar('\n');
    cli_table_print(r.table);
    if (r.n > MOST_ROWS)
        printf("and %zu more: `kindred collection list`\n", r.n - MOST_ROWS);
}

static void print_warnings(const status_facts *f)
{
    const bool colour = cli_colour(STDOUT_FILENO);
    if (f->n_warnings > 0)
        putchar('\n');
    for (size_t i = 0; i < f->n_warnings; i++) {
        const status_warning *const w = &f->warnings[i];
        char *const line =
            doctor_line(w->grave ? DOCTOR_FAIL : DOCTOR_WARN, NULL, w->what, w->advice, colour);
        puts(line);
        free(line);
    }
}

void status_print_table(const status_facts *f)
{
    char text[CLI_TEXT];
    cli_table *const fields = cli_table_new(NULL, 2);
    cli_table_field(fields, "gateway", f->gateway);
    cli_table_field(fields, "http", f->is_local ? f->local.http : NULL);
    cli_table_field(fields, "data", f->is_local ? f->data : NULL);
    cli_table_field(fields, "version", f->stack->version);
    add_disk(f, fields);
    add_jobs(f, fields);
    add_models(f, fields);
    add_embeds(f, fields);
    cli_table_field(
        fields, "collections", f->knows_collections ? cli_count(f->collections, text) : "unknown");
    cli_table_print(fields);
    putchar('\n');
    print_services(f);
    print_collections(f);
    print_warnings(f);
}
