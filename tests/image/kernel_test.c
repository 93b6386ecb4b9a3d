/* The fast loops beside the plain ones: the same bytes, on drawn and on extreme pixels. */
#include <stdlib.h>

#include "lib/base/random.h"
#include "lib/image/kernel.h"
#include "tests/image/picture.h"

#define ROWS 2u

/* 0: all black, 1: all white, 2: black and white in turn, 3 and on: drawn. */
static void fill(uint8_t *bytes, size_t len, unsigned kind, uint64_t *random)
{
    for (size_t i = 0; i < len; i++) {
        const uint8_t drawn = (uint8_t)(kd_random_next(random) >> 56);
        bytes[i] = kind == 0                               ? 0
                   : kind == 1 || (kind == 2 && i / 3 % 2) ? 255
                   : kind == 2                             ? 0
                                                           : drawn;
    }
}

/* A block of its own each, so that a read or a write past the end shows. */
static void *block(size_t size)
{
    void *const made = calloc(1, size);
    assert_non_null(made);
    return made;
}

static void compare_across(uint32_t from, uint32_t to, bool flip, unsigned kind)
{
    kd_error err = KD_ERROR_INIT;
    image_taps t;
    uint64_t random = from * 1000u + to;
    CHECK_OK(image_taps_make(&t, from, to, flip, &err), err);
    const size_t row = (size_t)from * 3 + image_across_behind(&t), len = (size_t)to * 3;
    uint8_t *const rows[ROWS] = {block(row), block(row)};
    int32_t *const scratch = block(image_across_scratch(&t, from) * sizeof *scratch);
    uint8_t *const expected[ROWS] = {block(len), block(len)};
    uint8_t *const actual[ROWS] = {block(len), block(len)};
    for (size_t i = 0; i < ROWS; i++)
        fill(rows[i], row, kind, &random);
    image_kernels_plain.across(&t, from, rows[0], rows[1], scratch, to, expected[0], expected[1]);
    image_kernels_fast()->across(&t, from, rows[0], rows[1], scratch, to, actual[0], actual[1]);
    for (size_t i = 0; i < ROWS; i++) {
        assert_memory_equal(expected[i], actual[i], len);
        free(rows[i]);
        free(expected[i]);
        free(actual[i]);
    }
    free(scratch);
    image_taps_free(&t);
}

static void compare_down(uint32_t from, uint32_t to, size_t len, unsigned kind)
{
    kd_error err = KD_ERROR_INIT;
    image_taps t;
    uint64_t random = from * 1000u + to;
    CHECK_OK(image_taps_make(&t, from, to, false, &err), err);
    uint8_t *const rows = block(from * len), *const expected = block(len),
                   *const actual = block(len);
    int32_t *const sums = block(len * sizeof *sums);
    fill(rows, from * len, kind, &random);
    for (uint32_t y = 0; y < to; y++) {
        const uint8_t *const first = rows + t.first[y] * len;
        image_kernels_plain.down(&t, y, first, len, len, sums, expected);
        image_kernels_fast()->down(&t, y, first, len, len, sums, actual);
        assert_memory_equal(expected, actual, len);
    }
    free(sums);
    free(rows);
    free(expected);
    free(actual);
    image_taps_free(&t);
}

static bool no_fast_ones(void)
{
    if (image_kernels_fast())
        return false;
    print_message("this CPU has no fast loops\n");
    return true;
}

static void test_image_kernel__the_fast_passes_equal_the_plain(void **state)
{
    (void)state;
    /* One to a hundred taps, larger and smaller, by less than a vector and by more. */
    static const uint32_t sizes[][2] = {{1, 1}, {1, 9}, {2, 1}, {3, 2}, {7, 5}, {8, 224},
        {224, 224}, {348, 224}, {464, 224}, {500, 224}, {999, 224}, {1000, 3}, {97, 1}, {16384, 1},
        {4000, 33}};
    if (no_fast_ones())
        return;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (unsigned kind = 0; kind < 4; kind++) {
            compare_across(sizes[i][0], sizes[i][1], false, kind);
            compare_across(sizes[i][0], sizes[i][1], true, kind);
            for (size_t len = 3; len < 60; len += 13)
                compare_down(sizes[i][0], sizes[i][1], len, kind);
        }
    }
}

static void test_image_kernel__the_fast_normalise_equals_the_division(void **state)
{
    (void)state;
    enum { LEN = 3 * 256 + 3 * 5 };
    uint8_t row[LEN];
    float expected[LEN], actual[LEN];
    image_normaliser n;
    kd_preprocess preprocess = KD_PREPROCESS_INIT;
    if (no_fast_ones())
        return;
    for (size_t i = 0; i < LEN; i++)
        row[i] = (uint8_t)(i / 3);
    image_normaliser_make(&n, &preprocess);
    CHECK(n.by_formula);
    uint64_t random = 1;
    for (size_t turn = 0; turn < 200; turn++) {
        image_normaliser_make(&n, &preprocess);
        image_kernels_plain.normalise(&n, row, LEN, expected);
        image_kernels_fast()->normalise(&n, row, LEN, actual);
        assert_memory_equal(expected, actual, sizeof expected);
        CHECK(expected[300] == (100 / 255.0f - preprocess.mean[0]) / preprocess.std[0]);
        for (size_t c = 0; c < 3; c++) {
            preprocess.mean[c] = (float)(kd_random_next(&random) >> 40) * 0x1p-24f;
            preprocess.std[c] = (float)(kd_random_next(&random) >> 40) * 0x1p-24f + 0x1p-10f;
        }
    }
    /* A deviation whose reciprocal is no number leaves the table. */
    preprocess.std[1] = 0x1p-140f;
    preprocess.mean[1] = 0;
    image_normaliser_make(&n, &preprocess);
    CHECK(!n.by_formula);
    image_kernels_fast()->normalise(&n, row, LEN, actual);
    CHECK(actual[1] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_kernel__the_fast_passes_equal_the_plain),
        cmocka_unit_test(test_image_kernel__the_fast_normalise_equals_the_division),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
