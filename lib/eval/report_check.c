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

static bool good_rows(const kd_report_model *model)
{
    for (size_t i = 0; i < model->n_rows; i++) {
        const kd_report_row *const row = &model->rows[i];
        if (!good_hit(&row->query))
            return false;
        for (size_t h = 0; h < row->n_hits; h++)
            if (!good_hit(&row->hits[h]))
                return false;
    }
    return true;
}

kd_status kd_report_check(const kd_report *report, kd_error *err)
{
    bool good = good_text(report->title) && good_text(report->dataset) &&
                good_text(report->protocol) && good_text(report->data_hash);
    for (size_t i = 0; i < report->n_skipped_names && good; i++)
        good = good_text(report->skipped_names[i]);
    for (size_t i = 0; i < report->n_models && good; i++) {
        const kd_report_model *const model = &report->models[i];
        good = good_text(model->id) && good_text(model->name) &&
               good_metrics(&model->of[KD_EVAL_CLASS]) &&
               good_metrics(&model->of[KD_EVAL_SUPER_CLASS]) &&
               isfinite(model->images_per_second) && good_rows(model);
    }
    return good ? KD_OK
                : kd_error_set(err, KD_INVALID_ARGUMENT,
                      "the report holds text that is not UTF-8 or a number that is not finite");
}
