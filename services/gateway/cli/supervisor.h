/* services/gateway/cli/supervisor.h: runs the stack: a private redis-server and the four services
 * as children, each restarted with back-off when it dies. One thread, no gRPC. */
#ifndef KD_CLI_SUPERVISOR_H
#define KD_CLI_SUPERVISOR_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/status.h"
#include "services/gateway/cli/local.h"

typedef struct stack_options {
    const char *data;   /* absolute, a folder that is there */
    const char *listen; /* the gateway's, HOST:PORT, port 0 takes a free one */
    const char *http;   /* the gateway's, IP:PORT, likewise */
    const char *redis;  /* HOST:PORT of one that runs; NULL starts a private one */
    const char *const *datasets;
    size_t n_datasets;
    int64_t ready_ms; /* a child that isn't ready and gets on with nothing is given up after that */
    int threads;      /* that compute, for embedder and trainer; 0: as many as there are cores */
    bool log_json;
    /* Of the embedder; NULL or false: as it is without. */
    const char *precision, *model_memory;
    bool cache_float16;
    bool insecure; /* the gateway may listen to other machines without keys */
    const char *tls_cert, *tls_key, *tls_ca, *tls_client_ca; /* of all services; NULL: none */
} stack_options;

/* Called once, when all serve; false ends the stack again. */
typedef bool (*stack_is_up)(void *arg, const local_stack *stack);

/* Starts the stack, keeps it up until SIGINT or SIGTERM, ends it: KD_OK. KD_FAILED_PRECONDITION
 * when one runs already on the data folder, or a service can't be started: its last words are in
 * the sentence. Nothing is left running either way. The process's SIGCHLD, SIGINT, SIGTERM and
 * SIGHUP are its own from here on; the options are borrowed for the call. */
KD_MUST_CHECK kd_status supervisor_run(
    const stack_options *options, stack_is_up is_up, void *arg, kd_error *err);

#endif
