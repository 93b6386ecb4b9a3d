/* `kindred log-level`: what the services log, while they run. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/process.pb-c.h"
#include "services/gateway/cli/cli.h"

static const char *const services[] = {"gateway", "embedder", "indexer", "trainer"};
#define SERVICES (sizeof services / sizeof services[0])

static kd_status show(const cli_common *common, kd_channel *channel, kd_error *err)
{
    static const char *const heads[] = {"SERVICE", "LEVEL"};
    Kindred__V1__GetStatusRequest request = KINDRED__V1__GET_STATUS_REQUEST__INIT;
    Kindred__V1__GetStatusResponse *stack = NULL;
    const kd_status status = cli_call(channel, &kindred__v1__gateway_service__descriptor,
        "GetStatus", &request.base, CLI_CALL_MS, &stack, err);
    if (status != KD_OK)
        return status;
    cli_table *const table = cli_table_new(heads, 2);
    json_t *const root = json_object();
    for (size_t i = 0; i < stack->n_services; i++) {
        const Kindred__V1__ServiceStatus *const one = stack->services[i];
        if (strcmp(one->name, "redis") == 0)
            continue;
        const bool known = one->log_level[0] != '\0';
        cli_table_row(table, (const char *[]){one->name, known ? one->log_level : "unknown"});
        (void)json_object_set_new(
            root, one->name, known ? json_string(one->log_level) : json_null());
    }
    if (common->json) {
        cli_print_json(root);
        cli_table_free(table);
    } else {
        cli_table_print(table);
        json_decref(root);
    }
    kd_message_free(stack);
    return KD_OK;
}

static kd_status set_one(
    kd_channel *channel, const char *service, const char *level, json_t *done, kd_error *err)
{
    Kindred__V1__SetLogLevelRequest request = KINDRED__V1__SET_LOG_LEVEL_REQUEST__INIT;
    Kindred__V1__SetLogLevelResponse *response = NULL;
    request.service = (char *)(uintptr_t)service;
    request.level = (char *)(uintptr_t)level;
    const kd_status status = cli_call(channel, &kindred__v1__process_service__descriptor,
        "SetLogLevel", &request.base, CLI_CALL_MS, &response, err);
    if (status == KD_OK)
        (void)json_object_set_new(done, service,
            json_pack("{s:s, s:s}", "level", level, "was", response->previous_level));
    kd_message_free(response);
    return status;
}

static kd_status set(const cli_common *common, kd_channel *channel, const char *service,
    const char *level, kd_error *err)
{
    json_t *const done = json_object();
    kd_status status = KD_OK;
    for (size_t i = 0; i < SERVICES && status == KD_OK; i++)
        if (strcmp(service, "all") == 0 || strcmp(service, services[i]) == 0)
            status = set_one(channel, services[i], level, done, err);
    if (status == KD_OK && common->json) {
        cli_print_json(json_incref(done));
    } else if (status == KD_OK) {
        const char *name;
        json_t *one;
        json_object_foreach(done, name, one) printf("%s logs from level %s on, %s before\n", name,
            level, json_string_value(json_object_get(one, "was")));
    }
    json_decref(done);
    return status;
}

static bool is_service(const char *word)
{
    for (size_t i = 0; i < SERVICES; i++)
        if (strcmp(word, services[i]) == 0)
            return true;
    return strcmp(word, "all") == 0;
}

int cmd_log_level(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    kd_channel *channel = NULL;
    kd_error err = KD_ERROR_INIT;
    int exit_status = cli_parse(argc, argv, "[SERVICE LEVEL] [OPTION...]",
        "Shows what each service logs, or has one (or all) log from debug, info, warn or error on, "
        "until it ends.\nExample: kindred log-level embedder debug",
        NULL, NULL, NULL, 0, 2, &common, &args);
    if (exit_status >= 0)
        return exit_status;
    if (args[0] && !args[1])
        exit_status = cli_usage(argv[0], "give a service and a level, or neither");
    else if (args[0] && !is_service(args[0]))
        exit_status = cli_usage(argv[0],
            "'%s' is not a service: there are gateway, embedder, indexer, trainer and all",
            args[0]);
    if (exit_status >= 0) {
        free(args);
        return exit_status;
    }
    kd_status status = cli_connect(&common, &channel, &err);
    if (status == KD_OK)
        status =
            args[0] ? set(&common, channel, args[0], args[1], &err) : show(&common, channel, &err);
    cli_disconnect(channel);
    free(args);
    return status == KD_OK ? EXIT_DONE : cli_error(&common, argv[0], &err);
}
