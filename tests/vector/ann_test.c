/* kd_ann: recall floors beside exact search on seeded clusters, filters, files, threads. */
#include <stdio.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "tests/support/check.h"
#include "tests/vector/model.h"

enum { DIM = 32, ROWS = 6000 / FEWER, CENTRES = 300 / FEWER, QUERIES = 100 / FEWER, K = 10 };

typedef struct world {
    kd_pool *pool;
    kd_rows rows;
    uint64_t ids[ROWS];
    uint32_t tags[ROWS], groups[ROWS];
    uint8_t mask[ROWS / 8 + 1];
    float vectors[ROWS][DIM], queries[QUERIES][DIM];
} world;

static void draw(const float *centre, uint64_t *seed, float *out)
{
    double squares = 0;
    unit_vector(seed, DIM, out);
    for (size_t i = 0; i < DIM; i++) {
        out[i] = centre[i] + 0.7f * out[i];
        squares += (double)out[i] * (double)out[i];
    }
    for (size_t i = 0; i < DIM; i++)
        out[i] = (float)((double)out[i] / sqrt(squares));
}

/* Made once: no test changes the rows. */
static int set_up(void **state)
{
    static float centres[CENTRES][DIM];
    kd_error err = KD_ERROR_INIT;
    world *w = calloc(1, sizeof *w);
    uint64_t seed = 21;
    if (!w || kd_vector_init(&err) != KD_OK || kd_pool_new(&w->pool, "ann", 2, 16, &err) != KD_OK)
        return 1;
    for (size_t i = 0; i < CENTRES; i++)
        unit_vector(&seed, DIM, centres[i]);
    for (size_t i = 0; i < ROWS; i++) {
        w->ids[i] = (i * 7919) % ROWS + 3;
        w->tags[i] = (uint32_t)(ROWS - 1 - i);
        w->groups[i] = (uint32_t)(next_random(&seed) % (ROWS / 5));
        draw(centres[next_random(&seed) % CENTRES], &seed, w->vectors[i]);
        if (i % 50 == 49)
            memcpy(w->vectors[i], w->vectors[i / 2], sizeof w->vectors[i]);
    }
    for (size_t i = 0; i < QUERIES; i++)
        draw(centres[next_random(&seed) % CENTRES], &seed, w->queries[i]);
    w->rows = (kd_rows){w->vectors[0], w->ids, w->tags, ROWS, DIM};
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    world *w = *state;
    kd_pool_free(w->pool);
    free(w);
    return 0;
}

static kd_ann *build(world *w, kd_ann_kind kind, kd_ann_storage storage, kd_pool *pool)
{
    kd_error err = KD_ERROR_INIT;
    kd_ann *ann = NULL;
    kd_ann_options options = KD_ANN_OPTIONS_INIT;
    options.kind = kind;
    options.storage = storage;
    options.seed = 5;
    options.pool = pool;
    CHECK_OK(kd_ann_build(&ann, &w->rows, &options, &err), err);
    return ann;
}

/* What part of an exact search's hits it finds; what it says of those it finds must be true. */
static double recall(const world *w, const kd_ann *ann, const kd_search *search, size_t effort)
{
    static kd_hit exact[QUERIES * KD_VECTOR_MAX_K], hits[KD_VECTOR_MAX_K];
    uint32_t counts[QUERIES];
    kd_error err = KD_ERROR_INIT;
    size_t right = 0, of = 0;
    CHECK_OK(
        kd_rows_search_many(&w->rows, w->queries[0], QUERIES, search, exact, counts, w->pool, &err),
        err);
    for (size_t q = 0; q < QUERIES; q++) {
        const kd_hit *const truth = exact + q * search->k;
        size_t n = 0;
        CHECK_OK(kd_ann_search(ann, w->queries[q], search, effort, hits, &n, &err), err);
        if (search->min_score)
            CHECK(n <= counts[q]);
        else
            CHECK_INT(counts[q], n);
        of += counts[q];
        for (size_t i = 0, t = 0; i < n; i++) {
            CHECK(i == 0 || hits[i - 1].score > hits[i].score ||
                  (hits[i - 1].score == hits[i].score && hits[i - 1].id < hits[i].id));
            while (
                t < counts[q] && (truth[t].score > hits[i].score ||
                                     (truth[t].score == hits[i].score && truth[t].id < hits[i].id)))
                t++;
            right += t < counts[q] && truth[t].id == hits[i].id;
            if (t < counts[q] && truth[t].id == hits[i].id)
                assert_memory_equal(&truth[t].score, &hits[i].score, sizeof hits[i].score);
        }
    }
    return of ? (double)right / (double)of : 1;
}

static void check_same(const kd_hit *one, const kd_hit *other, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        CHECK_INT(one[i].id, other[i].id);
        assert_memory_equal(&one[i].score, &other[i].score, sizeof one[i].score);
    }
}

static void set_mask(world *w, uint64_t of_1000)
{
    uint64_t seed = 77;
    memset(w->mask, 0, sizeof w->mask);
    for (size_t tag = 0; tag < ROWS; tag++)
        w->mask[tag / 8] |= (uint8_t)((next_random(&seed) % 1000 < of_1000) << tag % 8);
}

static void check_engine(world *w, kd_ann_kind kind, kd_ann_storage storage)
{
    static const uint64_t of_1000[] = {0, 1, 10, 100, 500, 900};
    kd_ann *const ann = build(w, kind, storage, w->pool);
    CHECK(kd_ann_recall(ann) >= 0.95f);
    CHECK(kd_ann_made_for(ann, kind, storage, 0.95f) && !kd_ann_made_for(ann, kind, storage, 0.9f));
    CHECK(recall(w, ann, &(kd_search){.k = K}, 0) >= 0.93);
    CHECK(recall(w, ann, &(kd_search){.k = 1}, 0) >= 0.93);
    /* beyond a cluster's own rows, which the tuning did not look at */
    CHECK(recall(w, ann, &(kd_search){.k = 100}, 0) >= 0.85);
    for (size_t i = 0; i < sizeof of_1000 / sizeof of_1000[0]; i++) {
        set_mask(w, of_1000[i]);
        const kd_search search = {.k = K, .mask = w->mask, .n_tags = ROWS};
        CHECK(recall(w, ann, &search, 0) >= 0.93);
        (void)recall(w, ann, &search, 1); /* the least effort: as many hits, all the same */
    }
    const float cut = 0.85f;
    const uint64_t exclude[] = {w->ids[3], w->ids[70], 999999};
    const kd_search grouped = {.k = K, .groups = w->groups, .n_tags = ROWS};
    const kd_search all = {.k = K,
        .groups = w->groups,
        .mask = w->mask,
        .n_tags = ROWS,
        .min_score = &cut,
        .exclude = exclude,
        .n_exclude = 3};
    CHECK(recall(w, ann, &grouped, 0) >= 0.93);
    CHECK(recall(w, ann, &all, 0) >= 0.9);
    kd_ann_free(ann);
}

static void test_ann_hnsw__reaches_its_recall(void **state)
{
    for (int storage = KD_ANN_FLOAT32; storage <= KD_ANN_INT8; storage += FEWER)
        check_engine(*state, KD_ANN_HNSW, (kd_ann_storage)storage);
}

static void test_ann_ivf__reaches_its_recall(void **state)
{
    for (int storage = KD_ANN_FLOAT32; storage <= KD_ANN_INT8; storage += FEWER)
        check_engine(*state, KD_ANN_IVF, (kd_ann_storage)storage);
}

static void test_ann_search__of_few_rows_is_exact(void **state)
{
    world *w = *state;
    const size_t all = w->rows.n;
    w->rows.n = 900;
    kd_ann *const ann = build(w, KD_ANN_HNSW, KD_ANN_INT8, NULL);
    CHECK(kd_ann_recall(ann) == 1);
    CHECK(recall(w, ann, &(kd_search){.k = 30}, 0) == 1);
    kd_ann_free(ann);
    w->rows.n = 0;
    kd_ann *const empty = build(w, KD_ANN_IVF, KD_ANN_INT8, NULL);
    CHECK(recall(w, empty, &(kd_search){.k = 30}, 0) == 1);
    kd_ann_free(empty);
    w->rows.n = all;
}

/* ---- Files ---- */

static void make_path(char *path, size_t size)
{
    (void)snprintf(path, size, "%s/ann_test.%d", KD_BINARY_DIR, (int)getpid());
}

static void check_file(world *w, kd_ann_kind kind)
{
    kd_error err = KD_ERROR_INIT;
    char path[4096];
    kd_buf bytes = {0};
    kd_ann *const ann = build(w, kind, KD_ANN_INT8, NULL), *again = NULL;
    make_path(path, sizeof path);
    CHECK_OK(kd_ann_save(ann, path, &err), err);
    CHECK_OK(kd_ann_load(&again, &w->rows, path, &err), err);
    CHECK(kd_ann_recall(ann) == kd_ann_recall(again));
    CHECK(kd_ann_made_for(again, kind, KD_ANN_INT8, 0.95f));
    CHECK_INT(kd_ann_effort(ann), kd_ann_effort(again));
    CHECK_INT(kd_ann_bytes(ann), kd_ann_bytes(again));
    for (size_t q = 0; q < QUERIES; q++) {
        kd_hit one[K], other[K];
        size_t n = 0, m = 0;
        CHECK_OK(kd_ann_search(ann, w->queries[q], &(kd_search){.k = K}, 0, one, &n, &err), err);
        CHECK_OK(
            kd_ann_search(again, w->queries[q], &(kd_search){.k = K}, 0, other, &m, &err), err);
        CHECK_INT(n, m);
        check_same(one, other, n);
    }
    kd_ann_free(again);
    kd_ann_free(ann);

    CHECK_OK(kd_file_read(path, 1u << 30, &bytes, &err), err);
    for (size_t i = 0; i < 40; i++) { /* the head, then everywhere */
        const size_t at = i < 20 ? i * 11 : (bytes.len - 1) * (i - 20) / 19;
        bytes.data[at] ^= 0x10;
        CHECK_OK(kd_file_write(path, bytes.data, bytes.len, &err), err);
        CHECK_FAILS(at < 8 ? KD_FAILED_PRECONDITION : KD_DATA_LOSS,
            kd_ann_load(&again, &w->rows, path, &err), err);
        assert_null(again);
        bytes.data[at] ^= 0x10;
    }
    CHECK_OK(kd_file_write(path, bytes.data, bytes.len - 1, &err), err);
    CHECK_FAILS(KD_DATA_LOSS, kd_ann_load(&again, &w->rows, path, &err), err);
    CHECK_OK(kd_file_write(path, bytes.data, bytes.len, &err), err);
    w->ids[9]++;
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_ann_load(&again, &w->rows, path, &err), err);
    w->ids[9]--;
    CHECK_HAS("of other vectors", err.message);
    (void)unlink(path);
    CHECK_FAILS(KD_NOT_FOUND, kd_ann_load(&again, &w->rows, path, &err), err);
    kd_buf_free(&bytes);
}

static void test_ann_load__gives_back_what_was_saved_or_says_what_is_wrong(void **state)
{
    world *w = *state;
    const size_t all = w->rows.n;
    w->rows.n = ROWS / 2;
    check_file(w, KD_ANN_HNSW);
    check_file(w, KD_ANN_IVF);
    w->rows.n = all;
}

/* ---- Threads ---- */

typedef struct side_by_side {
    world *w;
    const kd_ann *ann;
    kd_hit hits[QUERIES][K];
} side_by_side;

static void search_one(void *arg, size_t q)
{
    side_by_side *s = arg;
    kd_error err = KD_ERROR_INIT;
    size_t n = 0;
    CHECK_OK(kd_ann_search(s->ann, s->w->queries[q], &(kd_search){.k = K}, 10 + q % 3 * 20,
                 s->hits[q], &n, &err),
        err);
    CHECK_INT(K, n);
}

/* Each with an effort of its own. */
static void test_ann_search__is_the_same_side_by_side(void **state)
{
    world *w = *state;
    static side_by_side alone, together;
    const size_t all = w->rows.n;
    w->rows.n = ROWS * 2 / 3;
    kd_ann *const ann = build(w, KD_ANN_HNSW, KD_ANN_INT8, w->pool);
    alone = (side_by_side){.w = w, .ann = ann};
    together = alone;
    for (size_t q = 0; q < QUERIES; q++)
        search_one(&alone, q);
    kd_pool_for(w->pool, QUERIES, search_one, &together);
    check_same(alone.hits[0], together.hits[0], QUERIES * (size_t)K);
    kd_ann_free(ann);
    w->rows.n = all;
}

/* ---- Refusals ---- */

static bool stop(void *arg, size_t done, size_t of)
{
    size_t *const calls = arg;
    ++*calls;
    CHECK(done <= of);
    return false;
}

static bool stop_early(void *arg, size_t done, size_t of)
{
    CHECK(FEWER > 1 || done < of); /* not when all is done */
    return stop(arg, done, of);
}

static void test_ann_build__stops_when_told_and_refuses_what_makes_no_sense(void **state)
{
    world *w = *state;
    kd_error err = KD_ERROR_INIT;
    kd_ann *ann = NULL;
    kd_ann_options options = KD_ANN_OPTIONS_INIT;
    size_t calls = 0;
    options.progress = stop;
    options.progress_arg = &calls;
    CHECK_FAILS(KD_CANCELLED, kd_ann_build(&ann, &w->rows, &options, &err), err);
    CHECK_INT(1, calls);
    assert_null(ann);
    options.kind = KD_ANN_IVF;
    options.progress = stop_early;
    CHECK_FAILS(KD_CANCELLED, kd_ann_build(&ann, &w->rows, &options, &err), err);
    CHECK_INT(2, calls);
    assert_null(ann);
    options.target_recall = 1.5f;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_ann_build(&ann, &w->rows, &options, &err), err);
    const kd_rows none = {0};
    options.target_recall = 0.9f;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_ann_build(&ann, &none, &options, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ann_hnsw__reaches_its_recall),
        cmocka_unit_test(test_ann_ivf__reaches_its_recall),
        cmocka_unit_test(test_ann_search__of_few_rows_is_exact),
        cmocka_unit_test(test_ann_load__gives_back_what_was_saved_or_says_what_is_wrong),
        cmocka_unit_test(test_ann_search__is_the_same_side_by_side),
        cmocka_unit_test(test_ann_build__stops_when_told_and_refuses_what_makes_no_sense),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
