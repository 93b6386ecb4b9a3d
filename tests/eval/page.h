/* tests/eval/page.h: a report's page as text. */
#ifndef KD_TESTS_PAGE_H
#define KD_TESTS_PAGE_H

#include <string.h>

#include "lib/eval/report.h"
#include "tests/support/check.h"

static inline char *page_of(const kd_report *report) /* owned (free) */
{
    kd_error err = KD_ERROR_INIT;
    kd_buf out = KD_BUF_INIT;
    CHECK_OK(kd_report_html(report, &out, &err), err);
    return (char *)out.data;
}

static inline size_t times(const char *needle, const char *haystack)
{
    size_t n = 0;
    for (const char *p = haystack; (p = strstr(p, needle)) != NULL; p++)
        n++;
    return n;
}

#endif
