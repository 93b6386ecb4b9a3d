#include "lib/base/hash.h"
#include "tests/image/data/golden.h"
#include "tests/image/picture.h"

static void test_image_resize__gives_pillows_bytes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < sizeof golden_resizes / sizeof golden_resizes[0]; i++) {
        const struct golden_resize *const g = &golden_resizes[i];
        kd_image from = picture(g->from_width, g->from_height), out;
        CHECK_OK(
            kd_image_resize_crop(&out, &from, g->x, g->y, g->w, g->h, g->width, g->height, &err),
            err);
        CHECK_INT(g->width, out.width);
        CHECK_INT(g->height, out.height);
        assert_memory_equal(g->pixels, out.pixels, (size_t)g->width * g->height * 3);
        kd_image_free(&out);
        kd_image_free(&from);
    }
}

static void test_image_resize__gives_pillows_bytes_for_a_large_picture(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image from = picture(GOLDEN_LARGE_FROM_WIDTH, GOLDEN_LARGE_FROM_HEIGHT), out;
    CHECK_OK(kd_image_resize(&out, &from, GOLDEN_LARGE_SIDE, GOLDEN_LARGE_SIDE, &err), err);
    for (size_t i = 0; i < sizeof golden_large_samples; i++)
        CHECK_INT(golden_large_samples[i], out.pixels[i * GOLDEN_LARGE_STEP]);

    uint8_t digest[KD_SHA256_BYTES];
    char text[KD_SHA256_TEXT];
    const size_t len = (size_t)GOLDEN_LARGE_SIDE * GOLDEN_LARGE_SIDE * 3;
    CHECK_OK(kd_sha256(out.pixels, len, digest, &err), err);
    kd_hex(digest, sizeof digest, text);
    CHECK_STR(GOLDEN_LARGE_SHA256, text);
    kd_image_free(&out);
    kd_image_free(&from);
}

static void test_image_resize__keeps_one_colour(void **state)
{
    (void)state;
    static const uint32_t sides[] = {1, 2, 31, 224, 500};
    kd_error err = KD_ERROR_INIT;
    kd_image from = plain(97, 203, 255, 0, 128), out;
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        CHECK_OK(kd_image_resize(&out, &from, sides[i], sides[i], &err), err);
        kd_image same = plain(sides[i], sides[i], 255, 0, 128);
        check_same(&same, &out);
        kd_image_free(&same);
        kd_image_free(&out);
    }
    kd_image_free(&from);
}

static void test_image_resize__refuses_sizes_it_cannot_make(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image from = picture(4, 4), out;
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_image_resize(&out, &from, 0, 4, &err), err);
    CHECK(out.pixels == NULL);
    CHECK_FAILS(
        KD_RESOURCE_EXHAUSTED, kd_image_resize(&out, &from, KD_IMAGE_MAX_SIDE + 1, 4, &err), err);
    CHECK_HAS("16385 x 4", err.message);
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED,
        kd_image_resize(&out, &from, KD_IMAGE_MAX_SIDE, KD_IMAGE_MAX_SIDE, &err), err);
    CHECK(out.pixels == NULL);
    kd_image_free(&from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_resize__gives_pillows_bytes),
        cmocka_unit_test(test_image_resize__gives_pillows_bytes_for_a_large_picture),
        cmocka_unit_test(test_image_resize__keeps_one_colour),
        cmocka_unit_test(test_image_resize__refuses_sizes_it_cannot_make),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
