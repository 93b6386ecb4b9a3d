/* tools/draw/draw.h: products drawn with cairo, as photographs of them would differ.
 *
 * A kind (bicycle, chair, …) is a super-class: a drawing with traits. A product is a class: a
 * choice of traits, colours and pattern. A view is an image: the product in another pose, light and
 * place. Products of a kind share a palette, so that colour alone doesn't tell them apart. */
#ifndef KD_TOOLS_DRAW_DRAW_H
#define KD_TOOLS_DRAW_DRAW_H

#include <cairo.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/image/image.h"
#include "tools/draw/random.h"

typedef struct colour {
    double r, g, b; /* 0..1 */
} colour;

/* ---- Products ---- */
typedef enum pattern { PLAIN, STRIPES, DOTS, CHECKS, ZIGZAG, N_PATTERNS } pattern;

#define N_TRAITS 8
#define N_PALETTE 4
typedef struct product {
    colour body, second, accent;
    pattern pattern;
    double pattern_size, pattern_angle;
    double trait[N_TRAITS]; /* 0..1 each; the drawing says what it means */
} product;

void draw_palette(uint64_t seed, size_t kind, colour palette[N_PALETTE]);
/* The product with this number, of n of the kind. */
product draw_product(uint64_t seed, size_t kind, size_t number, size_t n);

/* A trait as a length and as one of n choices. */
static inline double span(const product *p, size_t trait, double low, double high)
{
    return low + (high - low) * p->trait[trait];
}
static inline unsigned choice(const product *p, size_t trait, unsigned n)
{
    return (unsigned)(p->trait[trait] * n) % n;
}

/* ---- Kinds: each draws into -0.5..0.5 both ways, y downwards ---- */
typedef struct draw_kind {
    const char *name;
    void (*draw)(cairo_t *cr, const product *p);
    double floor_y; /* where the drawing stands */
} draw_kind;
void draw_bicycle(cairo_t *cr, const product *p);
void draw_cabinet(cairo_t *cr, const product *p);
void draw_chair(cairo_t *cr, const product *p);
void draw_coffee_maker(cairo_t *cr, const product *p);
void draw_fan(cairo_t *cr, const product *p);
void draw_kettle(cairo_t *cr, const product *p);
void draw_lamp(cairo_t *cr, const product *p);
void draw_mug(cairo_t *cr, const product *p);
void draw_sofa(cairo_t *cr, const product *p);
void draw_stapler(cairo_t *cr, const product *p);
void draw_table(cairo_t *cr, const product *p);
void draw_toaster(cairo_t *cr, const product *p);

/* ---- Brushes: paths are cairo's current path, painting ends it ---- */
typedef enum paint { BODY, BODY_PLAIN, SECOND, ACCENT, METAL, DARK, GLASS } paint;

void path_box(cairo_t *cr, double x, double y, double w, double h, double radius);
void path_ellipse(cairo_t *cr, double x, double y, double rx, double ry);
/* n corners, x and y in turn. */
void path_polygon(cairo_t *cr, const double *corners, size_t n);
/* Fills with shading and an outline; BODY carries the product's pattern. */
void brush_fill(cairo_t *cr, const product *p, paint with);
/* Strokes the path like a rod. */
void brush_rod(cairo_t *cr, const product *p, paint with, double width);
void brush_line(cairo_t *cr, const product *p, paint with, double width, double x0, double y0,
    double x1, double y1);

/* ---- Views ---- */
/* The product as seen in this view; quality is the JPEG's. */
KD_MUST_CHECK kd_status draw_view(kd_image *out, const draw_kind *kind, const product *p,
    const colour palette[N_PALETTE], dice *d, uint32_t size, int *quality, kd_error *err);
/* Light, tint, vignette and a sensor's noise over the drawn picture. */
void draw_light(kd_image *image, dice *d);

/* ---- The set ---- */
typedef struct draw_options {
    const char *folder;
    size_t products, views; /* per kind, per product */
    uint32_t size;          /* pixels */
    uint64_t seed;
    size_t broken; /* of the last train images */
} draw_options;

#define DRAW_N_KINDS 12u
/* Views 0..n-1 of each product are for training, the rest for testing. */
size_t draw_train_views(size_t views);
KD_MUST_CHECK kd_status draw_dataset(const draw_options *options, kd_error *err);

#endif
