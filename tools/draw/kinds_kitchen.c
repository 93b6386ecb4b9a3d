/* Coffee maker, kettle, mug, toaster. */
#include <math.h>

#include "tools/draw/draw.h"

static void carafe(cairo_t *cr, const product *p, double x, double bottom, double w, double h)
{
    const double top = bottom - h;
    cairo_move_to(cr, x + w / 2, top + h * 0.25);
    cairo_curve_to(cr, x + w, top + h * 0.2, x + w, bottom - h * 0.1, x + w / 2, bottom - h * 0.15);
    brush_rod(cr, p, DARK, 0.028);
    if (choice(p, 3, 2)) {
        path_ellipse(cr, x, bottom - h * 0.45, w / 2, h * 0.45);
    } else {
        const double corners[] = {x - w * 0.36, top + 0.02, x + w * 0.36, top + 0.02, x + w / 2,
            bottom, x - w / 2, bottom};
        path_polygon(cr, corners, 4);
    }
    brush_fill(cr, p, GLASS);
    path_box(cr, x - w * 0.42, bottom - h * 0.45, w * 0.84, h * 0.35, 0.03);
    brush_fill(cr, p, DARK); /* the coffee */
    path_box(cr, x - w * 0.3, top - 0.005, w * 0.6, 0.035, 0.01);
    brush_fill(cr, p, ACCENT);
}

void draw_coffee_maker(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.44, 0.6), h = span(p, 1, 0.62, 0.82), bottom = 0.42;
    const double top = bottom - h, column = span(p, 2, 0.13, 0.22),
                 head = h * span(p, 4, 0.22, 0.34);
    const double round = span(p, 5, 0.01, 0.07), x = -w / 2;

    path_box(cr, x, top, column, h, round);
    brush_fill(cr, p, choice(p, 6, 2) ? SECOND : BODY);
    path_box(cr, x, bottom - 0.07, w, 0.07, 0.02);
    brush_fill(cr, p, BODY_PLAIN);
    path_box(cr, x + column + 0.02, bottom - 0.085, w - column - 0.04, 0.02, 0.005);
    brush_fill(cr, p, METAL);
    const double middle = x + column + (w - column) / 2;
    carafe(cr, p, middle - 0.02, bottom - 0.085, (w - column) * 0.72, h - head - 0.14);
    path_box(cr, x, top, w, head, round);
    brush_fill(cr, p, BODY);
    const double funnel[] = {middle - 0.09, top + head, middle + 0.09, top + head, middle + 0.03,
        top + head + 0.04, middle - 0.03, top + head + 0.04};
    path_polygon(cr, funnel, 4);
    brush_fill(cr, p, SECOND);
    const unsigned buttons = 1 + choice(p, 7, 4);
    for (unsigned i = 0; i < buttons; i++) {
        path_ellipse(cr, x + w - 0.05 - 0.055 * i, top + head / 2, 0.02, 0.02);
        brush_fill(cr, p, i ? METAL : ACCENT);
    }
    if (choice(p, 3, 3) == 1) {
        path_box(cr, x + 0.04, top + head / 2 - 0.03, 0.12, 0.06, 0.01);
        brush_fill(cr, p, DARK);
    }
}

static void kettle_body(cairo_t *cr, const product *p, double w, double top, double bottom)
{
    switch (choice(p, 3, 3)) {
    case 0: {
        const double slim = w * span(p, 4, 0.6, 0.8);
        const double corners[] = {-slim / 2, top, slim / 2, top, w / 2, bottom, -w / 2, bottom};
        path_polygon(cr, corners, 4);
        break;
    }
    case 1:
        path_box(cr, -w / 2, top, w, bottom - top, span(p, 4, 0.1, 0.25));
        break;
    default:
        cairo_move_to(cr, -w * 0.25, top);
        cairo_line_to(cr, w * 0.25, top);
        cairo_curve_to(cr, w * 0.65, top + 0.1, w * 0.55, bottom, w * 0.4, bottom);
        cairo_line_to(cr, -w * 0.4, bottom);
        cairo_curve_to(cr, -w * 0.55, bottom, -w * 0.65, top + 0.1, -w * 0.25, top);
        cairo_close_path(cr);
        break;
    }
    brush_fill(cr, p, BODY);
}

void draw_kettle(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.36, 0.54), h = span(p, 1, 0.34, 0.54), bottom = 0.38;
    const double top = bottom - h, reach = w / 2 + span(p, 2, 0.1, 0.2);

    /* The spout: a swan's neck or a short beak. */
    if (choice(p, 5, 2)) {
        cairo_move_to(cr, -w * 0.4, bottom - h * 0.3);
        cairo_curve_to(cr, -reach, bottom - h * 0.3, -reach + 0.06, top + 0.02, -reach, top - 0.03);
        brush_rod(cr, p, SECOND, 0.05);
    } else {
        const double corners[] = {-w * 0.3, top + 0.02, -reach, top + 0.03, -reach + 0.02,
            top + 0.07, -w * 0.4, top + h * 0.55};
        path_polygon(cr, corners, 4);
        brush_fill(cr, p, SECOND);
    }
    if (choice(p, 6, 2)) {
        cairo_move_to(cr, -w * 0.34, top + 0.04);
        cairo_curve_to(cr, -w * 0.4, top - 0.3, w * 0.4, top - 0.3, w * 0.34, top + 0.04);
    } else {
        cairo_move_to(cr, w * 0.3, top + 0.04);
        cairo_curve_to(cr, w / 2 + 0.24, top, w / 2 + 0.2, bottom - 0.05, w * 0.44, bottom - 0.08);
    }
    brush_rod(cr, p, choice(p, 7, 2) ? DARK : ACCENT, 0.045);
    kettle_body(cr, p, w, top, bottom);
    path_ellipse(cr, 0, top, w * 0.3, 0.035);
    brush_fill(cr, p, SECOND);
    path_ellipse(cr, 0, top - 0.045, 0.03, 0.028);
    brush_fill(cr, p, ACCENT);
    if (choice(p, 4, 2)) {
        path_box(cr, -w / 2 - 0.03, bottom, w + 0.06, 0.045, 0.02);
        brush_fill(cr, p, DARK);
    }
}

static void mug_handle(cairo_t *cr, const product *p, double x, double top, double bottom)
{
    const double h = bottom - top, out = x + span(p, 4, 0.1, 0.2);
    switch (choice(p, 3, 3)) {
    case 0:
        cairo_move_to(cr, x - 0.02, top + h * 0.2);
        cairo_curve_to(
            cr, out + 0.06, top + h * 0.15, out + 0.06, top + h * 0.8, x - 0.02, top + h * 0.75);
        break;
    case 1:
        cairo_move_to(cr, x - 0.02, top + h * 0.22);
        cairo_line_to(cr, out, top + h * 0.22);
        cairo_line_to(cr, out, top + h * 0.72);
        cairo_line_to(cr, x - 0.02, top + h * 0.72);
        break;
    default:
        cairo_move_to(cr, x - 0.02, top + h * 0.15);
        cairo_curve_to(cr, out + 0.1, top, out, top + h * 0.5, x - 0.02, top + h * 0.85);
        break;
    }
    brush_rod(cr, p, choice(p, 7, 2) ? SECOND : BODY_PLAIN, span(p, 5, 0.04, 0.065));
}

void draw_mug(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.38, 0.54), h = span(p, 1, 0.38, 0.68), bottom = 0.36;
    const double top = bottom - h, foot = w * span(p, 2, 0.62, 1.0), x = -w / 2 - 0.06;
    const double right = x + w, lip = w * 0.13;
    const double middle = x + w / 2;

    if (choice(p, 6, 3) == 0) { /* a saucer */
        path_ellipse(cr, middle, bottom + 0.01, w * 0.75, 0.06);
        brush_fill(cr, p, SECOND);
    }
    mug_handle(cr, p, right - (w - foot) * 0.2, top, bottom);
    cairo_move_to(cr, x, top);
    cairo_curve_to(
        cr, x, top + h * 0.6, middle - foot / 2, bottom - 0.1, middle - foot / 2, bottom);
    cairo_curve_to(cr, middle - foot / 4, bottom + lip * 0.6, middle + foot / 4, bottom + lip * 0.6,
        middle + foot / 2, bottom);
    cairo_curve_to(cr, middle + foot / 2, bottom - 0.1, right, top + h * 0.6, right, top);
    cairo_close_path(cr);
    brush_fill(cr, p, BODY);
    path_ellipse(cr, middle, top, w / 2, lip);
    brush_fill(cr, p, choice(p, 5, 2) ? ACCENT : SECOND);
    path_ellipse(cr, middle, top + 0.008, w / 2 - 0.025, lip - 0.018);
    brush_fill(cr, p, DARK);
}

void draw_toaster(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.54, 0.78), h = span(p, 1, 0.34, 0.5), bottom = 0.32;
    const double top = bottom - h, round = span(p, 2, 0.03, 0.2), x = -w / 2;
    const unsigned slices = choice(p, 3, 3);

    for (unsigned i = 0; i < slices; i++) {
        const double at = slices == 1 ? 0 : (i ? 0.15 : -0.15);
        path_box(cr, at - 0.11, top - span(p, 4, 0.06, 0.14), 0.22, 0.2, 0.05);
        cairo_set_source_rgb(cr, 0.8, 0.6, 0.33);
        cairo_fill_preserve(cr);
        cairo_set_source_rgb(cr, 0.45, 0.28, 0.12);
        cairo_set_line_width(cr, 0.015);
        cairo_stroke(cr);
    }
    for (int side = -1; side <= 1; side += 2) {
        path_box(cr, side * w * 0.36 - 0.035, bottom - 0.01, 0.07, 0.04, 0.01);
        brush_fill(cr, p, DARK);
    }
    path_box(cr, x, top, w, h, round);
    brush_fill(cr, p, BODY);
    path_box(cr, x, bottom - h * 0.22, w, h * 0.2, 0.03);
    brush_fill(cr, p, choice(p, 5, 2) ? SECOND : METAL);
    path_box(cr, x + w * 0.12, top + 0.012, w * 0.76, 0.022, 0.01);
    brush_fill(cr, p, DARK);

    /* The lever's slit and the lever, then the knobs. */
    const double slit = x + w - 0.075;
    brush_line(cr, p, DARK, 0.014, slit, top + h * 0.2, slit, top + h * 0.65);
    path_box(cr, slit - 0.045, top + h * span(p, 6, 0.2, 0.5), 0.09, 0.04, 0.012);
    brush_fill(cr, p, ACCENT);
    const unsigned knobs = 1 + choice(p, 7, 3);
    for (unsigned i = 0; i < knobs; i++) {
        path_ellipse(cr, x + 0.09 + 0.085 * i, bottom - h * 0.12, 0.03, 0.03);
        brush_fill(cr, p, ACCENT);
    }
}
