/* lib/base/html.h: text in a page of ours. */
#ifndef KD_BASE_HTML_H
#define KD_BASE_HTML_H

#include "lib/base/buf.h"

KD_C_BEGIN

/* Text as it may stand between tags and in a quoted attribute; NULL writes nothing. */
void kd_html_text(kd_buf *out, const char *text);

KD_C_END
#endif
