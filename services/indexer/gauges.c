#include "services/indexer/gauges.h"

/* Sums, not a series for each collection: their names are the users'. Who reads the metrics may
 * wait for a change of a collection, never for searches. */
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
    registry_entries_free(entries, n);
    kd_gauge_set(x->collections, (double)n);
    kd_gauge_set(x->damaged, (double)damaged);
    kd_gauge_set(x->images, images);
    kd_gauge_set(x->memory_bytes, memory);
    kd_gauge_set(x->disk_bytes, disk);
}

kd_status gauges_add(indexer *x, kd_metrics *metrics, kd_error *err)
{
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
