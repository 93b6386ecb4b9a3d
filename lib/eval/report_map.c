/* The map of the embeddings. */
#include <math.h>

#include "lib/base/html.h"
#include "lib/eval/internal.h"

#define WIDTH 360.0
#define HEIGHT 300.0
#define EDGE 8.0

static bool has_map(const kd_report_model *model)
{
    return model->details && model->details->map.n > 0;
}

typedef struct view { /* the same scale along both axes */
    double x, y, scale;
} view;

static view view_of(const kd_report_map *map)
{
    double low[2] = {INFINITY, INFINITY}, high[2] = {-INFINITY, -INFINITY};
    for (size_t i = 0; i < map->n; i++) {
        const double at[2] = {(double)map->points[i].x, (double)map->points[i].y};
        for (size_t k = 0; k < 2; k++) {
            low[k] = fmin(low[k], at[k]);
            high[k] = fmax(high[k], at[k]);
        }
    }
    const double wide = fmax(high[0] - low[0], 1e-6), tall = fmax(high[1] - low[1], 1e-6);
    const double scale = fmin((WIDTH - 2 * EDGE) / wide, (HEIGHT - 2 * EDGE) / tall);
    return (view){WIDTH / 2 - scale * (low[0] + high[0]) / 2,
        HEIGHT / 2 + scale * (low[1] + high[1]) / 2, scale};
}

/* A group's points as one path: thousands of elements would make the page slow. */
static void write_group(const kd_report_map *map, const view *v, uint32_t group, kd_buf *out)
{
    const bool other = group == map->n_groups;
    if (other)
        kd_buf_puts(out, "<path class=\"rest\" d=\"");
    else
        kd_buf_printf(out, "<path class=\"fill s%zu\" d=\"", group % (size_t)KD_REPORT_COLOURS);
    for (size_t i = 0; i < map->n; i++) {
        const kd_report_point *const p = &map->points[i];
        const double x = v->x + v->scale * (double)p->x, y = v->y - v->scale * (double)p->y;
        if (p->group != group)
            continue;
        if (other)
            kd_buf_printf(out, "M%.1f %.1fh0", x, y); /* a dot by its round ends */
        else
            kd_report_mark(out, group, x, y, map->n > 500 ? 2 : 3);
    }
    if (other || !map->groups[group]) {
        kd_buf_puts(out, "\"/>\n");
        return;
    }
    kd_buf_puts(out, "\"><title>");
    kd_html_text(out, map->groups[group]);
    kd_buf_puts(out, "</title></path>\n");
}

static void write_keys(const kd_report_map *map, kd_buf *out)
{
    size_t rest = map->n;
    kd_buf_puts(out, "<ul class=\"keys\">\n");
    for (size_t g = 0; g < map->n_groups; g++) {
        rest -= map->group_sizes[g];
        kd_buf_printf(out,
            "<li><svg class=\"key-dot\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><path "
            "class=\"fill s%zu\" d=\"",
            g % KD_REPORT_COLOURS);
        kd_report_mark(out, g, 6, 6, 4);
        kd_buf_puts(out, "\"/></svg> ");
        kd_html_text(out, map->groups[g] ? map->groups[g] : "without a name");
        kd_buf_printf(out, " <small>%zu</small></li>\n", map->group_sizes[g]);
    }
    if (rest > 0)
        kd_buf_printf(out,
            "<li><svg class=\"key-dot\" viewBox=\"0 0 12 12\" aria-hidden=\"true\"><path "
            "class=\"rest\" d=\"M6 6h0\"/></svg> other <small>%zu</small></li>\n",
            rest);
    kd_buf_puts(out, "</ul>\n");
}

static void write_map(const kd_report_model *model, bool named, kd_buf *out)
{
    const kd_report_map *const map = &model->details->map;
    const view v = view_of(map);
    kd_buf_puts(out, "<figure class=\"plot\">\n");
    if (named) {
        kd_buf_puts(out, "<figcaption>");
        kd_html_text(out, kd_report_model_name(model));
        kd_buf_puts(out, "</figcaption>\n");
    }
    kd_report_svg_open(out, "map", WIDTH, HEIGHT, "Map of the embeddings by super-class");
    kd_buf_printf(
        out, "<rect class=\"ground\" width=\"%g\" height=\"%g\" rx=\"4\"/>\n", WIDTH, HEIGHT);
    write_group(map, &v, (uint32_t)map->n_groups, out);
    for (uint32_t g = 0; g < map->n_groups; g++)
        write_group(map, &v, g, out);
    kd_report_svg_drawn(out);
    kd_buf_printf(out,
        "<p class=\"said\">%zu images. Across: %.1f %% of the variance; up: %.1f %%.</p>\n"
        "</figure>\n",
        map->n, 100 * map->shares[0], 100 * map->shares[1]);
}

void kd_report_map_section(const kd_report *report, kd_buf *out)
{
    const kd_report_model *first = NULL;
    for (size_t i = report->n_models; i-- > 0;)
        if (has_map(&report->models[i]))
            first = &report->models[i];
    if (!first)
        return;
    kd_buf_puts(out, "<p>Queries on the two axes along "
                     "which their embeddings vary most (principal component analysis). What lies "
                     "together here may still lie apart along the other axes.</p>\n");
    write_keys(&first->details->map, out);
    kd_buf_puts(out, "<div class=\"plots\">\n");
    for (size_t i = 0; i < report->n_models; i++)
        if (has_map(&report->models[i]))
            write_map(&report->models[i], report->n_models > 1, out);
    kd_buf_puts(out, "</div>\n");
}
