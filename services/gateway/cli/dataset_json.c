/* What `kindred dataset check --json` prints. */
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/dataset.h"

static json_t *number(size_t n)
{
    return cli_must(json_integer((json_int_t)n));
}

static void set(json_t *object, const char *key, json_t *value)
{
    (void)json_object_set_new(object, key, cli_must(value));
}

static json_t *path_of(const cli_findings *f, size_t i)
{
    size_t n;
    return cli_json_text(kd_dataset_path(f->dataset, &kd_dataset_items(f->dataset, &n)[i]));
}

/* ---- Counts ---- */

static void set_counts(const cli_findings *f, const kd_check_split *split, json_t *object)
{
    json_t *const lone = cli_must(json_array());
    for (size_t i = 0; i < split->n_lone && i < CLI_LISTED; i++)
        (void)json_array_append_new(
            lone, json_pack("{s: I, s: o}", "class_id", (json_int_t)split->lone[i], "class_name",
                      cli_json_text(kd_dataset_class_name(f->dataset, split->lone[i]))));
    set(object, "images", number(split->images));
    set(object, "classes", number(split->classes));
    set(object, "super_classes", number(split->super_classes));
    set(object, "images_per_class",
        json_pack("{s: I, s: f, s: I}", "min", (json_int_t)split->least, "median", split->median,
            "max", (json_int_t)split->most));
    set(object, "classes_with_one_image", number(split->n_lone));
    set(object, "one_image_classes", lone);
}

static json_t *splits_json(const cli_findings *f)
{
    json_t *const splits = cli_must(json_object());
    const kd_check_split *const both[] = {&f->check->train, &f->check->test};
    static const char *const names[] = {"train", "test"};
    for (size_t i = 0; i < 2; i++) {
        if (both[i]->images == 0)
            continue;
        json_t *const split = cli_must(json_object());
        set_counts(f, both[i], split);
        set(splits, names[i], split);
    }
    return splits;
}

/* ---- Images ---- */

static json_t *missing_json(const cli_findings *f)
{
    json_t *const list = cli_must(json_array());
    for (size_t i = 0; i < f->check->n && json_array_size(list) < CLI_LISTED; i++)
        if (f->check->images[i].state == KD_CHECK_MISSING)
            (void)json_array_append_new(list, path_of(f, i));
    return list;
}

static json_t *broken_json(const cli_findings *f)
{
    json_t *const list = cli_must(json_array());
    for (size_t i = 0; i < f->check->n && json_array_size(list) < CLI_LISTED; i++)
        if (f->check->images[i].state == KD_CHECK_BROKEN)
            (void)json_array_append_new(
                list, json_pack("{s: o, s: o}", "path", path_of(f, i), "reason",
                          cli_json_text(f->check->images[i].reason)));
    return list;
}

typedef bool (*is_odd)(const kd_check_image *image);

static bool is_small(const kd_check_image *image)
{
    return image->small;
}

static bool is_elongated(const kd_check_image *image)
{
    return image->elongated;
}

static bool is_flat(const kd_check_image *image)
{
    return image->flat;
}

static json_t *odd_json(const cli_findings *f, is_odd is)
{
    json_t *const list = cli_must(json_array());
    for (size_t i = 0; i < f->check->n && json_array_size(list) < CLI_LISTED; i++) {
        const kd_check_image *const image = &f->check->images[i];
        if (is(image))
            (void)json_array_append_new(
                list, json_pack("{s: o, s: I, s: I}", "path", path_of(f, i), "width",
                          (json_int_t)image->width, "height", (json_int_t)image->height));
    }
    return list;
}

/* ---- Duplicates ---- */

static json_t *member_json(const cli_findings *f, uint32_t i)
{
    size_t n;
    const kd_item *const item = &kd_dataset_items(f->dataset, &n)[i];
    return json_pack("{s: I, s: s, s: I, s: o, s: o}", "image_id", (json_int_t)item->image_id,
        "split", i < kd_dataset_train_count(f->dataset) ? "train" : "test", "class_id",
        (json_int_t)item->class_id, "class_name",
        cli_json_text(kd_dataset_class_name(f->dataset, item->class_id)), "path", path_of(f, i));
}

static json_t *groups_json(const cli_findings *f, const kd_check_groups *groups)
{
    json_t *const list = cli_must(json_array());
    for (size_t g = 0; g < groups->n && g < CLI_LISTED; g++) {
        const kd_check_group *const group = &groups->at[g];
        json_t *const members = cli_must(json_array());
        for (size_t i = 0; i < group->n && i < CLI_LISTED_MEMBERS; i++)
            (void)json_array_append_new(members, member_json(f, groups->members[group->first + i]));
        (void)json_array_append_new(
            list, json_pack("{s: b, s: b, s: I, s: o}", "leak", group->leak, "label_conflict",
                      group->conflict, "images", (json_int_t)group->n, "members", members));
    }
    return cli_must(json_pack("{s: I, s: I, s: I, s: I, s: o}", "groups", (json_int_t)groups->n,
        "images", (json_int_t)groups->n_members, "leaks", (json_int_t)groups->n_leaks,
        "label_conflicts", (json_int_t)groups->n_conflicts, "list", list));
}

/* ---- All ---- */

void cli_findings_json(const cli_findings *f)
{
    const kd_check *const check = f->check;
    json_t *const object = cli_must(json_object());
    set(object, "dir", cli_json_text(kd_dataset_dir(f->dataset)));
    set(object, "data_hash", json_string(f->hash));
    set_counts(f, &check->all, object);
    set(object, "classes_in_both_splits",
        number(check->train.classes + check->test.classes - check->all.classes));
    set(object, "splits", splits_json(f));
    set(object, "formats",
        json_pack("{s: I, s: I, s: I}", "jpeg", (json_int_t)check->formats[KD_IMAGE_JPEG], "png",
            (json_int_t)check->formats[KD_IMAGE_PNG], "webp",
            (json_int_t)check->formats[KD_IMAGE_WEBP]));
    set(object, "min_side", number(f->options.min_side));
    set(object, "max_aspect", json_real(f->options.max_aspect));
    set(object, "missing_images", number(check->missing));
    set(object, "broken_images", number(check->broken));
    set(object, "small_images", number(check->small));
    set(object, "elongated_images", number(check->elongated));
    set(object, "flat_images", number(check->flat));
    set(object, "missing", missing_json(f));
    set(object, "broken", broken_json(f));
    set(object, "small", odd_json(f, is_small));
    set(object, "elongated", odd_json(f, is_elongated));
    set(object, "flat", odd_json(f, is_flat));
    set(object, "duplicates", groups_json(f, &check->duplicates));
    set(object, "near_duplicates", groups_json(f, &check->near));
    set(object, "ok", json_boolean(f->passed));
    cli_print_json(object);
}
