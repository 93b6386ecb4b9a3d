/* Which route a path is of. */
#include <string.h>

#include "lib/http/internal.h"

/* Where the parts of a path lie that stand for a route's stars. */
typedef struct cuts {
    char *starts[KD_HTTP_PARTS], *ends[KD_HTTP_PARTS];
    size_t n;
} cuts;

static bool fits(const char *pattern, char *path, cuts *c)
{
    c->n = 0;
    for (; *pattern; pattern++) {
        if (*pattern != '*') {
            if (*path++ != *pattern)
                return false;
            continue;
        }
        const bool rest = pattern[1] == '*';
        const size_t len = rest ? strlen(path) : strcspn(path, "/");
        if (len == 0 || c->n == KD_HTTP_PARTS)
            return false;
        c->starts[c->n] = path;
        path += len;
        c->ends[c->n++] = path;
        pattern += rest;
    }
    return *path == '\0';
}

/* NULL: answered, with 404 or 405. */
const kd_http_entry *kd_http_find(kd_http_request *request)
{
    const char *const method = strcmp(request->method, "HEAD") == 0 ? "GET" : request->method;
    const size_t n = atomic_load(&request->http->n_routes);
    const char *other = NULL;
    cuts c;
    for (size_t i = 0; i < n; i++) {
        const kd_http_entry *const entry = &request->http->routes[i];
        if (!fits(entry->route->path, request->path, &c))
            continue;
        if (strcmp(entry->route->method, method) != 0) {
            other = entry->route->method;
            continue;
        }
        for (size_t j = 0; j < c.n; j++) {
            *c.ends[j] = '\0';
            request->parts[j] = c.starts[j];
        }
        return entry;
    }
    if (other) {
        kd_http_set(&request->answer, "Allow", strcmp(other, "GET") == 0 ? "GET, HEAD" : other);
        kd_http_refuse(&request->answer, MHD_HTTP_METHOD_NOT_ALLOWED, KD_UNIMPLEMENTED,
            "%.20s is not possible here, %s is", request->method, other);
    } else {
        kd_http_refuse(&request->answer, MHD_HTTP_NOT_FOUND, KD_NOT_FOUND, "there is no %.200s",
            request->path);
    }
    return NULL;
}
