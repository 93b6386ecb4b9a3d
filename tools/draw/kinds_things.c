/* Bicycle, fan, lamp, stapler. */
#include <math.h>

#include "tools/draw/draw.h"

static void wheel(cairo_t *cr, const product *p, double x, double y, double r)
{
    static const unsigned spokes[] = {5, 8, 12, 20};
    const unsigned n = spokes[choice(p, 2, 4)];
    cairo_set_source_rgba(cr, 0.75, 0.75, 0.78, 1);
    cairo_set_line_width(cr, n < 8 ? 0.016 : 0.005);
    for (unsigned i = 0; i < n; i++) {
        const double a = 2 * M_PI * i / n + 0.2;
        cairo_move_to(cr, x, y);
        cairo_line_to(cr, x + r * cos(a), y + r * sin(a));
    }
    cairo_stroke(cr);
    path_ellipse(cr, x, y, r, r);
    brush_rod(cr, p, choice(p, 7, 3) == 0 ? SECOND : DARK, span(p, 3, 0.022, 0.045));
    path_ellipse(cr, x, y, 0.02, 0.02);
    brush_fill(cr, p, METAL);
}

static void handlebar(cairo_t *cr, const product *p, double x, double y)
{
    switch (choice(p, 5, 3)) {
    case 0:
        brush_line(cr, p, DARK, 0.028, x - 0.07, y - 0.02, x + 0.05, y - 0.02);
        break;
    case 1: /* drops */
        cairo_move_to(cr, x, y);
        cairo_line_to(cr, x + 0.07, y);
        cairo_curve_to(cr, x + 0.13, y + 0.02, x + 0.1, y + 0.1, x + 0.04, y + 0.08);
        brush_rod(cr, p, ACCENT, 0.026);
        break;
    default: /* high */
        cairo_move_to(cr, x, y);
        cairo_line_to(cr, x + 0.03, y - 0.09);
        cairo_line_to(cr, x - 0.1, y - 0.11);
        brush_rod(cr, p, DARK, 0.024);
        break;
    }
}

void draw_bicycle(cairo_t *cr, const product *p)
{
    const double r = span(p, 0, 0.14, 0.2), base = span(p, 1, 0.46, 0.56), ground = 0.34;
    const double back = -base / 2, front = base / 2, axle = ground - r;
    const double thick = span(p, 4, 0.024, 0.042), pedal = -0.03, pedal_y = axle + 0.01;
    const double seat_x = -0.1, seat_y = axle - 0.24, head_x = front - 0.07, head_y = axle - 0.24;

    wheel(cr, p, back, axle, r);
    wheel(cr, p, front, axle, r);
    if (choice(p, 6, 3) == 2) { /* fenders */
        cairo_arc(cr, back, axle, r + 0.03, M_PI * 1.0, M_PI * 1.8);
        brush_rod(cr, p, SECOND, 0.022);
        cairo_arc(cr, front, axle, r + 0.03, M_PI * 1.2, M_PI * 1.95);
        brush_rod(cr, p, SECOND, 0.022);
    }
    brush_line(cr, p, METAL, thick * 0.9, head_x, head_y, front, axle);
    cairo_move_to(cr, back, axle);
    cairo_line_to(cr, seat_x, seat_y + 0.04);
    cairo_line_to(cr, pedal, pedal_y);
    cairo_close_path(cr);
    brush_rod(cr, p, BODY_PLAIN, thick);
    brush_line(cr, p, BODY_PLAIN, thick, pedal, pedal_y, head_x, head_y + 0.04);
    if (choice(p, 3, 2)) /* a top tube, or a low one to step through */
        brush_line(cr, p, BODY_PLAIN, thick, seat_x, seat_y + 0.05, head_x, head_y + 0.01);
    else
        brush_line(cr, p, SECOND, thick, pedal - 0.05, pedal_y - 0.12, head_x, head_y + 0.06);
    brush_line(cr, p, METAL, 0.02, seat_x, seat_y + 0.04, seat_x - 0.01, seat_y - 0.02);
    path_box(cr, seat_x - 0.08, seat_y - 0.05, 0.13, span(p, 7, 0.025, 0.05), 0.02);
    brush_fill(cr, p, ACCENT);
    brush_line(cr, p, METAL, 0.02, head_x, head_y, head_x - 0.015, head_y - 0.06);
    handlebar(cr, p, head_x - 0.015, head_y - 0.06);
    path_ellipse(cr, pedal, pedal_y, 0.045, 0.045);
    brush_fill(cr, p, METAL);
    if (choice(p, 6, 3) == 1) { /* a basket */
        const double corners[] = {head_x + 0.01, head_y - 0.09, head_x + 0.19, head_y - 0.09,
            head_x + 0.16, head_y + 0.03, head_x + 0.03, head_y + 0.03};
        path_polygon(cr, corners, 4);
        brush_fill(cr, p, BODY);
    }
}

static void fan_blade(cairo_t *cr, const product *p, double r, double width)
{
    cairo_move_to(cr, 0, 0);
    cairo_curve_to(cr, r * 0.2, -r * width, r * 0.8, -r * width, r * 0.92, -r * 0.1);
    cairo_curve_to(cr, r * 0.8, r * 0.15, r * 0.3, r * 0.15, 0, 0);
    cairo_close_path(cr);
    brush_fill(cr, p, BODY);
}

void draw_fan(cairo_t *cr, const product *p)
{
    const double r = span(p, 0, 0.2, 0.29), y = -0.42 + r + 0.02, foot = 0.42;
    const unsigned blades = 3 + choice(p, 1, 4), rings = 2 + choice(p, 2, 4);
    const unsigned wires = 8 + 6 * choice(p, 3, 3);

    brush_line(cr, p, SECOND, span(p, 4, 0.025, 0.06), 0, y, 0, foot - 0.03);
    switch (choice(p, 5, 3)) {
    case 0:
        path_ellipse(cr, 0, foot - 0.02, 0.19, 0.05);
        break;
    case 1:
        path_box(cr, -0.2, foot - 0.07, 0.4, 0.08, 0.02);
        break;
    default: {
        const double corners[] = {-0.05, foot - 0.16, 0.05, foot - 0.16, 0.18, foot, -0.18, foot};
        path_polygon(cr, corners, 4);
        break;
    }
    }
    brush_fill(cr, p, BODY_PLAIN);
    path_ellipse(cr, 0, y, r, r);
    cairo_set_source_rgba(cr, 0.9, 0.92, 0.94, 0.55);
    cairo_fill(cr);
    for (unsigned i = 0; i < blades; i++) {
        cairo_save(cr);
        cairo_translate(cr, 0, y);
        cairo_rotate(cr, 2 * M_PI * i / blades + span(p, 6, 0, 1));
        fan_blade(cr, p, r, span(p, 6, 0.3, 0.6));
        cairo_restore(cr);
    }
    cairo_set_source_rgba(cr, 0.25, 0.25, 0.28, 0.8);
    cairo_set_line_width(cr, 0.006);
    for (unsigned i = 0; i < wires; i++) {
        const double a = 2 * M_PI * i / wires;
        cairo_move_to(cr, 0, y);
        cairo_line_to(cr, r * cos(a), y + r * sin(a));
    }
    for (unsigned i = 1; i < rings; i++) {
        cairo_new_sub_path(cr);
        cairo_arc(cr, 0, y, r * i / rings, 0, 2 * M_PI);
    }
    cairo_stroke(cr);
    path_ellipse(cr, 0, y, r, r);
    brush_rod(cr, p, choice(p, 7, 2) ? SECOND : METAL, 0.03);
    path_ellipse(cr, 0, y, 0.055, 0.055);
    brush_fill(cr, p, ACCENT);
}

static void lamp_base(cairo_t *cr, const product *p, double top, double foot)
{
    const double w = span(p, 3, 0.1, 0.2);
    switch (choice(p, 4, 4)) {
    case 0: /* a stem on a plate */
        brush_line(cr, p, SECOND, 0.035, 0, top, 0, foot - 0.02);
        path_ellipse(cr, 0, foot - 0.015, w, 0.04);
        break;
    case 1: /* a ball */
        brush_line(cr, p, METAL, 0.025, 0, top, 0, foot - w);
        path_ellipse(cr, 0, foot - w * 0.95, w, w * 0.95);
        break;
    case 2: /* a vase */
        cairo_move_to(cr, -0.03, top);
        cairo_curve_to(cr, -0.03, (top + foot) / 2, -w * 1.3, (top + foot) / 2, -w * 0.6, foot);
        cairo_line_to(cr, w * 0.6, foot);
        cairo_curve_to(cr, w * 1.3, (top + foot) / 2, 0.03, (top + foot) / 2, 0.03, top);
        cairo_close_path(cr);
        break;
    default: /* three legs */
        brush_line(cr, p, SECOND, 0.028, 0, top, -w, foot);
        brush_line(cr, p, SECOND, 0.028, 0, top, w, foot);
        brush_line(cr, p, SECOND, 0.028, 0, top, w * 0.15, foot + 0.01);
        path_ellipse(cr, 0, top + 0.05, 0.03, 0.03);
        break;
    }
    brush_fill(cr, p, SECOND);
}

void draw_lamp(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.36, 0.6), h = span(p, 1, 0.22, 0.38), top = -0.42;
    const double slim = w * span(p, 2, 0.3, 0.9), bottom = top + h;

    lamp_base(cr, p, bottom - 0.03, 0.42);
    if (choice(p, 5, 2)) {
        brush_line(cr, p, METAL, 0.01, w * 0.25, bottom, w * 0.25, bottom + 0.12);
        path_ellipse(cr, w * 0.25, bottom + 0.13, 0.016, 0.016);
        brush_fill(cr, p, ACCENT);
    }
    if (choice(p, 6, 3) == 0) { /* a dome */
        cairo_move_to(cr, -w / 2, bottom);
        cairo_curve_to(cr, -w / 2, top - h * 0.3, w / 2, top - h * 0.3, w / 2, bottom);
        cairo_close_path(cr);
    } else {
        const double corners[] = {-slim / 2, top, slim / 2, top, w / 2, bottom, -w / 2, bottom};
        path_polygon(cr, corners, 4);
    }
    brush_fill(cr, p, BODY);
    path_box(cr, -w / 2, bottom - 0.025, w, 0.03, 0.01);
    brush_fill(cr, p, choice(p, 7, 2) ? ACCENT : SECOND);
}

void draw_stapler(cairo_t *cr, const product *p)
{
    const double length = span(p, 0, 0.66, 0.88), thick = span(p, 1, 0.1, 0.18);
    const double open = span(p, 2, 0.04, 0.3), base = span(p, 3, 0.04, 0.08);
    const double back = -length / 2, floor_y = 0.24, hinge = floor_y - base - 0.06;

    path_box(cr, back, floor_y - base, length, base, choice(p, 4, 2) ? base / 2 : 0.008);
    brush_fill(cr, p, SECOND);
    path_box(cr, back + length - 0.15, floor_y - base - 0.012, 0.11, 0.018, 0.004);
    brush_fill(cr, p, METAL);

    cairo_save(cr);
    cairo_translate(cr, back + 0.06, hinge);
    cairo_rotate(cr, -open);
    path_box(cr, -0.02, -0.02, length - 0.1, 0.05, 0.008);
    brush_fill(cr, p, METAL);
    cairo_move_to(cr, -0.05, 0.03);
    if (choice(p, 5, 2)) { /* arched */
        cairo_curve_to(cr, -0.04, -thick * 1.6, length * 0.5, -thick * 1.7, length - 0.09, -0.02);
    } else {
        cairo_line_to(cr, -0.05, -thick);
        cairo_line_to(cr, length * span(p, 6, 0.35, 0.75), -thick);
        cairo_line_to(cr, length - 0.09, -0.05);
    }
    cairo_line_to(cr, length - 0.09, 0.0);
    cairo_line_to(cr, length * 0.3, -0.015);
    cairo_close_path(cr);
    brush_fill(cr, p, BODY);
    path_box(cr, length * 0.2, -thick * 0.75, length * span(p, 7, 0.12, 0.4), 0.03, 0.012);
    brush_fill(cr, p, ACCENT);
    cairo_restore(cr);
    path_ellipse(cr, back + 0.05, hinge + 0.01, 0.055, 0.065);
    brush_fill(cr, p, choice(p, 6, 2) ? DARK : ACCENT);
}
