/* All routes, and who may take them. */
#include "services/gateway/web/page.h"
#include "services/gateway/web/web.h"

#define RPC(verb, route, needs, grpc_service, grpc_method, ...)                                    \
    {                                                                                              \
        .method = verb, .path = route, .scope = needs, .handler = web_serve_rpc, .blocking = true, \
        .max_body = sizeof verb == sizeof "POST" ? WEB_MAX_JSON : 0, .more = &(const web_rpc)      \
        {                                                                                          \
            grpc_service, grpc_method,                                                             \
            {                                                                                      \
                __VA_ARGS__                                                                        \
            }                                                                                      \
        }                                                                                          \
    }

static const kd_http_route routes[] = {
    RPC("GET", "/v1/status", KD_SCOPE_READ, GATEWAY, "GetStatus"),
    RPC("GET", "/v1/collections", KD_SCOPE_READ, INDEXER, "ListCollections"),
    RPC("GET", "/v1/collections/*", KD_SCOPE_READ, INDEXER, "GetCollection", "name"),
    RPC("GET", "/v1/collections/*/items", KD_SCOPE_READ, INDEXER, "ListItems", "collection"),
    RPC("GET", "/v1/collections/*/items/*", KD_SCOPE_READ, INDEXER, "GetItem", "collection",
        "image_id"),
    {"GET", "/v1/collections/*/items/*/image", KD_SCOPE_READ, web_item_image, true, 0, NULL},
    {"GET", "/v1/search", KD_SCOPE_READ, web_search, true, 0, NULL},
    {"POST", "/v1/search", KD_SCOPE_READ, web_search, true, WEB_MAX_BODY, NULL},
    {"POST", "/v1/embed", KD_SCOPE_READ, web_embed, true, WEB_MAX_BODY, NULL},
    RPC("GET", "/v1/models", KD_SCOPE_READ, TRAINER, "ListModels"),
    RPC("GET", "/v1/models/*", KD_SCOPE_READ, TRAINER, "GetModel", "model"),
    RPC("GET", "/v1/jobs", KD_SCOPE_READ, GATEWAY, "ListJobs"),
    RPC("POST", "/v1/jobs", KD_SCOPE_WRITE, GATEWAY, "SubmitJob"),
    RPC("GET", "/v1/jobs/*", KD_SCOPE_READ, GATEWAY, "GetJob", "job_id"),
    RPC("POST", "/v1/jobs/*/cancel", KD_SCOPE_WRITE, GATEWAY, "CancelJob", "job_id"),
    RPC("POST", "/v1/jobs/*/retry", KD_SCOPE_WRITE, GATEWAY, "RetryJob", "job_id"),
    {"GET", "/v1/jobs/*/watch", KD_SCOPE_READ, web_watch, true, 0, NULL},
    {"GET", "/v1/jobs/*/report/**", KD_SCOPE_READ, web_report, true, 0, NULL},
    {"GET", "/v1/jobs/*/run/**", KD_SCOPE_READ, web_run_file, true, 0, NULL},
    {"GET", "/reports/*/**", KD_SCOPE_READ, web_report, true, 0, NULL}, /* as reports name it */
};

#define HTML "text/html; charset=utf-8"
#define PAGE_UNDER(route, media, name, policy)                                                     \
    {                                                                                              \
        "GET", route, KD_SCOPE_OPEN, web_serve_page, false, 0, &(const web_page)                   \
        {                                                                                          \
            media, page_##name, &page_##name##_len, policy                                         \
        }                                                                                          \
    }
#define PAGE(route, media, name) PAGE_UNDER(route, media, name, WEB_PAGE_POLICY)

static const kd_http_route pages[] = {
    PAGE("/", HTML, search_html),
    PAGE("/collections", HTML, collections_html),
    PAGE("/models", HTML, models_html),
    PAGE("/reports", HTML, reports_html),
    PAGE("/jobs", HTML, jobs_html),
    PAGE("/jobs/*", HTML, job_html),
    PAGE_UNDER("/reports/*", HTML, view_html, WEB_VIEW_POLICY),
    PAGE_UNDER("/runs/*", HTML, view_html, WEB_VIEW_POLICY),
    PAGE("/page/page.css", "text/css; charset=utf-8", page_css),
    PAGE("/page/icon.svg", "image/svg+xml", icon_svg),
    PAGE("/page/common.js", "text/javascript; charset=utf-8", common_js),
    PAGE("/page/search.js", "text/javascript; charset=utf-8", search_js),
    PAGE("/page/lists.js", "text/javascript; charset=utf-8", lists_js),
    PAGE("/page/jobs.js", "text/javascript; charset=utf-8", jobs_js),
    PAGE("/page/view.js", "text/javascript; charset=utf-8", view_js),
};

void web_add_routes(web *w)
{
    kd_http *const http = w->gateway->process->http;
    kd_http_routes(http, routes, sizeof routes / sizeof routes[0], w);
    kd_http_routes(http, pages, sizeof pages / sizeof pages[0], w);
}
