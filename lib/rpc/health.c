/* grpc.health.v1 (https://grpc.io/docs/guides/health-checking/) on every server. */
#include <stdlib.h>
#include <string.h>

#include "grpc/health/v1/health.pb-c.h"

#include "lib/rpc/internal.h"

#define MAX_WATCHES 64

struct kd_health {
    kd_server *server;
    pthread_mutex_t mutex;
    kd_call *watches[MAX_WATCHES];
    size_t n_watches;
    bool stopped;
};

static bool knows(const kd_server *server, const char *service)
{
    const size_t len = strlen(service);
    if (len == 0)
        return true;
    for (size_t i = 0; i < server->n_endpoints; i++) {
        const char *const path = server->endpoints[i].path + 1;
        if (strncmp(path, service, len) == 0 && path[len] == '/')
            return true;
    }
    return false;
}

static void check(void *state, kd_call *call, const ProtobufCMessage *message)
{
    kd_health *const health = state;
    const Grpc__Health__V1__HealthCheckRequest *const request =
        (const Grpc__Health__V1__HealthCheckRequest *)message;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    if (!knows(health->server, request->service)) {
        kd_error error;
        (void)kd_error_set(&error, KD_NOT_FOUND, "no service '%s' here", request->service);
        kd_call_fail(call, &error);
        return;
    }
    response.status = kd_server_draining(health->server)
                          ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
                          : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING;
    kd_call_reply(call, &response.base);
}

/* Mutex held. Watches whose clients have gone make room. */
static void drop_gone(kd_health *health)
{
    size_t kept = 0;
    for (size_t i = 0; i < health->n_watches; i++) {
        if (kd_call_cancelled(health->watches[i]))
            kd_call_finish(health->watches[i], NULL);
        else
            health->watches[kept++] = health->watches[i];
    }
    health->n_watches = kept;
}

static void watch(void *state, kd_call *call, const ProtobufCMessage *message)
{
    kd_health *const health = state;
    const Grpc__Health__V1__HealthCheckRequest *const request =
        (const Grpc__Health__V1__HealthCheckRequest *)message;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    kd_error error = KD_ERROR_INIT;
    response.status =
        knows(health->server, request->service)
            ? GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
            : GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN;
    kd_call_drop_request(call); /* it may be large, and the call long */
    pthread_mutex_lock(&health->mutex);
    drop_gone(health);
    if (health->stopped)
        (void)kd_error_set(&error, KD_UNAVAILABLE, KD_SHUTTING_DOWN);
    else if (health->n_watches == MAX_WATCHES)
        (void)kd_error_set(
            &error, KD_RESOURCE_EXHAUSTED, "%d health watches are open already", MAX_WATCHES);
    else if (kd_call_write(call, &response.base, false) != KD_OK)
        (void)kd_error_set(&error, KD_CANCELLED, "the client has gone");
    else
        health->watches[health->n_watches++] = call;
    pthread_mutex_unlock(&health->mutex);
    if (error.status != KD_OK)
        kd_call_fail(call, &error);
}

kd_status kd_health_new(kd_health **out, kd_server *server, kd_error *err)
{
    static const kd_method methods[] = {{"Check", check, false}, {"Watch", watch, false}};
    *out = NULL;
    kd_health *health = calloc(1, sizeof *health);
    if (!health)
        return kd_error_memory(err, "the health service");
    health->server = server;
    pthread_mutex_init(&health->mutex, NULL);
    *out = health;
    const kd_status status =
        kd_server_add(server, &grpc__health__v1__health__descriptor, methods, 2, health, err);
    kd_endpoint *const endpoint =
        status == KD_OK ? kd_server_endpoint(server, grpc__health__v1__health__descriptor.name,
                              &grpc__health__v1__health__descriptor.methods[0])
                        : NULL;
    if (endpoint)
        endpoint->while_draining = true;
    return status;
}

void kd_health_sweep(kd_health *health)
{
    pthread_mutex_lock(&health->mutex);
    drop_gone(health);
    pthread_mutex_unlock(&health->mutex);
}

void kd_health_stop(kd_health *health)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING;
    kd_error error;
    (void)kd_error_set(&error, KD_UNAVAILABLE, KD_SHUTTING_DOWN);
    pthread_mutex_lock(&health->mutex);
    health->stopped = true;
    for (size_t i = 0; i < health->n_watches; i++) {
        if (kd_call_write(health->watches[i], &response.base, false) == KD_OK)
            kd_call_fail(health->watches[i], &error);
        else
            kd_call_finish(health->watches[i], NULL);
    }
    health->n_watches = 0;
    pthread_mutex_unlock(&health->mutex);
}

void kd_health_free(kd_health *health)
{
    if (!health)
        return;
    pthread_mutex_destroy(&health->mutex);
    free(health);
}

kd_status kd_health_check(kd_channel *channel, int64_t timeout_ms, kd_error *err)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    Grpc__Health__V1__HealthCheckResponse *response = NULL;
    const kd_call_options options = {.timeout_ms = timeout_ms};
    kd_status status = kd_channel_call(channel, &grpc__health__v1__health__descriptor, "Check",
        &request.base, &options, (ProtobufCMessage **)&response, err);
    if (status == KD_OK &&
        response->status != GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
        status = kd_error_set(err, KD_UNAVAILABLE, "%s is not serving", channel->address);
    kd_message_free(response);
    return status;
}
