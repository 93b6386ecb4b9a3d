#include <stdlib.h>

#include "tests/image/picture.h"

static void test_image_preprocess__text_and_hash_are_fixed(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_preprocess preprocess = KD_PREPROCESS_INIT;
    char text[KD_PREPROCESS_TEXT], hash[KD_SHA256_TEXT], other[KD_SHA256_TEXT];
    kd_preprocess_text(&preprocess, text);
    CHECK_STR("rgb8, jpeg at 1/8 1/4 1/2 if twice the size, upright, over white, resize 224x224 "
              "bilinear antialiased rgb8, scale 1/255, "
              "mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        text);
    CHECK_OK(kd_preprocess_hash(&preprocess, hash, &err), err);
    CHECK_INT(64, strlen(hash));
    preprocess.image_size = 160;
    CHECK_OK(kd_preprocess_hash(&preprocess, other, &err), err);
    CHECK(strcmp(hash, other) != 0);

    /* The text of models of before there was a scaled DCT, which still load. */
    preprocess.image_size = 224;
    preprocess.scaled_dct = false;
    kd_preprocess_text(&preprocess, text);
    CHECK_STR("rgb8, upright, over white, resize 224x224 bilinear antialiased rgb8, scale 1/255, "
              "mean 0.485 0.456 0.406, std 0.229 0.224 0.225",
        text);
}

static void test_image_preprocess__a_number_that_differs_changes_the_hash(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_preprocess preprocess = KD_PREPROCESS_INIT;
    char hash[KD_SHA256_TEXT], other[KD_SHA256_TEXT];
    CHECK_OK(kd_preprocess_hash(&preprocess, hash, &err), err);
    preprocess.std[2] = nextafterf(preprocess.std[2], 1);
    CHECK_OK(kd_preprocess_hash(&preprocess, other, &err), err);
    CHECK(strcmp(hash, other) != 0);
}

static void test_image_preprocess__normalises_each_channel(void **state)
{
    (void)state;
    const kd_preprocess preprocess = {2, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}, true};
    kd_image image = plain(2, 2, 255, 0, 51);
    float input[2 * 2 * 3];
    kd_preprocess_normalise(&preprocess, &image, input);
    for (size_t i = 0; i < 4; i++) {
        CHECK_NEAR((1 - 0.485) / 0.229, (double)input[3 * i], 1e-6);
        CHECK_NEAR((0 - 0.456) / 0.224, (double)input[3 * i + 1], 1e-6);
        CHECK_NEAR((0.2 - 0.406) / 0.225, (double)input[3 * i + 2], 1e-6);
    }
    kd_image_free(&image);
}

static void test_image_preprocess__runs_decode_resize_normalise(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_preprocess preprocess = KD_PREPROCESS_INIT;
    preprocess.image_size = 40;
    float *const input = malloc(40 * 40 * 3 * sizeof *input);
    float *const expected = malloc(40 * 40 * 3 * sizeof *expected);
    assert_non_null(input);
    assert_non_null(expected);
    kd_buf bytes = jpeg_picture(91, 60);
    kd_image image, square;
    CHECK_OK(kd_image_decode(&image, bytes.data, bytes.len, &err), err);
    CHECK_OK(kd_image_resize(&square, &image, 40, 40, &err), err);
    kd_preprocess_normalise(&preprocess, &square, expected);
    CHECK_OK(kd_preprocess_run(&preprocess, bytes.data, bytes.len, input, &err), err);
    assert_memory_equal(expected, input, 40 * 40 * 3 * sizeof *input);
    memset(input, 0, 40 * 40 * 3 * sizeof *input);
    CHECK_OK(kd_preprocess_image(&preprocess, &image, input, &err), err);
    assert_memory_equal(expected, input, 40 * 40 * 3 * sizeof *input);

    CHECK_FAILS(KD_INVALID_ARGUMENT,
        kd_preprocess_run(&preprocess, bytes.data, bytes.len / 2, input, &err), err);
    kd_image_free(&square);
    kd_image_free(&image);
    kd_buf_free(&bytes);
    free(expected);
    free(input);
}

/* The one pass against its steps: every way in, and sizes about a strip of rows and a scale's edge.
 */
static void check_one_pass(const kd_buf *bytes, uint32_t side, bool scaled_dct)
{
    kd_error err = KD_ERROR_INIT;
    kd_preprocess preprocess = KD_PREPROCESS_INIT;
    const size_t n = (size_t)side * side * 3;
    float *const input = malloc(n * sizeof *input), *const expected = malloc(n * sizeof *expected);
    kd_image image, square;
    assert_non_null(input);
    assert_non_null(expected);
    preprocess.image_size = side;
    preprocess.scaled_dct = scaled_dct;
    CHECK_OK(kd_preprocess_decode(&preprocess, &image, bytes->data, bytes->len, &err), err);
    CHECK_OK(kd_image_resize(&square, &image, side, side, &err), err);
    kd_preprocess_normalise(&preprocess, &square, expected);
    CHECK_OK(kd_preprocess_run(&preprocess, bytes->data, bytes->len, input, &err), err);
    assert_memory_equal(expected, input, n * sizeof *input);
    kd_image_free(&square);
    kd_image_free(&image);
    free(expected);
    free(input);
}

static void test_image_preprocess__one_pass_equals_its_steps(void **state)
{
    (void)state;
    static const char *const names[] = {"colour.jpg", "progressive.jpg", "grey.jpg", "cmyk.jpg",
        "full_chroma.jpg", "turned_3.jpg", "turned_6.jpg", "colour.png", "alpha.png", "lossy.webp"};
    static const uint32_t sizes[][2] = {{1, 1}, {3, 200}, {200, 3}, {15, 16}, {16, 15}, {17, 33},
        {64, 64}, {348, 348}, {640, 479}, {1001, 97}};
    static const uint32_t sides[] = {1, 5, 16, 40, 224};
    for (size_t s = 0; s < sizeof sides / sizeof sides[0]; s++) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            kd_buf bytes = read_data(names[i]);
            check_one_pass(&bytes, sides[s], true);
            kd_buf_free(&bytes);
        }
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            kd_buf bytes = jpeg_picture(sizes[i][0], sizes[i][1]);
            check_one_pass(&bytes, sides[s], true);
            check_one_pass(&bytes, sides[s], false);
            kd_buf_free(&bytes);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_preprocess__text_and_hash_are_fixed),
        cmocka_unit_test(test_image_preprocess__a_number_that_differs_changes_the_hash),
        cmocka_unit_test(test_image_preprocess__normalises_each_channel),
        cmocka_unit_test(test_image_preprocess__runs_decode_resize_normalise),
        cmocka_unit_test(test_image_preprocess__one_pass_equals_its_steps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
