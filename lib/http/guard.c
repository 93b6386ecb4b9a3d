/* Who may ask at all. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <gnutls/gnutls.h>

#include "lib/http/internal.h"

/* libmicrohttpd asks for a client's certificate and leaves it to us to look at it. */
static bool client_is_known(struct MHD_Connection *connection)
{
    unsigned verdict = 1;
    const union MHD_ConnectionInfo *const info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    return info && gnutls_certificate_verify_peers2(info->tls_session, &verdict) == 0 &&
           verdict == 0;
}

static bool is_loopback(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    socklen_t len = sizeof at;
    memset(&at, 0, sizeof at);
    if (getsockname(fd, &at.any, &len) != 0)
        return false;
    if (at.any.sa_family == AF_INET)
        return ntohl(at.v4.sin_addr.s_addr) >> 24 == 127;
    const struct in6_addr *const v6 = &at.v6.sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(v6) || (IN6_IS_ADDR_V4MAPPED(v6) && v6->s6_addr[12] == 127);
}

/* "localhost:80", "x.localhost", "127.0.0.1", "[::1]:80". */
static bool names_loopback(const char *host)
{
    static const char local[] = "localhost";
    char name[80];
    struct in_addr v4;
    const size_t len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
    if (len >= sizeof name || len > strlen(host) || (host[len] != '\0' && host[len] != ':'))
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    const size_t n = sizeof local - 1;
    if (len >= n && strcasecmp(name + len - n, local) == 0 &&
        (len == n || name[len - n - 1] == '.'))
        return true;
    return strcmp(name, "[::1]") == 0 ||
           (inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127);
}

/* Whether a page of another origin sends this: what browsers say about themselves, and no other
 * client. https://www.w3.org/TR/fetch-metadata/ */
static bool is_foreign(const kd_http_request *request)
{
    const char *const site = kd_http_header(request, "Sec-Fetch-Site");
    const char *const origin = kd_http_header(request, "Origin");
    const char *const host = kd_http_header(request, "Host");
    if (site)
        return strcasecmp(site, "same-origin") != 0 && strcasecmp(site, "none") != 0;
    if (!origin)
        return false;
    const char *const name = strstr(origin, "://");
    return !name || !host || strcasecmp(name + 3, host) != 0;
}

bool kd_http_guard(kd_http_request *request)
{
    kd_http_peer *const peer = request->peer;
    kd_http_answer *const answer = &request->answer;
    const char *const host = kd_http_header(request, "Host");
    const bool reads = strcmp(request->method, "GET") == 0 || strcmp(request->method, "HEAD") == 0;
    if (peer && !peer->checked) {
        peer->loopback = is_loopback(peer->fd);
        peer->checked = !request->http->asks_clients || client_is_known(request->connection);
    }
    if (request->http->asks_clients && !(peer && peer->checked)) {
        kd_http_refuse(answer, MHD_HTTP_UNAUTHORIZED, KD_UNAUTHENTICATED,
            "this server wants a client certificate that its --tls-client-ca has signed");
        return false;
    }
    if (peer && peer->loopback && host && !names_loopback(host)) {
        kd_http_refuse(answer, MHD_HTTP_MISDIRECTED_REQUEST, KD_PERMISSION_DENIED,
            "'%.80s' is not a name of this server, which listens on loopback: ask for 127.0.0.1 or "
            "localhost (a proxy before it must send that as Host)",
            host);
        return false;
    }
    if (!reads && is_foreign(request)) {
        kd_http_refuse(answer, MHD_HTTP_FORBIDDEN, KD_PERMISSION_DENIED,
            "a page of another site may not ask for this");
        return false;
    }
    return true;
}
