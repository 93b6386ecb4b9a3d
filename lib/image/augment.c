#include "lib/image/augment.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/image/resize.h"

/* Random erasing (Zhong and others 2020, table 1): shares of the area, and of height to width. */
#define ERASE_LEAST 0.02
#define ERASE_MOST 0.33
#define ERASE_ASPECT (1 / 0.3)
/* SimCLR's blur (Chen and others 2020, appendix A): pixels of a picture of 224 × 224. */
#define BLUR_LEAST 0.1
#define BLUR_MOST 2.0
#define BLUR_SIDE 224

/* Even over low..high. */
static double next_real(uint64_t *state, double low, double high)
{
    return low + (high - low) * ((double)(kd_random_next(state) >> 11) * 0x1p-53);
}

static bool next_chance(uint64_t *state, float probability)
{
    return next_real(state, 0, 1) < (double)probability;
}

static uint32_t side(double length, uint32_t most)
{
    const double rounded = round(length);
    return rounded < 1 ? 1 : rounded > most ? most : (uint32_t)rounded;
}

/* A box of w × h somewhere within width × height. */
static augment_box next_place(
    uint64_t *state, uint32_t width, uint32_t height, uint32_t w, uint32_t h)
{
    const double x = next_real(state, 0, 1), y = next_real(state, 0, 1);
    return (augment_box){(uint32_t)(x * (width - w + 1)), (uint32_t)(y * (height - h + 1)), w, h};
}

/* A random resized crop: a share of the area, an aspect ratio in 3:4..4:3 of the image's own. A
 * side that would stick out is cut, which only happens to crops of most of the image. */
static augment_box draw_crop(
    uint64_t *state, const kd_augment *augment, uint32_t width, uint32_t height)
{
    const double area = next_real(state, (double)augment->crop_min_scale, 1);
    const double aspect = exp(next_real(state, log(3.0 / 4), log(4.0 / 3)));
    const augment_box box = next_place(state, width, height,
        side(width * sqrt(area * aspect), width), side(height * sqrt(area / aspect), height));
    return augment->crop_min_scale < 1 ? box : (augment_box){0, 0, width, height};
}

static void draw_light(uint64_t *state, const kd_augment *augment, augment_plan *plan)
{
    const double range = (double)augment->light_range;
    const bool lit = next_chance(state, augment->light);
    const double brightness = next_real(state, -range, range),
                 contrast = next_real(state, -range, range);
    plan->gain = lit ? 1 + contrast : 1;
    plan->offset = lit ? 255 * brightness : 0;
}

static void draw_color(uint64_t *state, const kd_augment *augment, augment_plan *plan)
{
    const double range = (double)augment->color_range;
    const bool colored = next_chance(state, augment->color);
    const double saturation = next_real(state, 1 - range, 1 + range),
                 hue = next_real(state, -range / 4, range / 4);
    plan->saturation = colored ? saturation : 1;
    plan->hue = colored ? hue : 0;
}

static double draw_sigma(uint64_t *state, const kd_augment *augment, uint32_t size)
{
    const bool blurred = next_chance(state, augment->blur);
    const double sigma = next_real(state, BLUR_LEAST, BLUR_MOST) * size / BLUR_SIDE;
    return blurred ? sigma : 0;
}

/* The paper draws again what sticks out; here the aspect is drawn from those that fit its area. */
static augment_box draw_erase(uint64_t *state, const kd_augment *augment, uint32_t size)
{
    const bool erased = next_chance(state, augment->erase);
    const double area = next_real(state, ERASE_LEAST, ERASE_MOST);
    const double most = log(fmin(ERASE_ASPECT, 1 / area));
    const double aspect = exp(next_real(state, -most, most));
    const augment_box box = next_place(state, size, size, side(size * sqrt(area * aspect), size),
        side(size * sqrt(area / aspect), size));
    return erased ? box : (augment_box){0};
}

/* Each number is drawn whether it is used or not, so that a changed setting moves no other's; what
 * is new comes last, so that old pictures stay as they are. */
void augment_draw(const kd_augment *augment, uint64_t seed, uint32_t width, uint32_t height,
    uint32_t size, augment_plan *plan)
{
    uint64_t state = seed;
    plan->crop = draw_crop(&state, augment, width, height);
    plan->flip = next_chance(&state, augment->flip);
    draw_light(&state, augment, plan);
    draw_color(&state, augment, plan);
    plan->gray = next_chance(&state, augment->gray);
    plan->sigma = draw_sigma(&state, augment, size);
    plan->erase = draw_erase(&state, augment, size);
}

void augment_erase(kd_image *image, augment_box box)
{
    static const uint8_t mean[3] = {124, 116, 104}; /* 255 × 0.485, 0.456, 0.406 */
    const size_t stride = (size_t)image->width * 3;
    if (box.w == 0 || box.h == 0)
        return;
    assert(box.x <= image->width && box.w <= image->width - box.x);
    assert(box.y <= image->height && box.h <= image->height - box.y);
    uint8_t *const first = image->pixels + box.y * stride + (size_t)box.x * 3;
    for (size_t x = 0; x < box.w; x++)
        memcpy(first + x * 3, mean, sizeof mean);
    for (size_t y = 1; y < box.h; y++)
        memcpy(first + y * stride, first, (size_t)box.w * 3);
}

/* ---- Settings ---- */

kd_status kd_augment_check(const kd_augment *augment, kd_error *err)
{
    assert(augment);
    const struct {
        const char *name;
        float value;
    } shares[] = {
        {"flip", augment->flip},
        {"light", augment->light},
        {"light_range", augment->light_range},
        {"color", augment->color},
        {"color_range", augment->color_range},
        {"gray", augment->gray},
        {"blur", augment->blur},
        {"erase", augment->erase},
    };
    for (size_t i = 0; i < sizeof shares / sizeof shares[0]; i++)
        if (!(shares[i].value >= 0 && shares[i].value <= 1))
            return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is %g, allowed are 0 to 1",
                shares[i].name, (double)shares[i].value);
    if (!(augment->crop_min_scale > 0 && augment->crop_min_scale <= 1))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "crop_min_scale is %g, allowed is more than 0 up to 1",
            (double)augment->crop_min_scale);
    return KD_OK;
}

kd_status kd_augment_run(const kd_augment *augment, uint64_t seed, const kd_image *from,
    uint32_t size, kd_image *out, kd_error *err)
{
    augment_plan plan;

    assert(augment && from && out);
    assert(kd_augment_check(augment, NULL) == KD_OK);
    augment_draw(augment, seed, from->width, from->height, size, &plan);
    kd_status status = image_resize_crop(
        out, from, plan.crop.x, plan.crop.y, plan.crop.w, plan.crop.h, size, size, plan.flip, err);
    if (status)
        return status;
    if (plan.gain != 1 || plan.offset != 0)
        augment_light(out, plan.gain, plan.offset);
    if (plan.saturation != 1 || plan.hue != 0 || plan.gray)
        augment_colors(out, plan.saturation, plan.hue, plan.gray);
    status = augment_blur(out, plan.sigma, err);
    if (status) {
        kd_image_free(out);
        return status;
    }
    augment_erase(out, plan.erase);
    return KD_OK;
}
