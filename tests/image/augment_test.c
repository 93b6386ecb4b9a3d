#include <stddef.h>

#include "lib/image/augment.h"
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

/* ---- What is drawn ---- */

#define SEEDS 4000
#define WIDTH 300
#define HEIGHT 200
#define SIZE 112
static const kd_augment every = {1, 1, 0.2f, 0.3f, 1, 0.4f, 1, 1, 1};

static augment_plan drawn(const kd_augment *augment, uint64_t seed)
{
    augment_plan plan;
    augment_draw(augment, seed, WIDTH, HEIGHT, SIZE, &plan);
    return plan;
}

static bool same_box(augment_box a, augment_box b)
{
    return a.x == b.x && a.y == b.y && a.w == b.w && a.h == b.h;
}

/* The seven things that can be done, and what each setting may change. */
enum { CROP = 1, FLIP = 2, LIGHT = 4, COLOR = 8, GRAY = 16, BLUR = 32, ERASE = 64 };

static unsigned differences(const augment_plan *a, const augment_plan *b)
{
    unsigned found = 0;
    found |= same_box(a->crop, b->crop) ? 0 : CROP;
    found |= a->flip == b->flip ? 0 : FLIP;
    found |= a->gain == b->gain && a->offset == b->offset ? 0 : LIGHT;
    found |= a->saturation == b->saturation && a->hue == b->hue ? 0 : COLOR;
    found |= a->gray == b->gray ? 0 : GRAY;
    found |= a->sigma == b->sigma ? 0 : BLUR;
    found |= same_box(a->erase, b->erase) ? 0 : ERASE;
    return found;
}

static const struct {
    const char *name;
    size_t field;
    unsigned changes;
} fields[] = {
    {"flip", offsetof(kd_augment, flip), FLIP},
    {"light", offsetof(kd_augment, light), LIGHT},
    {"light_range", offsetof(kd_augment, light_range), LIGHT},
    {"crop_min_scale", offsetof(kd_augment, crop_min_scale), CROP},
    {"color", offsetof(kd_augment, color), COLOR},
    {"color_range", offsetof(kd_augment, color_range), COLOR},
    {"gray", offsetof(kd_augment, gray), GRAY},
    {"blur", offsetof(kd_augment, blur), BLUR},
    {"erase", offsetof(kd_augment, erase), ERASE},
};
#define N_FIELDS (sizeof fields / sizeof fields[0])

static kd_augment with(kd_augment augment, size_t field, float value)
{
    memcpy((char *)&augment + field, &value, sizeof value);
    return augment;
}

static void test_image_augment__a_setting_moves_no_others_draw(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_FIELDS; i++) {
        const kd_augment other = with(every, fields[i].field, 0.1f);
        unsigned found = 0;
        for (uint64_t seed = 0; seed < 200; seed++) {
            const augment_plan a = drawn(&every, seed), b = drawn(&other, seed);
            found |= differences(&a, &b);
        }
        if (found != fields[i].changes)
            fail_msg("%s: expected %x, got %x", fields[i].name, fields[i].changes, found);
    }
}

static unsigned happens(const augment_plan *plan)
{
    const augment_plan nothing = {.crop = {0, 0, WIDTH, HEIGHT}, .gain = 1, .saturation = 1};
    return differences(plan, &nothing);
}

static void test_image_augment__happens_as_often_as_asked(void **state)
{
    (void)state;
    const kd_augment augment = {0.5f, 0.8f, 0.2f, 1, 0.3f, 0.4f, 0.2f, 0.1f, 0.7f};
    static const double shares[] = {0, 0.5, 0.8, 0.3, 0.2, 0.1, 0.7};
    int counts[7] = {0}, both = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const augment_plan plan = drawn(&augment, seed);
        const unsigned found = happens(&plan);
        for (unsigned i = 0; i < 7; i++)
            counts[i] += (found >> i & 1) != 0;
        both += (found & (FLIP | ERASE)) == (FLIP | ERASE);
    }
    for (unsigned i = 0; i < 7; i++) /* four standard deviations */
        CHECK_NEAR(SEEDS * shares[i], counts[i], 4 * sqrt(SEEDS * shares[i] * (1 - shares[i])));
    CHECK_NEAR(SEEDS * 0.35, both, 121); /* one says nothing of another */
}

static void test_image_augment__always_and_never(void **state)
{
    (void)state;
    const kd_augment never = {.light_range = 1, .crop_min_scale = 1, .color_range = 1},
                     usual = KD_AUGMENT_INIT;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const augment_plan none = drawn(&never, seed), all = drawn(&every, seed),
                           some = drawn(&usual, seed);
        CHECK_INT(0, happens(&none));
        CHECK_INT(CROP | FLIP | LIGHT | COLOR | GRAY | BLUR | ERASE, happens(&all));
        CHECK_INT(0, happens(&some) & ~(unsigned)(FLIP | LIGHT));
    }
}

typedef struct span {
    double least, most;
} span;

static void stretch(span *s, double value)
{
    s->least = fmin(s->least, value);
    s->most = fmax(s->most, value);
}

/* All within low..high, and nearly from end to end. */
static void check_fills(double low, double high, span s)
{
    CHECK(s.least >= low && s.most <= high);
    CHECK_NEAR(low, s.least, 0.02 * (high - low));
    CHECK_NEAR(high, s.most, 0.02 * (high - low));
}

static void test_image_augment__draws_fill_their_ranges(void **state)
{
    (void)state;
    span gain = {9, -9}, offset = {999, -999}, saturation = {9, -9}, hue = {9, -9}, sigma = {9, -9};
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        const augment_plan plan = drawn(&every, seed);
        stretch(&gain, plan.gain);
        stretch(&offset, plan.offset);
        stretch(&saturation, plan.saturation);
        stretch(&hue, plan.hue);
        stretch(&sigma, plan.sigma);
    }
    const double hair = 1e-7; /* a float's 0.2 is not quite 0.2 */
    check_fills(0.8 - hair, 1.2 + hair, gain);
    check_fills(-51 - 1e-5, 51 + 1e-5, offset);
    check_fills(0.6 - hair, 1.4 + hair, saturation);
    check_fills(-0.1 - hair, 0.1 + hair, hue);
    check_fills(0.05, 1, sigma); /* half of what 224 pixels get */
}

static void test_image_augment__erased_boxes_are_of_the_papers_shapes(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 7, 112, 500};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        const uint32_t size = sizes[i];
        span area = {9, -9}, aspect = {9, -9};
        for (uint64_t seed = 0; seed < SEEDS; seed++) {
            augment_plan plan;
            augment_draw(&every, seed, WIDTH, HEIGHT, size, &plan);
            const augment_box box = plan.erase;
            CHECK(box.w >= 1 && box.w <= size && box.x <= size - box.w);
            CHECK(box.h >= 1 && box.h <= size && box.y <= size - box.h);
            stretch(&area, (double)box.w * box.h / size / size);
            stretch(&aspect, (double)box.h / box.w);
        }
        if (size == 500) { /* a pixel of rounding */
            check_fills(0.0195, 0.333, area);
            check_fills(0.295, 3.39, aspect);
        }
    }
}

/* ---- What is done ---- */

static void test_image_augment__runs_its_steps_in_order(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    const kd_augment augment = {0.5f, 0.5f, 0.2f, 0.3f, 0.5f, 0.4f, 0.5f, 0.5f, 0.5f};
    kd_image from = picture(70, 50);
    for (uint64_t seed = 0; seed < 100; seed++) {
        augment_plan plan;
        kd_image steps, out = augmented(&augment, seed, &from);
        augment_draw(&augment, seed, 70, 50, 48, &plan);
        const augment_box crop = plan.crop;
        CHECK_OK(
            kd_image_resize_crop(&steps, &from, crop.x, crop.y, crop.w, crop.h, 48, 48, &err), err);
        if (plan.flip) {
            const kd_augment turn = {.flip = 1, .crop_min_scale = 1};
            kd_image turned = augmented(&turn, 0, &steps);
            kd_image_free(&steps);
            steps = turned;
        }
        augment_light(&steps, plan.gain, plan.offset);
        augment_colors(&steps, plan.saturation, plan.hue, plan.gray);
        CHECK_OK(augment_blur(&steps, plan.sigma, &err), err);
        augment_erase(&steps, plan.erase);
        check_same(&steps, &out);
        kd_image_free(&steps);
        kd_image_free(&out);
    }
    kd_image_free(&from);
}

static void test_image_augment__makes_pictures_of_any_size(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    kd_image from = picture(5, 4), out;
    for (uint32_t size = 1; size < 40; size += size < 4 ? 1 : 7) {
        for (uint64_t seed = 0; seed < 50; seed++) {
            CHECK_OK(kd_augment_run(&every, seed, &from, size, &out, &err), err);
            CHECK_INT(size, out.width);
            CHECK_INT(size, out.height);
            kd_image_free(&out);
        }
    }
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_augment_run(&every, 0, &from, 0, &out, &err), err);
    CHECK(out.pixels == NULL);
    kd_image_free(&from);
}

/* ---- Settings ---- */

static void test_image_augment__check_names_what_is_wrong(void **state)
{
    (void)state;
    static const float wrong[] = {-0.25f, 1.5f, NAN, INFINITY, -INFINITY};
    static const char *const said[] = {"-0.25", "1.5", "nan", "inf", "-inf"};
    kd_error err = KD_ERROR_INIT;
    const kd_augment usual = KD_AUGMENT_INIT;
    CHECK_OK(kd_augment_check(&usual, &err), err);
    CHECK_OK(kd_augment_check(&every, &err), err);
    for (size_t i = 0; i < N_FIELDS; i++) {
        const bool crop = fields[i].changes == CROP;
        for (size_t j = 0; j < sizeof wrong / sizeof wrong[0]; j++) {
            const kd_augment augment = with(usual, fields[i].field, wrong[j]);
            char expected[128];
            CHECK_FAILS(KD_INVALID_ARGUMENT, kd_augment_check(&augment, &err), err);
            (void)snprintf(expected, sizeof expected, "%s is %s, allowed %s", fields[i].name,
                said[j], crop ? "is more than 0 up to 1" : "are 0 to 1");
            CHECK_STR(expected, err.message);
        }
        const kd_augment none = with(usual, fields[i].field, 0),
                         full = with(usual, fields[i].field, 1);
        CHECK_INT(crop ? KD_INVALID_ARGUMENT : KD_OK, kd_augment_check(&none, NULL));
        CHECK_OK(kd_augment_check(&full, &err), err);
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
        cmocka_unit_test(test_image_augment__a_setting_moves_no_others_draw),
        cmocka_unit_test(test_image_augment__happens_as_often_as_asked),
        cmocka_unit_test(test_image_augment__always_and_never),
        cmocka_unit_test(test_image_augment__draws_fill_their_ranges),
        cmocka_unit_test(test_image_augment__erased_boxes_are_of_the_papers_shapes),
        cmocka_unit_test(test_image_augment__runs_its_steps_in_order),
        cmocka_unit_test(test_image_augment__makes_pictures_of_any_size),
        cmocka_unit_test(test_image_augment__check_names_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
