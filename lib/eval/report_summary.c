/* The report's first lines: how good each model is, and where to read on. */
#include <math.h>

#include "lib/base/html.h"
#include "lib/eval/internal.h"

static const kd_metric shown[] = {KD_RECALL_AT_1, KD_RECALL_AT_10, KD_MAP_AT_5};
#define SHOWN (sizeof shown / sizeof shown[0])

static double best_of(const kd_report *report, unsigned kind, kd_metric metric)
{
    double best = 0;
    for (size_t i = 0; i < report->n_models; i++)
        best = fmax(best, report->models[i].of[kind].means.values[metric]);
    return best;
}

static void write_model(const kd_report *report, const kd_report_model *model, kd_buf *out)
{
    kd_buf_puts(out, "<tr><th scope=\"row\">");
    kd_html_text(out, kd_report_model_name(model));
    kd_buf_puts(out, "</th>");
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
        for (size_t m = 0; m < SHOWN; m++) {
            const double value = model->of[kind].means.values[shown[m]];
            /* As printed: what looks equal is. */
            const bool best =
                report->n_models > 1 && value > best_of(report, kind, shown[m]) - 5e-4;
            kd_buf_printf(out, best ? "<td><strong>%.3f</strong></td>" : "<td>%.3f</td>", value);
        }
    kd_buf_puts(out, "</tr>\n");
}

void kd_report_summary_table(const kd_report *report, kd_buf *out)
{
    kd_buf_puts(out, "<div class=\"scroll\">\n<table "
                     "class=\"list summary\">\n<thead>\n<tr><td></td>");
    kd_buf_printf(out,
        "<th scope=\"colgroup\" colspan=\"%zu\">Classes</th>"
        "<th scope=\"colgroup\" colspan=\"%zu\">Super-classes</th></tr>\n"
        "<tr><th scope=\"col\">Model</th>",
        SHOWN, SHOWN);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
        for (size_t m = 0; m < SHOWN; m++)
            kd_buf_printf(out, "<th scope=\"col\">%s</th>", kd_metric_title(shown[m]));
    kd_buf_puts(out, "</tr>\n</thead>\n<tbody>\n");
    for (size_t i = 0; i < report->n_models; i++)
        write_model(report, &report->models[i], out);
    kd_buf_puts(out, "</tbody>\n</table>\n</div>\n");
}

void kd_report_summary(const kd_report *report, kd_buf *out)
{
    kd_buf_puts(out,
        "<p>The share of queries whose nearest image is right (R@1), that have a right "
        "one among the ten nearest (R@10), and how right the first five are, the "
        "earlier the better (MAP@5).</p>\n");
    kd_report_summary_table(report, out);
}
