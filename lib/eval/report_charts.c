/* The report's charts of means and distances. */
#include <math.h>

#include "lib/base/html.h"
#include "lib/eval/internal.h"

/* ---- Drawing ---- */

/* In the units of the viewBox: about a phone's pixels, which a wide window shows larger. */
#define WIDTH 360.0
#define HEIGHT 240.0
#define LEFT 40.0
#define RIGHT 12.0
#define TOP 22.0
#define BOTTOM 42.0

void kd_report_svg_open(
    kd_buf *out, const char *kind, double width, double height, const char *title)
{
    kd_buf_printf(out, "<svg class=\"chart %s\" viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"",
        kind, width, height);
    kd_html_text(out, title);
    kd_buf_puts(out, "\">\n<title>");
    kd_html_text(out, title);
    kd_buf_puts(out, "</title>\n");
}

void kd_report_svg_drawn(kd_buf *out)
{
    kd_buf_puts(out, "</svg>\n");
}

void kd_report_mark(kd_buf *out, size_t n, double x, double y, double size)
{
    const double s = size, t = 2 * size;
    switch (n % 5) {
    case 0: /* circle */
        kd_buf_printf(
            out, "M%.1f %.1fa%g %g 0 1 0 %g 0a%g %g 0 1 0 %g 0z", x - s, y, s, s, t, s, s, -t);
        break;
    case 1: /* square */
        kd_buf_printf(out, "M%.1f %.1fh%gv%gh%gz", x - s, y - s, t, t, -t);
        break;
    case 2: /* triangle */
        kd_buf_printf(out, "M%.1f %.1fl%g %gh%gz", x, y - 1.2 * s, 1.2 * s, t, -2.4 * s);
        break;
    case 3: /* diamond */
        kd_buf_printf(out, "M%.1f %.1fl%g %gl%g %gl%g %gz", x, y - 1.3 * s, 1.3 * s, 1.3 * s,
            -1.3 * s, 1.3 * s, -1.3 * s, -1.3 * s);
        break;
    default: /* cross */
        kd_buf_printf(out, "M%.1f %.1fh%gv%gh%gv%gh%gv%gh%gv%gh%gv%gh%gz", x - 1.3 * s, y - 0.4 * s,
            0.9 * s, -0.9 * s, 0.8 * s, 0.9 * s, 0.9 * s, 0.8 * s, -0.9 * s, 0.9 * s, -0.8 * s,
            -0.9 * s, -0.9 * s);
        break;
    }
}

static void write_tick(kd_buf *out, double y, double value, int digits, double right, bool base)
{
    kd_buf_printf(out,
        "<line%s x1=\"%g\" x2=\"%g\" y1=\"%.1f\" y2=\"%.1f\"/>"
        "<text class=\"end\" x=\"%g\" y=\"%.1f\" dy=\".35em\">%.*f</text>\n",
        base ? " class=\"base\"" : "", LEFT, right, y, y, LEFT - 5, y, digits, value);
}

static bool is_measured(const kd_report_model *model, unsigned kind)
{
    return model->of[kind].means.queries > 0;
}

void kd_report_model_keys(const kd_report *report, kd_buf *out)
{
    if (report->n_models < 2)
        return;
    kd_buf_puts(out, "<ul class=\"keys\">\n");
    for (size_t i = 0; i < report->n_models; i++) {
        kd_buf_printf(out,
            "<li><svg class=\"key-mark s%zu\" viewBox=\"0 0 34 12\" aria-hidden=\"true\">"
            "<path class=\"line d%zu\" d=\"M1 6H33\"/><path class=\"fill\" d=\"",
            i % KD_REPORT_COLOURS, i % KD_REPORT_DASHES);
        kd_report_mark(out, i, 17, 6, 3.6);
        kd_buf_puts(out, "\"/></svg> ");
        kd_html_text(out, kd_report_model_name(&report->models[i]));
        kd_buf_puts(out, "</li>\n");
    }
    kd_buf_puts(out, "</ul>\n");
}

/* ---- Recall at k ---- */

#define DEPTHS 5u
static const unsigned depths[DEPTHS] = {1, 5, 10, 100, 1000};

typedef struct recall_axis {
    double low, step; /* up to 1 */
} recall_axis;

static recall_axis recall_axis_of(const kd_report *report, unsigned kind)
{
    double least = 1;
    for (size_t i = 0; i < report->n_models; i++)
        if (is_measured(&report->models[i], kind))
            least = fmin(least, report->models[i].of[kind].means.values[KD_RECALL_AT_1]);
    least = fmin(fmax(least, 0), 1);
    const double step = least < 0.5 ? 0.2 : least < 0.75 ? 0.1 : 0.05;
    const double low = fmin(floor(least / step - 0.2) * step, 1 - 2 * step); /* some room below */
    return (recall_axis){fmax(low, 0), step};
}

static double recall_x(size_t depth)
{
    return LEFT + 12 + (WIDTH - LEFT - RIGHT - 30) * log10(depths[depth]) / 3;
}

static double recall_y(recall_axis axis, double recall)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (recall - axis.low) / (1 - axis.low);
}

static void write_recall_axes(recall_axis axis, kd_buf *out)
{
    kd_buf_puts(out, "<g class=\"grid\">\n");
    for (unsigned t = 0; axis.low + t * axis.step < 1 + 1e-9; t++) {
        const double value = axis.low + t * axis.step;
        write_tick(
            out, recall_y(axis, value), value, axis.step < 0.1 ? 2 : 1, WIDTH - RIGHT, t == 0);
    }
    for (size_t d = 0; d < DEPTHS; d++)
        kd_buf_printf(out, "<text class=\"middle\" x=\"%.1f\" y=\"%g\">%u</text>\n", recall_x(d),
            HEIGHT - BOTTOM + 17, depths[d]);
    kd_buf_printf(out, "<text class=\"middle\" x=\"%g\" y=\"%g\">k nearest images</text>\n</g>\n",
        (WIDTH + LEFT - RIGHT) / 2, HEIGHT - 6);
}

static void write_recall_curve(
    const kd_report *report, unsigned kind, size_t m, recall_axis axis, kd_buf *out)
{
    const double *const values = report->models[m].of[kind].means.values + KD_RECALL_AT_1;
    kd_buf_printf(out, "<g class=\"s%zu\"><path class=\"line d%zu\" d=\"", m % KD_REPORT_COLOURS,
        m % KD_REPORT_DASHES);
    for (size_t d = 0; d < DEPTHS; d++)
        kd_buf_printf(out, "%s%.1f %.1f", d ? "L" : "M", recall_x(d), recall_y(axis, values[d]));
    kd_buf_puts(out, "\"/>");
    for (size_t d = 0; d < DEPTHS; d++) {
        const double x = recall_x(d), y = recall_y(axis, values[d]);
        kd_buf_puts(out, "<path class=\"fill\" d=\"");
        kd_report_mark(out, m, x, y, 3.2);
        kd_buf_puts(out, "\"><title>");
        kd_html_text(out, kd_report_model_name(&report->models[m]));
        kd_buf_printf(out, ": R@%u %.4f</title></path>", depths[d], values[d]);
        if (report->n_models == 1) /* below the line, where it never runs */
            kd_buf_printf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">%.3f</text>",
                d + 1 == DEPTHS ? "end value" : "value", d + 1 == DEPTHS ? x + 8 : x + 2,
                fmin(y + 16, HEIGHT - BOTTOM - 4), values[d]);
    }
    kd_buf_puts(out, "</g>\n");
}

static void write_recalls(const kd_report *report, unsigned kind, const char *name, kd_buf *out)
{
    const recall_axis axis = recall_axis_of(report, kind);
    bool any = false;
    for (size_t i = 0; i < report->n_models; i++)
        any = any || is_measured(&report->models[i], kind);
    if (!any)
        return;
    kd_buf_printf(out, "<figure class=\"plot\">\n<figcaption>%s</figcaption>\n", name);
    kd_report_svg_open(out, "recalls", WIDTH, HEIGHT,
        kind == KD_EVAL_CLASS ? "R@k of classes over k" : "R@k of super-classes over k");
    kd_buf_puts(out, "<desc>");
    for (size_t i = 0; i < report->n_models; i++) {
        if (!is_measured(&report->models[i], kind))
            continue;
        kd_html_text(out, kd_report_model_name(&report->models[i]));
        for (size_t d = 0; d < DEPTHS; d++)
            kd_buf_printf(out, "%s R@%u %.3f", d ? "," : ":", depths[d],
                report->models[i].of[kind].means.values[KD_RECALL_AT_1 + d]);
        kd_buf_puts(out, ". ");
    }
    kd_buf_puts(out, "</desc>\n");
    write_recall_axes(axis, out);
    for (size_t i = 0; i < report->n_models; i++)
        if (is_measured(&report->models[i], kind))
            write_recall_curve(report, kind, i, axis, out);
    kd_report_svg_drawn(out);
    kd_buf_puts(out, "</figure>\n");
}

void kd_report_curves(const kd_report *report, kd_buf *out)
{
    kd_buf_puts(out, "<p>Share of the queries that have a right image "
                     "among the k nearest.</p>\n");
    kd_report_model_keys(report, out);
    kd_buf_puts(out, "<div class=\"plots\">\n");
    write_recalls(report, KD_EVAL_CLASS, "Classes", out);
    write_recalls(report, KD_EVAL_SUPER_CLASS, "Super-classes", out);
    kd_buf_puts(out, "</div>\n");
}

/* ---- Distances ---- */

typedef struct spread_axis {
    const kd_report_spread *of;
    double most, step; /* of shares */
} spread_axis;

/* Bins are by score; by distance they run the other way. */
static double share_at(const spread_axis *axis, const double *shares, size_t bin)
{
    return shares[axis->of->n - 1 - bin];
}

static double distance_at(const spread_axis *axis, size_t bin) /* where it begins */
{
    const double width = (axis->of->high - axis->of->low) / (double)axis->of->n;
    return 1 - axis->of->high + (double)bin * width;
}

static double nice_step(double raw)
{
    const double power = pow(10, floor(log10(raw)));
    const double n = raw / power;
    return power * (n < 1.5 ? 1 : n < 3.5 ? 2 : n < 7.5 ? 5 : 10);
}

static spread_axis spread_axis_of(const kd_report_spread *spread)
{
    double most = 1e-9;
    for (size_t b = 0; b < spread->n; b++)
        most = fmax(most, fmax(spread->same[b], spread->other[b]));
    const double step = nice_step(most / 4);
    return (spread_axis){spread, ceil(most / step - 1e-9) * step, step};
}

static bool has_spread(const kd_report_model *model)
{
    return model->details && model->details->spread[KD_EVAL_CLASS].n > 0;
}

static double spread_x(const spread_axis *axis, double distance)
{
    const double low = 1 - axis->of->high, high = 1 - axis->of->low;
    return LEFT + (WIDTH - LEFT - RIGHT) * (distance - low) / (high - low);
}

static double spread_y(const spread_axis *axis, double share)
{
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share / axis->most;
}

static void write_spread_axes(const spread_axis *axis, kd_buf *out)
{
    const double low = 1 - axis->of->high, high = 1 - axis->of->low;
    const double step = nice_step((high - low) / 5);
    const int places = step < 0.0095 ? 3 : step < 0.095 ? 2 : 1;
    const int digits = axis->step < 0.0095 ? 1 : 0;
    kd_buf_puts(out, "<g class=\"grid\">\n");
    for (unsigned t = 0; t * axis->step < axis->most * (1 + 1e-9); t++)
        write_tick(out, spread_y(axis, t * axis->step), 100 * t * axis->step, digits, WIDTH - RIGHT,
            t == 0);
    for (int tick = (int)ceil(low / step - 1e-9); tick * step < high + 1e-9; tick++)
        kd_buf_printf(out, "<text class=\"middle\" x=\"%.1f\" y=\"%g\">%.*f</text>\n",
            spread_x(axis, tick * step), HEIGHT - BOTTOM + 17, places, tick * step);
    kd_buf_printf(out,
        "<text class=\"middle\" x=\"%g\" y=\"%g\">distance (1 − cosine similarity)</text>\n"
        "<text x=\"2\" y=\"11\">%% of pairs</text>\n</g>\n",
        (WIDTH + LEFT - RIGHT) / 2, HEIGHT - 6);
}

static void write_steps(
    const spread_axis *axis, const double *shares, const char *kind, kd_buf *out)
{
    kd_buf_printf(out, "<path class=\"%s\" d=\"M%g %g", kind, LEFT, HEIGHT - BOTTOM);
    for (size_t b = 0; b < axis->of->n; b++)
        kd_buf_printf(out, "V%.1fH%.1f", spread_y(axis, share_at(axis, shares, b)),
            spread_x(axis, distance_at(axis, b + 1)));
    kd_buf_printf(out, "V%g\"/>\n", HEIGHT - BOTTOM);
}

static void write_threshold(const spread_axis *axis, double threshold, kd_buf *out)
{
    const double x = spread_x(axis, 1 - threshold);
    if (!isfinite(x) || x < LEFT || x > WIDTH - RIGHT)
        return;
    kd_buf_printf(out,
        "<g class=\"limit\"><line x1=\"%.1f\" x2=\"%.1f\" y1=\"%g\" y2=\"%g\"/>"
        "<text class=\"%s\" x=\"%.1f\" y=\"%g\">FMR 1 %%</text></g>\n",
        x, x, TOP, HEIGHT - BOTTOM, x < WIDTH / 2 ? "" : "end", x < WIDTH / 2 ? x + 4 : x - 4,
        TOP + 8);
}

static void write_spread(const kd_report_model *model, bool named, kd_buf *out)
{
    const kd_report_spread *const spread = &model->details->spread[KD_EVAL_CLASS];
    const kd_report_measures *const of = &model->of[KD_EVAL_CLASS];
    const spread_axis axis = spread_axis_of(spread);
    kd_buf_puts(out, "<figure class=\"plot\">\n");
    if (named) {
        kd_buf_puts(out, "<figcaption>");
        kd_html_text(out, kd_report_model_name(model));
        kd_buf_puts(out, "</figcaption>\n");
    }
    kd_report_svg_open(
        out, "spread", WIDTH, HEIGHT, "Distances of pairs of the same and of different classes");
    write_spread_axes(&axis, out);
    write_steps(&axis, spread->other, "other", out);
    write_steps(&axis, spread->same, "same", out);
    write_threshold(&axis, of->thresholds[0], out);
    kd_report_svg_drawn(out);
    kd_buf_puts(out, "<p class=\"said\">");
    if (isfinite(spread->overlap))
        kd_buf_printf(out, "The two overlap by %.1f %%. ", 100 * spread->overlap);
    if (isfinite(of->fnmr[0]) && isfinite(of->thresholds[0]))
        kd_buf_printf(out,
            "Below %.3f lie 1 %% of the pairs of different classes and %.1f %% of those of the "
            "same.",
            1 - of->thresholds[0], 100 * (1 - of->fnmr[0]));
    kd_buf_puts(out, "</p>\n</figure>\n");
}

void kd_report_spreads(const kd_report *report, kd_buf *out)
{
    bool any = false;
    for (size_t i = 0; i < report->n_models; i++)
        any = any || has_spread(&report->models[i]);
    if (!any)
        return;
    kd_buf_puts(out,
        "<p>How far apart a query and a gallery image are, by "
        "whether both are of the same class. The less the two overlap, the surer a threshold tells "
        "a match.</p>\n<ul class=\"keys\">\n"
        "<li><svg class=\"key-mark\" viewBox=\"0 0 34 12\" aria-hidden=\"true\"><path "
        "class=\"same\" d=\"M1 11V3H33V11\"/></svg> same class</li>\n"
        "<li><svg class=\"key-mark\" viewBox=\"0 0 34 12\" aria-hidden=\"true\"><path "
        "class=\"other\" d=\"M1 11V3H33V11\"/></svg> different classes</li>\n</ul>\n"
        "<div class=\"plots\">\n");
    for (size_t i = 0; i < report->n_models; i++)
        if (has_spread(&report->models[i]))
            write_spread(&report->models[i], report->n_models > 1, out);
    kd_buf_puts(out, "</div>\n");
}
