#include "lib/service/service.h"

#include <popt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/service/guard.h"
#include "lib/service/process.h"
#include "lib/service/vitals.h"

#define DRAIN_MS 10000
#define HTTP_QUEUE 64

typedef struct options {
    const char *listen, *http, *data, *log_level, *ready;
    int log_json, threads, version;
    int cache_float16, no_cache, model_memory, max_wait_ms;
    const char *precision;
    int seal_rows, approximate_rows;
    double recall_share;
    const char *redis, *embedder, *indexer, *trainer;
    kd_tls tls; /* ca: of the other services */
    const char *client_ca;
    const char *keys, *key_file;
    int insecure;
} options;

enum { OPTION_DATASETS = 1 };

/* A sentence, or NULL. */
static const char *what_is_wrong(const options *o)
{
    if (!o->data)
        return "--data DIR is missing";
    if (o->threads < 0)
        return "--threads is negative";
    if (strcmp(o->precision, "float32") != 0 && strcmp(o->precision, "bfloat16") != 0)
        return "--precision is float32 or bfloat16";
    if (o->model_memory < 1)
        return "--model-memory is at least 1";
    if (o->max_wait_ms < 1)
        return "--max-wait-ms is at least 1";
    if (o->seal_rows < 1)
        return "--seal-rows is at least 1";
    if (o->approximate_rows < 1)
        return "--approximate-rows is at least 1";
    if (!(o->recall_share >= 0 && o->recall_share <= 1))
        return "--recall-share is 0 to 1";
    return NULL;
}

/* Parses into *o and *process. Returns -1 to go on, else the exit status. */
static int parse_options(
    int argc, const char **argv, const kd_service_spec *spec, options *o, kd_process *process)
{
    struct poptOption redis[] = {
        {"redis", 0, POPT_ARG_STRING, &o->redis, 0, "Redis", "HOST:PORT"}, POPT_TABLEEND};
    struct poptOption peers[] = {
        {"embedder", 0, POPT_ARG_STRING, &o->embedder, 0, "the embedder", "HOST:PORT"},
        {"indexer", 0, POPT_ARG_STRING, &o->indexer, 0, "the indexer", "HOST:PORT"},
        {"trainer", 0, POPT_ARG_STRING, &o->trainer, 0, "the trainer", "HOST:PORT"}, POPT_TABLEEND};
    struct poptOption datasets[] = {
        {"datasets", 0, POPT_ARG_STRING, NULL, OPTION_DATASETS,
            "jobs may read datasets below this folder (repeatable)", "DIR"},
        POPT_TABLEEND};
    struct poptOption threads[] = {{"threads", 0, POPT_ARG_INT, &o->threads, 0,
                                       "threads that compute; 0 takes every core", "N"},
        POPT_TABLEEND};
    struct poptOption embedder[] = {
        {"cache-float16", 0, POPT_ARG_NONE, &o->cache_float16, 0,
            "keep cached embeddings as float16: half the memory, each value off by less than 0.001",
            NULL},
        {"no-cache", 0, POPT_ARG_NONE, &o->no_cache, 0, "compute every image: Redis is not used",
            NULL},
        {"precision", 0, POPT_ARG_STRING | POPT_ARGFLAG_SHOW_DEFAULT, &o->precision, 0,
            "of the forward, float32 or bfloat16, on machines that compute in it", "NAME"},
        {"model-memory", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &o->model_memory, 0,
            "what the models in memory may take; one that is being loaded comes on top", "MIB"},
        {"max-wait-ms", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &o->max_wait_ms, 0,
            "refuse images that would wait longer for those before them", "MS"},
        POPT_TABLEEND};
    struct poptOption indexer[] = {
        {"seal-rows", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &o->seal_rows, 0,
            "new images of a collection that become a segment", "N"},
        {"approximate-rows", 0, POPT_ARG_INT | POPT_ARGFLAG_SHOW_DEFAULT, &o->approximate_rows, 0,
            "images from which a collection that was not told otherwise is searched approximately",
            "N"},
        {"recall-share", 0, POPT_ARG_DOUBLE | POPT_ARGFLAG_SHOW_DEFAULT, &o->recall_share, 0,
            "of the approximate queries, which are run again exactly to know their recall",
            "SHARE"},
        POPT_TABLEEND};
    struct poptOption none[] = {POPT_TABLEEND};
    struct poptOption table[] = {
        {"listen", 0, POPT_ARG_STRING | POPT_ARGFLAG_SHOW_DEFAULT, &o->listen, 0,
            "gRPC address; port 0 takes a free one", "HOST:PORT"},
        {"http", 0, POPT_ARG_STRING | POPT_ARGFLAG_SHOW_DEFAULT, &o->http, 0,
            "HTTP address; with --tls-cert HTTPS", "IP:PORT"},
        {"data", 0, POPT_ARG_STRING, &o->data, 0, "folder of models, collections and the rest",
            "DIR"},
        {"log-level", 0, POPT_ARG_STRING | POPT_ARGFLAG_SHOW_DEFAULT, &o->log_level, 0,
            "debug, info, warn or error", "LEVEL"},
        {"log-json", 0, POPT_ARG_NONE, &o->log_json, 0, "log JSON objects", NULL},
        {"tls-cert", 0, POPT_ARG_STRING, &o->tls.cert, 0,
            "speak TLS, here and to the other services, with this certificate (PEM)", "FILE"},
        {"tls-key", 0, POPT_ARG_STRING, &o->tls.key, 0, "the certificate's private key", "FILE"},
        {"tls-ca", 0, POPT_ARG_STRING, &o->tls.ca, 0, "who signed the other services' certificates",
            "FILE"},
        {"tls-client-ca", 0, POPT_ARG_STRING, &o->client_ca, 0,
            "who signed the clients' certificates, which they must show then", "FILE"},
        {"keys", 0, POPT_ARG_STRING, &o->keys, 0,
            "ask callers for an API key of this file, once it has one (`kindred key create`)",
            "FILE"},
        {"key-file", 0, POPT_ARG_STRING, &o->key_file, 0,
            "this key is the services' own: shown to the others, and accepted from them", "FILE"},
        {"insecure", 0, POPT_ARG_NONE, &o->insecure, 0,
            "listen to other machines although nobody is asked who calls", NULL},
        {"ready", 0, POPT_ARG_STRING, &o->ready, 0,
            "write the addresses in use here once the service answers", "FILE"},
        {"version", 0, POPT_ARG_NONE, &o->version, 0, "print the version", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, spec->takes & KD_TAKES_REDIS ? redis : none, 0, NULL,
            NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, spec->takes & KD_TAKES_PEERS ? peers : none, 0, NULL,
            NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, spec->takes & KD_TAKES_DATASETS ? datasets : none, 0,
            NULL, NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, spec->takes & KD_TAKES_THREADS ? threads : none, 0, NULL,
            NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, spec->takes & KD_TAKES_EMBEDDER ? embedder : none, 0,
            NULL, NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, spec->takes & KD_TAKES_INDEXER ? indexer : none, 0, NULL,
            NULL},
        POPT_AUTOHELP POPT_TABLEEND};
    char name[64];
    (void)snprintf(name, sizeof name, "kindred-%s", spec->name);
    poptContext context = poptGetContext(name, argc, argv, table, 0);
    char usage[200];
    (void)snprintf(usage, sizeof usage, "--data DIR [OPTION...]\n\n%s\n", spec->help);
    poptSetOtherOptionHelp(context, usage);
    const char *wrong;
    int exit_status = -1, got;
    while ((got = poptGetNextOpt(context)) > 0) {
        const char *const root = poptGetOptArg(context); /* kept for the process's life */
        if (process->n_datasets == KD_SERVICE_MAX_ROOTS) {
            (void)fprintf(stderr, "%s: more than %d --datasets\n", name, KD_SERVICE_MAX_ROOTS);
            exit_status = 2;
            break;
        }
        process->datasets[process->n_datasets++] = root;
    }
    if (exit_status == -1 && got < -1) {
        (void)fprintf(stderr, "%s: %s: %s\n", name, poptBadOption(context, POPT_BADOPTION_NOALIAS),
            poptStrerror(got));
        exit_status = 2;
    } else if (exit_status == -1 && poptPeekArg(context)) {
        (void)fprintf(stderr, "%s: '%s' is not an option\n", name, poptPeekArg(context));
        exit_status = 2;
    } else if (exit_status == -1 && o->version) {
        printf("%s %s\n", name, KD_VERSION);
        exit_status = 0;
    } else if (exit_status == -1 &&
               (!o->tls.cert != !o->tls.key || ((o->tls.ca || o->client_ca) && !o->tls.cert))) {
        (void)fprintf(stderr, "%s: TLS needs --tls-cert and --tls-key together\n", name);
        exit_status = 2;
    } else if (exit_status == -1 && (wrong = what_is_wrong(o)) != NULL) {
        (void)fprintf(stderr, "%s: %s\n", name, wrong);
        exit_status = 2;
    }
    poptFreeContext(context);
    return exit_status;
}

kd_status kd_service_folder(const kd_process *process, const char *name, char **out, kd_error *err)
{
    *out = kd_format("%s/%s", process->data_dir, name);
    if (!*out)
        return kd_error_memory(err, "a path");
    const kd_status status = kd_make_dirs(*out, err);
    if (status != KD_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

/* One process of a kind owns a data folder. */
static kd_status take_lock(
    const kd_process *process, const char *name, kd_lock **lock, kd_error *err)
{
    char *folder = NULL;
    kd_status status = kd_service_folder(process, "run", &folder, err);
    if (status != KD_OK)
        return status;
    char *const path = kd_format("%s/%s.lock", folder, name);
    status = path ? kd_lock_acquire(lock, path, err) : kd_error_memory(err, "a path");
    free(path);
    free(folder);
    return status;
}

/* HOST:PORT with the port that was taken in place of 0. */
static void real_address(const char *address, uint16_t port, char *text, size_t size)
{
    const char *const colon = strrchr(address, ':');
    (void)snprintf(text, size, "%.*s:%u", colon ? (int)(colon - address) : 0, address, port);
}

static kd_status announce(const options *o, const char *grpc, const char *http, kd_error *err)
{
    if (!o->ready)
        return KD_OK;
    char text[256];
    const int len = snprintf(text, sizeof text,
        "{\"grpc\": \"%s\", \"http\": \"%s\", \"pid\": %ld}\n", grpc, http, (long)getpid());
    return kd_file_write(o->ready, text, (size_t)len, err);
}

static kd_status serve(const kd_service_spec *spec, const options *o, kd_process *process,
    const sigset_t *signals, kd_error *err)
{
    uint16_t port, http_port;
    char grpc[128], http[128];
    kd_server_options server = spec->server;
    process->started_ms = kd_wall_ms();
    kd_status status = kd_metrics_new(&process->metrics, err);
    server.metrics = process->metrics;
    const kd_tls tls = {o->client_ca, o->tls.cert, o->tls.key};
    server.tls = tls.cert ? &tls : NULL;
    server.access = process->access;
    const kd_http_tls http_tls = {o->client_ca, o->tls.cert, o->tls.key};
    const kd_http_options http_options = {.address = o->http,
        .metrics = process->metrics,
        .tls = http_tls.cert ? &http_tls : NULL,
        .workers = spec->http_workers,
        .queue = HTTP_QUEUE,
        .gate = kd_guard_http,
        .gate_state = process};
    if (status == KD_OK)
        status = kd_server_new(&process->server, &server, err);
    if (status == KD_OK && server.tls) /* so that what is wrong is said in one way */
        status = kd_tls_check(server.tls, err);
    if (status == KD_OK)
        status = kd_http_new(&process->http, &http_options, &http_port, err);
    if (status == KD_OK)
        status = kd_process_add(process, err);
    if (status == KD_OK)
        status = kd_vitals_add(process, err);
    if (status == KD_OK)
        status = spec->start(process, err);
    if (status == KD_OK)
        status = kd_server_start(process->server, o->listen, &port, err);
    if (status == KD_OK) {
        real_address(o->listen, port, grpc, sizeof grpc);
        real_address(o->http, http_port, http, sizeof http);
        status = announce(o, grpc, http, err);
    }
    if (status != KD_OK)
        return status;
    KD_LOG(KD_LOG_INFO, "serving", KD_STR("grpc", grpc), KD_STR("http", http),
        KD_STR("version", KD_VERSION));
    int signal_number = 0;
    (void)sigwait(signals, &signal_number);
    KD_LOG(KD_LOG_INFO, "draining", KD_STR("signal", strsignal(signal_number)));
    return KD_OK;
}

int kd_service_main(int argc, const char **argv, const kd_service_spec *spec)
{
    /* Static, as the strings that popt makes are used until the process ends. */
    static options o;
    static kd_process process;
    o = (options){.listen = spec->listen,
        .http = spec->http_listen,
        .log_level = "info",
        .precision = "float32",
        .model_memory = KD_SERVICE_MODEL_MEMORY_MIB,
        .max_wait_ms = KD_SERVICE_MAX_WAIT_MS,
        .seal_rows = KD_SERVICE_SEAL_ROWS,
        .approximate_rows = KD_SERVICE_APPROXIMATE_ROWS,
        .recall_share = KD_SERVICE_RECALL_SHARE,
        .redis = "127.0.0.1:6379",
        .embedder = "127.0.0.1:7701",
        .indexer = "127.0.0.1:7702",
        .trainer = "127.0.0.1:7703"};
    kd_error err = KD_ERROR_INIT;
    kd_log_level level;
    kd_lock *lock = NULL;

    const int exit_status = parse_options(argc, argv, spec, &o, &process);
    if (exit_status >= 0)
        return exit_status;
    if (!kd_log_level_parse(o.log_level, &level)) {
        (void)fprintf(stderr, "kindred-%s: '%s' is not a log level\n", spec->name, o.log_level);
        return 2;
    }
    kd_log_setup(spec->name, level, o.log_json);
    process.name = spec->name;
    process.data_dir = o.data;
    process.redis = o.redis;
    process.embedder = o.embedder;
    process.indexer = o.indexer;
    process.trainer = o.trainer;
    process.threads = (unsigned)o.threads;
    process.cache_float16 = o.cache_float16;
    process.no_cache = o.no_cache;
    process.bfloat16 = strcmp(o.precision, "bfloat16") == 0;
    process.model_memory = (uint64_t)o.model_memory << 20;
    process.max_wait_ms = o.max_wait_ms;
    process.seal_rows = (size_t)o.seal_rows;
    process.approximate_rows = (size_t)o.approximate_rows;
    process.recall_share = o.recall_share;
    process.channel.tls = o.tls.cert ? &o.tls : NULL;

    /* hiredis and gRPC write to sockets whose peers may have gone. Signals that end the process are
     * waited for by this thread alone; threads begin with them blocked. */
    (void)signal(SIGPIPE, SIG_IGN);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);

    /* Each open collection and each client holds some. */
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }

    const kd_guard_options guard = {.listen = o.listen,
        .http = o.http,
        .keys = o.keys,
        .key_file = o.key_file,
        .mutual_tls = o.client_ca != NULL,
        .tls = o.tls.cert != NULL,
        .insecure = o.insecure};
    kd_rpc_init(); /* before keys are hashed */
    kd_status status = kd_guard_open(&process, &guard, &err);
    if (status == KD_INVALID_ARGUMENT) {
        (void)fprintf(stderr, "kindred-%s: %s\n", spec->name, err.message);
        kd_access_free(process.access);
        kd_rpc_shutdown();
        return 2;
    }
    if (status == KD_OK)
        status = take_lock(&process, spec->name, &lock, &err);
    if (status == KD_OK) {
        status = serve(spec, &o, &process, &signals, &err);
        if (process.http)
            kd_http_drain(process.http);
        if (process.server && spec->drain)
            spec->drain(&process);
        if (process.server)
            kd_server_drain(process.server, DRAIN_MS);
        kd_http_free(process.http); /* its handlers use what stop frees */
        process.http = NULL;
        spec->stop(&process);
        kd_server_free(process.server);
        kd_metrics_free(process.metrics);
    }
    kd_rpc_shutdown();
    if (status != KD_OK)
        kd_log_error(KD_LOG_ERROR, "ended", &err);
    else
        KD_LOG(KD_LOG_INFO, "ended", KD_STR("reason", "asked to"));
    if (o.ready)
        (void)unlink(o.ready);
    kd_lock_release(lock);
    kd_access_free(process.access);
    return status == KD_OK ? 0 : 1;
}
