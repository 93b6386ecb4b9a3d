#include <assert.h>
#include <jansson.h>
#include <math.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/eval/internal.h"

/* jansson's setters take the value over even when they fail, and fail when the object or the value
 * is NULL; *failed remembers, so that one check at the end is enough. */
typedef struct json_writer {
    bool failed;
} json_writer;

static void set(json_writer *writer, json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) != 0)
        writer->failed = true;
}

static void append(json_writer *writer, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0)
        writer->failed = true;
}

static json_t *text(const char *value)
{
    return value ? json_string(value) : json_null();
}

static json_t *count(uint64_t value)
{
    return json_integer((json_int_t)value);
}

/* 1 and 0, and unknown below. */
static json_t *known(int value)
{
    return value < 0 ? json_null() : json_boolean(value);
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *intervals_json(json_writer *writer, const kd_interval *intervals)
{
    json_t *const object = json_object();
    for (unsigned m = 0; m < KD_METRICS; m++)
        set(writer, object, kd_metric_name(m),
            json_pack("[ff]", intervals[m].low, intervals[m].high));
    return object;
}

static json_t *matches_json(json_writer *writer, const kd_report_measures *measures)
{
    json_t *const array = json_array();
    for (unsigned i = 0; i < KD_REPORT_FMRS; i++) {
        json_t *const match = json_object();
        set(writer, match, "fmr", json_real(kd_report_fmrs[i]));
        set(writer, match, "fnmr", number(measures->fnmr[i]));
        set(writer, match, "threshold", number(measures->thresholds[i]));
        append(writer, array, match);
    }
    return array;
}

static json_t *measures_json(json_writer *writer, const kd_report_measures *measures, bool first)
{
    const kd_metrics_set *const means = &measures->means;
    json_t *const object = json_object();
    for (unsigned m = 0; m < KD_METRICS; m++)
        set(writer, object, kd_metric_name(m), json_real(means->values[m]));
    set(writer, object, "queries", count(means->queries));
    set(writer, object, "without_positives", count(means->without_positives));
    set(writer, object, "nmi", number(measures->nmi));
    set(writer, object, "ami", number(measures->ami));
    set(writer, object, "matches", matches_json(writer, measures));
    set(writer, object, "intervals", intervals_json(writer, measures->intervals));
    if (!first)
        set(writer, object, "differences", intervals_json(writer, measures->differences));
    return object;
}

/* Pictures stay in the page: they would make the JSON a hundred times larger. */
static json_t *image_json(json_writer *writer, const kd_report_hit *image)
{
    json_t *const object = json_object();
    set(writer, object, "path", text(image->path));
    set(writer, object, "class", text(image->class_name));
    set(writer, object, "super_class", text(image->super_class_name));
    return object;
}

static json_t *row_json(json_writer *writer, const kd_report_row *row)
{
    json_t *const object = json_object();
    json_t *const hits = json_array();
    for (size_t i = 0; i < row->n_hits; i++) {
        json_t *const hit = image_json(writer, &row->hits[i]);
        set(writer, hit, "score", json_real((double)row->hits[i].score));
        set(writer, hit, "right", known(row->hits[i].right));
        set(writer, hit, "right_super", known(row->hits[i].right_super));
        append(writer, hits, hit);
    }
    set(writer, object, "query", image_json(writer, &row->query));
    set(writer, object, "hits", hits);
    return object;
}

static json_t *misses_json(json_writer *writer, const kd_report_model *model)
{
    json_t *const misses = json_array();
    for (size_t i = 0; i < model->n_misses; i++) {
        json_t *const miss = row_json(writer, &model->misses[i]);
        const uint32_t first = model->misses[i].first;
        set(writer, miss, "first", first > 0 ? count(first) : json_null());
        append(writer, misses, miss);
    }
    return misses;
}

/* ---- Details ---- */

static json_t *labels_json(json_writer *writer, const kd_report_label *labels, size_t n)
{
    json_t *const array = json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *const object = json_object();
        set(writer, object, "name", text(labels[i].name));
        set(writer, object, "queries", count(labels[i].queries));
        set(writer, object, "recall_at_1", json_real(labels[i].recall_at_1));
        set(writer, object, "map_at_5", json_real(labels[i].map_at_5));
        set(writer, object, "accuracy", json_real(labels[i].accuracy));
        append(writer, array, object);
    }
    return array;
}

static json_t *confusion_json(json_writer *writer, const kd_report_details *details)
{
    const size_t n = details->n_matrix;
    if (n == 0)
        return json_null();
    json_t *const object = json_object();
    json_t *const labels = json_array();
    json_t *const rows = json_array();
    for (size_t r = 0; r < n; r++) {
        json_t *const row = json_array();
        for (size_t c = 0; c < n; c++)
            append(writer, row, count(details->matrix[r * n + c]));
        append(writer, labels, text(details->matrix_names[r]));
        append(writer, rows, row);
    }
    set(writer, object, "labels", labels);
    set(writer, object, "counts", rows);
    return object;
}

static json_t *confused_json(json_writer *writer, const kd_report_details *details)
{
    json_t *const array = json_array();
    for (size_t i = 0; i < details->n_confused; i++) {
        const kd_report_confusion *const pair = &details->confused[i];
        json_t *const object = json_object();
        set(writer, object, "truth", text(pair->truth));
        set(writer, object, "vote", text(pair->vote));
        set(writer, object, "count", count(pair->count));
        set(writer, object, "share", json_real(pair->share));
        append(writer, array, object);
    }
    return array;
}

static json_t *spread_json(json_writer *writer, const kd_report_spread *spread)
{
    json_t *const object = json_object();
    json_t *const same = json_array();
    json_t *const other = json_array();
    for (size_t b = 0; b < spread->n; b++) {
        append(writer, same, json_real(spread->same[b]));
        append(writer, other, json_real(spread->other[b]));
    }
    set(writer, object, "low", json_real(spread->low));
    set(writer, object, "high", json_real(spread->high));
    set(writer, object, "same", same);
    set(writer, object, "other", other);
    set(writer, object, "overlap", number(spread->overlap));
    return object;
}

static json_t *map_json(json_writer *writer, const kd_report_map *map)
{
    if (map->n == 0)
        return json_null();
    json_t *const object = json_object();
    json_t *const shares = json_array();
    json_t *const groups = json_array();
    for (size_t k = 0; k < 2; k++)
        append(writer, shares, json_real(map->shares[k]));
    for (size_t g = 0; g < map->n_groups; g++) {
        json_t *const group = json_object();
        set(writer, group, "super_class", text(map->groups[g]));
        set(writer, group, "images", count(map->group_sizes[g]));
        append(writer, groups, group);
    }
    set(writer, object, "images", count(map->n));
    set(writer, object, "shares", shares);
    set(writer, object, "groups", groups);
    return object;
}

static json_t *details_json(json_writer *writer, const kd_report_details *details)
{
    if (!details)
        return json_null();
    json_t *const object = json_object();
    json_t *const scores = json_object();
    set(writer, scores, "class", spread_json(writer, &details->spread[KD_EVAL_CLASS]));
    set(writer, scores, "super_class", spread_json(writer, &details->spread[KD_EVAL_SUPER_CLASS]));
    set(writer, object, "super_classes", labels_json(writer, details->supers, details->n_supers));
    set(writer, object, "hardest_classes",
        labels_json(writer, details->hardest, details->n_hardest));
    set(writer, object, "confusion", confusion_json(writer, details));
    set(writer, object, "confused", confused_json(writer, details));
    set(writer, object, "scores", scores);
    set(writer, object, "map", map_json(writer, &details->map));
    return object;
}

/* ---- Dataset check ---- */

static json_t *findings_json(json_writer *writer, const kd_report_findings *findings)
{
    if (!findings)
        return json_null();
    json_t *const object = json_object();
    json_t *const list = json_array();
    for (size_t i = 0; i < findings->n; i++) {
        const kd_report_finding *const finding = &findings->at[i];
        json_t *const entry = json_object();
        json_t *const examples = json_array();
        for (size_t e = 0; e < finding->n_examples; e++)
            append(writer, examples, text(finding->examples[e]));
        set(writer, entry, "name", text(finding->name));
        set(writer, entry, "count", count(finding->count));
        set(writer, entry, "examples", examples);
        append(writer, list, entry);
    }
    set(writer, object, "images", count(findings->images));
    set(writer, object, "ok", json_boolean(findings->passed));
    set(writer, object, "list", list);
    return object;
}

/* ---- All of it ---- */

static json_t *model_json(json_writer *writer, const kd_report_model *model, bool first)
{
    json_t *const object = json_object();
    json_t *const rows = json_array();
    for (size_t i = 0; i < model->n_rows; i++) {
        json_t *const row = row_json(writer, &model->rows[i]);
        set(writer, row, "strip", text(model->rows[i].strip));
        append(writer, rows, row);
    }
    set(writer, object, "id", text(model->id));
    set(writer, object, "name", text(model->name));
    set(writer, object, "image_size", count(model->image_size));
    set(writer, object, "images_per_second", json_real(model->images_per_second));
    set(writer, object, "class", measures_json(writer, &model->of[KD_EVAL_CLASS], first));
    set(writer, object, "super_class",
        measures_json(writer, &model->of[KD_EVAL_SUPER_CLASS], first));
    set(writer, object, "rows", rows);
    set(writer, object, "misses", misses_json(writer, model));
    set(writer, object, "details", details_json(writer, model->details));
    return object;
}

static json_t *skipped_json(json_writer *writer, const kd_report *report)
{
    json_t *const skipped = json_array();
    for (size_t i = 0; i < report->n_skipped_names; i++)
        append(writer, skipped, text(report->skipped_names[i]));
    return skipped;
}

/* What each protocol has. */
static void set_protocol(json_writer *writer, json_t *object, const kd_report *report)
{
    json_t *const models = json_array();
    for (size_t i = 0; i < report->n_models; i++)
        append(writer, models, model_json(writer, &report->models[i], i == 0));
    set(writer, object, "protocol", text(report->protocol));
    set(writer, object, "gallery", count(report->gallery));
    set(writer, object, "queries", count(report->queries));
    set(writer, object, "skipped", count(report->skipped));
    set(writer, object, "classes", count(report->classes));
    set(writer, object, "super_classes", count(report->super_classes));
    set(writer, object, "models", models);
}

static json_t *report_json(json_writer *writer, const kd_report *report)
{
    char created[KD_TIME_TEXT];
    json_t *const object = json_object();
    json_t *const also = json_array();
    json_t *const show = json_array();
    kd_time_text(report->created_unix_ms, created);
    for (size_t i = 0; i < report->n_show; i++)
        append(writer, show, text(report->show[i]));
    for (size_t i = 0; i < report->n_also; i++) {
        json_t *const other = json_object();
        set(writer, other, "data_hash", text(report->also[i].data_hash));
        set_protocol(writer, other, &report->also[i]);
        set(writer, other, "skipped_images", skipped_json(writer, &report->also[i]));
        append(writer, also, other);
    }
    set(writer, object, "schema_version", json_integer(2));
    set(writer, object, "title", text(report->title));
    set(writer, object, "created", text(created));
    set(writer, object, "dataset", text(report->dataset));
    set(writer, object, "data_hash", text(report->data_hash));
    set_protocol(writer, object, report);
    set(writer, object, "show", show);
    set(writer, object, "rows_left_out", count(report->rows_left_out));
    set(writer, object, "skipped_images", skipped_json(writer, report));
    set(writer, object, "findings", findings_json(writer, report->findings));
    set(writer, object, "also", also);
    return object;
}

static int append_bytes(const char *bytes, size_t len, void *out)
{
    kd_buf_append(out, bytes, len);
    return kd_buf_ok(out) ? 0 : -1;
}

kd_status kd_report_json(const kd_report *report, kd_buf *out, kd_error *err)
{
    assert(report && out);
    kd_status status = kd_report_check(report, err);
    if (status != KD_OK)
        return status;
    json_writer writer = {false};
    json_t *const root = report_json(&writer, report);
    const size_t flags = JSON_INDENT(2) | JSON_REAL_PRECISION(17);
    if (writer.failed || json_dump_callback(root, append_bytes, out, flags) != 0)
        status = kd_error_memory(err, "the report");
    kd_buf_puts(out, "\n");
    json_decref(root);
    return status;
}
