/* The way to the gateway. */
#include <stdlib.h>
#include <string.h>

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

kd_status cli_channel(
    const cli_common *common, const char *address, kd_channel **out, kd_error *err)
{
    const kd_tls *const tls = &common->tls;
    const kd_channel_options options = {.tls = tls->ca || tls->cert || tls->key ? tls : NULL};
    return kd_channel_open(out, address, &options, err);
}

kd_status cli_connect(const cli_common *common, kd_channel **out, kd_error *err)
{
    local_stack local;
    const char *address = common->gateway, *from = "--gateway";
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
        free(data);
        address = local.gateway;
        from = "the stack's gateway";
    }
    if (status == KD_OK)
        status = check_address(address, from, err);
    if (status != KD_OK)
        return status;
    kd_rpc_init();
    status = cli_channel(common, address, out, err);
    if (status != KD_OK)
        kd_rpc_shutdown();
    return status;
}

void cli_disconnect(kd_channel *channel)
{
    if (!channel)
        return;
    kd_channel_close(channel);
    kd_rpc_shutdown();
}

/* The core's sentence about a refused connection says what it tried, not what is missing; why TLS
 * came to nothing only the core can say. */
static void say_who(const kd_channel *channel, kd_error *err)
{
    static const char refused[] = "failed to connect to all addresses";
    if (!err || err->status != KD_UNAVAILABLE || strstr(err->message, refused) != err->message)
        return;
    const kd_error core = *err;
    const char *const address = kd_channel_address(channel);
    const char *const why = strstr(core.message, address);
    const bool plain = !why || strstr(why, "onnection refused");
    (void)kd_error_set(err, KD_UNAVAILABLE, "no gateway answers at %s%.300s", address,
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
    if (status != KD_OK)
        say_who(channel, err);
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
