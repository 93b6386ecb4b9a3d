/* tests/indexer/boots.h: a collection of segments, what it should hold, and its files. */
#ifndef KD_TESTS_INDEXER_BOOTS_H
#define KD_TESTS_INDEXER_BOOTS_H

#include <dirent.h>

#include "tests/indexer/model.h"

static model boots;

static inline void put(collection *c, uint64_t from, size_t n, unsigned version)
{
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(put_images(c, from, n, version, &err), err);
    model_put(&boots, from, n, version);
}

static inline int enter(void **state)
{
    memset(&boots, 0, sizeof boots);
    return room_enter(state);
}

static inline collection_info describe(collection *c)
{
    collection_info info;
    collection_describe(c, &info);
    return info;
}

static inline void set_index(
    collection *c, collection_index index, kd_ann_storage storage, float target_recall)
{
    kd_error err = KD_ERROR_INIT;
    const collection_settings settings = {index, storage, target_recall, 0};
    CHECK_OK(collection_configure(c, &settings, &err), err);
}

static inline size_t count_files(const char *ending)
{
    size_t n = 0;
    DIR *const dir = opendir(room_path("boots/segments"));
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *const dot = strrchr(entry->d_name, '.');
        n += dot && strcmp(dot, ending) == 0;
    }
    if (dir)
        closedir(dir);
    return n;
}

/* Of the exact hits, what part the approximate search finds; filter may be {0}. */
static inline double recall(collection *c, collection_filter filter)
{
    enum { QUERIES = 25, K = 10 };
    kd_error err = KD_ERROR_INIT;
    size_t right = 0, of = 0;
    for (uint64_t q = 0; q < QUERIES; q++) {
        image query;
        image_make(&query, q, 800000);
        collection_search how = {
            .model_id = MODEL, .queries = &query.row, .n_queries = 1, .k = K, .filter = filter};
        collection_found found, exact;
        CHECK_OK(collection_search_run(c, &how, &found, &err), err);
        how.exact = true;
        CHECK_OK(collection_search_run(c, &how, &exact, &err), err);
        CHECK_INT(exact.counts[0], found.counts[0]);
        of += exact.counts[0];
        for (size_t i = 0, j = 0; i < exact.counts[0] && j < found.counts[0];) {
            const bool same = exact.hits[i].item.image_id == found.hits[j].item.image_id;
            if (same)
                assert_memory_equal(&exact.hits[i].score, &found.hits[j].score, sizeof(float));
            right += same;
            j += same;
            i++;
        }
        collection_found_free(&found);
        collection_found_free(&exact);
    }
    return (double)right / (double)of;
}

#endif
