#include "tests/support/check.h"
#include "tests/vector/model.h"

enum { DIM = 40, GALLERY = 2500, QUERIES = 150, MAX_K = 200 };

typedef struct world {
    uint64_t ids[GALLERY];
    float gallery[GALLERY][DIM];
    float queries[QUERIES][DIM];
    uint64_t skip[QUERIES];
    kd_hit hits[QUERIES * MAX_K], again[QUERIES * MAX_K];
    uint32_t counts[QUERIES];
    kd_topk topk;
} world;

static int set_up(void **state)
{
    kd_error err = KD_ERROR_INIT;
    world *w = calloc(1, sizeof *w);
    if (!w || kd_vector_init(&err) != KD_OK)
        return 1;
    uint64_t seed = 99;
    for (size_t i = 0; i < GALLERY; i++) {
        w->ids[i] = 3 * GALLERY - 3 * i; /* falling, so that order of rows and of ids differ */
        unit_vector(&seed, DIM, w->gallery[i]);
        if (i >= 4 && i % 4 == 0) /* ties */
            memcpy(w->gallery[i], w->gallery[i / 4], sizeof w->gallery[i]);
    }
    for (size_t i = 0; i < QUERIES; i++) {
        unit_vector(&seed, DIM, w->queries[i]);
        w->skip[i] = UINT64_MAX;
        if (i % 2) { /* half of them are gallery images that ask for the others */
            memcpy(w->queries[i], w->gallery[i], sizeof w->queries[i]);
            w->skip[i] = w->ids[i];
        }
    }
    w->topk = (kd_topk){.queries = w->queries[0],
        .n_queries = QUERIES,
        .gallery = w->gallery[0],
        .ids = w->ids,
        .n_gallery = GALLERY,
        .dim = DIM,
        .k = 10};
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void check_against_model(const world *w)
{
    static model_row rows[GALLERY];
    const size_t k = w->topk.k;
    for (size_t q = 0; q < QUERIES; q++) {
        size_t n = 0;
        for (size_t i = 0; i < w->topk.n_gallery; i++)
            if (!w->topk.skip || w->ids[i] != w->skip[q])
                rows[n++] = (model_row){w->ids[i], model_dot(w->queries[q], w->gallery[i], DIM)};
        qsort(rows, n, sizeof rows[0], model_order);
        CHECK_INT(n < k ? n : k, w->counts[q]);
        for (size_t i = 0; i < w->counts[q]; i++)
            CHECK(model_agrees(rows, n, i, &w->hits[q * k + i]));
    }
}

static void test_topk_run__equals_brute_force_with_ties(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    static const size_t ks[] = {1, 5, 10, MAX_K};
    for (size_t i = 0; i < 4; i++) {
        w->topk.k = ks[i];
        CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
        check_against_model(w);
    }
}

static void test_topk_run__leaves_out_each_query_s_own_id(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    w->topk.skip = w->skip;
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    check_against_model(w);
}

static void test_topk_run__counts_fewer_when_the_gallery_is_small(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    w->topk.skip = w->skip;
    w->topk.n_gallery = 7;
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    CHECK_INT(6, w->counts[1]);
    check_against_model(w);
    w->topk.n_gallery = 0;
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    CHECK_INT(0, w->counts[0]);
    w->topk.n_queries = 0;
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
}

static void test_topk_run__equals_the_index_to_the_bit(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    kd_index *index = NULL;
    static uint32_t tags[GALLERY];
    w->topk.k = 50;
    CHECK_OK(kd_index_new(&index, DIM, &err), err);
    CHECK_OK(kd_index_upsert(index, GALLERY, w->ids, tags, w->gallery[0], &err), err);
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    for (size_t q = 0; q < QUERIES; q++) {
        kd_hit hits[50] = {0};
        size_t n = 0;
        CHECK_OK(kd_index_search(index, w->queries[q], &(kd_search){.k = 50}, hits, &n, &err), err);
        CHECK_INT(n, w->counts[q]);
        for (size_t i = 0; i < n; i++) {
            CHECK_INT(hits[i].id, w->hits[q * 50 + i].id);
            assert_memory_equal(&hits[i].score, &w->hits[q * 50 + i].score, sizeof(float));
        }
    }
    kd_index_free(index);
}

static void test_topk_run__is_the_same_with_and_without_a_pool(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    kd_pool *pool = NULL;
    CHECK_OK(kd_pool_new(&pool, "topk", 3, 8, &err), err);
    w->topk.k = 20;
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    w->topk.pool = pool;
    CHECK_OK(kd_topk_run(&w->topk, w->again, w->counts, &err), err);
    kd_pool_free(pool);
    for (size_t i = 0; i < QUERIES * 20; i++) {
        CHECK_INT(w->hits[i].id, w->again[i].id);
        assert_memory_equal(&w->hits[i].score, &w->again[i].score, sizeof(float));
    }
}

static void test_topk_run__finds_the_lowest_ids_in_a_collapsed_gallery(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 1; i < GALLERY; i++) { /* all but equal: within rounding of each other */
        memcpy(w->gallery[i], w->gallery[0], sizeof w->gallery[0]);
        w->gallery[i][i % DIM] += (float)(i % 3) * 3e-8f;
    }
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    for (size_t q = 0; q < QUERIES; q++) {
        for (size_t i = 1; i < 10; i++) {
            const kd_hit *const hit = &w->hits[q * 10 + i];
            CHECK(hit[-1].score > hit->score ||
                  (hit[-1].score == hit->score && hit[-1].id < hit->id));
        }
        const kd_hit *const last = &w->hits[q * 10 + 9];
        for (size_t g = 0; g < GALLERY; g++) { /* nothing better was left out */
            const float score = kd_dot(w->queries[q], w->gallery[g], DIM);
            bool listed = false;
            for (size_t i = 0; i < 10; i++)
                listed |= w->hits[q * 10 + i].id == w->ids[g];
            CHECK(listed || score < last->score || (score == last->score && w->ids[g] > last->id));
        }
    }
}

static bool stop_at_once(void *arg, size_t done)
{
    size_t *calls = arg;
    ++*calls;
    return done > QUERIES;
}

static bool count_up(void *arg, size_t done)
{
    size_t *last = arg;
    CHECK(done >= *last);
    *last = done;
    return true;
}

static void test_topk_run__reports_progress_and_stops_when_told(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    size_t last = 0, calls = 0;
    w->topk.progress = count_up;
    w->topk.progress_arg = &last;
    CHECK_OK(kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    CHECK_INT(QUERIES, last);
    w->topk.progress = stop_at_once;
    w->topk.progress_arg = &calls;
    CHECK_FAILS(KD_CANCELLED, kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    CHECK_INT(1, calls);
}

static void test_topk_run__refuses_bad_input(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    w->topk.k = 0;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    w->topk.k = KD_VECTOR_MAX_K + 1;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    w->topk.k = 1;
    w->topk.dim = 0;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    w->topk.dim = DIM;
    w->gallery[12][3] = NAN;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    CHECK_HAS("value 3 of gallery vector 12", err.message);
    memset(w->queries[8], 0, sizeof w->queries[8]);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_topk_run(&w->topk, w->hits, w->counts, &err), err);
    CHECK_HAS("query 8 has length 0", err.message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_topk_run__equals_brute_force_with_ties),
        TEST(test_topk_run__leaves_out_each_query_s_own_id),
        TEST(test_topk_run__counts_fewer_when_the_gallery_is_small),
        TEST(test_topk_run__equals_the_index_to_the_bit),
        TEST(test_topk_run__is_the_same_with_and_without_a_pool),
        TEST(test_topk_run__finds_the_lowest_ids_in_a_collapsed_gallery),
        TEST(test_topk_run__reports_progress_and_stops_when_told),
        TEST(test_topk_run__refuses_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
