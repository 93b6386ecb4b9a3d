/* tests/indexer/model.h: what a collection should hold, and brute force to compare its searches
 * with. */
#ifndef KD_TESTS_INDEXER_MODEL_H
#define KD_TESTS_INDEXER_MODEL_H

#include "services/indexer/collection_work.h"
#include "tests/indexer/room.h"

enum { MODEL_IDS = 8192 };

/* The version of each image; 0: it is not there. */
typedef struct model {
    unsigned versions[MODEL_IDS];
} model;

static inline void model_put(model *m, uint64_t from, size_t n, unsigned version)
{
    for (uint64_t id = from; id < from + n; id++)
        m->versions[id] = version;
}

static inline uint64_t model_count(const model *m)
{
    uint64_t n = 0;
    for (size_t id = 0; id < MODEL_IDS; id++)
        n += m->versions[id] != 0;
    return n;
}

static inline int model_best_first(const void *left, const void *right)
{
    const kd_hit *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* All that passes, best first. */
static inline size_t model_search(
    const model *m, const float *query, bool (*pass)(uint64_t id), bool by_class, kd_hit *out)
{
    size_t n = 0, kept = 0;
    bool seen[10] = {false};
    for (uint64_t id = 0; id < MODEL_IDS; id++) {
        image one;
        if (!m->versions[id] || (pass && !pass(id)))
            continue;
        image_make(&one, id, m->versions[id]);
        out[n++] = (kd_hit){id, kd_dot(query, one.values, DIM)};
    }
    qsort(out, n, sizeof *out, model_best_first);
    for (size_t i = 0; i < n; i++) {
        if (by_class && seen[out[i].id % 10])
            continue;
        seen[out[i].id % 10] = true;
        out[kept++] = out[i];
    }
    return kept;
}

/* The collection's exact answer to a query that is made of `like` is the model's, to the bit. */
static inline void model_check(
    const model *m, collection *c, uint64_t like, collection_search how, bool (*pass)(uint64_t id))
{
    static kd_hit expected[MODEL_IDS];
    kd_error err = KD_ERROR_INIT;
    collection_found found;
    image query;
    image_make(&query, like, 900000);
    how.model_id = MODEL;
    how.queries = &query.row;
    how.n_queries = 1;
    how.exact = true;
    size_t n = model_search(m, query.values, pass, how.by_class, expected);
    n = n < how.k ? n : how.k;
    CHECK_OK(collection_search_run(c, &how, &found, &err), err);
    CHECK_INT(n, found.counts[0]);
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(expected[i].id, found.hits[i].item.image_id);
        assert_memory_equal(&expected[i].score, &found.hits[i].score, sizeof(float));
    }
    collection_found_free(&found);
}

static inline bool model_odd(uint64_t id)
{
    return id % 3 != 0 && (id % 4 == 1 || id % 4 == 3);
}

/* Counts, every image, and searches with and without a filter and groups. */
static inline void model_check_all(const model *m, collection *c)
{
    static const char *const brands[] = {"b1", "b3"};
    const collection_condition odd = {.name = "brand", .texts = brands, .n_texts = 2};
    collection_info info;
    collection_describe(c, &info);
    CHECK_INT(model_count(m), info.count);
    CHECK_INT(info.count, info.growing + info.sealed);
    for (uint64_t id = 0; id < MODEL_IDS; id++)
        if (m->versions[id])
            check_image(c, id, m->versions[id]);
    for (uint64_t like = 0; like < 4; like++) {
        model_check(m, c, like, (collection_search){.k = 20}, NULL);
        model_check(m, c, like, (collection_search){.k = 7, .by_class = true}, NULL);
        bool any = false;
        for (uint64_t id = 0; id < MODEL_IDS && !any; id++)
            any = m->versions[id] && id % 3 != 0;
        const collection_filter filter = {.conditions = &odd, .n_conditions = 1};
        if (any)
            model_check(m, c, like, (collection_search){.k = 9, .filter = filter}, model_odd);
    }
}

/* All work that is due. */
static inline void settle(collection *c)
{
    while (collection_tidy(c) || collection_build(c))
        continue;
}

static inline collection *make_boots(const collection_options *options)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("boots"), "boots", MODEL, DIM, options, &err), err);
    return c;
}

static inline collection *open_boots(const collection_options *options)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_open(&c, room_path("boots"), "boots", options, &err), err);
    return c;
}

static inline void remove_images(collection *c, uint64_t from, size_t n)
{
    kd_error err = KD_ERROR_INIT;
    uint64_t ids[COLLECTION_MAX_BATCH];
    size_t removed = 0;
    for (size_t i = 0; i < n; i++)
        ids[i] = from + i;
    CHECK_OK(collection_remove(c, ids, n, &removed, &err), err);
}

#endif
