#include <assert.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/html.h"
#include "lib/eval/internal.h"

const char *kd_report_model_name(const kd_report_model *model)
{
    return model->name ? model->name : model->id;
}

void kd_report_open_model(const kd_report *report, size_t model, kd_buf *out)
{
    if (report->n_models == 1)
        return;
    kd_buf_printf(out, "<details class=\"model\"%s>\n<summary>", model == 0 ? " open" : "");
    kd_html_text(out, kd_report_model_name(&report->models[model]));
    kd_buf_puts(out, "</summary>\n");
}

void kd_report_close_model(const kd_report *report, kd_buf *out)
{
    if (report->n_models > 1)
        kd_buf_puts(out, "</details>\n");
}

/* ---- Head: what was measured ---- */

static void write_head(const kd_report *report, kd_buf *out)
{
    /* The policy makes the browser hold what the page promises: nothing is fetched or run. */
    kd_buf_puts(out, "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                     "img-src data:; style-src 'unsafe-inline'\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<title>");
    kd_html_text(out, report->title);
    kd_buf_puts(out, "</title>\n<style>\n");
    kd_buf_puts(out, (const char *)kd_report_css);
    kd_buf_puts(out, "</style>\n</head>\n<body>\n<header>\n<h1>");
    kd_html_text(out, report->title);
    kd_buf_puts(out, "</h1>\n");
}

void kd_report_count(kd_buf *out, uint64_t value)
{
    char digits[24];
    const int len = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            kd_buf_puts(out, ",");
        kd_buf_append(out, &digits[i], 1);
    }
}

/* kind: "wide" for a row of its own, "" beside others. */
static void write_fact(kd_buf *out, const char *kind, const char *name, const char *value)
{
    if (!value)
        return;
    kd_buf_printf(out, "<div class=\"%s\"><dt>%s</dt><dd>", kind, name);
    kd_html_text(out, value);
    kd_buf_puts(out, "</dd></div>\n");
}

static void write_size(kd_buf *out, const char *name, uint64_t value)
{
    kd_buf_printf(out, "<div><dt>%s</dt><dd>", name);
    kd_report_count(out, value);
    kd_buf_puts(out, "</dd></div>\n");
}

static const char *protocol_meaning(const char *protocol)
{
    static const char *const meanings[][2] = {
        {"closed-set", "every class of the queries is in the gallery"},
        {"sop", "each image queries all others, its own left out"},
        {"catalogue", "the gallery is a catalogue with a listing of its own"},
        {"val", "the queries are the training images that trained none of the models"},
    };
    for (size_t i = 0; protocol && i < sizeof meanings / sizeof meanings[0]; i++)
        if (strcmp(protocol, meanings[i][0]) == 0)
            return meanings[i][1];
    return NULL;
}

static void write_facts(const kd_report *report, kd_buf *out)
{
    const char *const meaning = protocol_meaning(report->protocol);
    kd_buf_puts(out, "<dl class=\"facts\">\n");
    write_fact(out, "wide", "Dataset", report->dataset);
    if (report->protocol) {
        kd_buf_puts(out, "<div class=\"wide\"><dt>Protocol</dt><dd>");
        kd_html_text(out, report->protocol);
        if (meaning)
            kd_buf_printf(out, "<small>: %s</small>", meaning);
        kd_buf_puts(out, "</dd></div>\n");
    }
    if (report->dataset) {
        write_size(out, "Gallery images", report->gallery);
        write_size(out, "Query images", report->queries);
        write_size(out, "Skipped images", report->skipped);
        write_size(out, "Classes", report->classes);
        write_size(out, "Super-classes", report->super_classes);
    }
    if (report->created_unix_ms > 0) {
        char made[KD_TIME_TEXT];
        kd_time_text(report->created_unix_ms, made);
        made[strlen("2026-01-02T03:04")] = '\0'; /* minutes are enough for a reader */
        made[strlen("2026-01-02")] = ' ';
        write_fact(out, "", "Made (UTC)", made);
    }
    if (report->data_hash) {
        kd_buf_puts(out, "<div class=\"wide\"><dt>Data hash</dt><dd><code>");
        kd_html_text(out, report->data_hash);
        kd_buf_puts(out, "</code></dd></div>\n");
    }
    kd_buf_puts(out, "</dl>\n</header>\n");
}

/* ---- Table ---- */

static const kd_report_measures *measures_of(const kd_report_model *model, bool super)
{
    return &model->of[super ? KD_EVAL_SUPER_CLASS : KD_EVAL_CLASS];
}

static void write_mean(const kd_report_measures *of, unsigned metric, bool best, kd_buf *out)
{
    const kd_interval *const range = &of->intervals[metric];
    kd_buf_printf(out, best ? "<td><strong>%.4f</strong>" : "<td>%.4f", of->means.values[metric]);
    if (range->high > range->low)
        kd_buf_printf(out, "<small> %.3f–%.3f</small>", range->low, range->high);
    kd_buf_puts(out, "</td>");
}

static void write_means(const kd_report *report, bool super, kd_buf *out)
{
    for (unsigned m = 0; m < KD_METRICS; m++) {
        double best = 0;
        for (size_t i = 0; i < report->n_models; i++)
            best = fmax(best, measures_of(&report->models[i], super)->means.values[m]);
        kd_buf_printf(out, "<tr><th scope=\"row\">%s</th>", kd_metric_title(m));
        for (size_t i = 0; i < report->n_models; i++) {
            const kd_report_measures *const of = measures_of(&report->models[i], super);
            /* As printed: what looks equal is. */
            const bool is_best = report->n_models > 1 && of->means.values[m] > best - 5e-5;
            write_mean(of, m, is_best, out);
        }
        kd_buf_puts(out, "</tr>\n");
    }
}

static void write_number(int digits, double value, kd_buf *out)
{
    if (isfinite(value))
        kd_buf_printf(out, "%.*f", digits, value);
    else
        kd_buf_puts(out, "–");
}

static void write_others(const kd_report *report, bool super, kd_buf *out)
{
    static const struct {
        const char *name;
        size_t offset;
    } clusters[] = {{"NMI of k-means", offsetof(kd_report_measures, nmi)},
        {"AMI of k-means", offsetof(kd_report_measures, ami)}};
    for (size_t c = 0; c < 2; c++) {
        kd_buf_printf(out, "<tr><th scope=\"row\">%s</th>", clusters[c].name);
        for (size_t i = 0; i < report->n_models; i++) {
            double value;
            memcpy(&value,
                (const char *)measures_of(&report->models[i], super) + clusters[c].offset,
                sizeof value);
            kd_buf_puts(out, "<td>");
            write_number(4, value, out);
            kd_buf_puts(out, "</td>");
        }
        kd_buf_puts(out, "</tr>\n");
    }
    for (size_t f = 0; f < KD_REPORT_FMRS; f++) {
        kd_buf_printf(
            out, "<tr><th scope=\"row\">FNMR at FMR %g\u00a0%%</th>", 100 * kd_report_fmrs[f]);
        for (size_t i = 0; i < report->n_models; i++) {
            const kd_report_measures *const of = measures_of(&report->models[i], super);
            kd_buf_puts(out, "<td>");
            write_number(4, of->fnmr[f], out);
            kd_buf_puts(out, "<small> from ");
            write_number(3, of->thresholds[f], out);
            kd_buf_puts(out, "</small></td>");
        }
        kd_buf_puts(out, "</tr>\n");
    }
}

static void write_queries(const kd_report *report, bool super, kd_buf *out)
{
    kd_buf_puts(out, "<tr class=\"minor\"><th scope=\"row\">Queries counted</th>");
    for (size_t i = 0; i < report->n_models; i++) {
        const kd_metrics_set *const set = &measures_of(&report->models[i], super)->means;
        kd_buf_puts(out, "<td>");
        kd_report_count(out, set->queries);
        if (set->without_positives > 0) {
            kd_buf_puts(out, "<small>, ");
            kd_report_count(out, set->without_positives);
            kd_buf_puts(out, " without a positive</small>");
        }
        kd_buf_puts(out, "</td>");
    }
    kd_buf_puts(out, "</tr>\n");
}

static void write_models_head(const kd_report *report, kd_buf *out)
{
    kd_buf_puts(out, "<thead>\n<tr><th scope=\"col\">Measure</th>");
    for (size_t i = 0; i < report->n_models; i++) {
        const kd_report_model *const model = &report->models[i];
        kd_buf_puts(out, "<th scope=\"col\">");
        kd_html_text(out, model->name ? model->name : model->id);
        if (model->id) {
            kd_buf_puts(out, "<code title=\"");
            kd_html_text(out, model->id);
            kd_buf_puts(out, "\">");
            kd_html_text(out, model->id);
            kd_buf_puts(out, "</code>");
        }
        kd_buf_puts(out, "</th>");
    }
    kd_buf_puts(out, "</tr>\n</thead>\n");
}

static void write_group_head(const kd_report *report, const char *name, kd_buf *out)
{
    kd_buf_printf(out, "<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"%zu\">%s</th></tr>\n",
        report->n_models + 1, name);
}

static void write_model_facts(const kd_report *report, kd_buf *out)
{
    kd_buf_puts(out, "<tbody>\n");
    write_group_head(report, "Models", out);
    kd_buf_puts(out, "<tr class=\"minor\"><th scope=\"row\">Image size</th>");
    for (size_t i = 0; i < report->n_models; i++)
        kd_buf_printf(
            out, "<td>%u × %u</td>", report->models[i].image_size, report->models[i].image_size);
    kd_buf_puts(
        out, "</tr>\n<tr class=\"minor\"><th scope=\"row\">Images embedded per second</th>");
    for (size_t i = 0; i < report->n_models; i++) {
        if (report->models[i].images_per_second > 0)
            kd_buf_printf(out, "<td>%.1f</td>", report->models[i].images_per_second);
        else
            kd_buf_puts(out, "<td>–</td>");
    }
    kd_buf_puts(out, "</tr>\n</tbody>\n");
}

static void write_group(const kd_report *report, const char *name, bool super, kd_buf *out)
{
    kd_buf_puts(out, "<tbody>\n");
    write_group_head(report, name, out);
    write_means(report, super, out);
    write_others(report, super, out);
    write_queries(report, super, out);
    kd_buf_puts(out, "</tbody>\n");
}

/* ---- Differences from the first model ---- */

static void write_difference(
    const kd_report_measures *of, const kd_report_measures *first, unsigned metric, kd_buf *out)
{
    const kd_interval *const range = &of->differences[metric];
    kd_buf_printf(out,
        range->low > 0    ? "<td><strong>%+.4f</strong>"
        : range->high < 0 ? "<td><strong class=\"less\">%+.4f</strong>"
                          : "<td>%+.4f",
        of->means.values[metric] - first->means.values[metric]);
    kd_buf_printf(out, "<small> %+.3f to %+.3f</small></td>", range->low, range->high);
}

static void write_differences(const kd_report *report, kd_buf *out)
{
    static const char *const groups[KD_EVAL_KINDS] = {"Classes", "Super-classes"};
    const kd_report_model *const models = report->models;
    kd_buf_puts(out, "<h3>Less ");
    kd_html_text(out, models[0].name ? models[0].name : models[0].id);
    kd_buf_puts(out,
        "</h3>\n<p>With 95 % intervals over the same queries for both; bold where that "
        "leaves no doubt which is better.</p>\n<div class=\"scroll\">\n<table>\n"
        "<thead>\n<tr><th scope=\"col\">Measure</th>");
    for (size_t i = 1; i < report->n_models; i++) {
        kd_buf_puts(out, "<th scope=\"col\">");
        kd_html_text(out, models[i].name ? models[i].name : models[i].id);
        kd_buf_puts(out, "</th>");
    }
    kd_buf_puts(out, "</tr>\n</thead>\n");
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        kd_buf_printf(out,
            "<tbody>\n<tr class=\"group\"><th scope=\"rowgroup\" colspan=\"%zu\">%s</th></tr>\n",
            report->n_models, groups[kind]);
        for (unsigned m = 0; m < KD_METRICS; m++) {
            kd_buf_printf(out, "<tr><th scope=\"row\">%s</th>", kd_metric_title(m));
            for (size_t i = 1; i < report->n_models; i++)
                write_difference(&models[i].of[kind], &models[0].of[kind], m, out);
            kd_buf_puts(out, "</tr>\n");
        }
        kd_buf_puts(out, "</tbody>\n");
    }
    kd_buf_puts(out, "</table>\n</div>\n");
}

static const char definitions[] =
    "<details>\n<summary>What the measures mean</summary>\n<dl class=\"meanings\">\n"
    "<dt>Query, gallery, positive</dt><dd>Each query asks for its nearest gallery images by cosine "
    "similarity; of equal scores the lower image id comes first. Its positives are the gallery "
    "images of the same class (or super-class), itself left out. Queries without a positive are "
    "counted beside and left out of every mean.</dd>\n"
    "<dt>Small numbers</dt><dd>95 % intervals: how far the mean moves when the queries are drawn "
    "again from these (bootstrap).</dd>\n"
    "<dt>R@k</dt><dd>Recall: share of queries with at least one positive among the first k.</dd>\n"
    "<dt>P@k</dt><dd>Share of positives among the first k.</dd>\n"
    "<dt>MAP@5</dt><dd>Mean over the queries of AP@5: the sum of precision@i over those of the "
    "first five ranks i that hold a positive, divided by the smaller of 5 and the number of "
    "positives.</dd>\n"
    "<dt>R-precision, MAP@R</dt><dd>With R the number of a query's positives: the share of "
    "positives "
    "among the first R, and the sum of precision@i over those ranks i ≤ R that hold one, divided "
    "by "
    "R.</dd>\n"
    "<dt>Accuracy</dt><dd>Share of queries whose class is the one that most of the nearest have "
    "(the "
    "vote, of five unless asked otherwise); a tie goes to the class that comes first.</dd>\n"
    "<dt>Precision, recall, F1</dt><dd>Of the vote, for each class that occurs as truth or as "
    "vote, "
    "then the plain mean over these classes (macro); 0 where undefined.</dd>\n"
    "<dt>Original MAP@5</dt><dd>What the program that kindred began from called so: 1 divided by "
    "the "
    "number of labels among the first five and the query's, whether one is right or not. Here for "
    "comparison alone.</dd>\n"
    "<dt>NMI, AMI</dt><dd>How much the clusters that k-means finds among the queries, one for each "
    "label, tell of the labels; AMI less what chance would.</dd>\n"
    "<dt>FNMR at FMR</dt><dd>The share of same-label pairs whose score stays below the threshold "
    "that "
    "lets this share of other pairs pass.</dd>\n"
    "</dl>\n</details>\n";

/* A page of search results has rows but no measures. */
static bool has_measures(const kd_report *report)
{
    for (size_t i = 0; i < report->n_models; i++)
        for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++)
            if (report->models[i].of[kind].means.queries > 0)
                return true;
    return false;
}

static void write_measures(const kd_report *report, kd_buf *out)
{
    kd_buf_puts(out, "<div class=\"scroll\">\n<table>\n");
    write_models_head(report, out);
    write_group(report, "Classes", false, out);
    write_group(report, "Super-classes", true, out);
    write_model_facts(report, out);
    kd_buf_puts(out, "</table>\n</div>\n");
    if (report->n_models > 1)
        write_differences(report, out);
}

static void write_table(const kd_report *report, kd_buf *out)
{
    write_measures(report, out);
    kd_buf_puts(out, definitions);
}

/* The same models asked in other ways. */
static void write_also(const kd_report *report, kd_buf *out)
{
    for (size_t i = 0; i < report->n_also; i++) {
        const kd_report *const other = &report->also[i];
        const char *const meaning = protocol_meaning(other->protocol);
        kd_buf_puts(out, "<h3>");
        kd_html_text(out, other->protocol ? other->protocol : "unnamed");
        kd_buf_puts(out, "</h3>\n<p>");
        kd_report_count(out, other->queries);
        kd_buf_puts(out, " query images ask ");
        kd_report_count(out, other->gallery);
        if (other->skipped > 0) {
            kd_buf_puts(out, ", ");
            kd_report_count(out, other->skipped);
            kd_buf_puts(out, " are skipped");
        }
        kd_buf_puts(out, meaning ? ": " : "");
        kd_html_text(out, meaning ? meaning : "");
        kd_buf_puts(out, ".</p>\n");
        kd_report_summary_table(other, out);
        kd_buf_puts(out, "<details>\n<summary>All measures</summary>\n");
        write_measures(other, out);
        kd_buf_puts(out, "</details>\n");
    }
}

/* ---- Sections ---- */

static const struct {
    const char *id, *title;
    void (*write)(const kd_report *report, kd_buf *out);
    bool measured; /* asks for what a page of search results does not have */
} sections[] = {
    {"summary", "Summary", kd_report_summary, true},
    {"recall", "Recall", kd_report_curves, true},
    {"super-classes", "Super-classes", kd_report_supers, true},
    {"confusions", "Confusions", kd_report_confusions, true},
    {"distances", "Distances", kd_report_spreads, true},
    {"map", "Map of the embeddings", kd_report_map_section, true},
    {"measures", "Measures", write_table, true},
    {"protocols", "Other protocols", write_also, true},
    {"nearest", "Nearest images", kd_report_rows, false},
    {"misses", "Worst misses", kd_report_misses, false},
    {"hardest", "Hardest classes", kd_report_hardest, true},
    {"skipped", "Skipped images", kd_report_skipped, false},
    {"check", "Dataset check", kd_report_findings_section, false},
};
#define SECTIONS (sizeof sections / sizeof sections[0])

static void write_contents(const kd_buf *parts, kd_buf *out)
{
    size_t n = 0;
    for (size_t i = 0; i < SECTIONS; i++)
        n += parts[i].len > 0;
    if (n < 3)
        return;
    kd_buf_puts(out, "<nav class=\"contents\" aria-label=\"Contents\">\n");
    for (size_t i = 0; i < SECTIONS; i++)
        if (parts[i].len > 0)
            kd_buf_printf(out, "<a href=\"#%s\">%s</a>\n", sections[i].id, sections[i].title);
    kd_buf_puts(out, "</nav>\n");
}

/* Sections that have anything to show, and where there are some what leads to each. */
static void write_sections(const kd_report *report, kd_buf *out)
{
    kd_buf parts[SECTIONS] = {KD_BUF_INIT};
    const bool measured = has_measures(report);
    for (size_t i = 0; i < SECTIONS; i++)
        if (measured || !sections[i].measured)
            sections[i].write(report, &parts[i]);
    write_contents(parts, out);
    for (size_t i = 0; i < SECTIONS; i++) {
        if (parts[i].len > 0) {
            kd_buf_printf(
                out, "<section id=\"%s\">\n<h2>%s</h2>\n", sections[i].id, sections[i].title);
            kd_buf_append(out, parts[i].data, parts[i].len);
            kd_buf_puts(out, "</section>\n");
        }
        out->failed = out->failed || parts[i].failed;
        kd_buf_free(&parts[i]);
    }
}

kd_status kd_report_html(const kd_report *report, kd_buf *out, kd_error *err)
{
    assert(report && out);
    const kd_status status = kd_report_check(report, err);
    if (status != KD_OK)
        return status;
    write_head(report, out);
    write_facts(report, out);
    kd_buf_puts(out, "<main>\n");
    write_sections(report, out);
    kd_buf_puts(out, "</main>\n</body>\n</html>\n");
    return kd_buf_ok(out) ? KD_OK : kd_error_memory(err, "the report");
}
