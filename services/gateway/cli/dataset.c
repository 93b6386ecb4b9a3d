/* kindred dataset: what a dataset holds, and whether all of it can be read. Needs no stack. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"
#include "lib/dataset/dataset.h"
#include "lib/image/image.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/files.h"
#include "services/gateway/cli/progress.h"

#define CHUNK 64u /* images between two looks at the clock and at Ctrl-C */
#define NAMED 20u /* faults that people are shown of each kind */
#define SPLITS 3u /* train, test, all */

typedef struct counts {
    const char *name;
    bool present;
    size_t images, classes, super_classes, lone; /* lone: classes with one image */
} counts;

/* What became of an image. */
typedef struct verdict {
    enum { IMAGE_FINE, IMAGE_MISSING, IMAGE_BROKEN } is;
    char *reason; /* owned; of a broken one */
} verdict;

typedef struct check {
    const char *command;
    kd_dataset *all; /* owned */
    const kd_item *items;
    size_t n, first;   /* first: of the chunk that is read */
    verdict *verdicts; /* owned: n */
    counts splits[SPLITS];
    char hash[KD_SHA256_TEXT];
    size_t missing, broken;
} check;

/* ---- Counting ---- */

static int compare_ids(const void *left, const void *right)
{
    const uint32_t *const a = left, *const b = right;
    return (*a > *b) - (*a < *b);
}

/* Classes that have one image. */
static size_t count_lone(const kd_item *items, size_t n)
{
    uint32_t *const ids = cli_must(calloc(n ? n : 1, sizeof *ids));
    size_t lone = 0;
    for (size_t i = 0; i < n; i++)
        ids[i] = items[i].class_id;
    qsort(ids, n, sizeof *ids, compare_ids);
    for (size_t i = 0; i < n; i++)
        lone += (i == 0 || ids[i - 1] != ids[i]) && (i + 1 == n || ids[i + 1] != ids[i]);
    free(ids);
    return lone;
}

static void count(counts *out, const char *name, const kd_dataset *dataset)
{
    *out = (counts){.name = name, .present = true};
    const kd_item *const items = kd_dataset_items(dataset, &out->images);
    out->classes = kd_dataset_class_count(dataset);
    out->super_classes = kd_dataset_super_class_count(dataset);
    out->lone = count_lone(items, out->images);
}

/* A split that isn't there is no fault: the whole was read before. */
static kd_status count_split(
    counts *out, const char *name, const char *dir, kd_split split, kd_error *err)
{
    kd_dataset *dataset = NULL;
    *out = (counts){.name = name};
    const kd_status status = kd_dataset_open(&dataset, dir, split, err);
    if (status == KD_NOT_FOUND)
        return KD_OK;
    if (status == KD_OK)
        count(out, name, dataset);
    kd_dataset_free(dataset);
    return status;
}

static kd_status open_all(check *c, const char *dir, kd_error *err)
{
    kd_status status = kd_dataset_open(&c->all, dir, KD_SPLIT_ALL, err);
    if (status != KD_OK)
        return status;
    c->items = kd_dataset_items(c->all, &c->n);
    c->verdicts = cli_must(calloc(c->n ? c->n : 1, sizeof *c->verdicts));
    count(&c->splits[2], "all", c->all);
    status = count_split(&c->splits[0], "train", dir, KD_SPLIT_TRAIN, err);
    if (status == KD_OK)
        status = count_split(&c->splits[1], "test", dir, KD_SPLIT_TEST, err);
    if (status == KD_OK)
        status = kd_dataset_hash(c->all, c->hash, err);
    return status;
}

/* ---- Decoding ---- */

static void look_at(void *arg, size_t i)
{
    check *const c = arg;
    verdict *const v = &c->verdicts[c->first + i];
    kd_buf bytes = KD_BUF_INIT;
    kd_image image = KD_IMAGE_INIT;
    kd_error err = KD_ERROR_INIT;
    char *const path = cli_must(kd_dataset_full_path(c->all, &c->items[c->first + i]));
    kd_status status = cli_read_image(path, &bytes, &err);
    if (status == KD_OK)
        status = kd_image_decode(&image, bytes.data, bytes.len, &err);
    if (status == KD_NOT_FOUND) {
        v->is = IMAGE_MISSING;
    } else if (status != KD_OK) {
        v->is = IMAGE_BROKEN;
        v->reason = cli_must(strdup(err.message));
    }
    kd_image_free(&image);
    kd_buf_free(&bytes);
    free(path);
}

static kd_status look_at_all(check *c, bool quiet, kd_error *err)
{
    kd_pool *pool = NULL;
    cli_bar bar;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const int64_t started = kd_mono_ms();
    cli_bar_init(&bar, c->command, quiet);
    cli_interrupt_catch();
    kd_status status = kd_pool_new(&pool, "check", cores > 1 ? (size_t)cores : 1, CHUNK, err);
    for (c->first = 0; c->first < c->n && status == KD_OK; c->first += CHUNK) {
        const size_t left = c->n - c->first, n = left < CHUNK ? left : CHUNK;
        kd_pool_for(pool, n, look_at, c);
        const double seconds = (double)(kd_mono_ms() - started) / 1000;
        const uint64_t done = c->first + n;
        cli_bar_show(&bar, &(cli_progress){.phase = "decoding",
                               .done = done,
                               .total = c->n,
                               .rate = seconds > 0 ? (double)done / seconds : 0});
        if (cli_interrupted())
            status = kd_error_set(
                err, KD_CANCELLED, "interrupted after %zu images of %zu", (size_t)done, c->n);
    }
    cli_bar_clear(&bar);
    kd_pool_free(pool);
    for (size_t i = 0; i < c->n; i++) {
        c->missing += c->verdicts[i].is == IMAGE_MISSING;
        c->broken += c->verdicts[i].is == IMAGE_BROKEN;
    }
    return status;
}

/* ---- Telling ---- */

static json_t *counts_json(const counts *s)
{
    return cli_must(json_pack("{s: I, s: I, s: I, s: I}", "images", (json_int_t)s->images,
        "classes", (json_int_t)s->classes, "super_classes", (json_int_t)s->super_classes,
        "classes_with_one_image", (json_int_t)s->lone));
}

static void tell_program(const check *c)
{
    json_t *const object = counts_json(&c->splits[2]);
    json_t *const splits = cli_must(json_object());
    json_t *const missing = cli_must(json_array()), *const broken = cli_must(json_array());
    for (size_t i = 0; i < 2; i++)
        if (c->splits[i].present)
            (void)json_object_set_new(splits, c->splits[i].name, counts_json(&c->splits[i]));
    for (size_t i = 0; i < c->n; i++) {
        const verdict *const v = &c->verdicts[i];
        if (v->is == IMAGE_FINE)
            continue;
        json_t *const path = cli_json_text(kd_dataset_path(c->all, &c->items[i]));
        if (v->is == IMAGE_MISSING)
            (void)json_array_append_new(missing, path);
        else
            (void)json_array_append_new(broken,
                json_pack("{s: o, s: o}", "path", path, "reason", cli_json_text(v->reason)));
    }
    (void)json_object_set_new(object, "dir", cli_json_text(kd_dataset_dir(c->all)));
    (void)json_object_set_new(object, "data_hash", json_string(c->hash));
    (void)json_object_set_new(object, "splits", splits);
    (void)json_object_set_new(object, "missing", missing);
    (void)json_object_set_new(object, "broken", broken);
    (void)json_object_set_new(object, "ok", json_boolean(c->missing + c->broken == 0));
    cli_print_json(object);
}

static void tell_faults(const check *c, int kind, size_t n, const char *what)
{
    size_t told = 0;
    if (n == 0)
        return;
    printf("%s: %zu\n", what, n);
    for (size_t i = 0; i < c->n && told < NAMED; i++) {
        const verdict *const v = &c->verdicts[i];
        if ((int)v->is != kind)
            continue;
        printf("  %s%s%s\n", kd_dataset_path(c->all, &c->items[i]), v->reason ? ": " : "",
            v->reason ? v->reason : "");
        told++;
    }
    if (n > told)
        printf("  and %zu more\n", n - told);
}

static void tell_people(const check *c)
{
    static const char *const heads[] = {
        "SPLIT", "IMAGES", "CLASSES", "SUPER-CLASSES", "CLASSES WITH ONE IMAGE"};
    cli_table *const table = cli_table_new(heads, sizeof heads / sizeof heads[0]);
    for (size_t i = 0; i < SPLITS; i++) {
        const counts *const s = &c->splits[i];
        char images[CLI_TEXT], classes[CLI_TEXT], supers[CLI_TEXT], lone[CLI_TEXT];
        if (s->present)
            cli_table_row(
                table, (const char *const[]){s->name, cli_count(s->images, images),
                           cli_count(s->classes, classes), cli_count(s->super_classes, supers),
                           cli_count(s->lone, lone)});
    }
    cli_table_print(table);
    tell_faults(c, IMAGE_MISSING, c->missing, "missing files");
    tell_faults(c, IMAGE_BROKEN, c->broken, "broken files");
    if (c->missing + c->broken == 0)
        puts("every image is there and can be read");
}

static int run_check(check *c, const cli_common *common, const char *dir)
{
    kd_error err = KD_ERROR_INIT;
    kd_status status = open_all(c, dir, &err);
    if (status == KD_OK)
        status = look_at_all(c, common->json != 0, &err);
    if (status != KD_OK) {
        (void)cli_error(common, c->command, &err);
        return EXIT_FAILED; /* a wrong line of a listing is the dataset's fault, not the usage's */
    }
    if (common->json)
        tell_program(c);
    else
        tell_people(c);
    return c->missing + c->broken > 0 ? EXIT_FAILED : EXIT_DONE;
}

static int dataset_check(int argc, const char **argv)
{
    cli_common common;
    const char **args = NULL;
    check c = {.command = argv[0]};
    int exit_status = cli_parse(argc, argv, "DIR [OPTION...]",
        "Counts a dataset's images, classes and super-classes, and decodes every image. Exit "
        "status "
        "1 when one is missing or broken.\nExample: kindred dataset check photos/",
        NULL, NULL, NULL, 1, 1, &common, &args);
    if (exit_status == -1)
        exit_status = run_check(&c, &common, args[0]);
    for (size_t i = 0; c.verdicts && i < c.n; i++)
        free(c.verdicts[i].reason);
    free(c.verdicts);
    kd_dataset_free(c.all);
    free(args);
    return exit_status;
}

int cmd_dataset(int argc, const char **argv)
{
    static const cli_command commands[] = {
        {"check", dataset_check, "count it and read every image"},
    };
    return cli_dispatch(argc, argv, "dataset", "Datasets on this machine; no stack is needed.",
        commands, sizeof commands / sizeof commands[0]);
}
