#include "services/trainer/curves.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/html.h"
#include "services/trainer/curves_chart.h"

extern const unsigned char train_curves_css[]; /* curves.css, NUL behind it */

typedef struct group {
    const char *title, *unit;
    bool from_zero;
    const train_curve **curves; /* owned: those of the page's that have a value */
    size_t n_curves;
} group;

typedef struct groups {
    group *of; /* owned: each has a curve at least */
    size_t n;
} groups;

/* ---- What there is ---- */

static kd_status check_text(const char *what, const char *text, kd_error *err)
{
    if (!text || kd_utf8_valid(text, strlen(text)))
        return KD_OK;
    return kd_error_set(err, KD_INVALID_ARGUMENT, "the page's %s is not valid UTF-8", what);
}

static kd_status check_texts(const train_page *page, kd_error *err)
{
    kd_status status = check_text("title", page->title, err);
    if (status == KD_OK)
        status = check_text("job", page->job, err);
    if (status == KD_OK)
        status = check_text("model name", page->model_name, err);
    if (status == KD_OK)
        status = check_text("note", page->note, err);
    for (size_t i = 0; status == KD_OK && i < 2 * page->n_facts; i++)
        status = check_text("fact", page->facts[i / 2][i % 2], err);
    for (size_t i = 0; status == KD_OK && i < page->n_curves; i++) {
        status = check_text("curve", page->curves[i].name, err);
        if (status == KD_OK)
            status = check_text("group", page->curves[i].group, err);
    }
    return status;
}

static bool has_value(const train_page *page, const train_curve *curve)
{
    for (size_t i = 0; i < page->n_epochs; i++)
        if (isfinite(curve->values[i]))
            return true;
    return false;
}

static void name_group(group *g, const char *name)
{
    static const struct {
        const char *name, *title, *unit;
        bool from_zero;
    } known[] = {
        {"loss", "Loss", "mean of the epoch", false},
        {"retrieval", "Retrieval", "of the validation images, 0 to 1", false},
        {"accuracy", "Accuracy", "share, 0 to 1", false},
        {"distances", "Distances", "between embeddings", false},
        {"rate", "Learning rate", NULL, true},
        {"speed", "Speed", "images per second", true},
    };
    g->title = name;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            g->title = known[i].title;
            g->unit = known[i].unit;
            g->from_zero = known[i].from_zero;
        }
    }
}

static void groups_free(groups *all)
{
    for (size_t g = 0; g < all->n; g++)
        free(all->of[g].curves);
    free(all->of);
}

/* In the order in which they first come. */
static kd_status make_groups(const train_page *page, groups *all, kd_error *err)
{
    *all = (groups){.of = calloc(page->n_curves + 1, sizeof *all->of)};
    if (!all->of)
        return kd_error_memory(err, "the page's charts");
    for (size_t c = 0; c < page->n_curves; c++) {
        const train_curve *const curve = &page->curves[c];
        size_t g = 0;
        if (!has_value(page, curve))
            continue;
        while (g < all->n && strcmp(all->of[g].curves[0]->group, curve->group) != 0)
            g++;
        group *const own = &all->of[g];
        if (g == all->n) {
            own->curves = calloc(page->n_curves, sizeof(const train_curve *));
            if (!own->curves)
                return kd_error_memory(err, "the page's charts");
            name_group(own, curve->group);
            all->n++;
        }
        own->curves[own->n_curves++] = curve;
    }
    return KD_OK;
}

/* ---- The page ---- */

static void write_fact(kd_buf *out, const char *name, const char *value)
{
    if (!value)
        return;
    kd_buf_puts(out, "<div><dt>");
    kd_html_text(out, name);
    kd_buf_puts(out, "</dt><dd>");
    kd_html_text(out, value);
    kd_buf_puts(out, "</dd></div>\n");
}

static void write_head(const train_page *page, kd_buf *out)
{
    const char *const title = page->title ? page->title : "Training";
    /* Well-formed as XML, too. The policy makes the browser hold what the page promises: nothing is
     * fetched or run. */
    kd_buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                     "style-src 'unsafe-inline'\"/>\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n");
    if (page->running)
        kd_buf_puts(out, "<meta http-equiv=\"refresh\" content=\"60\"/>\n");
    kd_buf_puts(out, "<title>");
    kd_html_text(out, title);
    kd_buf_puts(out, "</title>\n<style>\n");
    kd_buf_puts(out, (const char *)train_curves_css);
    kd_buf_puts(out, "</style>\n</head>\n<body>\n<header>\n<h1>");
    kd_html_text(out, title);
    kd_buf_puts(out, "</h1>\n<dl class=\"facts\">\n");
    write_fact(out, "Job", page->job);
    write_fact(out, "Model", page->model_name);
    kd_buf_printf(out, "<div><dt>State</dt><dd>%s</dd></div>\n",
        page->running ? "<span class=\"live\">running</span>" : "ended");
    kd_buf_printf(out, "<div><dt>Epochs done</dt><dd>%zu</dd></div>\n", page->n_epochs);
    if (page->best_epoch > 0)
        kd_buf_printf(out, "<div><dt>Best epoch</dt><dd>%u</dd></div>\n", page->best_epoch);
    kd_buf_puts(out, "</dl>\n");
    if (page->note) {
        kd_buf_puts(out, "<p class=\"note\" role=\"note\">");
        kd_html_text(out, page->note);
        kd_buf_puts(out, "</p>\n");
    }
    kd_buf_puts(out, "</header>\n");
}

static kd_status write_charts(const train_page *page, const groups *all, kd_buf *out, kd_error *err)
{
    kd_status status = KD_OK;
    if (all->n == 0) {
        kd_buf_puts(out, "<p>No epoch is over yet, so there is nothing to draw.</p>\n");
        return KD_OK;
    }
    kd_buf_puts(out, "<div class=\"charts\">\n");
    for (size_t g = 0; status == KD_OK && g < all->n; g++) {
        const group *const own = &all->of[g];
        const train_chart chart = {.title = own->title,
            .unit = own->unit,
            .curves = own->curves,
            .n_curves = own->n_curves,
            .from_zero = own->from_zero,
            .n_epochs = page->n_epochs,
            .best_epoch = page->best_epoch};
        kd_buf_puts(out, "<section class=\"chart\">\n<h2>");
        kd_html_text(out, own->title);
        kd_buf_puts(out, "</h2>\n");
        status = train_chart_svg(&chart, out, err);
        kd_buf_puts(out, "</section>\n");
    }
    kd_buf_puts(out, "</div>\n");
    return status;
}

static void write_cell(kd_buf *out, double value)
{
    char text[TRAIN_NUMBER_TEXT] = "–";
    if (isfinite(value))
        train_number(value, text);
    kd_buf_printf(out, "<td>%s</td>", text);
}

static void write_numbers_head(const groups *all, kd_buf *out)
{
    kd_buf_puts(out, "<thead>\n<tr><td></td>");
    for (size_t g = 0; g < all->n; g++) {
        kd_buf_printf(out, "<th scope=\"colgroup\" colspan=\"%zu\">", all->of[g].n_curves);
        kd_html_text(out, all->of[g].title);
        kd_buf_puts(out, "</th>");
    }
    kd_buf_puts(out, "</tr>\n<tr><th scope=\"col\">Epoch</th>");
    for (size_t g = 0; g < all->n; g++) {
        for (size_t c = 0; c < all->of[g].n_curves; c++) {
            kd_buf_puts(out, "<th scope=\"col\">");
            kd_html_text(out, all->of[g].curves[c]->name);
            kd_buf_puts(out, "</th>");
        }
    }
    kd_buf_puts(out, "</tr>\n</thead>\n");
}

static void write_numbers(const train_page *page, const groups *all, kd_buf *out)
{
    if (all->n == 0)
        return;
    kd_buf_puts(
        out, "<details>\n<summary>All numbers</summary>\n<div class=\"scroll\">\n<table>\n");
    write_numbers_head(all, out);
    kd_buf_puts(out, "<tbody>\n");
    for (size_t i = 0; i < page->n_epochs; i++) {
        const bool best = i + 1 == page->best_epoch;
        kd_buf_printf(out, "<tr%s><th scope=\"row\">%zu%s</th>", best ? " class=\"best\"" : "",
            i + 1, best ? " <small>best</small>" : "");
        for (size_t g = 0; g < all->n; g++)
            for (size_t c = 0; c < all->of[g].n_curves; c++)
                write_cell(out, all->of[g].curves[c]->values[i]);
        kd_buf_puts(out, "</tr>\n");
    }
    kd_buf_puts(out, "</tbody>\n</table>\n</div>\n</details>\n");
}

static void write_settings(const train_page *page, kd_buf *out)
{
    if (page->n_facts == 0)
        return;
    kd_buf_puts(out, "<section>\n<h2>Settings and data</h2>\n<dl class=\"settings\">\n");
    for (size_t i = 0; i < page->n_facts; i++)
        write_fact(out, page->facts[i][0], page->facts[i][1]);
    kd_buf_puts(out, "</dl>\n</section>\n");
}

kd_status train_page_html(const train_page *page, kd_buf *out, kd_error *err)
{
    groups all = {0};
    assert(page && out && page->best_epoch <= page->n_epochs);
    kd_status status = check_texts(page, err);
    if (status == KD_OK)
        status = make_groups(page, &all, err);
    if (status == KD_OK) {
        write_head(page, out);
        kd_buf_puts(out, "<main>\n");
        status = write_charts(page, &all, out, err);
        write_numbers(page, &all, out);
        write_settings(page, out);
        kd_buf_puts(out, "</main>\n</body>\n</html>\n");
    }
    groups_free(&all);
    if (status == KD_OK && !kd_buf_ok(out))
        status = kd_error_memory(err, "the page");
    return status;
}
