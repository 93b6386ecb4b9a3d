/* The kernels for vector units against the reference in C, and that one against sums in double. */
#include "lib/base/half.h"
#include "lib/vector/kernel.h"
#include "tests/support/check.h"
#include "tests/vector/model.h"

enum { MOST = 700 };

static const size_t dims[] = {
    1, 2, 7, 15, 16, 17, 31, 48, 63, 64, 65, 100, 127, 128, 129, 255, 512, 513, MOST};
enum { N_DIMS = sizeof dims / sizeof dims[0] };

/* Those of this CPU; the reference is one. */
static size_t kernels_here(const kd_kernels *all[3])
{
    size_t n = 0;
    all[n++] = &kd_kernels_plain;
    if (kd_kernels_avx2())
        all[n++] = kd_kernels_avx2();
    if (kd_kernels_avx512())
        all[n++] = kd_kernels_avx512();
    return n;
}

static void test_kernel_dot__is_within_the_margin(void **state)
{
    static float a[MOST], b[MOST], back[MOST];
    static uint8_t halves[2 * MOST + 1];
    const kd_kernels *all[3];
    const size_t n = kernels_here(all);
    uint64_t seed = 5;
    (void)state;
    for (size_t i = 0; i < N_DIMS * 20; i++) {
        const size_t dim = dims[i % N_DIMS];
        unit_vector(&seed, dim, a);
        unit_vector(&seed, dim, b);
        if (i % 3 == 0)
            memcpy(b, a, sizeof b);
        const double margin = (double)kd_score_margin(dim) / 2;
        kd_half_pack(b, dim, halves + 1); /* at an odd address */
        kd_half_unpack(halves + 1, dim, back);
        for (size_t k = 0; k < n; k++) {
            CHECK(fabs((double)all[k]->dot(a, b, dim) - model_dot(a, b, dim)) <= margin);
            CHECK(fabs((double)all[k]->dot_half(a, halves + 1, dim) - model_dot(a, back, dim)) <=
                  margin);
        }
    }
}

static void test_kernel_dot_bytes__is_exact(void **state)
{
    static int8_t a[KD_VECTOR_MAX_DIM];
    static uint8_t b[KD_VECTOR_MAX_DIM];
    const kd_kernels *all[3];
    const size_t n = kernels_here(all);
    uint64_t seed = 6;
    (void)state;
    for (size_t i = 0; i < N_DIMS * 20 + 2; i++) {
        const bool extreme = i >= N_DIMS * 20;
        const size_t dim = extreme ? KD_VECTOR_MAX_DIM : dims[i % N_DIMS];
        int32_t sum = 0;
        for (size_t d = 0; d < dim; d++) {
            a[d] =
                extreme ? (int8_t)(i % 2 ? -127 : 127) : (int8_t)(next_random(&seed) % 255 - 127);
            b[d] = extreme ? 255 : (uint8_t)next_random(&seed);
            sum += a[d] * b[d];
        }
        for (size_t k = 0; k < n; k++)
            CHECK_INT(sum, all[k]->dot_bytes(a, b, dim));
    }
}

static void test_kernel_tile__is_a_product_for_each_query_and_row(void **state)
{
    static float queries[KD_TILE_QUERIES][MOST], rows[KD_TILE_ROWS][MOST];
    static float panel[MOST * KD_TILE_QUERIES];
    const kd_kernels *all[3];
    const size_t n = kernels_here(all);
    uint64_t seed = 7;
    (void)state;
    for (size_t i = 0; i < N_DIMS * 4; i++) {
        const size_t dim = dims[i % N_DIMS], lanes = (1 + i % 4) * KD_TILE_LANES;
        float floors[KD_TILE_QUERIES];
        for (size_t q = 0; q < lanes; q++) {
            unit_vector(&seed, dim, queries[q]);
            floors[q] = q % 9 ? (float)next_unit(&seed) * 0.2f - 0.1f : -INFINITY;
            for (size_t d = 0; d < dim; d++)
                panel[d * lanes + q] = queries[q][d];
        }
        floors[lanes - 1] = INFINITY;
        kd_tile tile = {.panel = panel, .floors = floors, .lanes = lanes, .dim = dim};
        for (size_t r = 0; r < KD_TILE_ROWS; r++) {
            unit_vector(&seed, dim, rows[r]);
            tile.rows[r] = rows[r];
        }
        for (size_t k = 0; k < n; k++) {
            all[k]->tile(&tile);
            for (size_t r = 0; r < KD_TILE_ROWS; r++) {
                for (size_t q = 0; q < lanes; q++) {
                    const float score = tile.scores[r][q];
                    CHECK(fabs((double)score - model_dot(queries[q], rows[r], dim)) <=
                          (double)kd_score_margin(dim) / 2);
                    CHECK_INT(score >= floors[q], tile.reached[r] >> q & 1);
                }
                CHECK(lanes == KD_TILE_QUERIES || tile.reached[r] >> lanes == 0);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernel_dot__is_within_the_margin),
        cmocka_unit_test(test_kernel_dot_bytes__is_exact),
        cmocka_unit_test(test_kernel_tile__is_a_product_for_each_query_and_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
