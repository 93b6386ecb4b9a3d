/* Each allocation of lib/vector failing in turn, FAISS's among them. */
#include <stdio.h>

#include "lib/vector/slots.h"
#include "tests/support/alloc.h"
#include "tests/vector/model.h"

enum { DIM = 32, ROWS = 400 };

/* ---- Index ---- */

typedef struct rows {
    uint64_t ids[ROWS];
    uint32_t tags[ROWS];
    float vectors[ROWS][DIM];
} rows;

static rows *make_rows(void)
{
    static rows all;
    uint64_t seed = 42;
    for (size_t i = 0; i < ROWS; i++) {
        all.ids[i] = i;
        all.tags[i] = (uint32_t)(i % 3);
        unit_vector(&seed, DIM, all.vectors[i]);
    }
    return &all;
}

/* Rows from..from+n; on failure nothing has changed. */
static kd_status upsert(kd_index *index, const rows *all, size_t from, size_t n, kd_error *err)
{
    const size_t before = kd_index_count(index);
    float vector[DIM];
    const kd_status status =
        kd_index_upsert(index, n, all->ids + from, all->tags + from, all->vectors[from], err);
    if (status != KD_OK) {
        CHECK_INT(before, kd_index_count(index));
        CHECK(!kd_index_get(index, all->ids[from + n - 1], vector));
    }
    for (size_t i = 0; i < kd_index_count(index); i++) {
        CHECK(kd_index_get(index, all->ids[i], vector));
        assert_memory_equal(all->vectors[i], vector, sizeof vector);
    }
    return status;
}

static kd_status search(
    const kd_index *index, const rows *all, const kd_search *what, size_t expected, kd_error *err)
{
    static kd_hit hits[KD_VECTOR_MAX_K];
    size_t n = 99;
    const kd_status status = kd_index_search(index, all->vectors[7], what, hits, &n, err);
    CHECK_INT(status == KD_OK ? expected : 0, n);
    if (status == KD_OK && what->n_exclude == 0)
        CHECK_INT(7, hits[0].id);
    return status;
}

static kd_status run_index(void *arg, kd_error *err)
{
    static const uint8_t mask = 1u << 1 | 1u << 2;
    static const uint32_t groups[] = {1, 2, 2};
    static const uint64_t exclude[] = {7, 8};
    const rows *const all = arg;
    kd_status first = KD_OK;
    kd_index *index = NULL;
    size_t removed = 0;
    RUN_NEW(&first, &index, kd_index_new(&index, DIM, err), err);
    RUN(&first, upsert(index, all, 0, 50, err), err);
    RUN(&first, upsert(index, all, 50, ROWS - 50, err), err);
    RUN(&first, search(index, all, &(kd_search){.k = 5}, 5, err), err);
    RUN(&first, search(index, all, &(kd_search){.k = 200}, 200, err), err);
    RUN(&first, search(index, all, &(kd_search){.k = 300, .mask = &mask, .n_tags = 3}, 266, err),
        err);
    RUN(&first, search(index, all, &(kd_search){.k = 300, .groups = groups, .n_tags = 3}, 2, err),
        err);
    RUN(&first,
        search(index, all, &(kd_search){.k = 9, .exclude = exclude, .n_exclude = 2}, 9, err), err);
    RUN(&first, kd_index_remove(index, ROWS - 20, all->ids + 20, &removed, err), err);
    CHECK_INT(ROWS - 20, removed);
    RUN(&first, search(index, all, &(kd_search){.k = 30}, 20, err), err);
    kd_index_free(index);
    return first;
}

/* Many rows that score alike: the search asks FAISS for more and then looks at every row. */
static kd_status run_copies(void *arg, kd_error *err)
{
    const rows *const all = arg;
    kd_status first = KD_OK;
    kd_index *index = NULL;
    RUN_NEW(&first, &index, kd_index_new(&index, DIM, err), err);
    for (size_t i = 0; i < ROWS; i++)
        RUN(&first, kd_index_upsert(index, 1, &all->ids[i], &all->tags[i], all->vectors[7], err),
            err);
    kd_hit hit;
    size_t n = 0;
    RUN(&first, kd_index_search(index, all->vectors[7], &(kd_search){.k = 1}, &hit, &n, err), err);
    CHECK(n == 1 && hit.id == 0);
    kd_index_free(index);
    return first;
}

static void test_vector_alloc__index(void **state)
{
    kd_error err = KD_ERROR_INIT;
    (void)state;
    CHECK_OK(kd_vector_init(&err), err);
    alloc_replay(&(alloc_scenario){.name = "index", .run = run_index, .arg = make_rows()});
    alloc_replay(&(alloc_scenario){.name = "copies", .run = run_copies, .arg = make_rows()});
}

/* ---- Approximate search ---- */

enum { ANN_DIM = 4, ANN_ROWS = 1100 };

typedef struct built {
    kd_rows rows;
    kd_ann *ann;
    uint64_t ids[ANN_ROWS];
    uint32_t tags[ANN_ROWS];
    float vectors[ANN_ROWS][ANN_DIM];
} built;

/* What allocates too often to replay: tuning is thousands of searches. */
static void build(built *b, kd_ann_kind kind)
{
    kd_error err = KD_ERROR_INIT;
    uint64_t seed = 9;
    for (size_t i = 0; i < ANN_ROWS; i++) {
        b->ids[i] = i;
        unit_vector(&seed, ANN_DIM, b->vectors[i]);
    }
    b->rows = (kd_rows){b->vectors[0], b->ids, b->tags, ANN_ROWS, ANN_DIM};
    kd_ann_options options = KD_ANN_OPTIONS_INIT;
    options.kind = kind;
    options.target_recall = 0.5f;
    CHECK_OK(kd_ann_build(&b->ann, &b->rows, &options, &err), err);
}

static kd_status run_ann(void *arg, kd_error *err)
{
    enum { K = 5 };
    static const uint64_t exclude[] = {3};
    const char *const path = KD_BINARY_DIR "/vector_alloc_test.ann";
    const built *const b = arg;
    kd_status first = KD_OK;
    kd_ann *ann = NULL;
    RUN(&first, kd_ann_save(b->ann, path, err), err);
    RUN_NEW(&first, &ann, kd_ann_load(&ann, &b->rows, path, err), err);
    const kd_search searches[] = {{.k = K}, {.k = K, .exclude = exclude, .n_exclude = 1},
        {.k = K, .groups = b->tags, .n_tags = 1}};
    for (size_t i = 0; i < 3; i++) {
        kd_hit hits[K];
        size_t n = 0;
        RUN(&first, kd_ann_search(ann, b->vectors[7], &searches[i], 2, hits, &n, err), err);
        CHECK_INT(i == 2 ? 1 : K, n);
    }
    kd_ann_free(ann);
    (void)remove(path);
    return first;
}

static void test_vector_alloc__ann(void **state)
{
    static built graph, lists;
    kd_error err = KD_ERROR_INIT;
    (void)state;
    CHECK_OK(kd_vector_init(&err), err);
    build(&graph, KD_ANN_HNSW);
    build(&lists, KD_ANN_IVF);
    alloc_replay(&(alloc_scenario){.name = "graph", .run = run_ann, .arg = &graph});
    alloc_replay(&(alloc_scenario){.name = "lists", .run = run_ann, .arg = &lists});
    kd_ann_free(graph.ann);
    kd_ann_free(lists.ann);
}

/* ---- Slots ---- */

static kd_status run_slots(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_slots table = {0};
    (void)arg;
    for (uint64_t id = 0; id < 200; id++) {
        RUN(&first, kd_slots_reserve(&table, 1, err), err);
        kd_slots_put(&table, id * 1000, (uint32_t)id);
    }
    for (uint64_t id = 0; id < 200; id++)
        CHECK_INT(id, kd_slots_take(&table, id * 1000));
    CHECK_INT(0, table.n);
    kd_slots_free(&table);
    return first;
}

static void test_vector_alloc__slots(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "slots", .run = run_slots});
}

/* ---- Many queries ---- */

static kd_status run_many(void *arg, kd_error *err)
{
    enum { QUERIES = 150, K = 4 };
    static kd_hit hits[QUERIES][K];
    static uint32_t counts[QUERIES];
    const rows *const all = make_rows();
    kd_status first = KD_OK;
    const kd_rows searched = {all->vectors[0], all->ids, all->tags, ROWS, DIM};
    const kd_search search = {.k = K};
    RUN(&first,
        kd_rows_search_many(
            &searched, all->vectors[0], QUERIES, &search, hits[0], counts, arg, err),
        err);
    for (size_t q = 0; q < QUERIES; q++)
        CHECK(first != KD_OK || (counts[q] == K && hits[q][0].id == q));
    return first;
}

static kd_status run_many_on_pool(void *arg, kd_error *err)
{
    kd_pool *pool = NULL;
    (void)arg;
    kd_status status = kd_pool_new(&pool, "search", 2, 8, err);
    if (status == KD_OK)
        status = run_many(pool, err);
    kd_pool_free(pool);
    return status;
}

static void test_vector_alloc__many(void **state)
{
    kd_error err = KD_ERROR_INIT;
    (void)state;
    CHECK_OK(kd_vector_init(&err), err);
    alloc_replay(&(alloc_scenario){.name = "many queries", .run = run_many});
    /* threads: who takes which block is not always the same; a loop without helpers is forgiven */
    alloc_replay(&(alloc_scenario){
        .name = "many queries on a pool", .run = run_many_on_pool, .threads = true});
}

/* ---- All scores, clusters ---- */

static bool count_rows(void *arg, size_t first, size_t n, float *scores)
{
    size_t *const seen = arg; /* one thread */
    (void)first;
    *seen += n;
    return scores[0] <= 1.01f;
}

static kd_status run_scores(void *arg, kd_error *err)
{
    enum { K = 3 };
    static uint32_t clusters[ROWS];
    const rows *const all = arg;
    kd_status first = KD_OK;
    size_t seen = 0;
    const kd_scores scores = {.queries = all->vectors[0],
        .n_queries = ROWS,
        .gallery = all->vectors[0],
        .n_gallery = ROWS,
        .dim = DIM,
        .visit = count_rows,
        .visit_arg = &seen};
    RUN(&first, kd_scores_run(&scores, err), err);
    CHECK(first != KD_OK || seen == ROWS);
    RUN(&first, kd_kmeans(all->vectors[0], ROWS, DIM, K, clusters, NULL, NULL, err), err);
    return first;
}

static void test_vector_alloc__scores(void **state)
{
    kd_error err = KD_ERROR_INIT;
    (void)state;
    CHECK_OK(kd_vector_init(&err), err);
    alloc_replay(&(alloc_scenario){.name = "scores", .run = run_scores, .arg = make_rows()});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_alloc__index),
        cmocka_unit_test(test_vector_alloc__ann),
        cmocka_unit_test(test_vector_alloc__slots),
        cmocka_unit_test(test_vector_alloc__many),
        cmocka_unit_test(test_vector_alloc__scores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
