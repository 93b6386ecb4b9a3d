/* `kindred health HOST:PORT`: whether one service serves; for containers' health checks. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"

#define TIMEOUT_MS 2000
#define TIMEOUT_MS_MAX 600000

static bool on_timeout(void *arg, int val, const char *value)
{
    (void)val;
    return cli_number("health", "--timeout", value, 1, TIMEOUT_MS_MAX, arg);
}

static kd_status check(
    const cli_common *common, const char *address, uint64_t timeout_ms, kd_error *err)
{
    kd_channel *channel = NULL;
    const char *const colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || colon == address || !kd_parse_u64(colon + 1, 1, 65535, &port))
        return kd_error_set(err, KD_INVALID_ARGUMENT, "'%s' is not HOST:PORT", address);
    kd_rpc_init();
    kd_status status = cli_channel(common, address, &channel, err);
    if (status == KD_OK)
        status = kd_health_check(channel, (int64_t)timeout_ms, err);
    if (status != KD_OK && channel)
        cli_say_who(channel, "service", err);
    kd_channel_close(channel);
    kd_rpc_shutdown();
    return status;
}

int cmd_health(int argc, const char **argv)
{
    uint64_t timeout_ms = TIMEOUT_MS;
    const struct poptOption options[] = {{"timeout", 0, POPT_ARG_STRING, NULL, 1,
                                             "give up after this time; 2000 unless given", "MS"},
        POPT_TABLEEND};
    cli_common common;
    const char **args = NULL;
    kd_error err = KD_ERROR_INIT;
    int exit_status = cli_parse(argc, argv, "HOST:PORT [OPTION...]",
        "Asks a service for its health (grpc.health.v1): exit status 0 when it serves, else 3.",
        options, on_timeout, &timeout_ms, 1, 1, &common, &args);
    if (exit_status >= 0)
        return exit_status;

    const kd_status status = check(&common, args[0], timeout_ms, &err);
    if (status != KD_OK) {
        exit_status = cli_error(&common, "health", &err);
        exit_status = status == KD_INVALID_ARGUMENT ? exit_status : EXIT_UNREACHABLE;
    } else {
        exit_status = EXIT_DONE;
        if (common.json)
            cli_print_json(json_pack("{s:s, s:b}", "address", args[0], "serving", 1));
        else
            puts("serving");
    }
    free(args);
    return exit_status;
}
