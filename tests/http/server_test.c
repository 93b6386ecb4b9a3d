/* lib/http over real sockets: what a scraper, a browser and a careless client get. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/http/http.h"
#include "tests/support/check.h"

typedef struct room {
    kd_metrics *metrics;
    kd_http *http;
    uint16_t port;
    kd_error err;
} room;

static int setup(void **state)
{
    room *const r = calloc(1, sizeof *r);
    *state = r;
    if (!r || kd_metrics_new(&r->metrics, &r->err) != KD_OK)
        return -1;
    return kd_http_new(&r->http, "127.0.0.1:0", r->metrics, &r->port, &r->err) == KD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    room *const r = *state;
    kd_http_free(r->http);
    kd_metrics_free(r->metrics);
    free(r);
    return 0;
}

/* Sends the bytes and returns all that comes until the server closes. */
static char *talk(uint16_t port, const char *request)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    CHECK(write(fd, request, strlen(request)) == (ssize_t)strlen(request));
    kd_buf got = KD_BUF_INIT;
    char piece[4096];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0)
        kd_buf_append(&got, piece, (size_t)n);
    (void)close(fd);
    char *const text = strdup(got.data ? (const char *)got.data : "");
    kd_buf_free(&got);
    assert_non_null(text);
    return text;
}

static char *ask(uint16_t port, const char *method, const char *path)
{
    char request[256];
    (void)snprintf(request, sizeof request,
        "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method, path);
    return talk(port, request);
}

static void test_http__metrics_and_health(void **state)
{
    room *const r = *state;
    kd_counter_add(kd_metrics_counter(r->metrics, "kindred_seen_total", NULL, "What was seen."), 3);
    char *text = ask(r->port, "GET", "/metrics");
    CHECK_HAS("HTTP/1.1 200", text);
    CHECK_HAS("text/plain; version=0.0.4", text);
    CHECK_HAS("nosniff", text);
    CHECK_HAS("\nkindred_seen_total 3\n", text);
    free(text);
    text = ask(r->port, "GET", "/healthz");
    CHECK_HAS("\r\n\r\nok\n", text);
    free(text);
}

static void test_http__unknown_paths_and_methods(void **state)
{
    room *const r = *state;
    char *text = ask(r->port, "GET", "/metricsx");
    CHECK_HAS("HTTP/1.1 404", text);
    free(text);
    text = ask(r->port, "DELETE", "/metrics");
    CHECK_HAS("HTTP/1.1 405", text);
    free(text);
    text = ask(r->port, "HEAD", "/healthz");
    CHECK_HAS("HTTP/1.1 200", text);
    CHECK_HAS("Content-Length: 3\r\n", text);
    CHECK(strcmp(strstr(text, "\r\n\r\n"), "\r\n\r\n") == 0); /* no body */
    free(text);
}

static void test_http__garbage_closes_that_connection_only(void **state)
{
    room *const r = *state;
    free(talk(r->port, "\x16\x03\x01 this is not HTTP\r\n\r\n"));
    char *const text = ask(r->port, "GET", "/healthz");
    CHECK_HAS("HTTP/1.1 200", text);
    free(text);
}

static void page(void *state, const char *path, kd_http_answer *answer)
{
    answer->code = 201;
    answer->content_type = "text/html";
    kd_buf_printf(&answer->body, "%s asks for %s", (const char *)state, path);
}

static void test_http__routes_by_prefix(void **state)
{
    room *const r = *state;
    char name[] = "somebody";
    kd_http_route(r->http, "/reports/", page, name);
    char *text = ask(r->port, "GET", "/reports/a/b.html");
    CHECK_HAS("HTTP/1.1 201", text);
    CHECK_HAS("Content-Type: text/html", text);
    CHECK_HAS("somebody asks for /reports/a/b.html", text);
    free(text);
    text = ask(r->port, "GET", "/report");
    CHECK_HAS("HTTP/1.1 404", text);
    free(text);
}

static void *many(void *arg)
{
    const room *const r = arg;
    for (int i = 0; i < 50; i++) {
        char *const text = ask(r->port, "GET", "/metrics");
        const bool good = strstr(text, "HTTP/1.1 200") != NULL;
        free(text);
        if (!good)
            return arg;
    }
    return NULL;
}

static void test_http__clients_at_once(void **state)
{
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many, *state), 0);
    for (size_t i = 0; i < 8; i++) {
        void *failed;
        (void)pthread_join(threads[i], &failed);
        CHECK(failed == NULL);
    }
}

static void test_http__address_taken_or_wrong(void **state)
{
    room *const r = *state;
    kd_http *other = NULL;
    uint16_t port;
    char taken[32];
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%d", r->port);
    CHECK_FAILS(KD_UNAVAILABLE, kd_http_new(&other, taken, r->metrics, &port, &r->err), r->err);
    CHECK_HAS(taken, r->err.message);
    static const char *const wrong[] = {"", "127.0.0.1", "localhost:80", "127.0.0.1:65536",
        "127.0.0.1:x", "[::1:80",
        "a-host-name-that-is-longer-than-any-address-that-could-stand-there-at-all:80"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK_FAILS(
            KD_INVALID_ARGUMENT, kd_http_new(&other, wrong[i], r->metrics, &port, &r->err), r->err);
        CHECK_HAS(wrong[i], r->err.message);
    }
    assert_null(other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_http__metrics_and_health, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__unknown_paths_and_methods, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_http__garbage_closes_that_connection_only, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__routes_by_prefix, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__clients_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__address_taken_or_wrong, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
