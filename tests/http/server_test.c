/* lib/http over real sockets: what a scraper, a browser and a careless client get. */
#include <pthread.h>
#include <stdlib.h>

#include "tests/http/client.h"
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
    const kd_http_options options = {.address = "127.0.0.1:0", .metrics = r->metrics};
    return kd_http_new(&r->http, &options, &r->port, &r->err) == KD_OK ? 0 : -1;
}

static int teardown(void **state)
{
    room *const r = *state;
    kd_http_free(r->http);
    kd_metrics_free(r->metrics);
    free(r);
    return 0;
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
    CHECK_HAS("Allow: GET, HEAD\r\n", text);
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

static void page(void *state, kd_http_request *request, kd_http_answer *answer)
{
    answer->code = 201;
    answer->content_type = "text/html";
    kd_buf_printf(&answer->body, "%s asks for %s of %s by %s", (const char *)state,
        kd_http_part(request, 1), kd_http_part(request, 0), kd_http_method(request));
}

static const kd_http_route pages[] = {
    {.method = "GET", .path = "/reports/*/**", .handler = page},
    {.method = "POST", .path = "/jobs/*/cancel", .handler = page},
};

static void test_http__routes(void **state)
{
    room *const r = *state;
    static char name[] = "somebody";
    kd_http_routes(r->http, pages, 2, name);
    char *text = ask(r->port, "GET", "/reports/a/b/c.html?d=e");
    CHECK_HAS("HTTP/1.1 201", text);
    CHECK_HAS("Content-Type: text/html", text);
    CHECK_HAS("default-src 'none'", text);
    CHECK_HAS("somebody asks for b/c.html of a by GET", text);
    free(text);
    text = ask(r->port, "POST", "/jobs/a%20b/cancel");
    CHECK_HAS("somebody asks for  of a b by POST", text);
    free(text);
    static const char *const none[] = {"/reports/a/", "/reports//b", "/reports/a", "/report",
        "/jobs/a/b/cancel", "/jobs/a/cancel/", "/"};
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        text = ask(r->port, "GET", none[i]);
        CHECK_HAS("HTTP/1.1 404", text);
        CHECK_HAS("\"NOT_FOUND\"", text);
        free(text);
    }
    text = ask(r->port, "GET", "/jobs/a/cancel");
    CHECK_HAS("HTTP/1.1 405", text);
    CHECK_HAS("Allow: POST\r\n", text);
    CHECK_HAS(
        "{\"code\": \"UNIMPLEMENTED\", \"message\": \"GET is not possible here, POST is\"}", text);
    free(text);
    text = ask(r->port, "GET", "/reports/%ff/b");
    CHECK_HAS("HTTP/1.1 400", text);
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
    kd_http_options options = {.address = taken, .metrics = r->metrics};
    CHECK_FAILS(KD_UNAVAILABLE, kd_http_new(&other, &options, &port, &r->err), r->err);
    CHECK_HAS(taken, r->err.message);
    static const char *const wrong[] = {"", "127.0.0.1", "localhost:80", "127.0.0.1:65536",
        "127.0.0.1:x", "[::1:80",
        "a-host-name-that-is-longer-than-any-address-that-could-stand-there-at-all:80"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        options.address = wrong[i];
        CHECK_FAILS(KD_INVALID_ARGUMENT, kd_http_new(&other, &options, &port, &r->err), r->err);
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
        cmocka_unit_test_setup_teardown(test_http__routes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__clients_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__address_taken_or_wrong, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
