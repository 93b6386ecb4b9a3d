#include "tests/image/picture.h"

static kd_image augmented(const kd_augment *augment, uint64_t seed, const kd_image *from)
{
    kd_error err = KD_ERROR_INIT;
    kd_image out;
    CHECK_OK(kd_augment_run(augment, seed, from, 48, &out, &err), err);
    CHECK_INT(48, out.width);
    CHECK_INT(48, out.height);
    return out;
}

static bool equal(const kd_image *a, const kd_image *b)
{
    return memcmp(a->pixels, b->pixels, (size_t)a->width * a->height * 3) == 0;
}

static void test_image_augment__same_seed_same_picture(void **state)
{
    (void)state;
    const kd_augment augment = {0.5f, 0.5f, 0.2f, 0.3f, 0.5f, 0.4f, 0.2f, 0.5f, 0.5f};
    kd_image from = picture(70, 50);
    size_t differ = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        kd_image one = augmented(&augment, seed, &from), two = augmented(&augment, seed, &from),
                 next = augmented(&augment, seed + 1, &from);
        check_same(&one, &two);
        differ += !equal(&one, &next);
        kd_image_free(&one);
        kd_image_free(&two);
        kd_image_free(&next);
    }
    CHECK_INT(20, differ);
    kd_image_free(&from);
}

static void test_image_augment__all_off_is_a_resize(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    const kd_augment augment = {.light_range = 0.2f, .crop_min_scale = 1};
    kd_image from = picture(70, 50), resized;
    CHECK_OK(kd_image_resize(&resized, &from, 48, 48, &err), err);
    for (uint64_t seed = 0; seed < 10; seed++) {
        kd_image out = augmented(&augment, seed, &from);
        check_same(&resized, &out);
        kd_image_free(&out);
    }
    kd_image_free(&resized);
    kd_image_free(&from);
}

static void test_image_augment__flipped_twice_is_the_same(void **state)
{
    (void)state;
    const kd_augment augment = {.flip = 1, .crop_min_scale = 1};
    kd_image from = picture(48, 48);
    kd_image once = augmented(&augment, 1, &from), twice = augmented(&augment, 2, &once);
    check_same(&from, &twice);
    CHECK_INT(pixel_at(&from, 0, 5), pixel_at(&once, 47, 5));
    CHECK_INT(pixel_at(&from, 30, 40), pixel_at(&once, 17, 40));
    kd_image_free(&twice);
    kd_image_free(&once);
    kd_image_free(&from);
}

static void test_image_augment__flips_about_as_often_as_asked(void **state)
{
    (void)state;
    const kd_augment augment = {.flip = 0.5f, .crop_min_scale = 1};
    kd_image from = picture(48, 48);
    int flips = 0;
    for (uint64_t seed = 0; seed < 400; seed++) {
        kd_image out = augmented(&augment, seed, &from);
        flips += !equal(&from, &out);
        kd_image_free(&out);
    }
    CHECK_NEAR(200, flips, 40); /* four standard deviations */
    kd_image_free(&from);
}

static void test_image_augment__light_stays_in_its_range(void **state)
{
    (void)state;
    const kd_augment augment = {.light = 1, .light_range = 0.2f, .crop_min_scale = 1};
    kd_image from = plain(48, 48, 100, 100, 100);
    int least = 255, most = 0;
    for (uint64_t seed = 0; seed < 300; seed++) {
        kd_image out = augmented(&augment, seed, &from);
        const int grey = out.pixels[0];
        least = grey < least ? grey : least;
        most = grey > most ? grey : most;
        kd_image_free(&out);
    }
    /* 100 × (1 ± 0.2) ± 51: 29 to 171. */
    CHECK(least >= 29 && least < 50);
    CHECK(most <= 171 && most > 150);
    kd_image_free(&from);
}

static void test_image_augment__crops_stay_inside_any_shape(void **state)
{
    (void)state;
    static const struct {
        uint32_t width, height;
    } shapes[] = {{1, 1}, {1, 90}, {90, 1}, {3, 2}, {64, 48}};
    const kd_augment augment = {0.5f, 0.5f, 0.2f, 0.01f, 0.5f, 1, 0.2f, 0.5f, 0.5f};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        kd_image from = picture(shapes[i].width, shapes[i].height);
        for (uint64_t seed = 0; seed < 200; seed++) {
            kd_image out = augmented(&augment, seed, &from);
            kd_image_free(&out);
        }
        kd_image_free(&from);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_image_augment__same_seed_same_picture),
        cmocka_unit_test(test_image_augment__all_off_is_a_resize),
        cmocka_unit_test(test_image_augment__flipped_twice_is_the_same),
        cmocka_unit_test(test_image_augment__flips_about_as_often_as_asked),
        cmocka_unit_test(test_image_augment__light_stays_in_its_range),
        cmocka_unit_test(test_image_augment__crops_stay_inside_any_shape),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
