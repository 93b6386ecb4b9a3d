/* lib/eval/internal.h: what the report's files share. Nobody else includes it. */
#ifndef KD_EVAL_INTERNAL_H
#define KD_EVAL_INTERNAL_H

#include "lib/eval/report.h"

/* KD_INVALID_ARGUMENT when a text of the report is not valid UTF-8 or a number not finite: neither
 * page nor JSON could hold it. */
KD_MUST_CHECK kd_status kd_report_check(const kd_report *report, kd_error *err);

/* What stands in the sections of the page; each writes nothing where there is nothing to show. */
void kd_report_summary(const kd_report *report, kd_buf *out);       /* a line for each model */
void kd_report_summary_table(const kd_report *report, kd_buf *out); /* its table alone */
void kd_report_curves(const kd_report *report, kd_buf *out);        /* R@k over k */
void kd_report_supers(const kd_report *report, kd_buf *out);        /* bars for each super-class */
void kd_report_confusions(const kd_report *report, kd_buf *out);
void kd_report_spreads(const kd_report *report, kd_buf *out); /* histograms of distances */
void kd_report_map_section(const kd_report *report, kd_buf *out);
void kd_report_rows(const kd_report *report, kd_buf *out); /* queries and their nearest */
void kd_report_misses(const kd_report *report, kd_buf *out);
void kd_report_hardest(const kd_report *report, kd_buf *out);
void kd_report_skipped(const kd_report *report, kd_buf *out);
void kd_report_findings_section(const kd_report *report, kd_buf *out);

/* 12345 as 12,345. */
void kd_report_count(kd_buf *out, uint64_t value);
/* The model's name, or its id. */
const char *kd_report_model_name(const kd_report_model *model);
/* Around what one of several models shows: <details>, open for the first, with its name as
 * summary. Nothing where there is one model. */
void kd_report_open_model(const kd_report *report, size_t model, kd_buf *out);
void kd_report_close_model(const kd_report *report, kd_buf *out);
/* ---- Drawing (report_charts.c) ---- */
/* Number n of a chart's things has one of eight colours, one of four kinds of dashes and one of
 * five marks: alike from n + 40 on. */
#define KD_REPORT_COLOURS 8u
#define KD_REPORT_DASHES 4u

/* <svg> with its title; a description may follow, kd_report_svg_drawn ends it. */
void kd_report_svg_open(
    kd_buf *out, const char *kind, double width, double height, const char *title);
void kd_report_svg_drawn(kd_buf *out);
/* Appends to a path's data the mark of number n around x, y. */
void kd_report_mark(kd_buf *out, size_t n, double x, double y, double size);
/* The models that have counted queries, each with its line and mark, unless there is one alone. */
void kd_report_model_keys(const kd_report *report, kd_buf *out);

extern const unsigned char kd_report_css[]; /* report.css, NUL behind it */

#endif
