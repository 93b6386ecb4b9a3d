#include "lib/base/html.h"

void kd_html_text(kd_buf *out, const char *text)
{
    for (const char *p = text; p && *p; p++) {
        const unsigned char c = (unsigned char)*p;
        switch (c) {
        case '&':
            kd_buf_puts(out, "&amp;");
            break;
        case '<':
            kd_buf_puts(out, "&lt;");
            break;
        case '>':
            kd_buf_puts(out, "&gt;");
            break;
        case '"':
            kd_buf_puts(out, "&quot;");
            break;
        case '\'':
            kd_buf_puts(out, "&#39;");
            break;
        default:
            if (c < ' ' && c != '\t' && c != '\n') /* HTML has no way to write these */
                kd_buf_puts(out, "\xef\xbf\xbd");
            else
                kd_buf_append(out, p, 1);
        }
    }
}
