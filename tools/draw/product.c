#include <math.h>

#include "tools/draw/draw.h"

static double wrap(double value)
{
    return value - floor(value);
}

static colour from_hsv(double hue, double saturation, double value)
{
    const double h = wrap(hue) * 6;
    const double f = h - floor(h);
    const double p = value * (1 - saturation), q = value * (1 - saturation * f),
                 t = value * (1 - saturation * (1 - f));
    switch ((int)h) {
    case 0:
        return (colour){value, t, p};
    case 1:
        return (colour){q, value, p};
    case 2:
        return (colour){p, value, t};
    case 3:
        return (colour){p, q, value};
    case 4:
        return (colour){t, p, value};
    default:
        return (colour){value, p, q};
    }
}

void draw_palette(uint64_t seed, size_t kind, colour palette[N_PALETTE])
{
    dice d = dice_for(seed, kind, UINT64_MAX, 0);
    const double hue = dice_real(&d, 0, 1);
    const double step = dice_real(&d, 0.25, 0.45);
    palette[0] = from_hsv(hue, dice_real(&d, 0.45, 0.7), dice_real(&d, 0.45, 0.75));
    palette[1] = from_hsv(hue + step, dice_real(&d, 0.35, 0.6), dice_real(&d, 0.5, 0.8));
    palette[2] = from_hsv(hue + 0.1, dice_real(&d, 0.05, 0.2), dice_real(&d, 0.85, 0.95));
    palette[3] = from_hsv(hue + step / 2, dice_real(&d, 0.5, 0.8), dice_real(&d, 0.3, 0.85));
}

/* Levels spread evenly over a kind's products, in another order for each trait (a multiple of the
 * golden ratio per trait), so that any two products differ in several. */
static double level(size_t number, size_t n, size_t trait, double shift, double jitter)
{
    const double steps[N_TRAITS + 1] = {
        0.618034, 0.381966, 0.236068, 0.854102, 0.472136, 0.708204, 0.145898, 0.562306, 0.326238};
    const double at = wrap((double)number * steps[trait] + shift);
    return wrap(at + jitter / (2 * (double)n));
}

product draw_product(uint64_t seed, size_t kind, size_t number, size_t n)
{
    dice shared = dice_for(seed, kind, UINT64_MAX, 1), own = dice_for(seed, kind, number, 0);
    colour palette[N_PALETTE];
    product p;

    draw_palette(seed, kind, palette);
    for (size_t i = 0; i < N_TRAITS; i++) {
        const double shift = dice_real(&shared, 0, 1);
        p.trait[i] = level(number, n, i, shift, dice_real(&own, -1, 1));
    }
    /* Two body colours for all: half of the products look alike to a colour histogram. */
    p.body = palette[number % 2];
    p.second = palette[(number / 2) % 2 ? 2 : (number + 1) % 2];
    p.accent = palette[number % 3 ? 3 : 2];
    p.pattern = (pattern)((number + dice_below(&shared, N_PATTERNS)) % N_PATTERNS);
    p.pattern_size = dice_real(&own, 0.035, 0.075);
    p.pattern_angle = dice_below(&own, 4) * 0.785398;
    return p;
}
