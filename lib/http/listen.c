/* The listening socket. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/http/internal.h"

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

kd_status kd_http_listen(const char *address, int *out, uint16_t *port, kd_error *err)
{
    struct sockaddr_storage at;
    socklen_t len = 0;
    kd_status status = parse_address(address, &at, &len, err);
    if (status != KD_OK)
        return status;
    const int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
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
