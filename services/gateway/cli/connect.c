/* The way to the gateway. */
#include <stdlib.h>
#include <string.h>

#include "lib/access/access.h"
#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/local.h"

static kd_status check_address(const char *address, const char *from, kd_error *err)
{
    const char *const colon = strrchr(address, ':');
    uint64_t port;
    if (colon && colon != address && kd_parse_u64(colon + 1, 1, 65535, &port))
        return KD_OK;
    return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is '%s', not HOST:PORT", from, address);
}

/* local_key: the file that who owns the local stack may read; NULL: it is not asked. */
static kd_status open_channel(const cli_common *common, const char *address, const char *local_key,
    kd_channel **out, kd_error *err)
{
    const kd_tls *const tls = &common->tls;
    char key[KD_KEY_TEXT];
    kd_channel_options options = {
        .tls = tls->ca || tls->cert || tls->key ? tls : NULL, .key = common->key};
    kd_status status = KD_OK;
    if (common->key_file)
        status = kd_key_read(key, common->key_file, err);
    if (common->key_file ||
        (!common->key && local_key && kd_key_read(key, local_key, NULL) == KD_OK))
        options.key = key;
    return status == KD_OK ? kd_channel_open(out, address, &options, err) : status;
}

kd_status cli_channel(
    const cli_common *common, const char *address, kd_channel **out, kd_error *err)
{
    return open_channel(common, address, NULL, out, err);
}

kd_status cli_connect(const cli_common *common, kd_channel **out, kd_error *err)
{
    local_stack local;
    const char *address = common->gateway, *from = "--gateway";
    char *local_key = NULL;
    kd_status status = KD_OK;

    *out = NULL;
    /* --data names a local stack: it goes before the environment. */
    if (!address && !common->data) {
        address = getenv("KINDRED_GATEWAY");
        from = "KINDRED_GATEWAY";
    }
    if (!address || !*address) {
        char *const data = cli_data_dir(common);
        status = local_read(data, &local, err);
        /* Only to the stack whose key it is, never to an address from elsewhere. */
        local_key = cli_must(kd_format("%s/" KD_SERVICE_KEY, data));
        free(data);
        address = local.gateway;
        from = "the stack's gateway";
    }
    if (status == KD_OK)
        status = check_address(address, from, err);
    if (status == KD_OK) {
        kd_rpc_init();
        status = open_channel(common, address, local_key, out, err);
        if (status != KD_OK)
            kd_rpc_shutdown();
    }
    free(local_key);
    return status;
}

void cli_disconnect(kd_channel *channel)
{
    if (!channel)
        return;
    kd_channel_close(channel);
    kd_rpc_shutdown();
}

/* A server can't know how its caller is given a key. */
static void say_how(kd_error *err)
{
    if (!err || err->status != KD_UNAUTHENTICATED)
        return;
    const kd_error server = *err;
    (void)kd_error_set(
        err, KD_UNAUTHENTICATED, "%.400s: give one by --key-file or KINDRED_KEY", server.message);
}

/* The core's sentence about a refused connection says what it tried, not what is missing; why TLS
 * came to nothing only the core can say. */
void cli_say_who(const kd_channel *channel, const char *who, kd_error *err)
{
    static const char refused[] = "failed to connect to all addresses";
    if (!err || err->status != KD_UNAVAILABLE || strstr(err->message, refused) != err->message)
        return;
    const kd_error core = *err;
    const char *const address = kd_channel_address(channel);
    const char *const why = strstr(core.message, address);
    const bool plain = !why || strstr(why, "onnection refused");
    (void)kd_error_set(err, KD_UNAVAILABLE, "no %s answers at %s%.300s", who, address,
        plain ? "" : why + strlen(address));
}

kd_status cli_call(kd_channel *channel, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, int64_t timeout_ms, void *response,
    kd_error *err)
{
    const kd_call_options options = {.timeout_ms = timeout_ms};
    ProtobufCMessage *message = NULL;
    const kd_status status =
        kd_channel_call(channel, service, method, request, &options, &message, err);
    memcpy(response, &message, sizeof(void *)); /* a pointer to some message, as all are */
    if (status != KD_OK) {
        cli_say_who(channel, "gateway", err);
        say_how(err);
    }
    return status;
}

kd_status cli_ask(const cli_common *common, const ProtobufCServiceDescriptor *service,
    const char *method, const ProtobufCMessage *request, int64_t timeout_ms, void *response,
    kd_error *err)
{
    kd_channel *channel = NULL;
    ProtobufCMessage *const none = NULL;
    memcpy(response, &none, sizeof(void *));
    kd_status status = cli_connect(common, &channel, err);
    if (status == KD_OK)
        status = cli_call(channel, service, method, request, timeout_ms, response, err);
    cli_disconnect(channel);
    return status;
}
