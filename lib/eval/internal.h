/* lib/eval/internal.h: what the report's files share. Nobody else includes it. */
#ifndef KD_EVAL_INTERNAL_H
#define KD_EVAL_INTERNAL_H

#include "lib/eval/report.h"

/* KD_INVALID_ARGUMENT when a text of the report is not valid UTF-8 or a number not finite: neither
 * page nor JSON could hold it. */
KD_MUST_CHECK kd_status kd_report_check(const kd_report *report, kd_error *err);

/* A section for each of the models' rows: the query and its nearest, a strip for each model. */
void kd_report_rows(const kd_report *report, kd_buf *out);

extern const unsigned char kd_report_css[]; /* report.css, NUL behind it */

#endif
