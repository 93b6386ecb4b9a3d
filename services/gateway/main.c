/* kindred-gateway: the public door. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/vector/vector.h"
#include "services/gateway/gateway.h"
#include "services/gateway/web/web.h"

#define STORE_TIMEOUT_MS 2000
#define PICTURE_THREADS 2
#define PICTURE_QUEUE 64

static kd_status open_stores(gateway *g, kd_error *err)
{
    kd_status status = kd_queue_new(&g->stores, GATEWAY_WORKERS, err);
    for (unsigned i = 0; status == KD_OK && i < GATEWAY_WORKERS; i++) {
        kd_store *store = NULL;
        status = kd_store_open(&store, g->process->redis, STORE_TIMEOUT_MS, err);
        if (status == KD_OK)
            store_give(g, store);
    }
    return status;
}

static kd_status start(kd_process *process, kd_error *err)
{
    gateway *const g = calloc(1, sizeof *g);
    if (!g)
        return kd_error_memory(err, "the gateway");
    g->process = process;
    process->state = g;
    kd_status status = kd_vector_init(err);
    if (status == KD_OK)
        status = kd_service_folder(process, "reports", &g->reports_dir, err);
    if (status == KD_OK)
        status = kd_channel_open(&g->embedder, process->embedder, &process->channel, err);
    if (status == KD_OK)
        status = kd_channel_open(&g->indexer, process->indexer, &process->channel, err);
    if (status == KD_OK)
        status = kd_channel_open(&g->trainer, process->trainer, &process->channel, err);
    if (status == KD_OK)
        status = open_stores(g, err);
    if (status == KD_OK)
        status = kd_pool_new(&g->pictures, "pictures", PICTURE_THREADS, PICTURE_QUEUE, err);
    if (status == KD_OK)
        status = watcher_new(&g->watcher, process->redis, err);
    if (status == KD_OK)
        status = peers_new(&g->peers, g, err);
    if (status == KD_OK)
        status = worker_new(&g->worker, g, err);
    if (status == KD_OK)
        status = service_add(g, process->server, err);
    if (status == KD_OK)
        status = web_new(&g->web, g, err);
    if (status == KD_OK)
        web_add_routes(g->web);
    return status;
}

static void drain(kd_process *process)
{
    gateway *const g = process->state;
    if (!g)
        return;
    web_drain(g->web);
    worker_stop(g->worker);
    watcher_drain(g->watcher);
    peers_drain(g->peers);
}

static void stop(kd_process *process)
{
    gateway *const g = process->state;
    if (!g)
        return;
    web_free(g->web);
    worker_free(g->worker);
    watcher_free(g->watcher);
    peers_free(g->peers);
    kd_pool_free(g->pictures);
    if (g->stores) {
        kd_store *store;
        while ((store = kd_queue_pop(g->stores, 0)) != NULL)
            kd_store_close(store);
        kd_queue_free(g->stores);
    }
    kd_channel_close(g->embedder);
    kd_channel_close(g->indexer);
    kd_channel_close(g->trainer);
    free(g->reports_dir);
    free(g);
}

int main(int argc, char **argv)
{
    const kd_service_spec spec = {.name = "gateway",
        .help = "The public door: search, jobs, models, collections.",
        .listen = "127.0.0.1:7700",
        .http_listen = "127.0.0.1:7780",
        .takes = KD_TAKES_REDIS | KD_TAKES_PEERS | KD_TAKES_DATASETS,
        .server = {.workers = GATEWAY_WORKERS, .queue = 256, .max_calls = 4096},
        .http_workers = WEB_WORKERS,
        .start = start,
        .drain = drain,
        .stop = stop};
    return kd_service_main(argc, (const char **)argv, &spec);
}
