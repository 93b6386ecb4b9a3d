#include "services/gateway/cli/search_page.h"

#include "services/gateway/cli/attributes.h"

#include <openssl/evp.h>

static void put_escaped(kd_buf *page, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '<':
            kd_buf_puts(page, "&lt;");
            break;
        case '>':
            kd_buf_puts(page, "&gt;");
            break;
        case '&':
            kd_buf_puts(page, "&amp;");
            break;
        case '"':
            kd_buf_puts(page, "&quot;");
            break;
        default:
            kd_buf_append(page, text, 1);
        }
    }
}

/* An <img> of a JPEG, or an empty cell. */
static void put_picture(kd_buf *page, const uint8_t *bytes, size_t len, const char *alt)
{
    if (len == 0 || len > INT32_MAX / 2) {
        kd_buf_puts(page, "<div class=none>no picture</div>");
        return;
    }
    kd_buf_puts(page, "<img alt=\"");
    put_escaped(page, alt);
    kd_buf_puts(page, "\" src=\"data:image/jpeg;base64,");
    uint8_t *const to = kd_buf_reserve(page, 4 * (len / 3 + 1) + 1);
    if (to)
        page->len += (size_t)EVP_EncodeBlock(to, bytes, (int)len);
    kd_buf_puts(page, "\">");
}

void search_page_begin(kd_buf *page, const char *collection)
{
    kd_buf_puts(page, "<!doctype html>\n<html lang=en><meta charset=utf-8>\n<title>kindred: ");
    put_escaped(page, collection);
    kd_buf_puts(page,
        "</title>\n<meta name=viewport content=\"width=device-width\">\n<style>\n"
        "body { font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; }\n"
        ".row { display: flex; flex-wrap: wrap; gap: 12px; margin: 0 0 2em; }\n"
        "figure { margin: 0; width: 200px; }\n"
        "img, .none { width: 192px; height: 192px; object-fit: contain; background: #f2f2f2;\n"
        "  border: 3px solid transparent; }\n"
        ".query img, .query .none { border-color: #888; }\n"
        ".none { display: flex; align-items: center; justify-content: center; color: #777; }\n"
        "figcaption { overflow-wrap: anywhere; } small { color: #666; }\n"
        "</style>\n<h1>Nearest products in ");
    put_escaped(page, collection);
    kd_buf_puts(page, "</h1>\n");
}

static void put_hit(kd_buf *page, size_t rank, const Kindred__V1__Hit *hit)
{
    const Kindred__V1__Item *const item = hit->item;
    kd_buf_puts(page, "<figure>");
    put_picture(page, hit->thumbnail.data, hit->thumbnail.len, item ? item->class_name : "");
    kd_buf_printf(page, "<figcaption>%zu. <b>%.4f</b> ", rank, (double)hit->score);
    if (item) {
        put_escaped(page, item->class_name);
        kd_buf_puts(page, "<br><small>");
        put_escaped(page, item->super_class_name);
        char text[CLI_TEXT];
        kd_buf_puts(page, " · image ");
        put_escaped(page, cli_image_name(item, text));
        kd_buf_puts(page, "</small>");
    }
    kd_buf_puts(page, "</figcaption></figure>\n");
}

void search_page_row(kd_buf *page, const char *title, const kd_buf *picture,
    const Kindred__V1__SearchProductsResponse *answer)
{
    kd_buf_puts(page, "<div class=row>\n<figure class=query>");
    put_picture(page, picture ? picture->data : NULL, picture ? picture->len : 0, title);
    kd_buf_puts(page, "<figcaption>");
    put_escaped(page, title);
    kd_buf_puts(page, "</figcaption></figure>\n");
    for (size_t i = 0; i < answer->n_hits; i++)
        put_hit(page, i + 1, answer->hits[i]);
    kd_buf_puts(page, "</div>\n");
}

void search_page_end(kd_buf *page)
{
    kd_buf_puts(page, "</html>\n");
}
