/* What the report says of the dataset: images that were skipped, findings of the check. */
#include "lib/base/html.h"
#include "lib/eval/internal.h"

/* ---- Skipped images ---- */

void kd_report_skipped(const kd_report *report, kd_buf *out)
{
    if (report->skipped == 0)
        return;
    kd_buf_puts(out, "<p>");
    kd_report_count(out, report->skipped);
    kd_buf_puts(out, report->skipped == 1 ? " image" : " images");
    kd_buf_puts(out, " could not be read and took no part.</p>\n<ul class=\"skipped\">\n");
    for (size_t i = 0; i < report->n_skipped_names; i++) {
        kd_buf_puts(out, "<li>");
        kd_html_text(out, report->skipped_names[i]);
        kd_buf_puts(out, "</li>\n");
    }
    kd_buf_puts(out, "</ul>\n");
    if (report->skipped > report->n_skipped_names) {
        kd_buf_puts(out, "<p>… and ");
        kd_report_count(out, report->skipped - report->n_skipped_names);
        kd_buf_puts(out, " more.</p>\n");
    }
}

/* ---- Dataset check ---- */

static void write_finding(const kd_report_finding *finding, kd_buf *out)
{
    kd_buf_puts(out, "<h3>");
    kd_html_text(out, finding->title);
    kd_buf_puts(out, ": ");
    kd_report_count(out, finding->count);
    kd_buf_puts(out, "</h3>\n");
    if (finding->n_examples == 0)
        return;
    kd_buf_puts(out, "<ul class=\"skipped\">\n");
    for (size_t e = 0; e < finding->n_examples; e++) {
        kd_buf_puts(out, "<li>");
        kd_html_text(out, finding->examples[e]);
        kd_buf_puts(out, "</li>\n");
    }
    kd_buf_puts(out, "</ul>\n");
    if (finding->count > finding->n_examples) {
        kd_buf_puts(out, "<p>… and ");
        kd_report_count(out, finding->count - finding->n_examples);
        kd_buf_puts(out, " more.</p>\n");
    }
}

void kd_report_findings_section(const kd_report *report, kd_buf *out)
{
    const kd_report_findings *const findings = report->findings;
    if (!findings)
        return;
    kd_buf_puts(out, "<p>");
    kd_report_count(out, findings->images);
    kd_buf_puts(out, " images of the dataset were read. ");
    kd_buf_puts(out,
        findings->passed
            ? "Nothing was found that makes the measures wrong.</p>\n"
            : "<strong>Some of what was found makes the measures wrong:</strong> images that are "
              "missing or broken, or duplicates in both splits or in two classes.</p>\n");
    for (size_t i = 0; i < findings->n; i++)
        if (findings->at[i].count > 0)
            write_finding(&findings->at[i], out);
}
