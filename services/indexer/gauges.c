#include "services/indexer/gauges.h"

#include <stdio.h>

#define LIVE_RECALL "kindred_index_live_recall"
#define LIVE_QUERIES "kindred_index_live_recall_queries_total"

/* Of the collections that were sampled; made anew each time, so that those which are gone go. */
static void show_recall(kd_metrics *metrics, const registry_entry *entries, size_t n)
{
    char labels[COLLECTION_NAME_SIZE + 16];
    kd_metrics_forget(metrics, LIVE_RECALL);
    kd_metrics_forget(metrics, LIVE_QUERIES);
    for (size_t i = 0; i < n; i++) {
        const collection_info *const info = &entries[i].info;
        if (entries[i].damage.status != KD_OK || info->live_queries == 0)
            continue;
        /* Names of collections are checked: none needs escaping. */
        (void)snprintf(labels, sizeof labels, "collection=\"%s\"", info->name);
        kd_gauge_set(kd_metrics_gauge(metrics, LIVE_RECALL, labels,
                         "Part of the exact hits that approximate searches found, of late"),
            (double)info->live_recall);
        kd_counter_add(kd_metrics_counter(metrics, LIVE_QUERIES, labels,
                           "Live queries that were run again exactly"),
            info->live_queries);
    }
}

/* Else sums, not a series for each collection: their names are the users'. Who reads the metrics
 * may wait for a change of a collection, never for searches. */
static void look(void *arg)
{
    const indexer *const x = arg;
    registry_entry *entries = NULL;
    size_t n = 0, damaged = 0;
    double images = 0, memory = 0, disk = 0;
    kd_error err;
    if (registry_list(x->registry, "", REGISTRY_MAX_COLLECTIONS, &entries, &n, &err) != KD_OK)
        return; /* no memory: as they were */
    for (size_t i = 0; i < n; i++) {
        damaged += entries[i].damage.status != KD_OK;
        images += (double)entries[i].info.count;
        memory += (double)entries[i].info.memory_bytes;
        disk += (double)entries[i].info.disk_bytes;
    }
    show_recall(x->metrics, entries, n);
    registry_entries_free(entries, n);
    kd_gauge_set(x->collections, (double)n);
    kd_gauge_set(x->damaged, (double)damaged);
    kd_gauge_set(x->images, images);
    kd_gauge_set(x->memory_bytes, memory);
    kd_gauge_set(x->disk_bytes, disk);
}

kd_status gauges_add(indexer *x, kd_metrics *metrics, kd_error *err)
{
    x->metrics = metrics;
    x->collections =
        kd_metrics_gauge(metrics, "kindred_index_collections", "", "Collections, damaged ones too");
    x->damaged = kd_metrics_gauge(
        metrics, "kindred_index_damaged_collections", "", "Collections that can't be used");
    x->images = kd_metrics_gauge(metrics, "kindred_index_images", "", "Images in all collections");
    x->memory_bytes =
        kd_metrics_gauge(metrics, "kindred_index_memory_bytes", "", "Memory of all indexes");
    x->disk_bytes = kd_metrics_gauge(
        metrics, "kindred_index_disk_bytes", "", "Size of all collections on disk");
    return kd_metrics_on_print(metrics, look, x, err);
}
