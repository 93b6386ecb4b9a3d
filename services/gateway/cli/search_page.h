/* services/gateway/cli/search_page.h: a self-contained page of searches: each query and its hits as
 * a row of pictures. */
#ifndef KD_CLI_SEARCH_PAGE_H
#define KD_CLI_SEARCH_PAGE_H

#include "kindred/v1/gateway.pb-c.h"

#include "lib/base/buf.h"

#define SEARCH_PICTURE 192u /* longer side of the pictures, pixels */

void search_page_begin(kd_buf *page, const char *collection);
/* picture: the query as a JPEG; NULL or empty: none. title names the query. */
void search_page_row(kd_buf *page, const char *title, const kd_buf *picture,
    const Kindred__V1__SearchProductsResponse *answer);
void search_page_end(kd_buf *page);

#endif
