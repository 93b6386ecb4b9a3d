/* The pictures of the report: for each query what each model found. */
#include <string.h>

#include "lib/base/html.h"
#include "lib/eval/internal.h"

/* Only data: URIs, so that the page never fetches anything, whatever it is given. */
static void write_picture(const kd_report_hit *image, kd_buf *out)
{
    static const char scheme[] = "data:image/";
    if (!image->picture || strncmp(image->picture, scheme, strlen(scheme)) != 0) {
        kd_buf_puts(out, "<span class=\"none\">no picture</span>");
        return;
    }
    kd_buf_puts(out, "<img loading=\"lazy\" decoding=\"async\" alt=\"");
    kd_html_text(out, image->class_name);
    kd_buf_puts(out, "\" src=\"");
    kd_html_text(out, image->picture);
    kd_buf_puts(out, "\">");
}

/* kind: the frame's class; the caption goes on behind. */
static void open_figure(const kd_report_hit *image, const char *kind, kd_buf *out)
{
    kd_buf_printf(out, "<li class=\"%s\"><figure title=\"", kind);
    kd_html_text(out, image->path);
    kd_buf_puts(out, "\">");
    write_picture(image, out);
    kd_buf_puts(out, "<figcaption>");
}

static void write_query(const kd_report_hit *query, kd_buf *out)
{
    open_figure(query, "query", out);
    kd_buf_puts(out, "<b>Query</b> ");
    kd_html_text(out, query->class_name);
    kd_buf_puts(out, "</figcaption></figure></li>\n");
}

static void write_hit(const kd_report_hit *hit, kd_buf *out)
{
    open_figure(hit, hit->right < 0 ? "plain" : hit->right ? "right" : "wrong", out);
    if (hit->right >= 0)
        kd_buf_puts(out, hit->right ? "<b class=\"mark\" aria-label=\"right\">✓</b> "
                                    : "<b class=\"mark\" aria-label=\"wrong\">✗</b> ");
    kd_html_text(out, hit->class_name);
    kd_buf_printf(out, " <span class=\"score\">%.3f</span>", (double)hit->score);
    if (hit->right == 0 && hit->right_super > 0)
        kd_buf_puts(out, "<span class=\"note\">same super-class</span>");
    kd_buf_puts(out, "</figcaption></figure></li>\n");
}

static void write_strip(const kd_report_model *model, const kd_report_row *row, kd_buf *out)
{
    size_t right = 0;
    bool judged = false;
    for (size_t i = 0; i < row->n_hits; i++) {
        judged = judged || row->hits[i].right >= 0;
        right += row->hits[i].right > 0;
    }
    kd_buf_puts(out, "<p class=\"who\"><b>");
    kd_html_text(out, kd_report_model_name(model));
    kd_buf_puts(out, "</b>");
    if (judged)
        kd_buf_printf(out, " %zu of %zu right", right, row->n_hits);
    kd_buf_puts(out, "</p>\n<ol class=\"strip\">\n");
    write_query(&row->query, out);
    for (size_t i = 0; i < row->n_hits; i++)
        write_hit(&row->hits[i], out);
    kd_buf_puts(out, "</ol>\n");
}

/* ---- Rows ---- */

static size_t count_rows(const kd_report *report)
{
    size_t most = 0;
    for (size_t i = 0; i < report->n_models; i++)
        if (report->models[i].n_rows > most)
            most = report->models[i].n_rows;
    return most;
}

/* The query of row r, which is the same for each model that has the row. r is below count_rows. */
static const kd_report_hit *query_of(const kd_report *report, size_t r)
{
    size_t i = 0;
    while (report->models[i].n_rows <= r)
        i++;
    return &report->models[i].rows[r].query;
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* Each super-class has one row, unless others were asked for: then the class is named too, and
 * which of its rows this is. */
static void write_heading(const kd_report *report, size_t r, kd_buf *out)
{
    const kd_report_hit *const query = query_of(report, r);
    kd_html_text(out, query->super_class_name ? query->super_class_name : query->path);
    if (report->n_show == 0)
        return;
    size_t number = 1;
    for (size_t i = 0; i < r; i++)
        number += same(query_of(report, i)->class_name, query->class_name) &&
                  same(query_of(report, i)->super_class_name, query->super_class_name);
    if (!same(query->super_class_name, query->class_name)) {
        kd_buf_puts(out, ": ");
        kd_html_text(out, query->class_name);
    }
    if (number > 1)
        kd_buf_printf(out, ", %zu", number);
}

/* What is shown and what is not. */
static void write_choice(const kd_report *report, size_t n_rows, kd_buf *out)
{
    if (report->n_show == 0 && report->super_classes > n_rows)
        kd_buf_printf(out, " %zu of %llu super-classes are shown.", n_rows,
            (unsigned long long)report->super_classes);
    for (size_t i = 0; i < report->n_show; i++) {
        kd_buf_puts(out, i == 0 ? " Shown, as asked for: " : ", ");
        kd_html_text(out, report->show[i]);
    }
    if (report->n_show > 0 && report->rows_left_out > 0)
        kd_buf_printf(out, "; %zu of %zu rows", n_rows, n_rows + report->rows_left_out);
    if (report->n_show > 0)
        kd_buf_puts(out, ".");
}

/* Search results have nothing that could be right or wrong. */
static bool is_judged(const kd_report *report)
{
    for (size_t i = 0; i < report->n_models; i++)
        for (size_t r = 0; r < report->models[i].n_rows; r++)
            for (size_t h = 0; h < report->models[i].rows[r].n_hits; h++)
                if (report->models[i].rows[r].hits[h].right >= 0)
                    return true;
    return false;
}

void kd_report_rows(const kd_report *report, kd_buf *out)
{
    const size_t n_rows = count_rows(report);
    if (n_rows == 0)
        return;
    kd_buf_puts(out, "<p class=\"legend\">");
    if (is_judged(report))
        kd_buf_puts(out, "<span class=\"key right\">✓ same class</span> "
                         "<span class=\"key wrong\">✗ another class</span> ");
    kd_buf_puts(out, "The number is the cosine similarity, 1 for equal pictures.");
    write_choice(report, n_rows, out);
    kd_buf_puts(out, "</p>\n"
                     "<details class=\"jump\">\n<summary>Jump to</summary>\n<ul>\n");
    for (size_t r = 0; r < n_rows; r++) {
        kd_buf_printf(out, "<li><a href=\"#row-%zu\">", r + 1);
        write_heading(report, r, out);
        kd_buf_puts(out, "</a></li>\n");
    }
    kd_buf_puts(out, "</ul>\n</details>\n");
    for (size_t r = 0; r < n_rows; r++) {
        kd_buf_printf(out, "<article id=\"row-%zu\">\n<h3>", r + 1);
        write_heading(report, r, out);
        kd_buf_puts(out, "</h3>\n");
        for (size_t i = 0; i < report->n_models; i++)
            if (r < report->models[i].n_rows)
                write_strip(&report->models[i], &report->models[i].rows[r], out);
        kd_buf_puts(out, "</article>\n");
    }
}

/* ---- Misses ---- */

static void write_miss(const kd_report_row *row, kd_buf *out)
{
    kd_buf_puts(out, "<div class=\"miss\">\n<p class=\"who\"><b>");
    kd_html_text(out, row->query.class_name ? row->query.class_name : row->query.path);
    if (row->first > 0)
        kd_buf_printf(out, "</b> first right image at rank %u</p>\n", row->first);
    else
        kd_buf_printf(out, "</b> no right image among the first %u</p>\n", KD_EVAL_DEPTH);
    kd_buf_puts(out, "<ol class=\"strip\">\n");
    write_query(&row->query, out);
    for (size_t i = 0; i < row->n_hits; i++)
        write_hit(&row->hits[i], out);
    kd_buf_puts(out, "</ol>\n</div>\n");
}

void kd_report_misses(const kd_report *report, kd_buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < report->n_models; i++)
        n += report->models[i].n_misses;
    if (n == 0)
        return;
    kd_buf_puts(out, "<p>The queries whose first image of the "
                     "same class comes latest, and what came first instead.</p>\n");
    for (size_t i = 0; i < report->n_models; i++) {
        const kd_report_model *const model = &report->models[i];
        if (model->n_misses == 0)
            continue;
        kd_report_open_model(report, i, out);
        for (size_t m = 0; m < model->n_misses; m++)
            write_miss(&model->misses[m], out);
        kd_report_close_model(report, out);
    }
}
