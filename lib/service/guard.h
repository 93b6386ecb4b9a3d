/* lib/service/guard.h: who may call a service, from its options; and that none listens to other
 * machines without asking who calls. */
#ifndef KD_SERVICE_GUARD_H
#define KD_SERVICE_GUARD_H

#include "lib/service/service.h"

typedef struct kd_guard_options {
    const char *listen, *http; /* addresses */
    const char *keys;          /* file of keys; NULL: none */
    const char *key_file;      /* the services' own key; NULL: none */
    bool mutual_tls;           /* callers show a certificate */
    bool tls;
    bool insecure; /* asked for */
} kd_guard_options;

/* Fills in process->access, process->key and the channel's key. KD_INVALID_ARGUMENT: it would
 * listen to other machines unprotected; or what reading the files gives. */
KD_MUST_CHECK kd_status kd_guard_open(
    kd_process *process, const kd_guard_options *options, kd_error *err);

/* The gate of every service's HTTP server, state being its process: a route's scope is a kd_scope.
 * What a route asks by gRPC is counted there. */
bool kd_guard_http(
    void *state, const kd_http_request *request, unsigned scope, kd_http_answer *answer);

#endif
