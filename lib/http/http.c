#include "lib/http/http.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_ROUTES 16
#define MAX_CONNECTIONS 64
#define IDLE_SECONDS 15

typedef struct route {
    const char *prefix;
    kd_http_handler handler;
    void *state;
} route;

struct kd_http {
    struct MHD_Daemon *daemon;
    kd_metrics *metrics;
    route routes[MAX_ROUTES];
    atomic_size_t n_routes;
};

static void find_answer(kd_http *http, const char *path, kd_http_answer *answer)
{
    if (strcmp(path, "/metrics") == 0) {
        kd_metrics_print(http->metrics, &answer->body);
        answer->content_type = "text/plain; version=0.0.4; charset=utf-8";
        return;
    }
    if (strcmp(path, "/healthz") == 0) {
        kd_buf_puts(&answer->body, "ok\n");
        return;
    }
    const size_t n = atomic_load(&http->n_routes);
    for (size_t i = 0; i < n; i++) {
        if (strncmp(path, http->routes[i].prefix, strlen(http->routes[i].prefix)) == 0) {
            http->routes[i].handler(http->routes[i].state, path, answer);
            return;
        }
    }
    answer->code = 404;
    kd_buf_puts(&answer->body, "nothing here\n");
}

static enum MHD_Result answer_request(void *state, struct MHD_Connection *connection,
    const char *url, const char *method, const char *version, const char *upload,
    size_t *upload_size, void **request)
{
    static char seen; /* libmicrohttpd calls once for the headers, again for the answer */
    kd_http *const http = state;
    (void)version;
    (void)upload;
    if (!*request) {
        *request = &seen;
        return MHD_YES;
    }
    *upload_size = 0;
    kd_http_answer answer = {200, "text/plain; charset=utf-8", KD_BUF_INIT};
    if (strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0) {
        find_answer(http, url, &answer);
    } else {
        answer.code = 405;
        kd_buf_puts(&answer.body, "only GET here\n");
    }
    if (!kd_buf_ok(&answer.body)) {
        kd_buf_free(&answer.body);
        return MHD_NO;
    }
    struct MHD_Response *const response =
        MHD_create_response_from_buffer(answer.body.len, answer.body.data, MHD_RESPMEM_MUST_COPY);
    kd_buf_free(&answer.body);
    if (!response)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", answer.content_type);
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    const enum MHD_Result result = MHD_queue_response(connection, answer.code, response);
    MHD_destroy_response(response);
    return result;
}

/* "127.0.0.1:80" or "[::1]:80" into a socket address. */
static kd_status parse_address(
    const char *text, struct sockaddr_storage *address, socklen_t *len, kd_error *err)
{
    const char *const colon = strrchr(text, ':');
    char host[64];
    uint64_t port;
    size_t n = colon ? (size_t)(colon - text) : 0;
    memset(address, 0, sizeof *address);
    if (!colon || n >= sizeof host || !kd_parse_u64(colon + 1, 0, 65535, &port))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "'%s' is not HOST:PORT", text);
    const bool bracketed = n > 2 && text[0] == '[' && text[n - 1] == ']';
    memcpy(host, text + bracketed, n - 2 * (size_t)bracketed);
    host[n - 2 * (size_t)bracketed] = '\0';
    struct sockaddr_in *const v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *const v6 = (struct sockaddr_in6 *)address;
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *len = sizeof *v4;
    } else if (inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *len = sizeof *v6;
    } else {
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "'%s' does not begin with an IP address", text);
    }
    return KD_OK;
}

static kd_status listen_on(const char *address, int *out, uint16_t *port, kd_error *err)
{
    struct sockaddr_storage at;
    socklen_t len = 0;
    kd_status status = parse_address(address, &at, &len, err);
    if (status != KD_OK)
        return status;
    const int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int on = 1;
    if (fd < 0)
        return kd_error_errno(err, errno, "cannot make a socket");
    /* A restarted service takes its port again while old connections linger. */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, len) != 0 || listen(fd, 64) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0) {
        char reason[128];
        status = kd_error_set(err, KD_UNAVAILABLE, "cannot listen on %s: %s", address,
            strerror_r(errno, reason, sizeof reason));
        (void)close(fd);
        return status;
    }
    *port = ntohs(at.ss_family == AF_INET ? ((struct sockaddr_in *)&at)->sin_port
                                          : ((struct sockaddr_in6 *)&at)->sin6_port);
    *out = fd;
    return KD_OK;
}

kd_status kd_http_new(
    kd_http **out, const char *address, kd_metrics *metrics, uint16_t *port, kd_error *err)
{
    int fd = -1;
    *out = NULL;
    kd_status status = listen_on(address, &fd, port, err);
    if (status != KD_OK)
        return status;
    kd_http *http = calloc(1, sizeof *http);
    if (!http) {
        (void)close(fd);
        return kd_error_memory(err, "an HTTP server");
    }
    http->metrics = metrics;
    atomic_init(&http->n_routes, 0);
    http->daemon = MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL,
        answer_request, http, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
        MHD_OPTION_END);
    if (!http->daemon) {
        (void)close(fd);
        free(http);
        return kd_error_set(
            err, KD_RESOURCE_EXHAUSTED, "cannot start the HTTP server on %s", address);
    }
    *out = http;
    return KD_OK;
}

void kd_http_route(kd_http *http, const char *prefix, kd_http_handler handler, void *state)
{
    const size_t n = atomic_load(&http->n_routes);
    assert(n < MAX_ROUTES);
    http->routes[n] = (route){prefix, handler, state};
    atomic_store(&http->n_routes, n + 1);
}

void kd_http_free(kd_http *http)
{
    if (!http)
        return;
    MHD_stop_daemon(http->daemon);
    free(http);
}
