/* How collections are searched and written, in words. */
#include "services/indexer/collection.h"

#include <string.h>

static const char *const indexes[] = {"auto", "exact", "hnsw", "ivf"};
static const char *const storages[] = {"float32", "float16", "int8"};
enum {
    INDEXES = sizeof indexes / sizeof indexes[0],
    STORAGES = sizeof storages / sizeof *storages
};

const char *collection_index_word(collection_index index)
{
    return indexes[index];
}

const char *collection_storage_word(kd_ann_storage storage)
{
    return storages[storage];
}

bool collection_index_parse(const char *word, collection_index *out)
{
    for (size_t i = 0; i < INDEXES; i++) {
        if (strcmp(word, indexes[i]) == 0) {
            *out = (collection_index)i;
            return true;
        }
    }
    return false;
}

bool collection_storage_parse(const char *word, kd_ann_storage *out)
{
    for (size_t i = 0; i < STORAGES; i++) {
        if (strcmp(word, storages[i]) == 0) {
            *out = (kd_ann_storage)i;
            return true;
        }
    }
    return false;
}

kd_status collection_settings_check(const collection_settings *s, kd_error *err)
{
    if ((size_t)s->index >= INDEXES || (size_t)s->storage >= STORAGES)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "there is no such kind of index");
    if (!(s->target_recall >= 0.5f && s->target_recall <= 1))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the target recall is %g, allowed are 0.5 to 1", (double)s->target_recall);
    const uint32_t window = s->durability_window_ms;
    if (window > COLLECTION_MAX_WINDOW_MS || (window > 0 && window < COLLECTION_LEAST_WINDOW_MS))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the window of durability is %u ms, allowed are 0 and %u to %u", window,
            COLLECTION_LEAST_WINDOW_MS, COLLECTION_MAX_WINDOW_MS);
    return KD_OK;
}
