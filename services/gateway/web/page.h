/* services/gateway/web/page.h: the files of page/, which travel inside the program. */
#ifndef KD_GATEWAY_WEB_PAGE_H
#define KD_GATEWAY_WEB_PAGE_H

#include <stddef.h>

#define KD_PAGE_FILE(name)                                                                         \
    extern const unsigned char page_##name[];                                                      \
    extern const size_t page_##name##_len

KD_PAGE_FILE(search_html);
KD_PAGE_FILE(collections_html);
KD_PAGE_FILE(models_html);
KD_PAGE_FILE(reports_html);
KD_PAGE_FILE(jobs_html);
KD_PAGE_FILE(job_html);
KD_PAGE_FILE(view_html);
KD_PAGE_FILE(page_css);
KD_PAGE_FILE(icon_svg);
KD_PAGE_FILE(common_js);
KD_PAGE_FILE(search_js);
KD_PAGE_FILE(lists_js);
KD_PAGE_FILE(jobs_js);
KD_PAGE_FILE(view_js);

#endif
