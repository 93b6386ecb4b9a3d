#include "lib/store/client.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "lib/base/buf.h"

static struct timeval to_timeval(uint64_t ms)
{
    return (struct timeval){
        .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000)};
}

/* "host:port" or "[v6]:port" into store->host and store->port. */
static kd_status parse_address(kd_store *store, kd_error *err)
{
    const char *const colon = strrchr(store->address, ':');
    const char *from = store->address;
    uint64_t port = 0;
    if (!colon || colon == from || !kd_parse_u64(colon + 1, 1, 65535, &port))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "Redis address '%s' is not HOST:PORT", store->address);
    size_t len = (size_t)(colon - from);
    if (len > 2 && from[0] == '[' && from[len - 1] == ']') {
        from++;
        len -= 2;
    }
    store->host = strndup(from, len);
    if (!store->host)
        return kd_error_memory(err, "a Redis address");
    store->port = (int)port;
    return KD_OK;
}

kd_status kd_store_open(kd_store **out, const char *address, uint32_t timeout_ms, kd_error *err)
{
    assert(out && address && timeout_ms > 0);
    *out = NULL;
    kd_store *const store = calloc(1, sizeof *store);
    if (!store)
        return kd_error_memory(err, "a Redis connection");
    store->timeout_ms = timeout_ms;
    store->stale_ms = KD_JOB_STALE_MS;
    store->address = strdup(address);
    const kd_status status =
        store->address ? parse_address(store, err) : kd_error_memory(err, "a Redis address");
    if (status != KD_OK) {
        kd_store_close(store);
        return status;
    }
    *out = store;
    return KD_OK;
}

void kd_store_close(kd_store *store)
{
    if (!store)
        return;
    redisFree(store->context);
    free(store->host);
    free(store->address);
    free(store);
}

void kd_store_set_stale_ms(kd_store *store, uint32_t stale_ms)
{
    store->stale_ms = stale_ms;
}

kd_status kd_store_lost(kd_store *store, kd_error *err)
{
    const redisContext *const context = store->context;
    const char *why = context && context->err ? context->errstr : "connection lost";
    /* What hiredis says of a time-out is the errno's sentence, which tells a person nothing. */
    if (context && context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK))
        why = "no answer in time";
    const kd_status status = context && context->err == REDIS_ERR_OOM
                                 ? kd_error_memory(err, "talking to Redis")
                                 : kd_error_set(err, KD_UNAVAILABLE,
                                       "Redis at %s is unavailable: %s", store->address, why);
    redisFree(store->context);
    store->context = NULL;
    return status;
}

/* Between two commands nothing is to be read: a readable socket means that the peer closed it. */
static bool closed_by_peer(const redisContext *context)
{
    struct pollfd poll_fd = {.fd = context->fd, .events = POLLIN};
    return poll(&poll_fd, 1, 0) != 0;
}

kd_status kd_store_connect(kd_store *store, kd_error *err)
{
    if (store->context && closed_by_peer(store->context)) {
        redisFree(store->context);
        store->context = NULL;
    }
    if (store->context)
        return KD_OK;
    const struct timeval limit = to_timeval(store->timeout_ms);
    store->context = redisConnectWithTimeout(store->host, store->port, limit);
    if (!store->context)
        return kd_error_memory(err, "a Redis connection");
    if (store->context->err || redisSetTimeout(store->context, limit) != REDIS_OK)
        return kd_store_lost(store, err);
    (void)fcntl(store->context->fd, F_SETFD, FD_CLOEXEC);
    return KD_OK;
}

static kd_status status_of_refusal(const char *text)
{
    static const struct {
        const char *code; /* the first word of the reply */
        kd_status status;
    } refusals[] = {
        {"LOADING ", KD_UNAVAILABLE},
        {"BUSY ", KD_UNAVAILABLE},
        {"READONLY ", KD_UNAVAILABLE},
        {"MASTERDOWN ", KD_UNAVAILABLE},
        {"OOM ", KD_RESOURCE_EXHAUSTED},
        {"MISCONF ", KD_RESOURCE_EXHAUSTED}, /* it can't write its disk */
        {"NOAUTH ", KD_UNAUTHENTICATED},
        {"NOPERM ", KD_PERMISSION_DENIED},
    };
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++)
        if (strncmp(text, refusals[i].code, strlen(refusals[i].code)) == 0)
            return refusals[i].status;
    return KD_INTERNAL;
}

kd_status kd_store_refused(const kd_store *store, const redisReply *reply, kd_error *err)
{
    assert(reply->type == REDIS_REPLY_ERROR);
    return kd_error_set(
        err, status_of_refusal(reply->str), "Redis at %s refused: %s", store->address, reply->str);
}

kd_status kd_store_odd_reply(const kd_store *store, const char *command, kd_error *err)
{
    return kd_error_set(
        err, KD_INTERNAL, "Redis at %s gave an unexpected reply to %s", store->address, command);
}

kd_status kd_store_command(
    kd_store *store, redisReply **out, uint32_t extra_ms, kd_error *err, const char *format, ...)
{
    *out = NULL;
    const kd_status status = kd_store_connect(store, err);
    if (status != KD_OK)
        return status;
    const uint64_t allowed = (uint64_t)store->timeout_ms + extra_ms;
    if (extra_ms > 0 && redisSetTimeout(store->context, to_timeval(allowed)) != REDIS_OK)
        return kd_store_lost(store, err);
    va_list args;
    va_start(args, format);
    redisReply *const reply = redisvCommand(store->context, format, args);
    va_end(args);
    if (!reply)
        return kd_store_lost(store, err);
    if (extra_ms > 0 &&
        redisSetTimeout(store->context, to_timeval(store->timeout_ms)) != REDIS_OK) {
        freeReplyObject(reply);
        return kd_store_lost(store, err);
    }
    if (reply->type == REDIS_REPLY_ERROR) {
        const kd_status refused = kd_store_refused(store, reply, err);
        freeReplyObject(reply);
        return refused;
    }
    *out = reply;
    return KD_OK;
}

/* The value in "name:value\r\n…"; false where there is none, or it doesn't fit. */
static bool take_line(const char *text, const char *name, char *value, size_t size)
{
    const size_t len = strlen(name);
    for (const char *at = text; (at = strstr(at, name)) != NULL; at += len) {
        if ((at != text && at[-1] != '\n') || at[len] != ':')
            continue;
        const size_t n = strcspn(at + len + 1, "\r\n");
        if (n >= size)
            return false;
        memcpy(value, at + len + 1, n);
        value[n] = '\0';
        return true;
    }
    return false;
}

static uint64_t take_number(const char *text, const char *name)
{
    char value[32];
    uint64_t number = 0;
    return take_line(text, name, value, sizeof value) && kd_parse_u64(value, 0, INT64_MAX, &number)
               ? number
               : 0;
}

kd_status kd_store_describe(kd_store *store, kd_store_facts *out, kd_error *err)
{
    redisReply *reply = NULL;
    *out = (kd_store_facts){.version = ""};
    kd_status status = kd_store_command(store, &reply, 0, err, "INFO");
    if (status != KD_OK)
        return status;
    if (reply->type != REDIS_REPLY_STRING) {
        status = kd_store_odd_reply(store, "INFO", err);
    } else {
        (void)take_line(reply->str, "redis_version", out->version, sizeof out->version);
        out->uptime_s = (int64_t)take_number(reply->str, "uptime_in_seconds");
        out->used_bytes = take_number(reply->str, "used_memory");
    }
    freeReplyObject(reply);
    return status;
}

kd_status kd_store_ping(kd_store *store, kd_error *err)
{
    redisReply *reply = NULL;
    const kd_status status = kd_store_command(store, &reply, 0, err, "PING");
    freeReplyObject(reply);
    return status;
}
