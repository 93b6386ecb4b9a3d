/* Cabinet, chair, sofa, table. */
#include <math.h>

#include "tools/draw/draw.h"

static void knob(cairo_t *cr, const product *p, double x, double y, bool bar)
{
    if (bar)
        path_box(cr, x - 0.035, y - 0.009, 0.07, 0.018, 0.009);
    else
        path_ellipse(cr, x, y, 0.015, 0.015);
    brush_fill(cr, p, ACCENT);
}

static void drawers(
    cairo_t *cr, const product *p, double x, double y, double w, double h, unsigned n, bool bar)
{
    const double gap = 0.012, each = (h - gap * (n + 1)) / n;
    for (unsigned i = 0; i < n; i++) {
        const double top = y + gap + i * (each + gap);
        path_box(cr, x + gap, top, w - 2 * gap, each, 0.01);
        brush_fill(cr, p, BODY);
        knob(cr, p, x + w / 2, top + each / 2, bar);
    }
}

static void doors(
    cairo_t *cr, const product *p, double x, double y, double w, double h, unsigned n, bool glass)
{
    const double gap = 0.012, each = (w - gap * (n + 1)) / n;
    for (unsigned i = 0; i < n; i++) {
        const double left = x + gap + i * (each + gap);
        path_box(cr, left, y + gap, each, h - 2 * gap, 0.01);
        brush_fill(cr, p, BODY);
        if (glass) {
            path_box(cr, left + 0.03, y + gap + 0.03, each - 0.06, h - 2 * gap - 0.06, 0.005);
            brush_fill(cr, p, GLASS);
        }
        knob(cr, p, i % 2 ? left + 0.028 : left + each - 0.028, y + h / 2, false);
    }
}

void draw_cabinet(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.4, 0.82), h = span(p, 1, 0.52, 0.78);
    const double leg = span(p, 2, 0.02, 0.11), x = -w / 2, y = 0.43 - leg - h;
    const bool bar = choice(p, 3, 2), glass = choice(p, 6, 3) == 0;

    for (int side = -1; side <= 1; side += 2)
        brush_line(cr, p, SECOND, 0.035, side * (w / 2 - 0.05), y + h,
            side * (w / 2 - 0.05 + leg * 0.3), 0.43);
    path_box(cr, x, y, w, h, 0.015);
    brush_fill(cr, p, SECOND);
    switch (choice(p, 4, 4)) {
    case 0:
        drawers(cr, p, x, y, w, h, 3 + choice(p, 5, 3), bar);
        break;
    case 1:
        doors(cr, p, x, y, w, h, w > 0.6 ? 3 : 2, glass);
        break;
    case 2: {
        const double top = h * span(p, 5, 0.25, 0.5);
        drawers(cr, p, x, y, w, top, top > 0.25 ? 2 : 1, bar);
        doors(cr, p, x, y + top, w, h - top, 2, glass);
        break;
    }
    default:
        doors(cr, p, x, y, w / 2, h, 1, glass);
        drawers(cr, p, x + w / 2, y, w / 2, h, 3 + choice(p, 5, 2), bar);
        break;
    }
    path_box(cr, x - 0.025, y - 0.03, w + 0.05, 0.04, 0.012);
    brush_fill(cr, p, choice(p, 7, 2) ? ACCENT : SECOND);
}

static void chair_back(cairo_t *cr, const product *p, double w, double top, double bottom)
{
    const double x = -w / 2;
    switch (choice(p, 3, 4)) {
    case 0: { /* slats upright */
        const unsigned n = 3 + choice(p, 4, 4);
        for (unsigned i = 0; i < n; i++) {
            const double at = x + 0.03 + (w - 0.06) * (i + 0.5) / n;
            brush_line(cr, p, SECOND, 0.022, at, top, at, bottom);
        }
        break;
    }
    case 1: { /* rungs */
        const unsigned n = 3 + choice(p, 4, 4);
        for (unsigned i = 0; i < n; i++) {
            const double y = top + (bottom - top) * (i + 0.5) / n;
            brush_line(cr, p, SECOND, 0.03, x, y, -x, y);
        }
        break;
    }
    case 2: /* a full back */
        path_box(cr, x, top, w, bottom - top - 0.03, span(p, 4, 0.01, 0.12));
        brush_fill(cr, p, BODY);
        return;
    default: /* an oval */
        path_ellipse(cr, 0, (top + bottom) / 2 - 0.02, w / 2 - 0.01, (bottom - top) / 2 - 0.02);
        brush_fill(cr, p, BODY);
        break;
    }
    brush_line(cr, p, BODY_PLAIN, 0.035, x, top, -x, top);
    for (int side = -1; side <= 1; side += 2)
        brush_line(cr, p, BODY_PLAIN, 0.032, side * w / 2, top, side * w / 2, bottom);
}

void draw_chair(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.34, 0.5), top = span(p, 1, -0.43, -0.25), seat = 0.08;
    const double splay = span(p, 2, 0, 0.1), depth = 0.11;

    /* The far legs, then back, seat and near legs. */
    for (int side = -1; side <= 1; side += 2)
        brush_line(cr, p, SECOND, 0.026, side * (w / 2 - 0.03), seat,
            side * (w / 2 - 0.03 + splay * 0.5), 0.36);
    chair_back(cr, p, w, top, seat);
    for (int side = -1; side <= 1; side += 2)
        brush_line(cr, p, SECOND, 0.036, side * (w / 2 + 0.02), seat + depth * 0.7,
            side * (w / 2 + 0.02 + splay), 0.43);
    if (choice(p, 5, 2))
        brush_line(cr, p, SECOND, 0.02, -w / 2 - 0.02, 0.3, w / 2 + 0.02, 0.3);
    const double corners[] = {-w / 2, seat - 0.02, w / 2, seat - 0.02, w / 2 + 0.05, seat + depth,
        -w / 2 - 0.05, seat + depth};
    path_polygon(cr, corners, 4);
    brush_fill(cr, p, BODY);
    path_box(cr, -w / 2 - 0.05, seat + depth, w + 0.1, 0.035, 0.01);
    brush_fill(cr, p, ACCENT);
    if (choice(p, 6, 3) == 0) { /* arms */
        for (int side = -1; side <= 1; side += 2) {
            brush_line(cr, p, SECOND, 0.024, side * (w / 2 + 0.04), seat + 0.07,
                side * (w / 2 + 0.04), -0.08);
            brush_line(cr, p, ACCENT, 0.04, side * w / 2, -0.1, side * (w / 2 + 0.06), -0.07);
        }
    }
}

static void sofa_pillow(cairo_t *cr, const product *p, double x, double y, double turn)
{
    cairo_save(cr);
    cairo_translate(cr, x, y);
    cairo_rotate(cr, turn);
    path_box(cr, -0.065, -0.06, 0.13, 0.12, 0.03);
    brush_fill(cr, p, ACCENT);
    cairo_restore(cr);
}

void draw_sofa(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.66, 0.9), back = span(p, 1, 0.22, 0.36);
    const double arm = span(p, 2, 0.06, 0.13), arm_height = span(p, 3, 0.12, 0.25);
    const double leg = span(p, 4, 0.02, 0.09), floor_y = 0.32, base = floor_y - leg;
    const unsigned seats = 1 + choice(p, 5, 3);
    const double inner = w - 2 * arm, seat_y = base - 0.16;
    const double round = choice(p, 6, 2) ? 0.06 : 0.015;

    for (int side = -1; side <= 1; side += 2)
        brush_line(cr, p, DARK, 0.03, side * (w / 2 - 0.06), base, side * (w / 2 - 0.05), floor_y);
    path_box(cr, -w / 2 + arm * 0.5, seat_y - back, w - arm, back + 0.1, round);
    brush_fill(cr, p, BODY);
    for (unsigned i = 0; i < seats; i++) {
        path_box(cr, -inner / 2 + inner * i / seats, seat_y - back * 0.7, inner / seats,
            back * 0.75, 0.035);
        brush_fill(cr, p, BODY);
    }
    path_box(cr, -w / 2 + arm * 0.5, base - 0.09, w - arm, 0.09, 0.01);
    brush_fill(cr, p, BODY_PLAIN);
    for (unsigned i = 0; i < seats; i++) {
        path_box(cr, -inner / 2 + inner * i / seats, seat_y, inner / seats, 0.085, 0.025);
        brush_fill(cr, p, SECOND);
    }
    for (int side = -1; side <= 1; side += 2) {
        const double x = side < 0 ? -w / 2 : w / 2 - arm;
        path_box(cr, x, seat_y - arm_height + 0.06, arm, base - seat_y + arm_height - 0.06,
            round + 0.01);
        brush_fill(cr, p, BODY);
    }
    const unsigned pillows = choice(p, 7, 3);
    if (pillows > 0)
        sofa_pillow(cr, p, -inner / 2 + 0.09, seat_y - 0.06, -0.2);
    if (pillows > 1)
        sofa_pillow(cr, p, inner / 2 - 0.09, seat_y - 0.06, 0.25);
}

static void table_legs(cairo_t *cr, const product *p, double w, double top, double depth)
{
    const double thick = span(p, 3, 0.025, 0.05), foot = 0.4;
    const double splay = span(p, 4, 0, 0.08);
    switch (choice(p, 5, 3)) {
    case 0: /* four */
        for (int side = -1; side <= 1; side += 2) {
            brush_line(cr, p, SECOND, thick * 0.8, side * (w / 2 - 0.1), top - depth * 0.3,
                side * (w / 2 - 0.1 + splay), foot - 0.08);
            brush_line(cr, p, SECOND, thick, side * (w / 2 - 0.04), top + depth * 0.4,
                side * (w / 2 - 0.04 + splay), foot);
        }
        if (choice(p, 6, 2)) {
            const double shelf = foot - 0.14;
            path_box(cr, -w / 2 + 0.06, shelf, w - 0.12, 0.03, 0.01);
            brush_fill(cr, p, ACCENT);
        }
        break;
    case 1: /* a pedestal */
        brush_line(cr, p, SECOND, thick * 2, 0, top, 0, foot - 0.03);
        path_ellipse(cr, 0, foot - 0.01, w * 0.28, 0.045);
        brush_fill(cr, p, SECOND);
        break;
    default: /* crossed */
        for (int side = -1; side <= 1; side += 2)
            brush_line(
                cr, p, SECOND, thick, side * (w / 2 - 0.06), top, -side * (w / 2 - 0.1), foot);
        brush_line(cr, p, ACCENT, thick * 0.6, -w / 4, (top + foot) / 2, w / 4, (top + foot) / 2);
        break;
    }
}

void draw_table(cairo_t *cr, const product *p)
{
    const double w = span(p, 0, 0.6, 0.9), depth = span(p, 1, 0.1, 0.2);
    const double top = span(p, 2, -0.22, -0.05), thick = 0.035;

    table_legs(cr, p, w, top, depth);
    if (choice(p, 7, 2)) { /* round */
        path_ellipse(cr, 0, top + thick, w / 2, depth * 0.7);
        brush_fill(cr, p, SECOND);
        path_ellipse(cr, 0, top, w / 2, depth * 0.7);
        brush_fill(cr, p, BODY);
        return;
    }
    const double corners[] = {-w / 2 + 0.08, top - depth / 2, w / 2 - 0.08, top - depth / 2, w / 2,
        top + depth / 2, -w / 2, top + depth / 2};
    path_polygon(cr, corners, 4);
    brush_fill(cr, p, BODY);
    path_box(cr, -w / 2, top + depth / 2, w, thick, 0.005);
    brush_fill(cr, p, BODY_PLAIN);
    if (choice(p, 6, 3) == 1) { /* a drawer */
        path_box(cr, -0.13, top + depth / 2 + thick, 0.26, 0.08, 0.01);
        brush_fill(cr, p, ACCENT);
        path_ellipse(cr, 0, top + depth / 2 + thick + 0.04, 0.014, 0.014);
        brush_fill(cr, p, METAL);
    }
}
