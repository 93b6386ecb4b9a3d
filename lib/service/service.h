/* lib/service/service.h: what every service's main shares: options, lock, log, gRPC server with
 * health, /metrics, signals and the graceful end.
 *
 * A service gives a kd_service_spec to kd_service_main, which parses the options, makes the
 * process, calls start (register methods, start threads), listens, waits for SIGTERM or SIGINT,
 * drains, calls stop. */
#ifndef KD_SERVICE_SERVICE_H
#define KD_SERVICE_SERVICE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/access/access.h"
#include "lib/base/metrics.h"
#include "lib/base/status.h"
#include "lib/http/http.h"
#include "lib/rpc/rpc.h"

#define KD_SERVICE_MAX_ROOTS 32
#define KD_SERVICE_MODEL_MEMORY_MIB 2048 /* unless told otherwise */
#define KD_SERVICE_MAX_WAIT_MS 2000
#define KD_SERVICE_SEAL_ROWS 16384
#define KD_SERVICE_APPROXIMATE_ROWS 200000
#define KD_SERVICE_RECALL_SHARE 0.01

/* Which options a service takes beside --listen, --http, --data, --log-level, --log-json, --ready,
 * --keys, --key-file, --insecure and the --tls-… ones. */
enum {
    KD_TAKES_REDIS = 1,    /* --redis HOST:PORT */
    KD_TAKES_PEERS = 2,    /* --embedder, --indexer, --trainer HOST:PORT */
    KD_TAKES_DATASETS = 4, /* --datasets DIR, repeatable */
    KD_TAKES_THREADS = 8,  /* --threads N */
    /* --cache-float16, --no-cache, --precision, --model-memory, --max-wait-ms */
    KD_TAKES_EMBEDDER = 16,
    KD_TAKES_INDEXER = 32, /* --seal-rows, --approximate-rows, --recall-share */
};

typedef struct kd_process {
    const char *name; /* "embedder"; static */
    /* From the command line; strings are borrowed for the process's life. */
    const char *data_dir; /* models/, runs/, collections/, reports/, snapshots/ lie under it */
    const char *redis, *embedder, *indexer, *trainer;
    const char *datasets[KD_SERVICE_MAX_ROOTS];
    size_t n_datasets;
    unsigned threads; /* of computation; 0: as many as there are cores */
    bool cache_float16, no_cache, bfloat16;
    uint64_t model_memory; /* bytes */
    int64_t max_wait_ms;
    size_t seal_rows, approximate_rows;
    double recall_share;
    /* For the channels to the other services; its tls is NULL for plain text, its key for none. */
    kd_channel_options channel;
    char key[KD_KEY_TEXT];
    kd_access *access;  /* who may call; NULL: everyone. For what is served beside gRPC. */
    int64_t started_ms; /* wall clock */
    /* Made by kd_service_main. */
    kd_metrics *metrics;
    kd_server *server;
    kd_http *http;
    void *state; /* the service's own, set by its start */
} kd_process;

typedef struct kd_service_spec {
    const char *name;                 /* "embedder" */
    const char *help;                 /* one line for --help */
    const char *listen, *http_listen; /* defaults */
    unsigned takes;
    kd_server_options server; /* threads, workers, limits */
    unsigned http_workers;    /* for routes that block */
    /* Everything the service needs before it takes calls. On failure the process ends with the
     * error. */
    kd_status (*start)(kd_process *process, kd_error *err);
    /* The server drains from now on: end long streams, take no more jobs. May be NULL. */
    void (*drain)(kd_process *process);
    /* No call is in flight any more: stop threads, free process->state (may be NULL after a failed
     * start). */
    void (*stop)(kd_process *process);
} kd_service_spec;

/* The whole of main: returns the exit status, 0 after a graceful end, 1 on failure, 2 for wrong
 * usage. */
int kd_service_main(int argc, const char **argv, const kd_service_spec *spec);

/* Where a data folder has least room: it or one of the folders that lie under it, each of which may
 * be a disk of its own. */
typedef struct kd_disk {
    char path[4096];
    uint64_t free_bytes, total_bytes; /* for an ordinary user; total 0: it can't be told */
} kd_disk;
void kd_disk_least(const char *data_dir, kd_disk *out);

/* DATA/NAME, made if need be; a new string (free). */
KD_MUST_CHECK kd_status kd_service_folder(
    const kd_process *process, const char *name, char **out, kd_error *err);

#endif
