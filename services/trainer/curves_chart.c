#include "services/trainer/curves_chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/html.h"

/* In the units of the viewBox, which a wide window shows somewhat larger and a phone smaller. */
#define WIDTH 440.0
#define HEIGHT 272.0
#define TOP 42.0
#define BOTTOM 42.0
#define RIGHT 14.0
#define DIGIT 7.8    /* a letter's width, rather too much */
#define LINE 15.0    /* a line's height */
#define NAME_MAX 18u /* letters of a name beside its curve */
#define TICKS 5
#define DOTS_MAX 40u    /* epochs up to which each value has a dot */
#define STRIPS_MAX 150u /* places that tell their values */
#define EXTREME 1e300   /* beyond it a difference may be infinite */

typedef struct frame { /* where the plot is and what it shows */
    double left, right, top, bottom;
    train_axis y;
    size_t n_epochs;
} frame;

/* ---- Numbers ---- */

/* "1e-05" as "1e-5". */
static void shorten_exponent(char *text)
{
    char *from = strchr(text, 'e');
    if (!from)
        return;
    char *to = ++from;
    if (*from == '-')
        to++;
    from++;
    while (*from == '0')
        from++;
    memmove(to, from, strlen(from) + 1);
}

void train_number(double value, char text[TRAIN_NUMBER_TEXT])
{
    const double size = fabs(value);
    if (size < 1e-300)
        (void)snprintf(text, TRAIN_NUMBER_TEXT, "0");
    else if (size < 0.01 || size >= 1e9)
        (void)snprintf(text, TRAIN_NUMBER_TEXT, "%.3e", value);
    else
        (void)snprintf(text, TRAIN_NUMBER_TEXT, "%.*f", size < 10 ? 4 : size < 1000 ? 2 : 0, value);
    shorten_exponent(text);
}

/* A tick's number, with as many digits as tell it from its neighbours. */
static void tick_text(const train_axis *axis, int64_t tick, char text[TRAIN_NUMBER_TEXT])
{
    const double value = (double)tick * axis->step;
    const double most =
        fmax(fabs((double)axis->first * axis->step), fabs((double)axis->last * axis->step));
    const int step_power = (int)floor(log10(axis->step) + 1e-9);
    const int power = (int)floor(log10(most) + 1e-9);
    if (tick == 0)
        (void)snprintf(text, TRAIN_NUMBER_TEXT, "0");
    else if (power >= 6 || power < -3)
        (void)snprintf(text, TRAIN_NUMBER_TEXT, "%.*e",
            (int)floor(log10(fabs(value)) + 1e-9) - step_power, value);
    else
        (void)snprintf(text, TRAIN_NUMBER_TEXT, "%.*f", step_power < 0 ? -step_power : 0, value);
    shorten_exponent(text);
}

static double clamp(double value)
{
    return fmax(fmin(value, EXTREME), -EXTREME);
}

static double nice_step(double raw)
{
    const double power = pow(10, floor(log10(raw)));
    const double n = raw / power;
    return power * (n < 1.5 ? 1 : n < 3.5 ? 2 : n < 7.5 ? 5 : 10);
}

train_axis train_axis_for(double least, double most)
{
    double low = clamp(least), high = clamp(most);
    const double size = fmax(fabs(low), fabs(high));
    if (size < 1 / EXTREME) {
        low = 0;
        high = 1;
    } else if (high - low < size * 1e-6) { /* one value, but for noise: it gets the middle */
        low -= size / 10;
        high += size / 10;
    } else if (low > 0 && low < 0.4 * high) {
        low = 0;
    }
    const double step = nice_step((high - low) / TICKS);
    return (train_axis){.step = step,
        .first = (int64_t)floor(low / step + 1e-9),
        .last = (int64_t)ceil(high / step - 1e-9)};
}

/* ---- Places ---- */

static double x_of(const frame *f, size_t i)
{
    if (f->n_epochs == 1)
        return (f->left + f->right) / 2;
    return f->left + (f->right - f->left) * (double)i / (double)(f->n_epochs - 1);
}

static double y_of(const frame *f, double value)
{
    const double low = (double)f->y.first, high = (double)f->y.last;
    const double steps = clamp(value) / f->y.step;
    return f->bottom - (f->bottom - f->top) * (steps - low) / (high - low);
}

static size_t letters(const char *text)
{
    size_t n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* A name as it stands beside its curve: cut when it is long. */
static void write_name(kd_buf *out, const char *name)
{
    const char *end = name;
    char *cut;
    for (size_t n = 0; *end; end++)
        if (((unsigned char)*end & 0xc0) != 0x80 && n++ == NAME_MAX - 1)
            break;
    if (letters(name) <= NAME_MAX || !(cut = strndup(name, (size_t)(end - name)))) {
        kd_html_text(out, name);
        return;
    }
    kd_html_text(out, cut);
    kd_buf_puts(out, "…");
    free(cut);
}

/* A chart of one curve says it in its title. */
static bool has_names(const train_chart *chart)
{
    return chart->n_curves > 1 || strcmp(chart->curves[0]->name, chart->curves[0]->group) != 0;
}

static frame frame_of(const train_chart *chart)
{
    double least = INFINITY, most = -INFINITY, names = 0, ticks = 0;
    for (size_t c = 0; c < chart->n_curves; c++) {
        for (size_t i = 0; i < chart->n_epochs; i++) {
            const double value = chart->curves[c]->values[i];
            if (!isfinite(value))
                continue;
            least = fmin(least, value);
            most = fmax(most, value);
        }
        if (has_names(chart))
            names = fmax(names, (double)letters(chart->curves[c]->name));
    }
    frame f = {.top = TOP,
        .bottom = HEIGHT - BOTTOM,
        .y = train_axis_for(chart->from_zero ? fmin(least, 0) : least, most),
        .n_epochs = chart->n_epochs};
    for (int64_t tick = f.y.first; tick <= f.y.last; tick++) {
        char text[TRAIN_NUMBER_TEXT];
        tick_text(&f.y, tick, text);
        ticks = fmax(ticks, (double)strlen(text));
    }
    f.left = 12 + fmax(ticks, 3) * DIGIT;
    f.right = WIDTH - RIGHT - (names > 0 ? 4 + fmin(names, NAME_MAX) * DIGIT : 0);
    return f;
}

/* ---- Axes ---- */

static void write_axes(const train_chart *chart, const frame *f, kd_buf *out)
{
    char text[TRAIN_NUMBER_TEXT];
    kd_buf_puts(out, "<g class=\"grid\">\n");
    for (int64_t tick = f->y.first; tick <= f->y.last; tick++) {
        const double y = y_of(f, (double)tick * f->y.step);
        tick_text(&f->y, tick, text);
        kd_buf_printf(out,
            "<line%s x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
            "<text class=\"end\" x=\"%.1f\" y=\"%.1f\" dy=\".35em\">%s</text>\n",
            tick == f->y.first ? " class=\"base\"" : "", f->left, f->right, y, y, f->left - 7, y,
            text);
    }
    /* The first epoch where it has room, and round ones. */
    const double room = (double)chart->n_epochs / ((f->right - f->left) / 45);
    const size_t step = room <= 1 ? 1 : (size_t)nice_step(room);
    for (size_t at = step == 2 ? 2 : 0; at <= chart->n_epochs; at += step) {
        const size_t epoch = at > 0 ? at : 1;
        if (at == 0 && step == 1)
            continue;
        const double x = x_of(f, epoch - 1);
        kd_buf_printf(out,
            "<line class=\"base\" x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
            "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">%zu</text>\n",
            x, x, f->bottom, f->bottom + 4, x, f->bottom + 18, epoch);
    }
    kd_buf_printf(out, "<text class=\"middle\" x=\"%.1f\" y=\"%.1f\">epoch</text>\n",
        (f->left + f->right) / 2, HEIGHT - 5);
    if (chart->unit) {
        kd_buf_puts(out, "<text x=\"2\" y=\"13\">");
        kd_html_text(out, chart->unit);
        kd_buf_puts(out, "</text>\n");
    }
    kd_buf_puts(out, "</g>\n");
}

static void write_best(const train_chart *chart, const frame *f, kd_buf *out)
{
    if (chart->best_epoch == 0)
        return;
    const double x = x_of(f, chart->best_epoch - 1);
    const char *const anchor = x < f->left + 50 ? "" : x > f->right - 50 ? "end" : "middle";
    kd_buf_printf(out,
        "<g class=\"best\"><line x1=\"%.1f\" x2=\"%.1f\" y1=\"%.1f\" y2=\"%.1f\"/>"
        "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\">best: epoch %u</text></g>\n",
        x, x, f->top - 5, f->bottom, anchor, x, f->top - 12, chart->best_epoch);
}

/* ---- Curves ---- */

/* Joins the values that there are, over epochs without one. Of many epochs only as many points as
 * can be told apart: the least and the most of each stretch stay. */
static void write_line(const train_chart *chart, const frame *f, size_t c, kd_buf *out)
{
    const double *const values = chart->curves[c]->values;
    const size_t stretch = 1 + chart->n_epochs / 600;
    bool moved = false;
    kd_buf_printf(out, "<path class=\"s%zu\" d=\"", c % TRAIN_CHART_COLOURS);
    for (size_t begin = 0; begin < chart->n_epochs; begin += stretch) {
        size_t low = SIZE_MAX, high = SIZE_MAX;
        for (size_t i = begin; i < begin + stretch && i < chart->n_epochs; i++) {
            if (!isfinite(values[i]))
                continue;
            if (low == SIZE_MAX || values[i] < values[low])
                low = i;
            if (high == SIZE_MAX || values[i] > values[high])
                high = i;
        }
        const size_t points[] = {low < high ? low : high, low < high ? high : low};
        for (size_t p = low == high ? 1 : 0; low != SIZE_MAX && p < 2; p++) {
            kd_buf_printf(out, "%s%.1f %.1f", moved ? "L" : "M", x_of(f, points[p]),
                y_of(f, values[points[p]]));
            moved = true;
        }
    }
    kd_buf_puts(out, "\"/>\n");
}

static void write_dots(const train_chart *chart, const frame *f, size_t c, kd_buf *out)
{
    const double *const values = chart->curves[c]->values;
    for (size_t i = 0; i < chart->n_epochs; i++) {
        const bool best = i + 1 == chart->best_epoch;
        if (isfinite(values[i]) && (best || chart->n_epochs <= DOTS_MAX))
            kd_buf_printf(out, "<circle class=\"%ss%zu\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/>\n",
                best ? "top " : "", c % TRAIN_CHART_COLOURS, x_of(f, i), y_of(f, values[i]),
                best ? "4.5" : "2.4");
    }
}

typedef struct label { /* beside the end of a curve */
    size_t curve;
    double y;
} label;

static int by_height(const void *a, const void *b)
{
    const double x = ((const label *)a)->y, y = ((const label *)b)->y;
    return x < y ? -1 : x > y;
}

/* Down from the top so that none covers another, then up where that went below the plot. */
static void spread(label *labels, size_t n, const frame *f)
{
    qsort(labels, n, sizeof *labels, by_height);
    for (size_t i = 1; i < n; i++)
        labels[i].y = fmax(labels[i].y, labels[i - 1].y + LINE);
    double floor_y = f->bottom;
    for (size_t i = n; i-- > 0;) {
        labels[i].y = fmin(labels[i].y, floor_y);
        floor_y = labels[i].y - LINE;
    }
}

static kd_status write_names(const train_chart *chart, const frame *f, kd_buf *out, kd_error *err)
{
    if (!has_names(chart))
        return KD_OK;
    label *const labels = calloc(chart->n_curves, sizeof *labels);
    if (!labels)
        return kd_error_memory(err, "the chart's labels");
    for (size_t c = 0; c < chart->n_curves; c++) {
        labels[c].curve = c;
        for (size_t i = 0; i < chart->n_epochs; i++)
            if (isfinite(chart->curves[c]->values[i]))
                labels[c].y = y_of(f, chart->curves[c]->values[i]);
    }
    spread(labels, chart->n_curves, f);
    for (size_t i = 0; i < chart->n_curves; i++) {
        kd_buf_printf(out, "<text class=\"name s%zu\" x=\"%.1f\" y=\"%.1f\" dy=\".35em\">",
            labels[i].curve % TRAIN_CHART_COLOURS, f->right + 9, labels[i].y);
        write_name(out, chart->curves[labels[i].curve]->name);
        kd_buf_puts(out, "</text>\n");
    }
    free(labels);
    return KD_OK;
}

/* ---- What a pointer finds ---- */

static void write_values(const train_chart *chart, size_t i, kd_buf *out)
{
    char text[TRAIN_NUMBER_TEXT];
    kd_buf_printf(out, "epoch %zu%s", i + 1, i + 1 == chart->best_epoch ? ", the best" : "");
    for (size_t c = 0; c < chart->n_curves; c++) {
        const double value = chart->curves[c]->values[i];
        if (!isfinite(value))
            continue;
        train_number(value, text);
        kd_buf_puts(out, "\n");
        kd_html_text(out, chart->curves[c]->name);
        kd_buf_printf(out, " %s", text);
    }
}

/* Strips over the plot, each with the values of its epoch; of many epochs the best and every so
 * many. */
static void write_strips(const train_chart *chart, const frame *f, kd_buf *out)
{
    const size_t every = 1 + (chart->n_epochs - 1) / STRIPS_MAX;
    const double left = f->left, right = f->right;
    kd_buf_puts(out, "<g class=\"strips\">\n");
    for (size_t begin = 0; begin < chart->n_epochs; begin += every) {
        const size_t end = begin + every < chart->n_epochs ? begin + every : chart->n_epochs;
        const size_t best = chart->best_epoch;
        const size_t at = best > begin && best <= end ? best - 1 : begin + (end - begin) / 2;
        const double half = chart->n_epochs > 1 ? 0.5 : 0;
        const double per =
            chart->n_epochs > 1 ? (right - left) / (double)(chart->n_epochs - 1) : right - left;
        const double from = fmax(left, left + ((double)begin - half) * per);
        const double to = fmin(right, left + ((double)end - half) * per);
        kd_buf_printf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\"><title>",
            from, f->top, fmax(to - from, 0.1), f->bottom - f->top);
        write_values(chart, at, out);
        kd_buf_puts(out, "</title></rect>\n");
    }
    kd_buf_puts(out, "</g>\n");
}

kd_status train_chart_svg(const train_chart *chart, kd_buf *out, kd_error *err)
{
    const frame f = frame_of(chart);
    kd_buf_printf(out, "<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    kd_html_text(out, chart->title);
    kd_buf_printf(out, " over %zu epoch%s\">\n", chart->n_epochs, chart->n_epochs == 1 ? "" : "s");
    write_axes(chart, &f, out);
    write_best(chart, &f, out);
    for (size_t c = 0; c < chart->n_curves; c++)
        write_line(chart, &f, c, out);
    for (size_t c = 0; c < chart->n_curves; c++)
        write_dots(chart, &f, c, out);
    const kd_status status = write_names(chart, &f, out, err);
    write_strips(chart, &f, out);
    kd_buf_puts(out, "</svg>\n");
    return status;
}
