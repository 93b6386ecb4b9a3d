#include <math.h>
#include <string.h>

#include "lib/eval/internal.h"

static bool good_text(const char *text)
{
    return !text || kd_utf8_valid(text, strlen(text));
}

const double kd_report_fmrs[KD_REPORT_FMRS] = {0.01, 0.001};

static bool good_metrics(const kd_report_measures *measures)
{
    bool good = true;
    for (unsigned m = 0; m < KD_METRICS; m++) {
        const kd_interval *const of = &measures->intervals[m], *const to =
                                                                   &measures->differences[m];
        good = good && isfinite(measures->means.values[m]) && isfinite(of->low) &&
               isfinite(of->high) && isfinite(to->low) && isfinite(to->high);
    }
    return good;
}

static bool good_hit(const kd_report_hit *hit)
{
    return good_text(hit->path) && good_text(hit->class_name) && good_text(hit->super_class_name) &&
           good_text(hit->picture) && isfinite(hit->score);
}

static bool good_rows(const kd_report_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const kd_report_row *const row = &rows[i];
        if (!good_hit(&row->query) || !good_text(row->strip))
            return false;
        for (size_t h = 0; h < row->n_hits; h++)
            if (!good_hit(&row->hits[h]))
                return false;
    }
    return true;
}

static bool good_labels(const kd_report_label *labels, size_t n)
{
    bool good = true;
    for (size_t i = 0; i < n; i++)
        good = good && good_text(labels[i].name) && isfinite(labels[i].recall_at_1) &&
               isfinite(labels[i].map_at_5) && isfinite(labels[i].accuracy);
    return good;
}

static bool good_spread(const kd_report_spread *spread)
{
    bool good = isfinite(spread->low) && isfinite(spread->high);
    for (size_t b = 0; b < spread->n; b++)
        good = good && isfinite(spread->same[b]) && isfinite(spread->other[b]);
    return good;
}

static bool good_map(const kd_report_map *map)
{
    bool good = isfinite(map->shares[0]) && isfinite(map->shares[1]);
    for (size_t g = 0; g < map->n_groups; g++)
        good = good && good_text(map->groups[g]);
    for (size_t i = 0; i < map->n && good; i++)
        good = isfinite(map->points[i].x) && isfinite(map->points[i].y);
    return good;
}

static bool good_details(const kd_report_details *details)
{
    if (!details)
        return true;
    bool good = good_labels(details->supers, details->n_supers) &&
                good_labels(details->hardest, details->n_hardest) && good_map(&details->map);
    for (size_t i = 0; i < details->n_matrix; i++)
        good = good && good_text(details->matrix_names[i]);
    for (size_t i = 0; i < details->n_confused; i++)
        good = good && good_text(details->confused[i].truth) &&
               good_text(details->confused[i].vote) && isfinite(details->confused[i].share);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
        good = good && good_spread(&details->spread[kind]);
    return good;
}

static bool good_findings(const kd_report_findings *findings)
{
    for (size_t i = 0; findings && i < findings->n; i++) {
        const kd_report_finding *const finding = &findings->at[i];
        if (!good_text(finding->name) || !good_text(finding->title))
            return false;
        for (size_t e = 0; e < finding->n_examples; e++)
            if (!good_text(finding->examples[e]))
                return false;
    }
    return true;
}

static bool good_report(const kd_report *report)
{
    bool good = good_text(report->title) && good_text(report->dataset) &&
                good_text(report->protocol) && good_text(report->data_hash) &&
                good_findings(report->findings);
    for (size_t i = 0; i < report->n_skipped_names && good; i++)
        good = good_text(report->skipped_names[i]);
    for (size_t i = 0; i < report->n_show && good; i++)
        good = good_text(report->show[i]);
    for (size_t i = 0; i < report->n_models && good; i++) {
        const kd_report_model *const model = &report->models[i];
        good = good_text(model->id) && good_text(model->name) &&
               good_metrics(&model->of[KD_EVAL_CLASS]) &&
               good_metrics(&model->of[KD_EVAL_SUPER_CLASS]) &&
               isfinite(model->images_per_second) && good_rows(model->rows, model->n_rows) &&
               good_rows(model->misses, model->n_misses) && good_details(model->details);
    }
    return good;
}

kd_status kd_report_check(const kd_report *report, kd_error *err)
{
    bool good = good_report(report);
    for (size_t i = 0; i < report->n_also && good; i++)
        good = good_report(&report->also[i]);
    return good ? KD_OK
                : kd_error_set(err, KD_INVALID_ARGUMENT,
                      "the report holds text that is not UTF-8 or a number that is not finite");
}
