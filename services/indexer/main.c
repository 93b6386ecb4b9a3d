/* kindred-indexer: collections of vectors and the search in them. */
#include <stdlib.h>
#include <unistd.h>

#include "lib/vector/vector.h"
#include "services/indexer/gauges.h"
#include "services/indexer/service.h"

_Static_assert(KD_SERVICE_SEAL_ROWS == COLLECTION_SEAL_ROWS &&
                   KD_SERVICE_APPROXIMATE_ROWS == COLLECTION_APPROXIMATE_ROWS,
    "--help tells the defaults");

#define SEARCHES_TOGETHER 64u  /* queries: of more, each costs what it costs among so many */
#define UPSERTS_TOGETHER 1024u /* images */

/* Threads for searches, which share the pool, and for changes, which wait for the disk. */
static kd_status start_lots(indexer *x, kd_error *err)
{
    const lots_options searches = {.what = "searches",
        .threads = 4,
        .together = SEARCHES_TOGETHER,
        .run = run_searches,
        .state = x};
    const lots_options upserts = {.what = "upserts",
        .threads = 2,
        .together = UPSERTS_TOGETHER,
        .run = run_upserts,
        .state = x};
    const kd_status status = lots_new(&x->searches, &searches, err);
    return status == KD_OK ? lots_new(&x->upserts, &upserts, err) : status;
}

static kd_status start(kd_process *process, kd_error *err)
{
    indexer *const x = calloc(1, sizeof *x);
    char *dir = NULL;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (!x)
        return kd_error_memory(err, "the indexer");
    process->state = x;
    x->upserted = kd_metrics_counter(
        process->metrics, "kindred_index_upserted_total", "", "Images added or replaced");
    x->deleted =
        kd_metrics_counter(process->metrics, "kindred_index_deleted_total", "", "Images removed");
    x->searched =
        kd_metrics_counter(process->metrics, "kindred_index_queries_total", "", "Queries answered");
    x->scans = kd_metrics_counter(process->metrics, "kindred_index_searches_total", "",
        "Searches of a collection: those of calls that wait together are one");
    kd_status status = kd_vector_init(err);
    if (status == KD_OK)
        status = kd_pool_new(&x->pool, "search", kd_pool_helpers(), 256, err);
    if (status == KD_OK && cores >= 4)
        status = kd_pool_new(&x->build_pool, "build", (size_t)cores / 2 - 1, 256, err);
    if (status == KD_OK)
        status = kd_service_folder(process, "snapshots", &x->snapshots_dir, err);
    if (status == KD_OK)
        status = kd_service_folder(process, "collections", &dir, err);
    if (status == KD_OK)
        status = sampler_new(&x->sampler, process->recall_share, err);
    if (status == KD_OK) {
        const collection_options options = {.build_pool = x->build_pool,
            .seal_rows = process->seal_rows,
            .approximate_rows = process->approximate_rows,
            .sampler = x->sampler};
        status = registry_open(&x->registry, dir, &options, err);
    }
    free(dir);
    if (status == KD_OK)
        status = keeper_start(&x->keeper, x->registry, err);
    if (status == KD_OK)
        status = start_lots(x, err);
    if (status == KD_OK)
        status = gauges_add(x, process->metrics, err);
    if (status == KD_OK)
        status = service_add(x, process->server, err);
    return status;
}

static void stop(kd_process *process)
{
    indexer *const x = process->state;
    if (!x)
        return;
    lots_free(x->searches);
    lots_free(x->upserts);
    keeper_stop(x->keeper);
    sampler_free(x->sampler); /* it holds collections */
    registry_close(x->registry);
    kd_pool_free(x->pool);
    kd_pool_free(x->build_pool);
    free(x->snapshots_dir);
    free(x);
}

int main(int argc, char **argv)
{
    const kd_service_spec spec = {.name = "indexer",
        .help = "Collections of vectors and the search in them: kindred.v1.IndexerService.",
        .listen = "127.0.0.1:7702",
        .http_listen = "127.0.0.1:7782",
        .takes = KD_TAKES_INDEXER,
        .server = KD_SERVER_OPTIONS_INIT,
        .start = start,
        .stop = stop};
    return kd_service_main(argc, (const char **)argv, &spec);
}
