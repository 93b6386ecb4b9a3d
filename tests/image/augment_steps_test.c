/* The steps of augmentation alone: against torchvision and Pillow (tools/golden/augment.py), and
 * against the plain arithmetic in doubles that their integers stand for. */
#include <stdlib.h>

#include "lib/image/augment.h"
#include "tests/image/data/augment.h"
#include "tests/image/picture.h"

/* Both sides are rounded to whole levels, so one of difference is a hair's breadth; the integers'
 * own error is below a quarter of a level. */
#define TOLERANCE 1

static kd_image colors(void)
{
    kd_image image = plain(GOLDEN_COLORS_WIDTH, GOLDEN_COLORS_HEIGHT, 0, 0, 0);
    memcpy(image.pixels, golden_colors, sizeof golden_colors);
    return image;
}

/* Says how many bytes of n differ at all. */
static size_t check_close(const uint8_t *expected, const uint8_t *actual, size_t n)
{
    size_t differ = 0;
    for (size_t i = 0; i < n; i++) {
        if (abs(expected[i] - actual[i]) > TOLERANCE)
            fail_msg("byte %zu: expected %u, got %u", i, expected[i], actual[i]);
        differ += expected[i] != actual[i];
    }
    return differ;
}

/* A golden answer: few bytes may be one off. */
static void check_golden(const uint8_t *expected, kd_image *image)
{
    CHECK(check_close(expected, image->pixels, sizeof golden_colors) <= sizeof golden_colors / 10);
    kd_image_free(image);
}

#define COUNT(table) (sizeof(table) / sizeof *(table))

/* ---- Golden ---- */

static void test_image_augment_steps__saturation_is_torchvisions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(golden_saturations); i++) {
        kd_image image = colors();
        augment_colors(&image, golden_saturations[i].value, 0, false);
        check_golden(golden_saturations[i].pixels, &image);
    }
}

static void test_image_augment_steps__hue_is_torchvisions(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(golden_hues); i++) {
        kd_image image = colors();
        augment_colors(&image, 1, golden_hues[i].value, false);
        check_golden(golden_hues[i].pixels, &image);
    }
}

static void test_image_augment_steps__greyscale_is_pillows(void **state)
{
    (void)state;
    kd_image image = colors();
    augment_colors(&image, 1, 0, true);
    check_golden(golden_gray, &image);
}

static void test_image_augment_steps__blur_is_torchvisions(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < COUNT(golden_sigmas); i++) {
        kd_image image = colors();
        CHECK_OK(augment_blur(&image, golden_sigmas[i].value, &err), err);
        check_golden(golden_sigmas[i].pixels, &image);
    }
}

static void test_image_augment_steps__erasing_is_torchvisions(void **state)
{
    (void)state;
    kd_image image = colors();
    augment_erase(&image, (augment_box)GOLDEN_ERASE);
    assert_memory_equal(golden_erased, image.pixels, sizeof golden_erased);
    kd_image_free(&image);
}

/* ---- Plain arithmetic ---- */

static uint8_t level(double value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value + 0.5);
}

static void test_image_augment_steps__light_is_a_straight_line(void **state)
{
    (void)state;
    static const struct {
        double gain, offset;
    } lights[] = {{1, 0}, {1.2, 51}, {0.8, -51}, {2, 255}, {0, 255}, {0, -255}, {1.93, -254.3},
        {0.61, 101.7}, {1.37, -13.01}};
    for (size_t i = 0; i < COUNT(lights); i++) {
        kd_image image = plain(17, 16, 0, 0, 0);
        uint8_t expected[17 * 16 * 3];
        for (size_t at = 0; at < sizeof expected; at++) {
            image.pixels[at] = (uint8_t)at;
            expected[at] = level(lights[i].gain * (uint8_t)at + lights[i].offset);
        }
        augment_light(&image, lights[i].gain, lights[i].offset);
        const size_t differ = check_close(expected, image.pixels, sizeof expected);
        if (differ > sizeof expected / 10)
            fail_msg("light %zu: %zu of %zu bytes differ", i, differ, sizeof expected);
        kd_image_free(&image);
    }
}

/* HSV as in a textbook. */
static void turn_hue(uint8_t rgb[3], double turns)
{
    const double r = rgb[0], g = rgb[1], b = rgb[2];
    const double most = fmax(r, fmax(g, b)), span = most - fmin(r, fmin(g, b));
    if (span == 0)
        return;
    const double hue = most == r   ? (g - b) / span
                       : most == g ? 2 + (b - r) / span
                                   : 4 + (r - g) / span;
    for (int c = 0; c < 3; c++) {
        double away = fmod(fabs(hue + 6 * turns - 2 * c) + 6, 6);
        away = fmin(away, 6 - away);
        rgb[c] = level(most - span * fmin(1, fmax(0, away - 1)));
    }
}

static void test_image_augment_steps__hue_of_the_whole_cube(void **state)
{
    (void)state;
    enum { STEPS = 18, SIDE = STEPS * STEPS };
    kd_image cube = plain(SIDE, STEPS, 0, 0, 0);
    const size_t n = (size_t)SIDE * STEPS * 3;
    for (size_t i = 0; i < n / 3; i++) {
        cube.pixels[3 * i] = (uint8_t)(15 * (i % STEPS));
        cube.pixels[3 * i + 1] = (uint8_t)(15 * (i / STEPS % STEPS));
        cube.pixels[3 * i + 2] = (uint8_t)(15 * (i / SIDE));
    }
    for (int turn = -32; turn <= 32; turn++) {
        kd_image expected = plain(SIDE, STEPS, 0, 0, 0), actual = plain(SIDE, STEPS, 0, 0, 0);
        memcpy(expected.pixels, cube.pixels, n);
        memcpy(actual.pixels, cube.pixels, n);
        for (size_t i = 0; i < n; i += 3)
            turn_hue(expected.pixels + i, turn / 64.0);
        augment_colors(&actual, 1, turn / 64.0, false);
        CHECK(check_close(expected.pixels, actual.pixels, n) < n / 10);
        kd_image_free(&expected);
        kd_image_free(&actual);
    }
    kd_image_free(&cube);
}

static void test_image_augment_steps__colors_follow_each_other(void **state)
{
    (void)state;
    kd_image once = colors(), steps = colors();
    augment_colors(&once, 1.3, 0.07, true);
    augment_colors(&steps, 1.3, 0, false);
    augment_colors(&steps, 1, 0.07, false);
    augment_colors(&steps, 1, 0, true);
    for (size_t i = 0; i < sizeof golden_colors; i++)
        CHECK_NEAR(once.pixels[i], steps.pixels[i], 2); /* rounded once, and three times */
    for (size_t i = 0; i < sizeof golden_colors; i += 3)
        CHECK(once.pixels[i] == once.pixels[i + 1] && once.pixels[i] == once.pixels[i + 2]);
    kd_image_free(&once);
    kd_image_free(&steps);
}

static void test_image_augment_steps__grey_has_no_colour_to_change(void **state)
{
    (void)state;
    for (unsigned grey = 0; grey < 256; grey++) {
        const uint8_t v = (uint8_t)grey;
        kd_image expected = plain(3, 1, v, v, v), image = plain(3, 1, v, v, v);
        augment_colors(&image, grey / 128.0, grey / 255.0 - 0.5, grey % 2 == 0);
        check_same(&expected, &image);
        kd_image_free(&expected);
        kd_image_free(&image);
    }
}

/* One row of n pixels that lie step apart, in doubles. */
static void blur_line(double *to, const double *from, size_t n, size_t step, double sigma)
{
    const ptrdiff_t reach = (ptrdiff_t)fmin(ceil(3 * sigma), AUGMENT_BLUR_REACH);
    for (size_t i = 0; i < n; i++) {
        double sum = 0, weights = 0;
        for (ptrdiff_t k = -reach; k <= reach; k++) {
            ptrdiff_t at = (ptrdiff_t)i + k;
            while (at < 0 || at >= (ptrdiff_t)n)
                at = n == 1 ? 0 : at < 0 ? -at : 2 * ((ptrdiff_t)n - 1) - at;
            const double away = (double)k / sigma, weight = exp(-0.5 * away * away);
            sum += weight * from[(size_t)at * step];
            weights += weight;
        }
        to[i * step] = sum / weights;
    }
}

static void check_blur(uint32_t width, uint32_t height, double sigma)
{
    kd_error err = KD_ERROR_INIT;
    kd_image image = picture(width, height);
    const size_t n = (size_t)width * height * 3;
    double *const first = malloc(n * sizeof *first), *const second = malloc(n * sizeof *second);
    uint8_t *const expected = malloc(n);
    CHECK(first && second && expected);
    for (size_t i = 0; i < n; i++)
        first[i] = image.pixels[i];
    for (size_t i = 0; i < (size_t)width * 3; i++)
        blur_line(second + i, first + i, height, (size_t)width * 3, sigma);
    for (size_t y = 0; y < height; y++)
        for (size_t c = 0; c < 3; c++)
            blur_line(first + y * width * 3 + c, second + y * width * 3 + c, width, 3, sigma);
    for (size_t i = 0; i < n; i++)
        expected[i] = level(first[i]);
    CHECK_OK(augment_blur(&image, sigma, &err), err);
    CHECK_INT(width, image.width);
    CHECK_INT(height, image.height);
    const size_t differ = check_close(expected, image.pixels, n);
    if (n > 1000 && differ > n / 10)
        fail_msg("sigma %g: %zu of %zu bytes differ", sigma, differ, n);
    free(first);
    free(second);
    free(expected);
    kd_image_free(&image);
}

static void test_image_augment_steps__blur_of_any_shape(void **state)
{
    (void)state;
    static const double sigmas[] = {0.1, 0.25, 0.4, 1, 2, 4.6, 40};
    for (size_t i = 0; i < COUNT(sigmas); i++) {
        check_blur(1, 1, sigmas[i]);
        check_blur(1, 9, sigmas[i]);
        check_blur(9, 1, sigmas[i]);
        check_blur(2, 3, sigmas[i]);
        check_blur(45, 37, sigmas[i]);
    }
}

static void test_image_augment_steps__blur_keeps_one_colour(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    for (int i = 1; i < 80; i++) {
        const double sigma = 0.003 * i * i;
        kd_image expected = plain(29, 31, 255, 0, 131), image = plain(29, 31, 255, 0, 131);
        CHECK_OK(augment_blur(&image, sigma, &err), err);
        check_same(&expected, &image);
        kd_image_free(&expected);
        kd_image_free(&image);
    }
}

static void test_image_augment_steps__erasing_touches_its_box_alone(void **state)
{
    (void)state;
    static const augment_box boxes[] = {
        {0, 0, 0, 0}, {0, 0, 1, 1}, {10, 8, 1, 1}, {0, 0, 11, 9}, {3, 0, 2, 9}, {0, 4, 11, 1}};
    for (size_t i = 0; i < COUNT(boxes); i++) {
        const augment_box box = boxes[i];
        kd_image before = picture(11, 9), image = picture(11, 9);
        augment_erase(&image, box);
        for (uint32_t y = 0; y < 9; y++)
            for (uint32_t x = 0; x < 11; x++) {
                const bool inside = x - box.x < box.w && y - box.y < box.h;
                CHECK_INT(inside ? 0x7c7468 : pixel_at(&before, x, y), pixel_at(&image, x, y));
            }
        kd_image_free(&before);
        kd_image_free(&image);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_augment_steps__saturation_is_torchvisions),
        cmocka_unit_test(test_image_augment_steps__hue_is_torchvisions),
        cmocka_unit_test(test_image_augment_steps__greyscale_is_pillows),
        cmocka_unit_test(test_image_augment_steps__blur_is_torchvisions),
        cmocka_unit_test(test_image_augment_steps__erasing_is_torchvisions),
        cmocka_unit_test(test_image_augment_steps__light_is_a_straight_line),
        cmocka_unit_test(test_image_augment_steps__hue_of_the_whole_cube),
        cmocka_unit_test(test_image_augment_steps__colors_follow_each_other),
        cmocka_unit_test(test_image_augment_steps__grey_has_no_colour_to_change),
        cmocka_unit_test(test_image_augment_steps__blur_of_any_shape),
        cmocka_unit_test(test_image_augment_steps__blur_keeps_one_colour),
        cmocka_unit_test(test_image_augment_steps__erasing_touches_its_box_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
