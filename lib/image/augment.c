#include <assert.h>
#include <math.h>

#include "lib/image/image.h"

/* splitmix64 (Steele, Lea, Flood 2014): a counter and a mixing function. */
static uint64_t next_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Even over low..high. */
static double next_real(uint64_t *state, double low, double high)
{
    return low + (high - low) * ((double)(next_bits(state) >> 11) * 0x1p-53);
}

/* All numbers of one picture. Each is always drawn, so that a changed setting moves no other. */
typedef struct draw {
    double area, log_aspect, x, y; /* of the crop; x and y are shares of the room left */
    double flip, light, brightness, contrast;
} draw;

static draw draw_all(const kd_augment *augment, uint64_t seed)
{
    uint64_t state = seed;
    const double light = (double)augment->light_range;
    draw d;
    d.area = next_real(&state, (double)augment->crop_min_scale, 1);
    d.log_aspect = next_real(&state, log(3.0 / 4), log(4.0 / 3));
    d.x = next_real(&state, 0, 1);
    d.y = next_real(&state, 0, 1);
    d.flip = next_real(&state, 0, 1);
    d.light = next_real(&state, 0, 1);
    d.brightness = next_real(&state, -light, light);
    d.contrast = next_real(&state, -light, light);
    return d;
}

static uint32_t side(double length, uint32_t most)
{
    const double rounded = round(length);
    return rounded < 1 ? 1 : rounded > most ? most : (uint32_t)rounded;
}

/* A random resized crop: a share of the area, an aspect ratio in 3:4..4:3 of the image's own. A
 * side that would stick out is cut, which only happens to crops of most of the image. */
static kd_status crop(
    const draw *d, const kd_image *from, uint32_t size, kd_image *out, kd_error *err)
{
    const double aspect = exp(d->log_aspect);
    const uint32_t w = side(from->width * sqrt(d->area * aspect), from->width);
    const uint32_t h = side(from->height * sqrt(d->area / aspect), from->height);
    const uint32_t x = (uint32_t)(d->x * (from->width - w + 1));
    const uint32_t y = (uint32_t)(d->y * (from->height - h + 1));
    return kd_image_resize_crop(out, from, x, y, w, h, size, size, err);
}

static void flip(kd_image *image)
{
    for (uint32_t y = 0; y < image->height; y++) {
        uint8_t *left = image->pixels + (size_t)y * image->width * 3;
        uint8_t *right = left + ((size_t)image->width - 1) * 3;
        for (; left < right; left += 3, right -= 3) {
            for (size_t c = 0; c < 3; c++) {
                const uint8_t keep = left[c];
                left[c] = right[c];
                right[c] = keep;
            }
        }
    }
}

/* value × (1 + contrast) + 255 × brightness. */
static void relight(kd_image *image, double brightness, double contrast)
{
    uint8_t table[256];
    for (size_t v = 0; v < 256; v++) {
        const double lit = (double)v * (1 + contrast) + 255 * brightness;
        table[v] = (uint8_t)(lit < 0 ? 0 : lit > 255 ? 255 : lit + 0.5);
    }
    const size_t n = (size_t)image->width * image->height * 3;
    for (size_t i = 0; i < n; i++)
        image->pixels[i] = table[image->pixels[i]];
}

kd_status kd_augment_run(const kd_augment *augment, uint64_t seed, const kd_image *from,
    uint32_t size, kd_image *out, kd_error *err)
{
    assert(augment && from && out);
    assert(augment->crop_min_scale > 0 && augment->crop_min_scale <= 1);
    const draw d = draw_all(augment, seed);
    const kd_status status = augment->crop_min_scale < 1
                                 ? crop(&d, from, size, out, err)
                                 : kd_image_resize(out, from, size, size, err);
    if (status)
        return status;
    if (d.flip < (double)augment->flip)
        flip(out);
    if (d.light < (double)augment->light)
        relight(out, d.brightness, d.contrast);
    return KD_OK;
}
