/* Any bytes as what a client sends to kd_http, over a real socket. The first byte says how many of
 * the others go ahead in a packet of their own. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/http/http.h"
#include "tests/fuzz/fuzz.h"

#define ANSWER_MAX 65536
#define ALIVE_EVERY 64 /* inputs */

static bool echo_pair(void *arg, const char *name, const char *value)
{
    kd_buf_printf(arg, "%s=%s\n", name, value);
    return true;
}

static kd_status echo_field(
    void *arg, const char *name, const char *file, const kd_buf *data, kd_error *err)
{
    (void)err;
    kd_buf_printf(arg, "%s %s %zu\n", name, file ? file : "", data->len);
    return KD_OK;
}

/* As the gateway's: what path, query and body hold is read, and comes back. */
static void echo(void *state, kd_http_request *request, kd_http_answer *answer)
{
    kd_error err = KD_ERROR_INIT;
    (void)state;
    answer->content_type = "text/html";
    kd_buf_puts(&answer->body, kd_http_part(request, 0));
    kd_http_each_query(request, echo_pair, &answer->body);
    if (strcmp(kd_http_method(request), "POST") == 0) {
        const kd_status status = kd_http_form(request, echo_field, &answer->body, &err);
        fuzz_said_why(status, &err);
        if (status != KD_OK)
            kd_http_fail(answer, &err);
    }
}

static const kd_http_route routes[] = {
    {.method = "GET", .path = "/reports/**", .handler = echo},
    {.method = "POST", .path = "/reports/**", .handler = echo, .max_body = 2048, .blocking = true},
};

#define ADDRESSES 60000u

typedef struct room {
    kd_metrics *metrics;
    kd_http *http;
    uint16_t port;
    unsigned inputs;
} room;

static room g_room;

static void close_room(void)
{
    kd_http_free(g_room.http);
    kd_metrics_free(g_room.metrics);
}

static void open_room(void)
{
    kd_error err = KD_ERROR_INIT;
    FUZZ_CHECK(kd_metrics_new(&g_room.metrics, &err) == KD_OK);
    const kd_http_options options = {
        .address = "127.0.0.1:0", .metrics = g_room.metrics, .workers = 1, .queue = 4};
    FUZZ_CHECK(kd_http_new(&g_room.http, &options, &g_room.port, &err) == KD_OK);
    kd_http_routes(g_room.http, routes, 2, NULL);
    (void)atexit(close_room);
}

static int try_to_connect(uint16_t port, unsigned number)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* From one of many addresses of the loopback net: the ports of one are soon used up. */
    const struct sockaddr_in from = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + number % ADDRESSES)};
    const struct timeval patience = {.tv_sec = 20}; /* more than http.c's IDLE_MS */
    const int on = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    FUZZ_CHECK(fd >= 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    FUZZ_CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    if (bind(fd, (const struct sockaddr *)&from, sizeof from) == 0 &&
        connect(fd, (const struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    FUZZ_CHECK(errno != ECONNREFUSED);
    (void)close(fd);
    return -1;
}

static int connect_to(uint16_t port)
{
    static unsigned number;
    int fd = -1;
    /* libFuzzer's alarm interrupts, and a port may still be held by a connection of before. */
    for (int tries = 0; fd < 0 && tries < 100; tries++)
        fd = try_to_connect(port, number++);
    FUZZ_CHECK(fd >= 0);
    return fd;
}

/* Sends, says that nothing more comes, and reads until the server closes: it must, and what it says
 * before is HTTP. Returns how many bytes came. */
static size_t talk(const uint8_t *bytes, size_t len, size_t ahead, char answer[ANSWER_MAX])
{
    const int fd = connect_to(g_room.port);
    size_t got = 0;
    ssize_t n = 0;
    /* A server that has closed already is no fault: the rest is not sent. */
    if (ahead > 0)
        n = send(fd, bytes, ahead, MSG_NOSIGNAL);
    if (n >= 0 && len > ahead)
        (void)send(fd, bytes + ahead, len - ahead, MSG_NOSIGNAL);
    (void)shutdown(fd, SHUT_WR);
    /* libFuzzer's alarm interrupts, and a socket with a time-out does not go on by itself. */
    while (got < ANSWER_MAX &&
           ((n = recv(fd, answer + got, ANSWER_MAX - got, 0)) > 0 || (n < 0 && errno == EINTR)))
        got += n > 0 ? (size_t)n : 0;
    FUZZ_CHECK(got == ANSWER_MAX || n == 0 || errno == ECONNRESET);
    FUZZ_CHECK(got < 7 || memcmp(answer, "HTTP/1.", 7) == 0);
    (void)close(fd);
    return got;
}

static void check_alive(char answer[ANSWER_MAX])
{
    static const char request[] =
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const size_t got = talk((const uint8_t *)request, sizeof request - 1, 0, answer);
    FUZZ_CHECK(got > 3 && memcmp(answer, "HTTP/1.1 200", 12) == 0);
    FUZZ_CHECK(memcmp(answer + got - 3, "ok\n", 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    static char answer[ANSWER_MAX];
    if (!g_room.http)
        open_room();
    if (len > 0) {
        const size_t rest = len - 1;
        (void)talk(bytes + 1, rest, bytes[0] < rest ? bytes[0] : rest, answer);
    }
    if (g_room.inputs++ % ALIVE_EVERY == 0)
        check_alive(answer);
    return 0;
}
