/* What `kindred dataset check` shows people. */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/buf.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/dataset.h"

/* Prints a line and empties it: names of files must not steer the terminal. */
static void print_line(kd_buf *line)
{
    cli_must(kd_buf_ok(line) ? line : NULL);
    for (size_t i = 0; i < line->len; i++)
        (void)putchar(iscntrl(line->data[i]) ? '?' : line->data[i]);
    (void)putchar('\n');
    line->len = 0;
}

static void more(size_t n, size_t shown)
{
    if (n > shown)
        printf("  and %zu more\n", n - shown);
}

/* ---- Counts ---- */

static void add_split(cli_table *table, const char *name, const kd_check_split *split)
{
    char images[CLI_TEXT], classes[CLI_TEXT], supers[CLI_TEXT], lone[CLI_TEXT];
    char least[CLI_TEXT], median[CLI_TEXT], most[CLI_TEXT];
    if (split->images == 0)
        return;
    (void)snprintf(median, sizeof median, "%.1f", split->median);
    cli_table_row(
        table, (const char *const[]){name, cli_count(split->images, images),
                   cli_count(split->classes, classes), cli_count(split->super_classes, supers),
                   cli_count(split->least, least), median, cli_count(split->most, most),
                   cli_count(split->n_lone, lone)});
}

static void print_splits(const kd_check *check)
{
    static const char *const heads[] = {
        "SPLIT", "IMAGES", "CLASSES", "SUPER-CLASSES", "MIN", "MEDIAN", "MAX", "ONE IMAGE"};
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    add_split(table, "train", &check->train);
    add_split(table, "test", &check->test);
    add_split(table, "all", &check->all);
    cli_table_print(table);
    puts("(min, median, max: images of a class; one image: classes that have no more)");
}

static void print_formats(const kd_check *check)
{
    static const char *const names[KD_IMAGE_FORMATS] = {
        [KD_IMAGE_JPEG] = "JPEG", [KD_IMAGE_PNG] = "PNG", [KD_IMAGE_WEBP] = "WebP"};
    const char *between = "formats: ";
    for (size_t i = 0; i < KD_IMAGE_FORMATS; i++) {
        if (check->formats[i] == 0 || !names[i])
            continue;
        printf("%s%zu %s", between, check->formats[i], names[i]);
        between = ", ";
    }
    if (between[0] == ',')
        (void)putchar('\n');
}

static void print_lone(const cli_findings *f, const char *name, const kd_check_split *split)
{
    kd_buf line = KD_BUF_INIT;
    const size_t shown = split->n_lone < CLI_NAMED ? split->n_lone : CLI_NAMED;
    if (split->n_lone == 0)
        return;
    printf("classes with one image in %s: %zu\n", name, split->n_lone);
    kd_buf_puts(&line, "  ");
    for (size_t i = 0; i < shown; i++)
        kd_buf_printf(
            &line, "%s%s", i ? ", " : "", kd_dataset_class_name(f->dataset, split->lone[i]));
    print_line(&line);
    more(split->n_lone, shown);
    kd_buf_free(&line);
}

/* ---- Images ---- */

/* What there is to say of an image behind its path; false when it is none of those. */
typedef bool (*finding)(const kd_check_image *image, kd_buf *line);

static bool missing(const kd_check_image *image, kd_buf *line)
{
    (void)line;
    return image->state == KD_CHECK_MISSING;
}

static bool broken(const kd_check_image *image, kd_buf *line)
{
    if (image->state == KD_CHECK_BROKEN)
        kd_buf_printf(line, ": %s", image->reason);
    return image->state == KD_CHECK_BROKEN;
}

static bool sized(bool is, const kd_check_image *image, kd_buf *line)
{
    if (is)
        kd_buf_printf(line, ": %u x %u", image->width, image->height);
    return is;
}

static bool small(const kd_check_image *image, kd_buf *line)
{
    return sized(image->small, image, line);
}

static bool elongated(const kd_check_image *image, kd_buf *line)
{
    return sized(image->elongated, image, line);
}

static bool flat(const kd_check_image *image, kd_buf *line)
{
    return sized(image->flat, image, line);
}

static void print_images(const cli_findings *f, finding find, size_t n, const char *format, ...)
    KD_PRINTF(4, 5);

static void print_images(const cli_findings *f, finding find, size_t n, const char *format, ...)
{
    va_list list;
    kd_buf line = KD_BUF_INIT;
    size_t shown = 0, all = 0;
    const kd_item *const items = kd_dataset_items(f->dataset, &all);
    if (n == 0)
        return;
    va_start(list, format);
    (void)vprintf(format, list);
    va_end(list);
    printf(": %zu\n", n);
    for (size_t i = 0; i < all && shown < CLI_NAMED; i++) {
        line.len = 0;
        kd_buf_printf(&line, "  %s", kd_dataset_path(f->dataset, &items[i]));
        if (!find(&f->check->images[i], &line))
            continue;
        print_line(&line);
        shown++;
    }
    more(n, shown);
    kd_buf_free(&line);
}

/* ---- Duplicates ---- */

static void print_group(const cli_findings *f, const kd_check_groups *groups, size_t g)
{
    const kd_check_group *const group = &groups->at[g];
    const char *const between = groups == &f->check->near ? " ~ " : " = ";
    const size_t train = kd_dataset_train_count(f->dataset);
    kd_buf line = KD_BUF_INIT;
    size_t all;
    const kd_item *const items = kd_dataset_items(f->dataset, &all);
    kd_buf_printf(&line, "  %s%s%s%s", group->leak ? "leak" : "",
        group->leak && group->conflict ? ", " : "", group->conflict ? "label conflict" : "",
        group->leak || group->conflict ? ": " : "");
    for (size_t i = 0; i < group->n && i < CLI_NAMED_MEMBERS; i++) {
        const uint32_t image = groups->members[group->first + i];
        kd_buf_printf(&line, "%s%s", i ? between : "", kd_dataset_path(f->dataset, &items[image]));
        if (group->leak)
            kd_buf_printf(&line, " in %s", image < train ? "train" : "test");
        if (group->conflict)
            kd_buf_printf(
                &line, " as %s", kd_dataset_class_name(f->dataset, items[image].class_id));
    }
    if (group->n > CLI_NAMED_MEMBERS)
        kd_buf_printf(&line, " and %zu more", group->n - CLI_NAMED_MEMBERS);
    print_line(&line);
    kd_buf_free(&line);
}

static void print_groups(const cli_findings *f, const kd_check_groups *groups, const char *what)
{
    char text[CLI_TEXT];
    const size_t shown = groups->n < CLI_NAMED ? groups->n : CLI_NAMED;
    if (groups->n == 0) {
        printf("%s: none\n", what);
        return;
    }
    printf("%s: %s of %zu images, %zu across the splits (leaks), %zu with different classes "
           "(label conflicts)\n",
        what, cli_some(groups->n, "group", "groups", text), groups->n_members, groups->n_leaks,
        groups->n_conflicts);
    for (size_t g = 0; g < shown; g++)
        print_group(f, groups, g);
    more(groups->n, shown);
}

/* ---- All ---- */

void cli_findings_table(const cli_findings *f)
{
    const kd_check *const check = f->check;
    print_splits(check);
    if (check->train.images > 0 && check->test.images > 0)
        printf("classes in both splits: %zu\n",
            check->train.classes + check->test.classes - check->all.classes);
    print_formats(check);
    print_lone(f, "train", &check->train);
    print_lone(f, "test", &check->test);
    print_images(f, missing, check->missing, "missing files");
    print_images(f, broken, check->broken, "broken files");
    print_images(
        f, small, check->small, "pictures with a side below %u pixels", f->options.min_side);
    print_images(f, elongated, check->elongated, "pictures more than %g times as long as wide",
        f->options.max_aspect);
    print_images(f, flat, check->flat, "pictures of one colour");
    print_groups(f, &check->duplicates, "duplicates");
    print_groups(f, &check->near, "near-duplicates");
    if (check->missing + check->broken == 0)
        puts("every image is there and can be read");
}
