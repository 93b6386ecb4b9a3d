#include <math.h>
#include <string.h>

#include "tools/draw/draw.h"

static colour mix(colour a, colour b, double share)
{
    return (colour){
        a.r + (b.r - a.r) * share, a.g + (b.g - a.g) * share, a.b + (b.b - a.b) * share};
}

/* A wall's colour: grey or cream, with a little of some colour or of the product's own palette. */
static colour back_colour(dice *d, const colour palette[N_PALETTE])
{
    const double grey = dice_real(d, 0.4, 0.95);
    const colour neutral = {grey, grey * dice_real(d, 0.94, 1), grey * dice_real(d, 0.86, 1)};
    const colour other = {dice_real(d, 0.2, 1), dice_real(d, 0.2, 1), dice_real(d, 0.2, 1)};
    const colour own = palette[dice_below(d, N_PALETTE)];
    return mix(neutral, dice_below(d, 2) ? other : own, dice_real(d, 0, 0.5));
}

static void set_source(cairo_t *cr, colour c, double alpha)
{
    cairo_set_source_rgba(cr, c.r, c.g, c.b, alpha);
}

static void gradient(cairo_t *cr, dice *d, colour a, colour b)
{
    const double angle = dice_real(d, 0, 2 * M_PI), x = 0.7 * cos(angle), y = 0.7 * sin(angle);
    cairo_pattern_t *const fade = cairo_pattern_create_linear(-x, -y, x, y);
    cairo_pattern_add_color_stop_rgb(fade, 0, a.r, a.g, a.b);
    cairo_pattern_add_color_stop_rgb(fade, 1, b.r, b.g, b.b);
    cairo_set_source(cr, fade);
    cairo_paint(cr);
    cairo_pattern_destroy(fade);
}

/* Boards, tiles or wallpaper: parallel lines of uneven strength. */
static void texture(cairo_t *cr, dice *d, colour lines)
{
    const double step = dice_real(d, 0.02, 0.12);
    const bool tiles = dice_below(d, 2);
    cairo_save(cr);
    cairo_rotate(cr, dice_real(d, 0, M_PI));
    for (int pass = 0; pass < (tiles ? 2 : 1); pass++) {
        for (int i = 0; i * step < 1.6; i++) {
            const double at = -0.8 + i * step;
            set_source(cr, lines, dice_real(d, 0.15, 0.6));
            cairo_set_line_width(cr, dice_real(d, 0.003, 0.02));
            cairo_move_to(cr, -0.8, at);
            cairo_line_to(cr, 0.8, at);
            cairo_stroke(cr);
        }
        cairo_rotate(cr, M_PI_2);
    }
    cairo_restore(cr);
}

/* Things that stand about, in colours that may be the product's. */
static void clutter(cairo_t *cr, dice *d, const colour palette[N_PALETTE])
{
    const unsigned n = 4 + dice_below(d, 8);
    for (unsigned i = 0; i < n; i++) {
        const double x = dice_real(d, -0.55, 0.55), y = dice_real(d, -0.55, 0.55);
        const double w = dice_real(d, 0.05, 0.3), h = dice_real(d, 0.05, 0.3);
        cairo_save(cr);
        cairo_translate(cr, x, y);
        cairo_rotate(cr, dice_real(d, 0, M_PI));
        if (dice_below(d, 2))
            path_box(cr, -w / 2, -h / 2, w, h, dice_real(d, 0, 0.05));
        else
            path_ellipse(cr, 0, 0, w / 2, h / 2);
        set_source(cr, back_colour(d, palette), 1);
        cairo_fill_preserve(cr);
        cairo_set_source_rgba(cr, 0, 0, 0, 0.25);
        cairo_set_line_width(cr, 0.008);
        cairo_stroke(cr);
        cairo_restore(cr);
    }
}

static void background(cairo_t *cr, dice *d, const colour palette[N_PALETTE])
{
    const colour wall = back_colour(d, palette), other = back_colour(d, palette);
    set_source(cr, wall, 1);
    cairo_paint(cr);
    switch (dice_below(d, 5)) {
    case 0:
        break;
    case 1:
        gradient(cr, d, wall, other);
        break;
    case 2:
        texture(cr, d, other);
        break;
    case 3:
        clutter(cr, d, palette);
        break;
    default: /* a wall and a floor */
        set_source(cr, other, 1);
        cairo_rectangle(cr, -0.5, dice_real(d, 0.05, 0.3), 1, 1);
        cairo_fill(cr);
        break;
    }
}

static void shadow(cairo_t *cr, double floor_y)
{
    cairo_save(cr);
    cairo_translate(cr, 0.02, floor_y);
    cairo_scale(cr, 0.46, 0.09);
    cairo_pattern_t *const dark = cairo_pattern_create_radial(0, 0, 0, 0, 0, 1);
    cairo_pattern_add_color_stop_rgba(dark, 0, 0, 0, 0, 0.45);
    cairo_pattern_add_color_stop_rgba(dark, 1, 0, 0, 0, 0);
    cairo_set_source(cr, dark);
    cairo_arc(cr, 0, 0, 1, 0, 2 * M_PI);
    cairo_fill(cr);
    cairo_pattern_destroy(dark);
    cairo_restore(cr);
}

/* Turned, nearer or further, seen from the side (narrowed and sheared), mirrored. */
static void pose(cairo_t *cr, dice *d)
{
    const double scale = dice_real(d, 0.76, 1.06);
    cairo_translate(cr, dice_real(d, -0.08, 0.08), dice_real(d, -0.06, 0.06));
    cairo_rotate(cr, dice_real(d, -0.24, 0.24));
    const cairo_matrix_t shear = {1, dice_real(d, -0.18, 0.18), dice_real(d, -0.14, 0.14), 1, 0, 0};
    cairo_transform(cr, &shear);
    const double narrow = dice_real(d, 0.74, 1);
    cairo_scale(
        cr, dice_below(d, 2) ? scale * narrow : -scale * narrow, scale * dice_real(d, 0.92, 1.05));
}

/* cairo's pixels are 32-bit words 0x00RRGGBB. */
static void copy_pixels(kd_image *out, cairo_surface_t *surface)
{
    cairo_surface_flush(surface);
    const unsigned char *const data = cairo_image_surface_get_data(surface);
    const size_t stride = (size_t)cairo_image_surface_get_stride(surface);
    uint8_t *to = out->pixels;
    for (uint32_t y = 0; y < out->height; y++) {
        for (uint32_t x = 0; x < out->width; x++) {
            uint32_t word;
            memcpy(&word, data + y * stride + x * sizeof word, sizeof word);
            *to++ = (uint8_t)(word >> 16);
            *to++ = (uint8_t)(word >> 8);
            *to++ = (uint8_t)word;
        }
    }
}

kd_status draw_view(kd_image *out, const draw_kind *kind, const product *p,
    const colour palette[N_PALETTE], dice *d, uint32_t size, int *quality, kd_error *err)
{
    *out = (kd_image)KD_IMAGE_INIT;
    cairo_surface_t *const surface =
        cairo_image_surface_create(CAIRO_FORMAT_RGB24, (int)size, (int)size);
    cairo_t *const cr = cairo_create(surface);
    cairo_scale(cr, size, size);
    cairo_translate(cr, 0.5, 0.5);
    background(cr, d, palette);
    pose(cr, d);
    shadow(cr, kind->floor_y);
    kind->draw(cr, p);

    kd_status status = KD_OK;
    if (cairo_status(cr) != CAIRO_STATUS_SUCCESS)
        status = kd_error_set(
            err, KD_INTERNAL, "can't draw: %s", cairo_status_to_string(cairo_status(cr)));
    if (status == KD_OK)
        status = kd_image_new(out, size, size, err);
    if (status == KD_OK) {
        copy_pixels(out, surface);
        draw_light(out, d);
        *quality = 68 + (int)dice_below(d, 25);
    }
    cairo_destroy(cr);
    cairo_surface_destroy(surface);
    return status;
}
