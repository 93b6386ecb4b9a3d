/* lib/http: bodies, limits, slow clients, workers, streams of events and the end. */
#include <pthread.h>
#include <semaphore.h>

#include "lib/base/clock.h"
#include "tests/http/client.h"

#define MAX_BODY 100u

typedef struct room {
    kd_metrics *metrics;
    kd_http *http;
    uint16_t port;
    kd_error err;
    sem_t begun, go; /* of handlers that wait */
    kd_http_stream *streams[KD_HTTP_STREAMS];
    size_t n_streams;
    sem_t streaming;
} room;

static void echo(void *state, kd_http_request *request, kd_http_answer *answer)
{
    size_t len;
    const uint8_t *const body = kd_http_body(request, &len);
    (void)state;
    kd_buf_puts(&answer->body, "body: ");
    kd_buf_append(&answer->body, body, len);
    const char *const key = kd_http_header(request, "authorization");
    kd_buf_printf(&answer->body, "; key: %s; q: %s", key ? key : "none",
        kd_http_query(request, "q") ? kd_http_query(request, "q") : "none");
}

static bool add_pair(void *arg, const char *name, const char *value)
{
    kd_buf_printf(arg, "%s=%s,", name, value);
    return true;
}

static void list(void *state, kd_http_request *request, kd_http_answer *answer)
{
    (void)state;
    kd_http_each_query(request, add_pair, &answer->body);
}

static void wait_here(void *state, kd_http_request *request, kd_http_answer *answer)
{
    room *const r = state;
    (void)request;
    (void)sem_post(&r->begun);
    (void)sem_wait(&r->go);
    kd_buf_puts(&answer->body, "went on");
}

static kd_status add_field(
    void *arg, const char *name, const char *file, const kd_buf *data, kd_error *err)
{
    if (strcmp(name, "bad") == 0)
        return kd_error_set(err, KD_NOT_FOUND, "no field may be called bad");
    kd_buf_printf(arg, "%s:%s:%.*s,", name, file ? file : "-", (int)data->len,
        data->data ? (const char *)data->data : "");
    return KD_OK;
}

static void form(void *state, kd_http_request *request, kd_http_answer *answer)
{
    kd_error err = KD_ERROR_INIT;
    (void)state;
    if (kd_http_form(request, add_field, &answer->body, &err) != KD_OK)
        kd_http_fail(answer, &err);
}

static void watch(void *state, kd_http_request *request, kd_http_answer *answer)
{
    room *const r = state;
    kd_error err = KD_ERROR_INIT;
    kd_http_stream *stream;
    if (kd_http_stream_new(&stream, request, kd_http_query(request, "client"), &err) != KD_OK) {
        kd_http_fail(answer, &err);
        return;
    }
    answer->stream = stream;
    (void)kd_http_stream_send(stream, "job", "{\"n\": 1}");
    r->streams[r->n_streams++] = stream;
    (void)sem_post(&r->streaming);
}

static const kd_http_route routes[] = {
    {.method = "POST", .path = "/echo", .handler = echo, .max_body = MAX_BODY, .blocking = true},
    {.method = "GET", .path = "/list", .handler = list},
    {.method = "GET", .path = "/wait", .handler = wait_here, .blocking = true},
    {.method = "POST", .path = "/form", .handler = form, .max_body = 1000},
    {.method = "GET", .path = "/watch", .handler = watch},
    {.method = "GET", .path = "/locked", .handler = list, .scope = 2},
};

static bool gate(
    void *state, const kd_http_request *request, unsigned scope, kd_http_answer *answer)
{
    kd_error err = KD_ERROR_INIT;
    (void)state;
    if (scope < 2 || kd_http_header(request, "Authorization"))
        return true;
    (void)kd_error_set(&err, KD_UNAUTHENTICATED, "a key is wanted");
    kd_http_fail(answer, &err);
    return false;
}

static int setup(void **state)
{
    room *const r = calloc(1, sizeof *r);
    *state = r;
    if (!r || kd_metrics_new(&r->metrics, &r->err) != KD_OK)
        return -1;
    (void)sem_init(&r->begun, 0, 0);
    (void)sem_init(&r->go, 0, 0);
    (void)sem_init(&r->streaming, 0, 0);
    const kd_http_options options = {.address = "127.0.0.1:0",
        .metrics = r->metrics,
        .workers = 2,
        .queue = 1,
        .request_ms = 600,
        .idle_ms = 5000,
        .gate = gate};
    if (kd_http_new(&r->http, &options, &r->port, &r->err) != KD_OK)
        return -1;
    kd_http_routes(r->http, routes, sizeof routes / sizeof routes[0], r);
    return 0;
}

static int teardown(void **state)
{
    room *const r = *state;
    for (size_t i = 0; i < r->n_streams; i++)
        kd_http_stream_end(r->streams[i]);
    kd_http_free(r->http);
    kd_metrics_free(r->metrics);
    free(r);
    return 0;
}

#define POST                                                                                       \
    "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%sContent-Length: %zu\r\n\r\n%s"

static char *post(uint16_t port, const char *path, const char *headers, const char *body)
{
    char text[2000];
    (void)snprintf(text, sizeof text, POST, path, headers, strlen(body), body);
    return talk(port, text);
}

static void test_http__takes_bodies(void **state)
{
    room *const r = *state;
    char body[MAX_BODY + 2];
    memset(body, 'x', sizeof body);
    body[MAX_BODY] = '\0';
    char *text = post(r->port, "/echo?q=a%2Bb", "Authorization: Bearer k\r\n", body);
    CHECK_HAS("HTTP/1.1 200", text);
    CHECK_HAS(body, text);
    CHECK_HAS("; key: Bearer k; q: a+b", text);
    free(text);
    text = post(r->port, "/echo", "", "");
    CHECK_HAS("body: ; key: none; q: none", text);
    free(text);
    text = ask(r->port, "GET", "/list?a=1&b&a=%C3%A4");
    CHECK_HAS("a=1,b=,a=\xc3\xa4,", text);
    free(text);
}

/* Refused by the headers alone: nothing more is sent here. */
static void test_http__refuses_bodies_before_they_come(void **state)
{
    const room *const r = *state;
    static const char *const cases[][2] = {
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n", "HTTP/1.1 413"},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n",
            "takes a body of up to 100 bytes, this one has 99999999999999"},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 411"},
        {"GET /list HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n", "takes no body"},
        {"POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 404"},
        {"POST /list HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 405"},
        {"POST /echo HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 421"},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n"
         "Content-Length: 5\r\n\r\n",
            "HTTP/1.1 403"},
        {"POST /echo HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-site\r\n"
         "Content-Length: 5\r\n\r\n",
            "HTTP/1.1 403"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *const text = talk(r->port, cases[i][0]);
        CHECK_HAS(cases[i][1], text);
        CHECK_HAS("\"code\"", text);
        free(text);
    }
}

static void test_http__lets_its_own_pages_ask(void **state)
{
    const room *const r = *state;
    static const char *const fine[] = {"Sec-Fetch-Site: same-origin\r\n",
        "Sec-Fetch-Site: none\r\n", "Origin: http://localhost\r\n"};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        char *const text = post(r->port, "/echo", fine[i], "x");
        CHECK_HAS("HTTP/1.1 200", text);
        free(text);
    }
    static const char *const hosts[] = {"127.0.0.1:80", "[::1]:80", "localhost", "a.localhost:1"};
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        char request[200];
        (void)snprintf(request, sizeof request,
            "GET /list HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", hosts[i]);
        char *const text = talk(r->port, request);
        CHECK_HAS("HTTP/1.1 200", text);
        free(text);
    }
    static const char *const strange[] = {"localhost.evil.example", "127.0.0.1.evil.example",
        "[::1].evil.example", "128.0.0.1", "notlocalhost", "[::1", "10.0.0.1:80"};
    for (size_t i = 0; i < sizeof strange / sizeof strange[0]; i++) {
        char request[200];
        (void)snprintf(request, sizeof request,
            "GET /list HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", strange[i]);
        char *const text = talk(r->port, request);
        CHECK_HAS("HTTP/1.1 421", text);
        free(text);
    }
}

static void test_http__asks_the_gate(void **state)
{
    const room *const r = *state;
    char *text = ask(r->port, "GET", "/locked");
    CHECK_HAS("HTTP/1.1 401", text);
    CHECK_HAS("a key is wanted", text);
    free(text);
    text = talk(r->port, "GET /locked?a=b HTTP/1.1\r\nHost: localhost\r\nAuthorization: x\r\n"
                         "Connection: close\r\n\r\n");
    CHECK_HAS("a=b,", text);
    free(text);
}

static void test_http__takes_forms_apart(void **state)
{
    const room *const r = *state;
    char *text = post(r->port, "/form", "Content-Type: multipart/form-data; boundary=XX\r\n",
        "--XX\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\n5\r\n"
        "--XX\r\nContent-Disposition: form-data; name=\"image\"; filename=\"a.jpg\"\r\n"
        "Content-Type: image/jpeg\r\n\r\n\xff\xd8 one\r\n"
        "--XX\r\nContent-Disposition: form-data; name=\"image\"; filename=\"b.jpg\"\r\n\r\ntwo\r\n"
        "--XX--\r\n");
    CHECK_HAS("k:-:5,image:a.jpg:\xff\xd8 one,image:b.jpg:two,", text);
    free(text);
    text = post(
        r->port, "/form", "Content-Type: application/x-www-form-urlencoded\r\n", "k=5&name=a%20b");
    CHECK_HAS("k:-:5,name:-:a b,", text);
    free(text);
    text = post(r->port, "/form", "Content-Type: application/x-www-form-urlencoded\r\n",
        "good=1&bad=2&more=3");
    CHECK_HAS("HTTP/1.1 404", text);
    CHECK_HAS("no field may be called bad", text);
    free(text);
    static const char *const wrong[][2] = {{"", "x"}, {"Content-Type: text/plain\r\n", "x"},
        {"Content-Type: multipart/form-data\r\n", "x"},
        {"Content-Type: multipart/form-data; boundary=XX\r\n",
            "--XX\r\nContent-Disposition: form-data; name=\"k\"\r\n\r\nnever ended"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        text = post(r->port, "/form", wrong[i][0], wrong[i][1]);
        CHECK_HAS("HTTP/1.1 400", text);
        CHECK_HAS("INVALID_ARGUMENT", text);
        free(text);
    }
}

static void test_http__ends_slow_clients(void **state)
{
    const room *const r = *state;
    static const char begin[] =
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 90\r\n\r\n";
    const int fd = dial(r->port);
    const int64_t begun = kd_mono_ms();
    send_text(fd, begin);
    ssize_t sent = 1;
    char got;
    /* A byte now and then, which a time-out for silence alone would let go on. */
    while (sent == 1 && kd_mono_ms() - begun < 10000) {
        kd_sleep_ms(50);
        sent = send(fd, "x", 1, MSG_NOSIGNAL);
        if (recv(fd, &got, 1, MSG_DONTWAIT) == 0)
            break;
    }
    const int64_t took = kd_mono_ms() - begun;
    (void)close(fd);
    CHECK(took >= 500 && took < 5000);
    char *const text = ask(r->port, "GET", "/list?still=here");
    CHECK_HAS("still=here", text);
    free(text);
}

static void *ask_to_wait(void *port)
{
    return ask(*(const uint16_t *)port, "GET", "/wait");
}

static void test_http__blocking_handlers_hold_no_one_up(void **state)
{
    room *const r = *state;
    pthread_t threads[3];
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, ask_to_wait, &r->port), 0);
        (void)sem_wait(&r->begun);
    }
    char *text = ask(r->port, "GET", "/list?a=b"); /* while both workers are busy */
    CHECK_HAS("a=b,", text);
    free(text);
    /* One waits in the queue, the next is refused at once; which of the two is first is not ours.
     */
    const int first = dial(r->port), second = dial(r->port);
    send_text(first, "GET /wait HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    send_text(second, "GET /wait HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    char peek;
    bool refused = false;
    for (int64_t begun = kd_mono_ms(); !refused && kd_mono_ms() - begun < 10000;)
        refused = recv(first, &peek, 1, MSG_PEEK | MSG_DONTWAIT) == 1 ||
                  recv(second, &peek, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    CHECK(refused);
    for (size_t i = 0; i < 3; i++)
        (void)sem_post(&r->go);
    char *const texts[2] = {hear(first), hear(second)};
    const size_t late = strstr(texts[0], "went on") ? 1 : 0;
    CHECK_HAS("went on", texts[1 - late]);
    CHECK_HAS("HTTP/1.1 429", texts[late]);
    CHECK_HAS("Retry-After: 1", texts[late]);
    free(texts[0]);
    free(texts[1]);
    for (size_t i = 0; i < 2; i++) {
        void *answer;
        (void)pthread_join(threads[i], &answer);
        CHECK_HAS("went on", answer);
        free(answer);
    }
}

static void test_http__handlers_are_waited_for_at_the_end(void **state)
{
    room *const r = *state;
    pthread_t thread;
    void *answer;
    assert_int_equal(pthread_create(&thread, NULL, ask_to_wait, &r->port), 0);
    (void)sem_wait(&r->begun);
    (void)sem_post(&r->go);
    kd_http_free(r->http);
    r->http = NULL;
    (void)pthread_join(thread, &answer);
    CHECK_HAS("went on", answer);
    free(answer);
}

static void wait_for(int fd, const char *what, char *got, size_t size)
{
    size_t len = 0;
    got[0] = '\0';
    while (!strstr(got, what)) {
        const ssize_t n = read(fd, got + len, size - len - 1);
        CHECK(n > 0);
        len += (size_t)n;
        got[len] = '\0';
    }
}

/* client NULL: by its address. */
static int open_stream(room *r, const char *client)
{
    char head[160];
    const int fd = dial(r->port);
    (void)snprintf(head, sizeof head, "GET /watch%s%s HTTP/1.1\r\nHost: localhost\r\n\r\n",
        client ? "?client=" : "", client ? client : "");
    send_text(fd, head);
    (void)sem_wait(&r->streaming);
    return fd;
}

static void test_http__streams_events(void **state)
{
    room *const r = *state;
    char got[4096];
    const int fd = open_stream(r, NULL);
    wait_for(fd, "data: {\"n\": 1}\n\n", got, sizeof got);
    CHECK_HAS("Content-Type: text/event-stream", got);
    CHECK(kd_http_stream_send(r->streams[0], "job", "{\"n\": 2}"));
    wait_for(fd, "data: {\"n\": 2}\n\n", got, sizeof got);
    CHECK(kd_http_stream_send(r->streams[0], "job", "{\"n\": 3}"));
    r->n_streams = 0;
    kd_http_stream_end(r->streams[0]);
    char *const text = hear(fd); /* keep-alive: ended by the time-out for the next request */
    CHECK_HAS("data: {\"n\": 3}", text);
    CHECK_HAS("\r\n0\r\n", text); /* the last chunk */
    free(text);
}

static void test_http__streams_are_bounded_and_end_with_a_drain(void **state)
{
    room *const r = *state;
    int fds[KD_HTTP_STREAMS];
    static const char *const clients[] = {NULL, "a", "b", "c"};
    char *text;
    for (size_t i = 0; i < KD_HTTP_STREAMS; i++) {
        const char *const client = clients[i / KD_HTTP_CLIENT_STREAMS];
        fds[i] = open_stream(r, client);
        if ((i + 1) % KD_HTTP_CLIENT_STREAMS != 0 || i + 1 == KD_HTTP_STREAMS)
            continue;
        text = ask(r->port, "GET", client ? "/watch?client=a" : "/watch");
        CHECK_HAS("HTTP/1.1 429", text);
        CHECK_HAS("you have 16 streams open already", text);
        free(text);
    }
    text = ask(r->port, "GET", "/watch?client=d");
    CHECK_HAS("HTTP/1.1 429", text);
    CHECK_HAS("64 streams are open already", text);
    free(text);
    (void)close(fds[0]); /* one that has gone is noticed by what is sent */
    const int64_t begun = kd_mono_ms();
    while (kd_http_stream_send(r->streams[0], "job", "{}") && kd_mono_ms() - begun < 10000)
        kd_sleep_ms(5);
    CHECK(!kd_http_stream_open(r->streams[0]));
    kd_http_stream_end(r->streams[0]);
    r->n_streams--;
    memmove(r->streams, r->streams + 1, r->n_streams * sizeof r->streams[0]);
    fds[0] = open_stream(r, NULL);

    kd_http_drain(r->http);
    for (size_t i = 0; i < KD_HTTP_STREAMS; i++) {
        text = hear(fds[i]);
        CHECK_HAS("\r\n0\r\n", text);
        free(text);
    }
    CHECK(!kd_http_stream_send(r->streams[1], "job", "{}"));
    text = ask(r->port, "GET", "/watch");
    CHECK_HAS("HTTP/1.1 503", text);
    free(text);
    text = post(r->port, "/echo", "", "x");
    CHECK_HAS("HTTP/1.1 503", text);
    CHECK_HAS("shutting down", text);
    free(text);
    text = ask(r->port, "GET", "/healthz");
    CHECK_HAS("ok\n", text);
    free(text);
}

static void test_http__bodies_in_work_are_bounded(void **state)
{
    room *const r = *state;
    kd_http *small = NULL;
    uint16_t port;
    const kd_http_options options = {
        .address = "127.0.0.1:0", .metrics = r->metrics, .workers = 1, .queue = 1, .max_bytes = 50};
    CHECK_OK(kd_http_new(&small, &options, &port, &r->err), r->err);
    kd_http_routes(small, routes, 1, r);
    char body[61];
    memset(body, 'x', sizeof body - 1);
    body[60] = '\0';
    char *text = post(port, "/echo", "", body);
    CHECK_HAS("HTTP/1.1 429", text);
    CHECK_HAS("RESOURCE_EXHAUSTED", text);
    free(text);
    body[50] = '\0';
    text = post(port, "/echo", "", body);
    CHECK_HAS("HTTP/1.1 200", text);
    free(text);
    kd_http_free(small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_http__takes_bodies, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_http__refuses_bodies_before_they_come, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__lets_its_own_pages_ask, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__asks_the_gate, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__takes_forms_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__ends_slow_clients, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_http__blocking_handlers_hold_no_one_up, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_http__handlers_are_waited_for_at_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__streams_events, setup, teardown),
        cmocka_unit_test_setup_teardown(
            test_http__streams_are_bounded_and_end_with_a_drain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_http__bodies_in_work_are_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
