/* The vector loops against one score at a time, with every length and place that a loop can end at.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/eval/scan.h"
#include "tests/support/check.h"

enum { MOST = 600, NOBODY = 100000 };

static float g_row[MOST];

static int set_up(void **state)
{
    uint64_t drawn = 7;
    (void)state;
    for (size_t i = 0; i < MOST; i++)
        g_row[i] = (float)(kd_random_next(&drawn) >> 40) * 0x1p-23f - 1;
    g_row[3] = -1.002f; /* as rounding and lengths within 1e-3 of 1 allow */
    g_row[4] = -1;
    g_row[5] = 1;
    g_row[6] = 1.002f;
    g_row[7] = 0;
    g_row[8] = g_row[300];
    return 0;
}

static void test_eval_scan__bins_are_2048ths(void **state)
{
    (void)state;
    CHECK_INT(0, kd_scan_bin(-1.002f));
    CHECK_INT(0, kd_scan_bin(-1));
    CHECK_INT(0, kd_scan_bin(-0.9996f));
    CHECK_INT(1, kd_scan_bin(-0.9995f));
    CHECK_INT(2047, kd_scan_bin(-1e-6f));
    CHECK_INT(2048, kd_scan_bin(0));
    CHECK_INT(4095, kd_scan_bin(0.9999f));
    CHECK_INT(4095, kd_scan_bin(1));
    CHECK_INT(4095, kd_scan_bin(1.002f));
}

static void test_eval_scan__counts_each_score_in_its_bin(void **state)
{
    (void)state;
    for (size_t n = 0; n <= MOST; n++) {
        uint32_t expected[KD_EVAL_BINS] = {[9] = 1}, counts[KD_EVAL_BINS] = {[9] = 1};
        for (size_t i = 0; i < n; i++)
            expected[kd_scan_bin(g_row[i])]++;
        kd_scan_count(g_row, n, counts);
        CHECK(memcmp(expected, counts, sizeof counts) == 0);
    }
}

static void check_reach(size_t n, float floor, uint32_t self)
{
    /* As much room as is promised: a sanitizer sees what goes beyond. */
    float *const row = malloc(n * sizeof *row + 1);
    kd_ranked *const found = malloc((n + 1) * sizeof *found);
    CHECK(row && found);
    memcpy(row, g_row, n * sizeof *row);
    const size_t n_found = kd_scan_reach(row, n, floor, self, found);
    size_t expected = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (g_row[i] < floor || i == self)
            continue;
        CHECK(expected < n_found);
        CHECK_INT(i, found[expected].place);
        CHECK_NEAR((double)g_row[i], (double)found[expected].score, 0);
        expected++;
    }
    CHECK_INT(expected, n_found);
    free(found);
    free(row);
}

static void test_eval_scan__finds_what_reaches_the_floor(void **state)
{
    static const float floors[] = {-2, -1, 0, 0.9f, 1, 2};
    (void)state;
    for (size_t f = 0; f < sizeof floors / sizeof floors[0]; f++)
        for (size_t n = 0; n <= MOST; n += n < 40 ? 1 : 7)
            check_reach(n, floors[f], NOBODY);
    for (uint32_t self = 0; self < MOST; self++) /* at the floor itself, or not */
        check_reach(MOST, g_row[8], self);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_eval_scan__bins_are_2048ths),
        cmocka_unit_test(test_eval_scan__counts_each_score_in_its_bin),
        cmocka_unit_test(test_eval_scan__finds_what_reaches_the_floor),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
