/* `kindred up`: starts the local stack and stays with it, or leaves it in the background. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/access/access.h"
#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "services/gateway/cli/child.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/local.h"
#include "services/gateway/cli/supervisor.h"

#define DATASETS_MAX 32
#define THREADS_MAX 1024
#define ARGS_MAX (2 * DATASETS_MAX + 48)
#define MODEL_MEMORY_MAX 1048576 /* MIB */
#define READY_S 60               /* for a child that gets on with nothing */
#define READY_S_MAX 3600
#define NOTICE_FD 3 /* where the process in the background finds its pipe */

extern char **environ;

enum {
    OPTION_DATASETS = 1,
    OPTION_THREADS,
    OPTION_READY,
    OPTION_NOTICE,
    OPTION_PRECISION,
    OPTION_MODEL_MEMORY
};

typedef struct up {
    cli_common common;
    stack_options stack;
    int detach, log_json, cache_float16, insecure;
    bool keyed; /* callers need a key */
    int notice; /* fd that tells the process in front how it went; -1: this is it */
    char data[PATH_MAX];
    const char *given[DATASETS_MAX]; /* --datasets, borrowed */
    size_t n_given;
    char *resolved[DATASETS_MAX];       /* the same, absolute; owned */
    const char *datasets[DATASETS_MAX]; /* the same, for the supervisor */
    size_t n_datasets;
} up;

/* ---- What was asked for ---- */

static bool on_option(void *arg, int val, const char *value)
{
    up *const u = arg;
    uint64_t number = 0;
    if (val == OPTION_DATASETS) {
        if (u->n_given == DATASETS_MAX) {
            (void)cli_usage("up", "more than %d --datasets", DATASETS_MAX);
            return false;
        }
        u->given[u->n_given++] = value;
        return true;
    }
    if (val == OPTION_PRECISION) {
        u->stack.precision = value;
        if (strcmp(value, "float32") == 0 || strcmp(value, "bfloat16") == 0)
            return true;
        (void)cli_usage("up", "--precision is '%s', not float32 or bfloat16", value);
        return false;
    }
    bool right;
    if (val == OPTION_MODEL_MEMORY) {
        u->stack.model_memory = value;
        return cli_number("up", "--model-memory", value, 1, MODEL_MEMORY_MAX, &number);
    }
    if (val == OPTION_THREADS)
        right = cli_number("up", "--threads", value, 0, THREADS_MAX, &number);
    else if (val == OPTION_READY)
        right = cli_number("up", "--ready-seconds", value, 1, READY_S_MAX, &number);
    else
        right = cli_number("up", "--notice", value, 0, INT_MAX, &number);
    if (right && val == OPTION_THREADS)
        u->stack.threads = (int)number;
    else if (right && val == OPTION_READY)
        u->stack.ready_ms = (int64_t)number * 1000;
    else if (right)
        u->notice = (int)number;
    return right;
}

static int parse(int argc, const char **argv, up *u)
{
    const struct poptOption options[] = {
        {"datasets", 0, POPT_ARG_STRING, NULL, OPTION_DATASETS,
            "jobs may read datasets below this folder (repeatable; / unless given)", "DIR"},
        {"detach", 0, POPT_ARG_NONE, &u->detach, 0, "leave it in the background", NULL},
        {"listen", 0, POPT_ARG_STRING, &u->stack.listen, 0,
            "the gateway's address; 127.0.0.1 and a free port unless given", "HOST:PORT"},
        {"http", 0, POPT_ARG_STRING, &u->stack.http, 0,
            "address of the gateway's page; 127.0.0.1 and a free port unless given", "IP:PORT"},
        {"redis", 0, POPT_ARG_STRING, &u->stack.redis, 0,
            "use this Redis instead of starting a private one", "HOST:PORT"},
        {"threads", 0, POPT_ARG_STRING, NULL, OPTION_THREADS,
            "threads that compute; 0, as unless given, takes every core", "N"},
        {"precision", 0, POPT_ARG_STRING, NULL, OPTION_PRECISION,
            "of the embedder's forward, float32 unless given, or bfloat16", "NAME"},
        {"model-memory", 0, POPT_ARG_STRING, NULL, OPTION_MODEL_MEMORY,
            "what the models in the embedder's memory may take; 2048 unless given", "MIB"},
        {"cache-float16", 0, POPT_ARG_NONE, &u->cache_float16, 0,
            "keep cached embeddings as float16: half the memory, each value off by less than 0.001",
            NULL},
        {"tls-client-ca", 0, POPT_ARG_STRING, &u->stack.tls_client_ca, 0,
            "with TLS: who signed the callers' certificates, which they must show then", "FILE"},
        {"insecure", 0, POPT_ARG_NONE, &u->insecure, 0,
            "listen to other machines although no key is asked for", NULL},
        {"log-json", 0, POPT_ARG_NONE, &u->log_json, 0, "log JSON objects", NULL},
        /* Tests haven't got a minute. */
        {"ready-seconds", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, NULL, OPTION_READY, NULL,
            NULL},
        {"notice", 0, POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, NULL, OPTION_NOTICE, NULL, NULL},
        POPT_TABLEEND};
    const char **args = NULL;
    *u = (up){.stack = {.listen = "127.0.0.1:0", .http = "127.0.0.1:0", .ready_ms = READY_S * 1000},
        .notice = -1};
    const int exit_status = cli_parse(argc, argv, "[OPTION...]",
        "Starts Redis, embedder, indexer, trainer and gateway on one data folder. With --tls-cert "
        "they speak TLS, among themselves too: the certificate must be one of 127.0.0.1 as well.",
        options, on_option, u, 0, 0, &u->common, &args);
    free(args);
    u->stack.log_json = u->log_json;
    u->stack.cache_float16 = u->cache_float16;
    u->stack.insecure = u->insecure;
    if (u->common.tls.cert || u->common.tls.key || u->stack.tls_client_ca) {
        u->stack.tls_cert = u->common.tls.cert;
        u->stack.tls_key = u->common.tls.key;
        u->stack.tls_ca = u->common.tls.ca;
        if (exit_status < 0 && !(u->stack.tls_cert && u->stack.tls_key))
            return cli_usage("up", "TLS needs --tls-cert and --tls-key together");
    }
    return exit_status;
}

static kd_status check_address(const char *option, const char *address, kd_error *err)
{
    uint64_t port = 0;
    const char *const colon = strrchr(address, ':');
    if (!colon || colon == address || !kd_parse_u64(colon + 1, 0, 65535, &port) ||
        strlen(address) >= LOCAL_ADDRESS - sizeof "https://")
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is '%s', not HOST:PORT", option, address);
    return KD_OK;
}

/* DATA and its folders, made if need be; absolute, as services and a later `down` see it. */
static kd_status settle_data(up *u, kd_error *err)
{
    char *const given = cli_data_dir(&u->common);
    char *const logs = cli_must(local_path(given, "log"));
    kd_status status = kd_make_dirs(logs, err);
    if (status == KD_OK && !realpath(given, u->data))
        status = kd_error_errno(err, errno, "cannot find %s", given);
    u->stack.data = u->data;
    free(logs);
    free(given);
    return status;
}

/* Only what lies below these folders may be named in a job. */
static kd_status settle_datasets(up *u, kd_error *err)
{
    if (u->n_given == 0)
        u->given[u->n_given++] = "/";
    for (size_t i = 0; i < u->n_given; i++) {
        char *const path = realpath(u->given[i], NULL);
        if (!path)
            return kd_error_errno(err, errno, "cannot find the dataset folder %s", u->given[i]);
        u->datasets[i] = u->resolved[i] = path;
        u->n_datasets = i + 1;
        if (!kd_is_dir(path))
            return kd_error_set(err, KD_INVALID_ARGUMENT, "--datasets %s is not a folder", path);
    }
    u->stack.datasets = u->datasets;
    u->stack.n_datasets = u->n_datasets;
    return KD_OK;
}

/* What the services would say themselves, sooner, and with the command that helps. */
static kd_status settle_access(up *u, kd_error *err)
{
    const bool local = kd_is_loopback(u->stack.listen), http = kd_is_loopback(u->stack.http);
    kd_keys keys;
    char *const path = cli_must(kd_format("%s/" KD_KEYS_FILE, u->data));
    kd_status status = kd_keys_read(&keys, path, err);
    if (status == KD_NOT_FOUND)
        status = KD_OK;
    u->keyed = keys.n > 0;
    kd_keys_free(&keys);
    free(path);
    if (status == KD_OK && !u->keyed && !u->insecure && !u->stack.tls_client_ca && !(local && http))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "with %s %s everyone who reaches this machine could use the stack: make a key first "
            "(kindred key create admin --scope admin --data %s), ask for certificates "
            "(--tls-client-ca), or say --insecure",
            local ? "--http" : "--listen", local ? u->stack.http : u->stack.listen, u->data);
    return status;
}

static kd_status settle(up *u, kd_error *err)
{
    kd_status status = check_address("--listen", u->stack.listen, err);
    if (status == KD_OK)
        status = check_address("--http", u->stack.http, err);
    const bool local = kd_is_loopback(u->stack.listen);
    if (status == KD_OK && (!local || !kd_is_loopback(u->stack.http)) && u->n_given == 0)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "with %s %s other machines could read every file here through a job: give "
            "--datasets DIR, the folders that they may read",
            local ? "--http" : "--listen", local ? u->stack.http : u->stack.listen);
    if (status == KD_OK)
        status = settle_datasets(u, err);
    if (status == KD_OK)
        status = settle_data(u, err);
    if (status == KD_OK)
        status = settle_access(u, err);
    if (status == KD_OK && u->stack.redis)
        status = redis_answers(u->stack.redis, 0, err);
    return status;
}

/* ---- How it went ---- */

static void print_up(const up *u, const local_stack *stack)
{
    if (u->common.json) {
        cli_print_json(json_pack("{s:s, s:s, s:s, s:s, s:i, s:b}", "gateway", stack->gateway,
            "http", stack->http, "redis", stack->redis, "data", u->data, "pid", (int)stack->pid,
            "keys", u->keyed));
    } else {
        printf(
            "kindred is up\n  gateway  %s\n  http     %s\n  data     %s\n  logs     %s/run/log\n",
            stack->gateway, stack->http, u->data, u->data);
        if (u->keyed)
            printf("  access   by API key: kindred key list --data %s\n", u->data);
        if (u->detach)
            printf("  stop     kindred down --data %s\n", u->data);
        else
            printf("  stop     Ctrl-C, or kindred down --data %s\n", u->data);
    }
    (void)fflush(stdout);
}

/* One JSON object to the process in front; false when it has gone. */
static bool send_notice(up *u, json_t *notice)
{
    char *const text = cli_must(json_dumps(cli_must(notice), 0));
    const size_t len = strlen(text);
    const bool sent = write(u->notice, text, len) == (ssize_t)len; /* below PIPE_BUF: whole */
    (void)close(u->notice);
    u->notice = -1;
    free(text);
    json_decref(notice);
    return sent;
}

/* A stack in the background that nobody heard of would be a surprise: it ends again. */
static bool on_up(void *arg, const local_stack *stack)
{
    up *const u = arg;
    if (u->notice >= 0)
        return send_notice(u, json_pack("{s:s, s:s, s:s, s:i}", "gateway", stack->gateway, "http",
                                  stack->http, "redis", stack->redis, "pid", (int)stack->pid));
    print_up(u, stack);
    return true;
}

static kd_status run_here(up *u, kd_error *err)
{
    char threads[16];
    /* Idle OpenMP threads that spin would take the cores from decoding. */
    (void)setenv("OMP_WAIT_POLICY", "passive", 0);
    (void)snprintf(threads, sizeof threads, "%d", u->stack.threads);
    if (u->stack.threads > 0)
        (void)setenv("OMP_NUM_THREADS", threads, 1);
    if (u->notice >= 0)
        (void)fcntl(u->notice, F_SETFD, FD_CLOEXEC);
    kd_log_setup("stack", KD_LOG_INFO, u->stack.log_json);
    const kd_status status = supervisor_run(&u->stack, on_up, u, err);
    if (status != KD_OK && u->notice >= 0)
        (void)send_notice(
            u, json_pack("{s:i, s:s+%}", "status", status, "message", err->message, "", (size_t)0));
    return status;
}

/* ---- In the background ---- */

static void background_args(const up *u, const char *threads, const char *ready_seconds,
    const char *notice, const char **args)
{
    const stack_options *const o = &u->stack;
    const char *const common[] = {"kindred", "up", "--data", o->data, "--listen", o->listen,
        "--http", o->http, "--threads", threads, "--ready-seconds", ready_seconds, "--notice",
        notice};
    size_t n = sizeof common / sizeof common[0];
    memcpy(args, common, sizeof common);
    if (o->redis) {
        args[n++] = "--redis";
        args[n++] = o->redis;
    }
    for (size_t i = 0; i < o->n_datasets; i++) {
        args[n++] = "--datasets";
        args[n++] = o->datasets[i];
    }
    if (o->precision) {
        args[n++] = "--precision";
        args[n++] = o->precision;
    }
    if (o->model_memory) {
        args[n++] = "--model-memory";
        args[n++] = o->model_memory;
    }
    if (o->cache_float16)
        args[n++] = "--cache-float16";
    const char *const tls[][2] = {{"--tls-cert", o->tls_cert}, {"--tls-key", o->tls_key},
        {"--tls-ca", o->tls_ca}, {"--tls-client-ca", o->tls_client_ca}};
    for (size_t i = 0; i < sizeof tls / sizeof tls[0]; i++) {
        if (!tls[i][1])
            continue;
        args[n++] = tls[i][0];
        args[n++] = tls[i][1];
    }
    if (o->insecure)
        args[n++] = "--insecure";
    if (o->log_json)
        args[n++] = "--log-json";
    args[n] = NULL;
}

/* Runs this program again in a session of its own, with the pipe and its log. 0 or an errno. */
static int spawn_background(const char *const *args, const char *log, int pipe_end, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int errnum = posix_spawn_file_actions_init(&actions);
    if (errnum != 0)
        return errnum;
    errnum = posix_spawnattr_init(&attributes);
    if (errnum != 0) {
        (void)posix_spawn_file_actions_destroy(&actions);
        return errnum;
    }
    errnum = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_adddup2(&actions, pipe_end, NOTICE_FD);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_addopen(
            &actions, STDOUT_FILENO, log, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (errnum == 0)
        errnum = posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO);
    if (errnum == 0) /* posix_spawn takes char *const[] for exec's sake and changes no string */
        errnum = posix_spawn(
            pid, "/proc/self/exe", &actions, &attributes, (char *const *)(uintptr_t)args, environ);
    (void)posix_spawnattr_destroy(&attributes);
    (void)posix_spawn_file_actions_destroy(&actions);
    return errnum;
}

/* Waits for the notice and takes it apart. */
static kd_status read_notice(int fd, const char *log, local_stack *stack, kd_error *err)
{
    char text[4096];
    size_t len = 0;
    for (ssize_t got; len < sizeof text;) {
        got = read(fd, text + len, sizeof text - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        len += (size_t)got;
    }
    json_t *const notice = json_loadb(text, len, 0, NULL);
    const char *const gateway = json_string_value(json_object_get(notice, "gateway"));
    const char *const http = json_string_value(json_object_get(notice, "http"));
    const char *const redis = json_string_value(json_object_get(notice, "redis"));
    const char *const message = json_string_value(json_object_get(notice, "message"));
    kd_status status = KD_OK;
    if (message) {
        status = (kd_status)json_integer_value(json_object_get(notice, "status"));
        status = kd_error_set(err, status, "%s", message);
    } else if (gateway && http && redis) {
        (void)kd_copy(stack->gateway, sizeof stack->gateway, gateway);
        (void)kd_copy(stack->http, sizeof stack->http, http);
        (void)kd_copy(stack->redis, sizeof stack->redis, redis);
        stack->pid = (pid_t)json_integer_value(json_object_get(notice, "pid"));
    } else {
        status = kd_error_set(
            err, KD_INTERNAL, "the process in the background ended at once; its log is %s", log);
    }
    json_decref(notice);
    return status;
}

static kd_status run_detached(const up *u, kd_error *err)
{
    const char *args[ARGS_MAX];
    char threads[16], ready[24], notice[16];
    int ends[2];
    pid_t pid = 0;
    local_stack stack = {0};
    if (pipe2(ends, O_CLOEXEC) != 0)
        return kd_error_errno(err, errno, "cannot make a pipe");
    (void)snprintf(threads, sizeof threads, "%d", u->stack.threads);
    (void)snprintf(ready, sizeof ready, "%lld", (long long)u->stack.ready_ms / 1000);
    (void)snprintf(notice, sizeof notice, "%d", NOTICE_FD);
    background_args(u, threads, ready, notice, args);
    char *const log = cli_must(local_path(u->data, "log/stack.log"));
    const int errnum = spawn_background(args, log, ends[1], &pid);
    (void)close(ends[1]);
    kd_status status = errnum == 0 ? read_notice(ends[0], log, &stack, err)
                                   : kd_error_errno(err, errnum, "cannot run in the background");
    (void)close(ends[0]);
    if (status == KD_OK)
        print_up(u, &stack);
    else if (errnum == 0)
        (void)waitpid(pid, NULL, 0); /* so that nothing is left when this command has ended */
    free(log);
    return status;
}

int cmd_up(int argc, const char **argv)
{
    up u;
    kd_error err = KD_ERROR_INIT;
    int exit_status = parse(argc, argv, &u);
    if (exit_status >= 0)
        return exit_status;
    kd_status status = settle(&u, &err);
    if (status == KD_OK)
        status = u.detach ? run_detached(&u, &err) : run_here(&u, &err);
    exit_status = status == KD_OK ? EXIT_DONE : cli_error(&u.common, "up", &err);
    for (size_t i = 0; i < u.n_datasets; i++)
        free(u.resolved[i]);
    return exit_status;
}
