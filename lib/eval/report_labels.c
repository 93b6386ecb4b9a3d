/* The report's tables by label: super-classes, confusions, hardest classes. */
#include <math.h>

#include "lib/base/html.h"
#include "lib/eval/internal.h"

static void write_name(kd_buf *out, const char *name)
{
    kd_html_text(out, name ? name : "without a name");
}

/* ---- Super-classes ---- */

static const kd_report_label *find_super(const kd_report_model *model, uint32_t label)
{
    for (size_t i = 0; model->details && i < model->details->n_supers; i++)
        if (model->details->supers[i].label == label)
            return &model->details->supers[i];
    return NULL;
}

static void write_bar_row(
    const kd_report *report, size_t m, const kd_report_label *label, kd_buf *out)
{
    if (report->n_models > 1) {
        kd_buf_puts(out, "<td class=\"model\">");
        kd_html_text(out, kd_report_model_name(&report->models[m]));
        kd_buf_puts(out, "</td>");
    }
    kd_buf_printf(out,
        "<td class=\"track\"><span class=\"bar-room\"><span class=\"bar s%zu\" "
        "style=\"width:%.1f%%\">"
        "</span></span></td>"
        "<td>%.3f</td><td>%.3f</td><td>%.3f</td></tr>\n",
        m % KD_REPORT_COLOURS, 100 * fmin(fmax(label->recall_at_1, 0), 1), label->recall_at_1,
        label->map_at_5, label->accuracy);
}

/* One super-class: a row for each model that has it. */
static void write_super(const kd_report *report, const kd_report_label *label, kd_buf *out)
{
    size_t rows = 0;
    for (size_t m = 0; m < report->n_models; m++)
        rows += find_super(&report->models[m], label->label) != NULL;
    kd_buf_printf(
        out, "<tbody>\n<tr><th scope=\"rowgroup\" rowspan=\"%zu\"><span class=\"name\">", rows);
    write_name(out, label->name);
    kd_buf_puts(out, "</span> <small>");
    kd_report_count(out, label->queries);
    kd_buf_puts(out, "</small></th>");
    for (size_t m = 0, row = 0; m < report->n_models; m++) {
        const kd_report_label *const found = find_super(&report->models[m], label->label);
        if (!found)
            continue;
        if (row++ > 0)
            kd_buf_puts(out, "<tr>");
        write_bar_row(report, m, found, out);
    }
    kd_buf_puts(out, "</tbody>\n");
}

void kd_report_supers(const kd_report *report, kd_buf *out)
{
    const kd_report_details *first = NULL;
    for (size_t i = report->n_models; i-- > 0;)
        if (report->models[i].details && report->models[i].details->n_supers > 0)
            first = report->models[i].details;
    if (!first)
        return;
    kd_buf_puts(out,
        "<p>How well the queries of each super-class find an "
        "image of the same super-class; the bar shows R@1, the small number counts the queries.");
    if (first->all_supers > first->n_supers)
        kd_buf_printf(
            out, " The %zu with the most queries, of %zu.", first->n_supers, first->all_supers);
    kd_buf_puts(out, "</p>\n<div class=\"scroll\">\n<table class=\"bars\">\n<thead>\n<tr><th "
                     "scope=\"col\">Super-class</th>");
    if (report->n_models > 1)
        kd_buf_puts(out, "<th scope=\"col\" class=\"model\">Model</th>");
    kd_buf_puts(out, "<th scope=\"col\" class=\"track\" aria-label=\"R@1 as a bar\"></th><th "
                     "scope=\"col\">R@1</th><th scope=\"col\">MAP@5</th>"
                     "<th scope=\"col\">Accuracy</th></tr>\n</thead>\n");
    for (size_t i = 0; i < first->n_supers; i++)
        write_super(report, &first->supers[i], out);
    kd_buf_puts(out, "</table>\n</div>\n");
}

/* ---- Confusions ---- */

static bool has_confusions(const kd_report_model *model)
{
    return model->details && (model->details->n_matrix > 1 || model->details->n_confused > 0);
}

/* One of five shades by the share of the row. */
static unsigned shade(uint32_t count, uint64_t row)
{
    const double share = (double)count / (double)row;
    return share < 0.05 ? 1 : share < 0.2 ? 2 : share < 0.5 ? 3 : share < 0.8 ? 4 : 5;
}

static void write_matrix_row(const kd_report_details *d, size_t row, kd_buf *out)
{
    const uint32_t *const counts = d->matrix + row * d->n_matrix;
    uint64_t sum = 0;
    for (size_t c = 0; c < d->n_matrix; c++)
        sum += counts[c];
    kd_buf_puts(out, "<tr><th scope=\"row\">");
    write_name(out, d->matrix_names[row]);
    kd_buf_puts(out, "</th>");
    for (size_t c = 0; c < d->n_matrix; c++) {
        if (counts[c] == 0)
            kd_buf_puts(out, c == row ? "<td class=\"own\"></td>" : "<td></td>");
        else
            kd_buf_printf(out, "<td class=\"%sh%u\">%u</td>", c == row ? "own " : "",
                shade(counts[c], sum), counts[c]);
    }
    kd_buf_puts(out, "</tr>\n");
}

static void write_matrix(const kd_report_details *d, kd_buf *out)
{
    if (d->n_matrix < 2)
        return;
    /* Outside of what scrolls on a phone. */
    kd_buf_puts(out, "<p class=\"said\">Rows: the query's super-class. Columns: the vote. The "
                     "stronger the colour, the larger the share of the row.</p>\n"
                     "<div class=\"scroll\">\n<table class=\"matrix\" aria-label=\"Votes\">\n"
                     "<thead>\n<tr><td></td>");
    for (size_t c = 0; c < d->n_matrix; c++) {
        kd_buf_puts(out, "<th scope=\"col\"><span>");
        write_name(out, d->matrix_names[c]);
        kd_buf_puts(out, "</span></th>");
    }
    kd_buf_puts(out, "</tr>\n</thead>\n<tbody>\n");
    for (size_t r = 0; r < d->n_matrix; r++)
        write_matrix_row(d, r, out);
    kd_buf_puts(out, "</tbody>\n</table>\n</div>\n");
}

static void write_confused(const kd_report_details *d, kd_buf *out)
{
    if (d->n_confused == 0) {
        kd_buf_puts(out, "<p>No query was taken for another super-class.</p>\n");
        return;
    }
    kd_buf_puts(out, "<div class=\"scroll\">\n<table class=\"list\">\n<caption>Most often confused"
                     "</caption>\n<thead>\n<tr><th scope=\"col\">Super-class</th><th "
                     "class=\"text\" scope=\"col\">"
                     "taken for</th><th scope=\"col\">Queries</th><th scope=\"col\">Share</th></tr>"
                     "\n</thead>\n<tbody>\n");
    for (size_t i = 0; i < d->n_confused; i++) {
        const kd_report_confusion *const c = &d->confused[i];
        kd_buf_puts(out, "<tr><th scope=\"row\">");
        write_name(out, c->truth);
        kd_buf_puts(out, "</th><td class=\"text\">");
        write_name(out, c->vote);
        kd_buf_puts(out, "</td><td>");
        kd_report_count(out, c->count);
        kd_buf_printf(out, "</td><td>%.1f %%</td></tr>\n", 100 * c->share);
    }
    kd_buf_puts(out, "</tbody>\n</table>\n</div>\n");
}

void kd_report_confusions(const kd_report *report, kd_buf *out)
{
    bool any = false;
    for (size_t i = 0; i < report->n_models; i++)
        any = any || has_confusions(&report->models[i]);
    if (!any)
        return;
    kd_buf_puts(out, "<p>Which super-class the nearest images vote "
                     "for, by the query's own.</p>\n");
    for (size_t i = 0; i < report->n_models; i++) {
        if (!report->models[i].details)
            continue;
        kd_report_open_model(report, i, out);
        write_matrix(report->models[i].details, out);
        write_confused(report->models[i].details, out);
        kd_report_close_model(report, out);
    }
}

/* ---- Hardest classes ---- */

static void write_hardest(const kd_report_details *d, kd_buf *out)
{
    kd_buf_puts(out, "<div class=\"scroll\">\n<table class=\"list\">\n<thead>\n<tr><th "
                     "scope=\"col\">Class</th><th scope=\"col\">Queries</th><th scope=\"col\">"
                     "MAP@5</th><th scope=\"col\">R@1</th><th scope=\"col\">Accuracy</th></tr>\n"
                     "</thead>\n<tbody>\n");
    for (size_t i = 0; i < d->n_hardest; i++) {
        const kd_report_label *const label = &d->hardest[i];
        kd_buf_puts(out, "<tr><th scope=\"row\">");
        write_name(out, label->name);
        kd_buf_puts(out, "</th><td>");
        kd_report_count(out, label->queries);
        kd_buf_printf(out, "</td><td>%.3f</td><td>%.3f</td><td>%.3f</td></tr>\n", label->map_at_5,
            label->recall_at_1, label->accuracy);
    }
    kd_buf_puts(out, "</tbody>\n</table>\n</div>\n");
}

void kd_report_hardest(const kd_report *report, kd_buf *out)
{
    bool any = false;
    for (size_t i = 0; i < report->n_models; i++)
        any = any || (report->models[i].details && report->models[i].details->n_hardest > 0);
    if (!any)
        return;
    kd_buf_puts(out, "<p>The classes with the lowest MAP@5, "
                     "of those with at least two queries.</p>\n");
    for (size_t i = 0; i < report->n_models; i++) {
        const kd_report_details *const d = report->models[i].details;
        if (!d || d->n_hardest == 0)
            continue;
        kd_report_open_model(report, i, out);
        write_hardest(d, out);
        kd_report_close_model(report, out);
    }
}
