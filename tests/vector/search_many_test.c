/* kd_index_search_many and kd_index_search against every row scored by kd_dot, bit for bit. */
#include "tests/support/check.h"
#include "tests/vector/model.h"

enum { DIM = 40, ROWS = 20000, QUERIES = 600 / FEWER, MOST_K = 200 };

typedef struct world {
    kd_index *index;
    kd_pool *pool;
    uint64_t ids[ROWS];
    uint32_t tags[ROWS], groups[ROWS];
    uint8_t mask[ROWS / 8];
    float vectors[ROWS][DIM], queries[QUERIES][DIM];
    kd_hit hits[QUERIES * MOST_K];
    uint32_t counts[QUERIES];
} world;

/* Copies, rows in no order of their ids, some queries that are rows. */
static int set_up(void **state)
{
    kd_error err = KD_ERROR_INIT;
    world *w = calloc(1, sizeof *w);
    uint64_t seed = 11;
    if (!w || kd_vector_init(&err) != KD_OK || kd_index_new(&w->index, DIM, &err) != KD_OK ||
        kd_pool_new(&w->pool, "search", 2, 16, &err) != KD_OK)
        return 1;
    for (size_t i = 0; i < ROWS; i++) {
        w->ids[i] = (i * 7919) % ROWS + 5;
        w->tags[i] = (uint32_t)(ROWS - 1 - i);
        unit_vector(&seed, DIM, w->vectors[i]);
        if (i % 5 == 4)
            memcpy(w->vectors[i], w->vectors[next_random(&seed) % i], sizeof w->vectors[i]);
    }
    for (size_t i = 0; i < QUERIES; i++) {
        unit_vector(&seed, DIM, w->queries[i]);
        if (i % 2)
            memcpy(w->queries[i], w->vectors[i], sizeof w->queries[i]);
    }
    *state = w;
    return kd_index_upsert(w->index, ROWS, w->ids, w->tags, w->vectors[0], &err) != KD_OK;
}

static int tear_down(void **state)
{
    world *w = *state;
    kd_index_free(w->index);
    kd_pool_free(w->pool);
    free(w);
    return 0;
}

static int better(const void *left, const void *right)
{
    const kd_hit *a = left, *b = right;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->id > b->id) - (a->id < b->id);
}

/* What search should give for query, in expected. */
static size_t expect(const world *w, const kd_search *search, size_t query, kd_hit *expected)
{
    static kd_hit all[ROWS];
    static uint32_t group_of[ROWS + 5];
    size_t n = 0, kept = 0;
    for (size_t i = 0; i < ROWS; i++) {
        const uint32_t tag = w->tags[i];
        bool in = (!search->mask && !search->groups) || tag < search->n_tags;
        in = in && (!search->mask || search->mask[tag / 8] >> (tag % 8) & 1);
        for (size_t e = 0; e < search->n_exclude; e++)
            in = in && search->exclude[e] != w->ids[i];
        const float score = kd_dot(w->queries[query], w->vectors[i], DIM);
        group_of[w->ids[i]] = search->groups && in ? search->groups[tag] : 0;
        if (in && (!search->min_score || score >= *search->min_score))
            all[n++] = (kd_hit){w->ids[i], score};
    }
    qsort(all, n, sizeof all[0], better);
    for (size_t i = 0; i < n && kept < search->k; i++) {
        bool first = true;
        for (size_t j = 0; search->groups && j < kept; j++)
            first = first && group_of[expected[j].id] != group_of[all[i].id];
        if (first)
            expected[kept++] = all[i];
    }
    return kept;
}

static void check(world *w, const kd_search *search, size_t n, kd_pool *pool)
{
    static kd_hit expected[MOST_K], alone[MOST_K];
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(
        kd_index_search_many(w->index, w->queries[0], n, search, w->hits, w->counts, pool, &err),
        err);
    for (size_t q = 0; q < n; q += 1 + n / 3) {
        const kd_hit *const hits = w->hits + q * search->k;
        const size_t n_expected = expect(w, search, q, expected);
        size_t n_alone = 0;
        CHECK_OK(kd_index_search(w->index, w->queries[q], search, alone, &n_alone, &err), err);
        CHECK_INT(n_expected, w->counts[q]);
        CHECK_INT(n_expected, n_alone);
        for (size_t i = 0; i < n_expected; i++) {
            CHECK_INT(expected[i].id, hits[i].id);
            CHECK_INT(expected[i].id, alone[i].id);
            assert_memory_equal(&expected[i].score, &hits[i].score, sizeof hits[i].score);
            assert_memory_equal(&expected[i].score, &alone[i].score, sizeof hits[i].score);
        }
    }
}

/* Numbers of queries around the borders of blocks, of lanes and of a round. */
static void test_search_many__equals_one_search_after_the_other(void **state)
{
    world *w = *state;
    static const size_t ns[] = {0, 1, 4, 5, 16, 17, 63, 64, 65, 130, 512, QUERIES};
    for (size_t i = 0; i < sizeof ns / sizeof ns[0] && ns[i] <= QUERIES; i += FEWER) {
        check(w, &(kd_search){.k = 1 + i * 13 % 40}, ns[i], NULL);
        check(w, &(kd_search){.k = 1 + i * 13 % 40}, ns[i], w->pool);
    }
    check(w, &(kd_search){.k = MOST_K}, 70, w->pool);
}

static void test_search_many__filters_from_a_thousandth_to_all(void **state)
{
    world *w = *state;
    static const uint64_t of_1000[] = {1, 10, 100, 500, 1000, 0};
    uint64_t seed = 3;
    for (size_t i = 0; i < sizeof of_1000 / sizeof of_1000[0]; i += FEWER) {
        memset(w->mask, 0, sizeof w->mask);
        for (size_t tag = 0; tag < ROWS; tag++)
            w->mask[tag / 8] |= (uint8_t)((next_random(&seed) % 1000 < of_1000[i]) << tag % 8);
        const uint64_t exclude[] = {w->ids[1], 999999, w->ids[3], w->ids[0]};
        kd_search search = {.k = 50, .mask = w->mask, .n_tags = ROWS};
        check(w, &search, 3, w->pool);
        check(w, &search, 33, w->pool);
        search.n_tags = ROWS / 3;
        search.exclude = exclude;
        search.n_exclude = 4;
        check(w, &search, 33, NULL);
    }
}

static void test_search_many__groups_and_cuts_off(void **state)
{
    world *w = *state;
    static const uint32_t sizes[] = {1, 3, 40, 9000, ROWS};
    const float cut = 0.4f, none = 2;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i += FEWER) {
        for (uint32_t tag = 0; tag < ROWS; tag++)
            w->groups[tag] = tag % (ROWS / sizes[i]) * 77;
        kd_search search = {.k = 20, .groups = w->groups, .n_tags = ROWS};
        check(w, &search, 2, w->pool);
        check(w, &search, 40, w->pool);
        search.min_score = &cut;
        check(w, &search, 40, NULL);
        search.groups = NULL;
        check(w, &search, 66, w->pool);
        search.min_score = &none;
        check(w, &search, 40, w->pool);
    }
}

/* All rows alike but for rounding: kd_dot and the ids decide. */
static void test_search_many__orders_a_collapsed_collection(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 1; i < ROWS; i++) {
        memcpy(w->vectors[i], w->vectors[0], sizeof w->vectors[0]);
        w->vectors[i][i % DIM] += (float)(i % 3) * 3e-8f;
    }
    CHECK_OK(kd_index_upsert(w->index, ROWS, w->ids, w->tags, w->vectors[0], &err), err);
    check(w, &(kd_search){.k = 10}, 20, w->pool);
    check(w, &(kd_search){.k = 10}, 2, w->pool);
}

static void test_search_many__refuses_a_bad_query_and_gives_nothing(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    w->queries[9][3] = NAN;
    w->counts[0] = 7;
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_index_search_many(
            w->index, w->queries[0], 20, &(kd_search){.k = 5}, w->hits, w->counts, w->pool, &err),
        err);
    CHECK_HAS("value 3 of query 9", err.message);
    CHECK_INT(0, w->counts[0]);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_index_search_many(
            w->index, w->queries[0], 5, &(kd_search){.k = 1001}, w->hits, w->counts, w->pool, &err),
        err);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_search_many__equals_one_search_after_the_other),
        TEST(test_search_many__filters_from_a_thousandth_to_all),
        TEST(test_search_many__groups_and_cuts_off),
        TEST(test_search_many__orders_a_collapsed_collection),
        TEST(test_search_many__refuses_a_bad_query_and_gives_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
