/* Writes the set in the layout of Stanford Online Products. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/file.h"
#include "tools/draw/draw.h"

static const draw_kind kinds[DRAW_N_KINDS] = {
    {"bicycle", draw_bicycle, 0.34},
    {"cabinet", draw_cabinet, 0.42},
    {"chair", draw_chair, 0.41},
    {"coffee_maker", draw_coffee_maker, 0.42},
    {"fan", draw_fan, 0.42},
    {"kettle", draw_kettle, 0.4},
    {"lamp", draw_lamp, 0.42},
    {"mug", draw_mug, 0.39},
    {"sofa", draw_sofa, 0.32},
    {"stapler", draw_stapler, 0.24},
    {"table", draw_table, 0.4},
    {"toaster", draw_toaster, 0.34},
};

/* Below the folder: name of the kind, class id, view. */
#define VIEW_PATH "%s_final/%zu_%zu.JPG"

/* One in five tests, at least one. */
size_t draw_train_views(size_t views)
{
    const size_t test = views / 5;
    return views - (test ? test : 1);
}

/* Plain writing: fsync of each picture would take longer than drawing it, and a set that is cut off
 * has no listing yet. */
static kd_status write_plain(const char *path, const kd_buf *bytes, size_t len, kd_error *err)
{
    FILE *const file = fopen(path, "wb");
    if (!file)
        return kd_error_errno(err, errno, "cannot write %s", path);
    const bool written = fwrite(bytes->data, 1, len, file) == len;
    const int failure = errno;
    if (fclose(file) != 0 || !written)
        return kd_error_errno(err, written ? errno : failure, "cannot write %s", path);
    return KD_OK;
}

/* A product being drawn. */
typedef struct work {
    const draw_options *options;
    size_t kind, number; /* of the product in its kind */
    size_t class_id;     /* from 1 */
    product product;
    colour palette[N_PALETTE];
} work;

/* Its place among the train images, from 0. */
static bool is_broken(const work *w, size_t view)
{
    const draw_options *const o = w->options;
    const size_t train = draw_train_views(o->views);
    const size_t n_train = DRAW_N_KINDS * o->products * train;
    return view < train && (w->class_id - 1) * train + view + o->broken >= n_train;
}

static kd_status write_view(const work *w, size_t view, kd_error *err)
{
    kd_image image = KD_IMAGE_INIT;
    kd_buf bytes = KD_BUF_INIT;
    char *path = NULL;
    int quality;
    dice d = dice_for(w->options->seed, w->kind, w->number, view + 1);

    kd_status status = draw_view(
        &image, &kinds[w->kind], &w->product, w->palette, &d, w->options->size, &quality, err);
    if (status)
        goto done;
    status = kd_image_encode_jpeg(&image, quality, &bytes, err);
    if (status)
        goto done;
    path = kd_format("%s/" VIEW_PATH, w->options->folder, kinds[w->kind].name, w->class_id, view);
    if (!path) {
        status = kd_error_memory(err, "a path");
        goto done;
    }
    status = write_plain(path, &bytes, is_broken(w, view) ? bytes.len / 2 : bytes.len, err);
done:
    free(path);
    kd_buf_free(&bytes);
    kd_image_free(&image);
    return status;
}

static kd_status write_kind(const draw_options *options, size_t kind, kd_error *err)
{
    char *const folder = kd_format("%s/%s_final", options->folder, kinds[kind].name);
    if (!folder)
        return kd_error_memory(err, "a path");
    kd_status status = kd_make_dirs(folder, err);
    free(folder);
    for (size_t number = 0; number < options->products && status == KD_OK; number++) {
        work w = {.options = options,
            .kind = kind,
            .number = number,
            .class_id = kind * options->products + number + 1,
            .product = draw_product(options->seed, kind, number, options->products)};
        draw_palette(options->seed, kind, w.palette);
        for (size_t view = 0; view < options->views && status == KD_OK; view++)
            status = write_view(&w, view, err);
    }
    return status;
}

static kd_status write_text(
    const draw_options *options, const char *name, const kd_buf *text, kd_error *err)
{
    if (!kd_buf_ok(text))
        return kd_error_memory(err, name);
    char *const path = kd_format("%s/%s", options->folder, name);
    if (!path)
        return kd_error_memory(err, "a path");
    const kd_status status = kd_file_write(path, text->data, text->len, err);
    free(path);
    return status;
}

/* Views from..to-1 of every product. */
static kd_status write_listing(const draw_options *options, const char *name, size_t first_id,
    size_t from, size_t to, kd_error *err)
{
    kd_buf text = KD_BUF_INIT;
    size_t id = first_id;
    kd_buf_puts(&text, "image_id class_id super_class_id path\n");
    for (size_t class = 0; class < DRAW_N_KINDS * options->products; class ++) {
        const size_t kind = class / options->products;
        for (size_t view = from; view < to; view++)
            kd_buf_printf(&text, "%zu %zu %zu " VIEW_PATH "\n", id++, class + 1, kind + 1,
                kinds[kind].name, class + 1, view);
    }
    const kd_status status = write_text(options, name, &text, err);
    kd_buf_free(&text);
    return status;
}

/* Ids count from 0 here, as in the sets that come with such a file. */
static kd_status write_classes(const draw_options *options, kd_error *err)
{
    kd_buf text = KD_BUF_INIT;
    kd_buf_puts(&text, "Class Name (str),Class ID (int),Coarse Class Name (str),"
                       "Coarse Class ID (int),Iconic Image Path (str),"
                       "Product Description Path (str)\n");
    for (size_t class = 0; class < DRAW_N_KINDS * options->products; class ++) {
        const size_t kind = class / options->products;
        kd_buf_printf(&text, "%s-%zu,%zu,%s,%zu,/%s_final/%zu_0.JPG,\n", kinds[kind].name,
            class % options->products + 1, class, kinds[kind].name, kind, kinds[kind].name,
            class + 1);
    }
    const kd_status status = write_text(options, "classes.csv", &text, err);
    kd_buf_free(&text);
    return status;
}

kd_status draw_dataset(const draw_options *options, kd_error *err)
{
    const size_t train = draw_train_views(options->views);
    const size_t n_train = DRAW_N_KINDS * options->products * train;
    if (options->broken > n_train)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "can't break %zu train images, there are %zu",
            options->broken, n_train);
    kd_status status = KD_OK;
    for (size_t kind = 0; kind < DRAW_N_KINDS && status == KD_OK; kind++)
        status = write_kind(options, kind, err);
    if (status == KD_OK)
        status = write_classes(options, err);
    if (status == KD_OK)
        status = write_listing(options, "Ebay_train.txt", 1, 0, train, err);
    if (status == KD_OK)
        status = write_listing(options, "Ebay_test.txt", n_train + 1, train, options->views, err);
    return status;
}
