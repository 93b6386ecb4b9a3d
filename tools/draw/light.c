#include <math.h>

#include "tools/draw/draw.h"

static uint8_t clip(double value)
{
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value + 0.5);
}

void draw_light(kd_image *image, dice *d)
{
    const double brightness = dice_real(d, 0.75, 1.15), lift = dice_real(d, 0, 15);
    const double angle = dice_real(d, 0, 2 * M_PI), slope = dice_real(d, 0, 0.55);
    const double warm = dice_real(d, -0.12, 0.12), green = dice_real(d, -0.05, 0.05);
    const double tint[3] = {1 + warm, 1 + green, 1 - warm};
    const double noise = dice_real(d, 1, 6);
    const double dx = cos(angle), dy = sin(angle), size = (double)image->width;
    uint8_t *pixel = image->pixels;

    for (uint32_t y = 0; y < image->height; y++) {
        for (uint32_t x = 0; x < image->width; x++, pixel += 3) {
            const double along = (x / size - 0.5) * dx + (y / size - 0.5) * dy;
            const double light = brightness * (1 + slope * along);
            /* Two even numbers make a triangular one: near enough to a sensor's noise. */
            const double grain = noise * (dice_real(d, -1, 1) + dice_real(d, -1, 1));
            for (size_t c = 0; c < 3; c++)
                pixel[c] = clip(lift + pixel[c] * light * tint[c] + grain);
        }
    }
}
