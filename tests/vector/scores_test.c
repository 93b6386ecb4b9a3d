#include <stdatomic.h>

#include "tests/support/check.h"
#include "tests/vector/model.h"

enum { DIM = 24, MOST = 12000, FEW = 700, COLUMNS = 97 };

typedef struct world {
    float vectors[MOST][DIM];
    uint32_t visits[MOST];
    float kept[FEW][FEW];
    bool keep;
    atomic_bool wrong;
    size_t stop_at; /* queries done, or SIZE_MAX */
    kd_scores scores;
} world;

/* Looks at every COLUMNS-th score of each row and at those beside the diagonal, or at all. */
static bool visit(void *arg, size_t first, size_t n, float *scores)
{
    world *const w = arg;
    const size_t columns = w->scores.n_gallery;
    const float margin = kd_score_margin(DIM);
    for (size_t i = 0; i < n; i++) {
        const float *const row = scores + i * columns;
        const size_t q = first + i;
        w->visits[q]++;
        for (size_t c = 0; c < columns; c++) {
            if (!w->keep && c % COLUMNS != q % COLUMNS && c + 1 != q && c != q && c != q + 1)
                continue;
            const float exact =
                kd_dot(w->scores.queries + q * DIM, w->scores.gallery + c * DIM, DIM);
            if (!(fabsf(row[c] - exact) <= margin))
                atomic_store(&w->wrong, true); /* not on a pool's thread: fail_msg */
        }
        if (w->keep)
            memcpy(w->kept[q], row, columns * sizeof row[0]);
        memset(scores + i * columns, 0, columns * sizeof row[0]); /* ours to change */
    }
    return true;
}

static bool go_on(void *arg, size_t done)
{
    const world *const w = arg;
    return done < w->stop_at;
}

static int set_up(void **state)
{
    kd_error err = KD_ERROR_INIT;
    world *const w = calloc(1, sizeof *w);
    uint64_t seed = 5;
    *state = w;
    if (!w || kd_vector_init(&err) != KD_OK)
        return 1;
    for (size_t i = 0; i < MOST; i++)
        unit_vector(&seed, DIM, w->vectors[i]);
    w->stop_at = SIZE_MAX;
    w->scores = (kd_scores){.queries = w->vectors[0],
        .gallery = w->vectors[0],
        .dim = DIM,
        .progress = go_on,
        .progress_arg = w,
        .visit = visit,
        .visit_arg = w};
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

static void run(world *w, size_t n_queries, size_t n_gallery)
{
    kd_error err = KD_ERROR_INIT;
    w->scores.n_queries = n_queries;
    w->scores.n_gallery = n_gallery;
    memset(w->visits, 0, sizeof w->visits);
    CHECK_OK(kd_scores_run(&w->scores, &err), err);
    CHECK(!atomic_load(&w->wrong));
    for (size_t q = 0; q < MOST; q++)
        CHECK_INT(q < n_queries, w->visits[q]);
}

static void test_scores_run__visits_each_query_with_all_its_scores(void **state)
{
    static const size_t sizes[] = {1, 7, 255, 256, 257, 511, 512, 513, FEW};
    world *const w = *state;
    w->keep = true;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        run(w, sizes[i], sizes[i]); /* the queries are the gallery */
        run(w, sizes[i], FEW);      /* its first images */
        run(w, FEW, sizes[i]);      /* more than it has */
        w->scores.queries = w->vectors[FEW];
        run(w, sizes[i], FEW); /* others */
        w->scores.queries = w->vectors[0];
    }
}

static void test_scores_run__is_the_same_with_any_number_of_threads(void **state)
{
    world *const w = *state;
    kd_error err = KD_ERROR_INIT;
    static float alone[FEW][FEW];
    w->keep = true;
    run(w, FEW, FEW);
    memcpy(alone, w->kept, sizeof alone);
    for (size_t threads = 1; threads <= 4; threads++) {
        CHECK_OK(kd_pool_new(&w->scores.pool, "scores", threads, 64, &err), err);
        run(w, FEW, FEW);
        kd_pool_free(w->scores.pool);
        for (size_t q = 0; q < FEW; q++)
            for (size_t c = 0; c < FEW; c++)
                CHECK(alone[q][c] == w->kept[q][c]);
    }
}

/* More than what waits for its taker has room for. */
static void test_scores_run__scores_what_lies_too_far_apart_to_wait(void **state)
{
    world *const w = *state;
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(kd_pool_new(&w->scores.pool, "scores", 3, 64, &err), err);
    run(w, MOST, MOST);
    kd_pool_free(w->scores.pool);
}

static void test_scores_run__stops_when_told(void **state)
{
    world *const w = *state;
    kd_error err = KD_ERROR_INIT;
    CHECK_OK(kd_pool_new(&w->scores.pool, "scores", 3, 64, &err), err);
    w->scores.n_queries = w->scores.n_gallery = 4000;
    for (w->stop_at = 1; w->stop_at < 4000; w->stop_at += 999)
        CHECK_FAILS(KD_CANCELLED, kd_scores_run(&w->scores, &err), err);
    kd_pool_free(w->scores.pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_scores_run__visits_each_query_with_all_its_scores),
        TEST(test_scores_run__is_the_same_with_any_number_of_threads),
        TEST(test_scores_run__scores_what_lies_too_far_apart_to_wait),
        TEST(test_scores_run__stops_when_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
