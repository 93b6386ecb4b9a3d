/* A plain client for the tests of lib/http: bytes out, bytes back. */
#ifndef KD_TESTS_HTTP_CLIENT_H
#define KD_TESTS_HTTP_CLIENT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/http/http.h"
#include "tests/support/check.h"

static inline int dial(uint16_t port)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0 && connect(fd, (const struct sockaddr *)&to, sizeof to) == 0);
    return fd;
}

static inline void send_text(int fd, const char *text)
{
    CHECK(send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text));
}

/* All that comes until the server closes, which it does; a new string. Closes fd. */
static inline char *hear(int fd)
{
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

static inline char *talk(uint16_t port, const char *request)
{
    const int fd = dial(port);
    send_text(fd, request);
    return hear(fd);
}

static inline char *ask(uint16_t port, const char *method, const char *path)
{
    char request[256];
    (void)snprintf(request, sizeof request,
        "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", method, path);
    return talk(port, request);
}

#endif
