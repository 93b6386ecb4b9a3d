/* tests/cli/gateway.h: a server on a free port in the gateway's place; each test file says what it
 * answers. KINDRED_GATEWAY leads the commands to it. */
#ifndef KD_TESTS_CLI_GATEWAY_H
#define KD_TESTS_CLI_GATEWAY_H

#include "tests/cli/run.h"

typedef struct served {
    const ProtobufCServiceDescriptor *service;
    const kd_method *methods;
    size_t n;
} served;

static inline kd_server *start_gateway(const served *services, size_t n)
{
    const kd_server_options options = KD_SERVER_OPTIONS_INIT;
    kd_server *server = NULL;
    kd_error err = KD_ERROR_INIT;
    uint16_t port = 0;
    char address[32];
    kd_rpc_init();
    CHECK_OK(kd_server_new(&server, &options, &err), err);
    for (size_t i = 0; i < n; i++)
        CHECK_OK(kd_server_add(
                     server, services[i].service, services[i].methods, services[i].n, NULL, &err),
            err);
    CHECK_OK(kd_server_start(server, "127.0.0.1:0", &port, &err), err);
    (void)snprintf(address, sizeof address, "127.0.0.1:%u", port);
    (void)setenv("KINDRED_GATEWAY", address, 1);
    return server;
}

static inline void stop_gateway(kd_server *server)
{
    kd_server_drain(server, 1000);
    kd_server_free(server);
    kd_rpc_shutdown();
}

/* Fails the call with the sentence. */
static inline void refuse(kd_call *call, kd_status status, const char *sentence)
{
    kd_error err;
    (void)kd_error_set(&err, status, "%s", sentence);
    kd_call_fail(call, &err);
}

#endif
