/* services/gateway/cli/stack_args.h: what the children of the stack are told on their command
 * lines. */
#ifndef KD_CLI_STACK_ARGS_H
#define KD_CLI_STACK_ARGS_H

#include "services/gateway/cli/child.h"
#include "services/gateway/cli/supervisor.h"

/* redis has no name where another's is used. */
enum { REDIS, EMBEDDER, INDEXER, TRAINER, GATEWAY, CHILDREN };

#define STACK_ARGS_MAX 112 /* with the NULL at the end */

typedef struct stack_told {
    const stack_options *options;
    const child *children;  /* CHILDREN of them */
    const char *keys, *key; /* files: of API keys, of the services' own one */
    const char *threads;    /* of computation */
} stack_told;

const char *stack_redis_address(const stack_options *options, const child *children);
/* Fill args, NULL-ended; they are borrowed from what was given. */
void stack_redis_args(const child *children, const char *folder, const char **args);
void stack_service_args(const stack_told *told, int which, const char **args);

#endif
