/* lib/rpc's server of the echo service: prints its port, serves until standard input ends. */
#include <stdio.h>
#include <string.h>

#include "echo.pb-c.h"

#include "lib/base/log.h"
#include "lib/rpc/rpc.h"

static void echo(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__Bench__V1__EchoRequest *const request = (const void *)message;
    Kindred__Bench__V1__EchoResponse response = KINDRED__BENCH__V1__ECHO_RESPONSE__INIT;
    (void)state;
    response.data = request->data;
    kd_call_reply(call, &response.base);
}

int main(void)
{
    static const kd_method methods[] = {{"Echo", echo, false}};
    kd_server_options options = KD_SERVER_OPTIONS_INIT;
    kd_server *server = NULL;
    uint16_t port = 0;
    kd_error err = KD_ERROR_INIT;
    kd_log_setup("bench", KD_LOG_INFO, false);
    kd_rpc_init();
    kd_status status =
        kd_metrics_new(&options.metrics, &err); /* counted and timed, as in earnest */
    if (status == KD_OK)
        status = kd_server_new(&server, &options, &err);
    if (status == KD_OK)
        status = kd_server_add(
            server, &kindred__bench__v1__echo_service__descriptor, methods, 1, NULL, &err);
    if (status == KD_OK)
        status = kd_server_start(server, "127.0.0.1:0", &port, &err);
    if (status == KD_OK) {
        printf("%u\n", port);
        (void)fflush(stdout);
        while (getchar() != EOF)
            ;
    } else {
        (void)fprintf(stderr, "%s\n", err.message);
    }
    kd_server_free(server);
    kd_metrics_free(options.metrics);
    kd_rpc_shutdown();
    return status == KD_OK ? 0 : 1;
}
