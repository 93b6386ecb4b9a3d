#include "services/gateway/cli/stack_args.h"

#include <assert.h>
#include <string.h>

const char *stack_redis_address(const stack_options *options, const child *children)
{
    return options->redis ? options->redis : children[REDIS].grpc;
}

/* Jobs are acknowledged, so each write is on disk first; only the cache, whose keys expire, may be
 * pushed out. */
void stack_redis_args(const child *children, const char *folder, const char **args)
{
    const char *const all[] = {"--bind", "127.0.0.1", "--port",
        strrchr(children[REDIS].grpc, ':') + 1, "--protected-mode", "yes", "--daemonize", "no",
        "--dir", folder, "--appendonly", "yes", "--appendfsync", "always", "--save", "",
        "--maxmemory", "512mb", "--maxmemory-policy", "volatile-lru", NULL};
    static_assert(sizeof all / sizeof all[0] <= STACK_ARGS_MAX, "room for all");
    memcpy(args, all, sizeof all);
}

/* An option and its value, where there is one. */
static size_t add(const char **args, size_t n, const char *option, const char *value)
{
    if (!value)
        return n;
    args[n++] = option;
    args[n++] = value;
    return n;
}

static size_t add_flag(const char **args, size_t n, const char *option, bool set)
{
    if (set)
        args[n++] = option;
    return n;
}

void stack_service_args(const stack_told *told, int which, const char **args)
{
    const stack_options *const o = told->options;
    const child *const children = told->children;
    const child *const c = &children[which];
    const bool computes = which == EMBEDDER || which == TRAINER;
    size_t n = 0;
    n = add(args, n, "--listen", c->grpc);
    n = add(args, n, "--http", c->http);
    n = add(args, n, "--data", o->data);
    n = add(args, n, "--ready", c->ready);
    n = add(args, n, "--keys", told->keys);
    n = add(args, n, "--key-file", told->key);
    n = add(args, n, "--tls-cert", o->tls_cert);
    n = add(args, n, "--tls-key", o->tls_key);
    n = add(args, n, "--tls-ca", o->tls_ca);
    n = add(args, n, "--tls-client-ca", o->tls_client_ca);
    n = add(args, n, "--redis", which != INDEXER ? stack_redis_address(o, children) : NULL);
    n = add(args, n, "--threads", computes ? told->threads : NULL);
    if (which == GATEWAY) {
        n = add(args, n, "--embedder", children[EMBEDDER].grpc);
        n = add(args, n, "--indexer", children[INDEXER].grpc);
        n = add(args, n, "--trainer", children[TRAINER].grpc);
        n = add_flag(args, n, "--insecure", o->insecure);
    }
    if (which == EMBEDDER) {
        n = add(args, n, "--precision", o->precision);
        n = add(args, n, "--model-memory", o->model_memory);
        n = add_flag(args, n, "--cache-float16", o->cache_float16);
    }
    for (size_t i = 0; (which == TRAINER || which == GATEWAY) && i < o->n_datasets; i++)
        n = add(args, n, "--datasets", o->datasets[i]);
    n = add_flag(args, n, "--log-json", o->log_json);
    args[n] = NULL;
    assert(n < STACK_ARGS_MAX);
}
