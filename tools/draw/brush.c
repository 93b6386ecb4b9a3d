#include <math.h>

#include "tools/draw/draw.h"

#define OUTLINE 0.007

static colour colour_of(const product *p, paint with)
{
    switch (with) {
    case SECOND:
        return p->second;
    case ACCENT:
        return p->accent;
    case METAL:
        return (colour){0.72, 0.74, 0.76};
    case DARK:
        return (colour){0.16, 0.16, 0.18};
    case GLASS:
        return (colour){0.55, 0.66, 0.7};
    case BODY:
    case BODY_PLAIN:
        break;
    }
    return p->body;
}

static void set_colour(cairo_t *cr, colour c, double share, double alpha)
{
    cairo_set_source_rgba(cr, c.r * share, c.g * share, c.b * share, alpha);
}

void path_box(cairo_t *cr, double x, double y, double w, double h, double radius)
{
    const double most = (w < h ? w : h) / 2;
    const double r = radius < most ? radius : most;
    cairo_new_sub_path(cr);
    cairo_arc(cr, x + w - r, y + r, r, -M_PI_2, 0);
    cairo_arc(cr, x + w - r, y + h - r, r, 0, M_PI_2);
    cairo_arc(cr, x + r, y + h - r, r, M_PI_2, M_PI);
    cairo_arc(cr, x + r, y + r, r, M_PI, 3 * M_PI_2);
    cairo_close_path(cr);
}

void path_ellipse(cairo_t *cr, double x, double y, double rx, double ry)
{
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_scale(cr, rx, ry);
    cairo_new_sub_path(cr);
    cairo_arc(cr, 0, 0, 1, 0, 2 * M_PI);
    cairo_close_path(cr);
    cairo_restore(cr);
}

void path_polygon(cairo_t *cr, const double *corners, size_t n)
{
    for (size_t i = 0; i < n; i++)
        cairo_line_to(cr, corners[2 * i], corners[2 * i + 1]);
    cairo_close_path(cr);
}

static void zigzag_line(cairo_t *cr, double y, double size)
{
    cairo_move_to(cr, -1, y);
    for (int i = 1; i * size < 2; i++)
        cairo_line_to(cr, -1 + i * size, y + (i % 2 ? size : 0));
}

/* One row of the pattern, from -1 to 1 at its place. */
static void pattern_row(cairo_t *cr, const product *p, int row)
{
    const double size = p->pattern_size, y = row * 2 * size;
    const int n = (int)(1 / size) + 1;
    switch (p->pattern) {
    case STRIPES:
        cairo_rectangle(cr, -1, y, 2, size);
        break;
    case DOTS:
        for (int i = 0; i < n; i++)
            path_ellipse(cr, -1 + (2 * i + (row & 1)) * size, y, size * 0.55, size * 0.55);
        break;
    case CHECKS:
        for (int i = 0; i < n; i++) {
            cairo_rectangle(cr, -1 + 2 * i * size, y, size, size);
            cairo_rectangle(cr, -1 + (2 * i + 1) * size, y + size, size, size);
        }
        break;
    case ZIGZAG:
        zigzag_line(cr, y, size);
        break;
    case PLAIN:
    case N_PATTERNS:
        break;
    }
}

/* The product's pattern over the clip. */
static void draw_pattern(cairo_t *cr, const product *p)
{
    const int rows = (int)(0.5 / p->pattern_size) + 1;
    cairo_save(cr);
    cairo_new_path(cr);
    cairo_rotate(cr, p->pattern_angle);
    set_colour(cr, p->second, 1, 1);
    cairo_set_line_width(cr, p->pattern_size * 0.6);
    for (int row = -rows; row <= rows; row++)
        pattern_row(cr, p, row);
    if (p->pattern == ZIGZAG)
        cairo_stroke(cr);
    else
        cairo_fill(cr);
    cairo_restore(cr);
}

/* Brighter at the upper left, darker at the lower right of the path. */
static void shade(cairo_t *cr)
{
    double x0, y0, x1, y1;
    cairo_path_extents(cr, &x0, &y0, &x1, &y1);
    cairo_pattern_t *const shading = cairo_pattern_create_linear(x0, y0, x1, y1);
    cairo_pattern_add_color_stop_rgba(shading, 0, 1, 1, 1, 0.28);
    cairo_pattern_add_color_stop_rgba(shading, 0.45, 1, 1, 1, 0);
    cairo_pattern_add_color_stop_rgba(shading, 0.55, 0, 0, 0, 0);
    cairo_pattern_add_color_stop_rgba(shading, 1, 0, 0, 0, 0.32);
    cairo_set_source(cr, shading);
    cairo_fill_preserve(cr);
    cairo_pattern_destroy(shading);
}

void brush_fill(cairo_t *cr, const product *p, paint with)
{
    const colour c = colour_of(p, with);
    set_colour(cr, c, 1, with == GLASS ? 0.75 : 1);
    cairo_fill_preserve(cr);
    if (with == BODY && p->pattern != PLAIN) {
        cairo_path_t *const outline = cairo_copy_path(cr);
        cairo_save(cr);
        cairo_clip(cr);
        draw_pattern(cr, p);
        cairo_restore(cr);
        cairo_append_path(cr, outline);
        cairo_path_destroy(outline);
    }
    shade(cr);
    set_colour(cr, c, 0.45, 1);
    cairo_set_line_width(cr, OUTLINE);
    cairo_stroke(cr);
}

void brush_rod(cairo_t *cr, const product *p, paint with, double width)
{
    const colour c = colour_of(p, with);
    cairo_set_line_cap(cr, CAIRO_LINE_CAP_ROUND);
    cairo_set_line_join(cr, CAIRO_LINE_JOIN_ROUND);
    set_colour(cr, c, 0.5, 1);
    cairo_set_line_width(cr, width);
    cairo_stroke_preserve(cr);
    set_colour(cr, c, 1, 1);
    cairo_set_line_width(cr, width > 2.5 * OUTLINE ? width - 1.5 * OUTLINE : width * 0.7);
    cairo_stroke(cr);
}

void brush_line(cairo_t *cr, const product *p, paint with, double width, double x0, double y0,
    double x1, double y1)
{
    cairo_move_to(cr, x0, y0);
    cairo_line_to(cr, x1, y1);
    brush_rod(cr, p, with, width);
}
