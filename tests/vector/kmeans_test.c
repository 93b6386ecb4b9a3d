#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/vector/vector.h"
#include "tests/support/check.h"

enum { N = 300, DIM = 8, K = 5 };

static kd_error g_err = KD_ERROR_INIT;

static float draw(uint64_t *state)
{
    return (float)(kd_random_next(state) >> 40) * 0x1p-23f - 1;
}

/* Row i lies near corner i % K, or anywhere where spread is 1. */
static float *make_rows(float spread)
{
    uint64_t state = 11;
    float *const rows = calloc(N * DIM, sizeof *rows);
    for (size_t i = 0; i < N; i++)
        for (size_t d = 0; d < DIM; d++)
            rows[i * DIM + d] = (d == i % K ? 1.0f : 0.0f) + spread * draw(&state);
    return rows;
}

static void test_vector_kmeans__finds_what_lies_together(void **state)
{
    uint32_t clusters[N], again[N];
    float *const rows = make_rows(0.1f);
    (void)state;
    CHECK_OK(kd_kmeans(rows, N, DIM, K, clusters, NULL, NULL, &g_err), g_err);
    for (size_t i = 0; i < N; i++) {
        CHECK(clusters[i] < K);
        CHECK_INT(clusters[i % K], clusters[i]);
        for (size_t j = 0; j < i % K; j++)
            CHECK(clusters[i] != clusters[j]);
    }
    CHECK_OK(kd_kmeans(rows, N, DIM, K, again, NULL, NULL, &g_err), g_err);
    CHECK(memcmp(clusters, again, sizeof clusters) == 0);
    free(rows);
}

/* Each row goes to the centre that is nearest: moving one to another cluster makes the sum of
 * distances to the clusters' means no smaller. */
static void test_vector_kmeans__leaves_no_row_nearer_to_another_cluster(void **state)
{
    uint32_t clusters[N];
    double means[K][DIM] = {{0}}, sizes[K] = {0};
    float *const rows = make_rows(1.0f);
    (void)state;
    CHECK_OK(kd_kmeans(rows, N, DIM, K, clusters, NULL, NULL, &g_err), g_err);
    for (size_t i = 0; i < N; i++) {
        sizes[clusters[i]]++;
        for (size_t d = 0; d < DIM; d++)
            means[clusters[i]][d] += (double)rows[i * DIM + d];
    }
    size_t misplaced = 0;
    for (size_t i = 0; i < N; i++) {
        double own = 0, least = INFINITY;
        for (size_t c = 0; c < K; c++) {
            double distance = 0;
            for (size_t d = 0; d < DIM; d++)
                distance += pow((double)rows[i * DIM + d] - means[c][d] / sizes[c], 2);
            own = c == clusters[i] ? distance : own;
            least = fmin(least, distance);
        }
        misplaced += own > least + 1e-9;
    }
    CHECK(misplaced < N / 20); /* 25 rounds need not end it */
    free(rows);
}

static void test_vector_kmeans__each_row_can_be_its_own(void **state)
{
    uint32_t clusters[K];
    bool seen[K] = {false};
    float *const rows = make_rows(0.1f);
    (void)state;
    CHECK_OK(kd_kmeans(rows, K, DIM, K, clusters, NULL, NULL, &g_err), g_err);
    for (size_t i = 0; i < K; i++) {
        CHECK(!seen[clusters[i]]);
        seen[clusters[i]] = true;
    }
    CHECK_OK(kd_kmeans(rows, K, DIM, 1, clusters, NULL, NULL, &g_err), g_err);
    CHECK_INT(0, clusters[K - 1]);
    free(rows);
}

static void test_vector_kmeans__refuses_what_cannot_be(void **state)
{
    uint32_t clusters[N];
    float *const rows = make_rows(0.1f);
    (void)state;
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_kmeans(rows, N, DIM, 0, clusters, NULL, NULL, &g_err), g_err);
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_kmeans(rows, 4, DIM, 5, clusters, NULL, NULL, &g_err), g_err);
    CHECK_STR("4 rows don't make 5 clusters", g_err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_kmeans(rows, (size_t)1 << 20, DIM, 1 << 10, clusters, NULL, NULL, &g_err), g_err);
    CHECK_HAS("take too long", g_err.message);
    free(rows);
}

static bool count_down(void *arg)
{
    unsigned *const left = arg;
    return (*left)-- > 0;
}

static void test_vector_kmeans__ends_when_it_is_told_to(void **state)
{
    uint32_t clusters[N];
    float *const rows = make_rows(1.0f);
    (void)state;
    for (unsigned steps = 0; steps <= K; steps++) { /* among the centres, then among the rounds */
        unsigned left = steps;
        CHECK_FAILS(
            KD_CANCELLED, kd_kmeans(rows, N, DIM, K, clusters, count_down, &left, &g_err), g_err);
        CHECK_INT(UINT_MAX, left); /* asked no more after that */
    }
    free(rows);
}

/* Rows that are all the same leave clusters empty, which are filled. */
static void test_vector_kmeans__copies_of_one_row_are_no_trouble(void **state)
{
    uint32_t clusters[N];
    float *const rows = calloc(N * DIM, sizeof *rows);
    (void)state;
    CHECK_OK(kd_kmeans(rows, N, DIM, K, clusters, NULL, NULL, &g_err), g_err);
    for (size_t i = 0; i < N; i++)
        CHECK_INT(clusters[0], clusters[i]);
    free(rows);
}

int main(void)
{
    kd_error err = KD_ERROR_INIT;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vector_kmeans__finds_what_lies_together),
        cmocka_unit_test(test_vector_kmeans__leaves_no_row_nearer_to_another_cluster),
        cmocka_unit_test(test_vector_kmeans__each_row_can_be_its_own),
        cmocka_unit_test(test_vector_kmeans__refuses_what_cannot_be),
        cmocka_unit_test(test_vector_kmeans__ends_when_it_is_told_to),
        cmocka_unit_test(test_vector_kmeans__copies_of_one_row_are_no_trouble),
    };
    if (kd_vector_init(&err) != KD_OK) {
        (void)fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
