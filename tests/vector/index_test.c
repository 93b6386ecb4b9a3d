#include "tests/support/check.h"
#include "tests/vector/model.h"

enum { DIM = 48, ROWS = 1500 };

/* What should be in the index, by id. */
typedef struct world {
    kd_index *index;
    uint64_t seed;
    bool there[ROWS];
    uint32_t tags[ROWS];
    float vectors[ROWS][DIM];
} world;

static int set_up(void **state)
{
    kd_error err = KD_ERROR_INIT;
    world *w = calloc(1, sizeof *w);
    if (!w || kd_vector_init(&err) != KD_OK || kd_index_new(&w->index, DIM, &err) != KD_OK)
        return 1;
    w->seed = 42;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    world *w = *state;
    kd_index_free(w->index);
    free(w);
    return 0;
}

static void put(world *w, uint64_t id, uint32_t tag, const float *vector)
{
    kd_error err = KD_ERROR_INIT;
    w->there[id] = true;
    w->tags[id] = tag;
    memcpy(w->vectors[id], vector, sizeof w->vectors[id]);
    CHECK_OK(kd_index_upsert(w->index, 1, &id, &tag, vector, &err), err);
}

/* Every seventh is a copy of an earlier one: ties to resolve. */
static void fill(world *w, size_t n)
{
    for (uint64_t id = 0; id < n; id++) {
        float vector[DIM];
        unit_vector(&w->seed, DIM, vector);
        if (id >= 7 && id % 7 == 0)
            memcpy(vector, w->vectors[id / 7], sizeof vector);
        put(w, id, (uint32_t)(id % 5), vector);
    }
}

static bool passes(const kd_search *search, uint64_t id, uint32_t tag)
{
    bool good = (!search->mask && !search->groups) || tag < search->n_tags;
    good = good && (!search->mask || search->mask[tag / 8] >> (tag % 8) & 1);
    for (size_t i = 0; i < search->n_exclude; i++)
        good &= search->exclude[i] != id;
    return good;
}

/* Of ordered rows. */
static size_t cut_and_group(const world *w, const kd_search *search, model_row *rows, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        bool first = !search->min_score || rows[i].score >= (double)*search->min_score;
        for (size_t j = 0; search->groups && j < kept; j++)
            first &= search->groups[w->tags[rows[j].id]] != search->groups[w->tags[rows[i].id]];
        if (first)
            rows[kept++] = rows[i];
    }
    return kept;
}

static void check_search(world *w, const float *query, const kd_search *search)
{
    static model_row rows[ROWS];
    static kd_hit hits[KD_VECTOR_MAX_K];
    kd_error err = KD_ERROR_INIT;
    size_t n = 0, n_hits = 0;
    for (uint64_t id = 0; id < ROWS; id++)
        if (w->there[id] && passes(search, id, w->tags[id]))
            rows[n++] = (model_row){id, model_dot(query, w->vectors[id], DIM)};
    qsort(rows, n, sizeof rows[0], model_order);
    n = cut_and_group(w, search, rows, n);
    CHECK_OK(kd_index_search(w->index, query, search, hits, &n_hits, &err), err);
    CHECK_INT(n < search->k ? n : search->k, n_hits);
    for (size_t i = 0; i < n_hits; i++) {
        CHECK(model_agrees(rows, n, i, &hits[i]));
        const float exact = kd_dot(query, w->vectors[hits[i].id], DIM);
        assert_memory_equal(&exact, &hits[i].score, sizeof exact);
    }
}

static void test_index_search__equals_brute_force_with_ties(void **state)
{
    world *w = *state;
    fill(w, ROWS);
    CHECK_INT(ROWS, kd_index_count(w->index));
    static const size_t ks[] = {1, 2, 5, 10, 100, 1000};
    for (size_t i = 0; i < 60; i++) {
        float query[DIM];
        unit_vector(&w->seed, DIM, query);
        if (i % 3 == 0) /* one with copies of itself in the index */
            memcpy(query, w->vectors[i + 1], sizeof query);
        check_search(w, query, &(kd_search){.k = ks[i % 6]});
    }
}

static void test_index_search__filters_by_tags_and_leaves_out_ids(void **state)
{
    world *w = *state;
    fill(w, ROWS);
    static const uint8_t masks[] = {1u << 3, 1u << 3 | 1u << 1, 0, 0xff};
    for (size_t i = 0; i < 40; i++) {
        float query[DIM];
        memcpy(query, w->vectors[i * 31], sizeof query);
        const uint64_t exclude[] = {i * 31, i, 1u << 30, i};
        const uint8_t *const mask = &masks[i % 4];
        check_search(w, query, &(kd_search){.k = 10, .mask = mask, .n_tags = 8});
        check_search(w, query, &(kd_search){.k = 10, .mask = mask, .n_tags = 3});
        check_search(w, query, &(kd_search){.k = 10, .exclude = exclude, .n_exclude = 4});
        check_search(w, query,
            &(kd_search){.k = 300, .mask = mask, .n_tags = 8, .exclude = exclude, .n_exclude = 4});
    }
}

/* Few groups, many, some of a single row, and copies; a score to cut off at in between. */
static void test_index_search__gives_the_best_of_each_group_and_cuts_off(void **state)
{
    world *w = *state;
    static uint32_t groups[ROWS];
    fill(w, ROWS);
    for (uint64_t id = 0; id < ROWS; id++)
        put(w, id, (uint32_t)id, w->vectors[id]);
    static const uint32_t sizes[] = {1, 3, 40, 700};
    for (size_t i = 0; i < 40; i++) {
        const uint64_t exclude[] = {i * 31};
        float query[DIM];
        memcpy(query, w->vectors[i * 31], sizeof query);
        for (uint32_t id = 0; id < ROWS; id++)
            groups[id] = id / sizes[i % 4] * 1000003;
        kd_search search = {.k = 1 + i * 7 % 60, .groups = groups, .n_tags = ROWS};
        check_search(w, query, &search);
        search.exclude = exclude;
        search.n_exclude = 1;
        check_search(w, query, &search);
        const float some = 0.3f, none = 1.5f, all = -1;
        search.min_score = &some;
        check_search(w, query, &search);
        search.groups = NULL;
        search.k = 100;
        check_search(w, query, &search);
        search.min_score = &none;
        check_search(w, query, &search);
        search.min_score = &all;
        check_search(w, query, &search);
    }
}

static void test_index_search__finds_the_lowest_ids_among_a_thousand_copies(void **state)
{
    world *w = *state;
    float vector[DIM], query[DIM];
    unit_vector(&w->seed, DIM, vector);
    unit_vector(&w->seed, DIM, query);
    for (uint64_t id = ROWS; id-- > 0;)
        put(w, id, (uint32_t)(id % 2), vector);
    const uint8_t odd = 1u << 1;
    const uint32_t groups[] = {7, 7};
    check_search(w, query, &(kd_search){.k = 5});
    check_search(w, query, &(kd_search){.k = 200, .mask = &odd, .n_tags = 2});
    check_search(w, query, &(kd_search){.k = 200, .groups = groups, .n_tags = 2});
    check_search(w, vector, &(kd_search){.k = 1000});
}

static void test_index_search__gives_what_is_there_when_k_is_more(void **state)
{
    world *w = *state;
    float query[DIM];
    unit_vector(&w->seed, DIM, query);
    check_search(w, query, &(kd_search){.k = 5}); /* empty */
    fill(w, 3);
    check_search(w, query, &(kd_search){.k = 1000});
    const uint64_t all[] = {0, 1, 2};
    check_search(w, query, &(kd_search){.k = 5, .exclude = all, .n_exclude = 3});
}

static void test_index_changes__agree_with_a_model_over_a_thousand_steps(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    size_t n = 0;
    for (size_t step = 0; step < 1000; step++) {
        const uint64_t id = next_random(&w->seed) % 200;
        float vector[DIM];
        unit_vector(&w->seed, DIM, vector);
        if (next_random(&w->seed) % 8 == 0)
            memcpy(vector, w->vectors[0], sizeof vector);
        if (w->vectors[0][0] == 0.0f && w->vectors[0][1] == 0.0f)
            unit_vector(&w->seed, DIM, vector); /* nothing to copy yet */
        if (next_random(&w->seed) % 3) {
            n += !w->there[id];
            put(w, id, (uint32_t)(next_random(&w->seed) % 4), vector);
        } else {
            const uint64_t ids[] = {id, id, 12345}; /* twice, and one that is not there */
            size_t removed = 99;
            CHECK_OK(kd_index_remove(w->index, 3, ids, &removed, &err), err);
            CHECK_INT(w->there[id], removed);
            n -= w->there[id];
            w->there[id] = false;
        }
        CHECK_INT(n, kd_index_count(w->index));
        const uint64_t other = next_random(&w->seed) % 200;
        CHECK_INT(w->there[other], kd_index_get(w->index, other, vector));
        if (w->there[other])
            assert_memory_equal(w->vectors[other], vector, sizeof vector);
        unit_vector(&w->seed, DIM, vector);
        const uint8_t mask = (uint8_t)(1u << step % 4);
        check_search(w, vector, &(kd_search){.k = 7, .mask = step % 2 ? &mask : NULL, .n_tags = 4});
    }
}

static void test_index_remove__everything_and_start_again(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    static uint64_t ids[ROWS];
    for (uint64_t id = 0; id < ROWS; id++)
        ids[id] = id;
    for (size_t round = 0; round < 2; round++) {
        size_t removed = 0;
        fill(w, ROWS);
        CHECK_OK(kd_index_remove(w->index, ROWS, ids, &removed, &err), err);
        CHECK_INT(ROWS, removed);
        CHECK_INT(0, kd_index_count(w->index));
        memset(w->there, 0, sizeof w->there);
    }
    fill(w, 20);
    check_search(w, w->vectors[3], &(kd_search){.k = 20});
}

static void test_index_upsert__takes_the_last_of_an_id_given_twice(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    float vectors[3][DIM], got[DIM];
    for (size_t i = 0; i < 3; i++)
        unit_vector(&w->seed, DIM, vectors[i]);
    const uint64_t ids[] = {9, 4, 9};
    const uint32_t tags[] = {1, 1, 2};
    CHECK_OK(kd_index_upsert(w->index, 3, ids, tags, vectors[0], &err), err);
    CHECK_INT(2, kd_index_count(w->index));
    CHECK(kd_index_get(w->index, 9, got));
    assert_memory_equal(vectors[2], got, sizeof got);
    kd_hit hit;
    size_t n = 0;
    const uint8_t mask = 1u << 2;
    CHECK_OK(kd_index_search(
                 w->index, got, &(kd_search){.k = 1, .mask = &mask, .n_tags = 3}, &hit, &n, &err),
        err);
    CHECK_INT(1, n);
    CHECK_INT(9, hit.id);
}

static void test_index_upsert__refuses_a_bad_vector_and_changes_nothing(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    fill(w, 10);
    float vectors[2][DIM];
    const uint64_t ids[] = {3, 501};
    const uint32_t tags[] = {4, 4};
    const float bad[] = {NAN, INFINITY, 0.0f};
    for (size_t i = 0; i < 3; i++) {
        unit_vector(&w->seed, DIM, vectors[0]);
        unit_vector(&w->seed, DIM, vectors[1]);
        if (bad[i] == 0.0f)
            memset(vectors[1], 0, sizeof vectors[1]);
        vectors[1][5] = bad[i];
        CHECK_FAILS(
            KD_INVALID_ARGUMENT, kd_index_upsert(w->index, 2, ids, tags, vectors[0], &err), err);
        CHECK_HAS("image 501", err.message);
        CHECK_INT(10, kd_index_count(w->index));
        check_search(w, w->vectors[3], &(kd_search){.k = 10});
    }
}

static void test_index_search__refuses_bad_k_and_bad_queries(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    kd_hit hit;
    size_t n = 1;
    fill(w, 4);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_index_search(w->index, w->vectors[0], &(kd_search){.k = 0}, &hit, &n, &err), err);
    CHECK_HAS("k is 0, allowed are 1 to 1000", err.message);
    CHECK_INT(0, n);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_index_search(w->index, w->vectors[0], &(kd_search){.k = 1001}, &hit, &n, &err), err);
    float query[DIM] = {0};
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_index_search(w->index, query, &(kd_search){.k = 1}, &hit, &n, &err), err);
    CHECK_HAS("the query has length 0", err.message);
    query[0] = NAN;
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_index_search(w->index, query, &(kd_search){.k = 1}, &hit, &n, &err), err);
}

static void test_index_new__refuses_bad_dimensions(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_index *index;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_index_new(&index, 0, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_index_new(&index, 4097, &err), err);
    CHECK_HAS("4097", err.message);
    assert_null(index);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_index_search__equals_brute_force_with_ties),
        TEST(test_index_search__filters_by_tags_and_leaves_out_ids),
        TEST(test_index_search__gives_the_best_of_each_group_and_cuts_off),
        TEST(test_index_search__finds_the_lowest_ids_among_a_thousand_copies),
        TEST(test_index_search__gives_what_is_there_when_k_is_more),
        TEST(test_index_changes__agree_with_a_model_over_a_thousand_steps),
        TEST(test_index_remove__everything_and_start_again),
        TEST(test_index_upsert__takes_the_last_of_an_id_given_twice),
        TEST(test_index_upsert__refuses_a_bad_vector_and_changes_nothing),
        TEST(test_index_search__refuses_bad_k_and_bad_queries),
        cmocka_unit_test(test_index_new__refuses_bad_dimensions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
