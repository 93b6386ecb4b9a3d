/* Names from the folders that the images lie in, for labels that no classes.csv names. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/dataset/internal.h"

/* A part of a path; len 0: none. An offset, as the text moves when it grows. */
typedef struct slice {
    uint32_t offset, len;
} slice;

typedef struct label_group { /* a class or super-class: the items from pairs[start] to pairs[stop -
                                1] */
    size_t start, stop;
    slice name;
} label_group;

/* The folder that an image lies in (level 0) or the one above (level 1). A split's folder at the
 * head of the path is not a name. */
static slice folder_of(const kd_dataset *dataset, const kd_item *item, int level)
{
    static const char *const splits[] = {"train/", "test/", "val/"};
    const char *const path = kd_dataset_text(dataset, item->path);
    const char *head = path;
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++)
        if (strncmp(path, splits[i], strlen(splits[i])) == 0)
            head = path + strlen(splits[i]);
    const char *end = strrchr(head, '/'), *start = NULL;
    for (int i = 0; end; i++) {
        start = memrchr(head, '/', (size_t)(end - head));
        const char *const first = start ? start + 1 : head;
        if (i == level)
            return (slice){item->path + (uint32_t)(first - path), (uint32_t)(end - first)};
        end = start;
    }
    return (slice){0, 0};
}

static int compare_slices(const kd_dataset *dataset, slice a, slice b)
{
    const uint32_t least = a.len < b.len ? a.len : b.len;
    const int order =
        memcmp(kd_dataset_text(dataset, a.offset), kd_dataset_text(dataset, b.offset), least);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_groups(const void *left, const void *right, void *arg)
{
    const label_group *const *const a = left, *const *const b = right;
    return compare_slices(arg, (*a)->name, (*b)->name);
}

/* The folder that all images of the group share, if they do. */
static slice shared_folder(
    const kd_dataset *dataset, const kd_pair *pairs, const label_group *group, int level)
{
    slice shared = {0, 0};
    for (size_t i = group->start; i < group->stop; i++) {
        const slice folder = folder_of(dataset, &dataset->items[pairs[i].index], level);
        if (i == group->start)
            shared = folder;
        if (folder.len == 0 || compare_slices(dataset, shared, folder) != 0)
            return (slice){0, 0};
    }
    return shared;
}

/* Gives each group without a name the folder at this level, where it is the group's alone. order
 * is room for n. */
static void name_at_level(kd_dataset *dataset, const kd_pair *pairs, label_group *groups, size_t n,
    int level, label_group **order)
{
    size_t named = 0;
    for (size_t i = 0; i < n; i++) {
        if (groups[i].name.len > 0)
            continue;
        groups[i].name = shared_folder(dataset, pairs, &groups[i], level);
        if (groups[i].name.len > 0)
            order[named++] = &groups[i];
    }
    if (named == 0)
        return;
    qsort_r(order, named, sizeof *order, compare_groups, dataset);
    for (size_t i = 0; i < named;) {
        size_t stop = i + 1;
        while (stop < named && compare_slices(dataset, order[i]->name, order[stop]->name) == 0)
            stop++;
        for (size_t j = i; stop - i > 1 && j < stop; j++)
            order[j]->name.len = 0; /* after the run was measured, so that it stays comparable */
        i = stop;
    }
}

static size_t find_groups(const kd_dataset *dataset, const kd_pair *pairs, label_group *groups)
{
    size_t n = 0;
    for (size_t i = 0; i < dataset->n_items; i++) {
        if (i == 0 || pairs[i].key != pairs[i - 1].key)
            groups[n++] = (label_group){.start = i};
        groups[n - 1].stop = i + 1;
    }
    return n;
}

static kd_status name_group(
    kd_dataset *dataset, kd_labels *labels, uint32_t id, const label_group *group, kd_error *err)
{
    char text[KD_DATASET_MAX_PATH];
    if (group->name.len > 0 && group->name.len < sizeof text) {
        memcpy(text, kd_dataset_text(dataset, group->name.offset), group->name.len);
        text[group->name.len] = '\0';
    } else {
        (void)snprintf(text, sizeof text, "%u", id);
    }
    uint32_t name;
    kd_status status = kd_dataset_add_text(dataset, text, strlen(text), &name, err);
    if (status == KD_OK)
        status = kd_labels_add(labels, id, name, err);
    return status;
}

/* levels: which folders to try, the best first. */
static kd_status name_labels(kd_dataset *dataset, kd_labels *labels, const kd_pair *pairs,
    size_t count, const int *levels, size_t n_levels, kd_error *err)
{
    kd_status status = KD_OK;
    label_group *const groups = calloc(count, sizeof *groups);
    label_group **const order = calloc(count, sizeof *order);
    if (!groups || !order) {
        status = kd_error_memory(err, "the class names of a dataset");
        goto out;
    }
    const size_t n = find_groups(dataset, pairs, groups);
    for (size_t i = 0; i < n_levels; i++)
        name_at_level(dataset, pairs, groups, n, levels[i], order);
    const size_t known = labels->n; /* by classes.csv, sorted */
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        const uint32_t id = (uint32_t)pairs[groups[i].start].key;
        const kd_labels from_csv = {.at = labels->at, .n = known};
        if (!kd_labels_find(&from_csv, id))
            status = name_group(dataset, labels, id, &groups[i], err);
    }
    kd_labels_sort(labels);
out:
    free(order);
    free(groups);
    return status;
}

kd_status kd_dataset_name_by_folders(
    kd_dataset *dataset, const kd_pair *by_class, const kd_pair *by_super, kd_error *err)
{
    /* A super-class is the folder above its classes' folders, or holds the images itself (SOP). */
    static const int class_levels[] = {0}, super_levels[] = {1, 0};
    kd_status status =
        name_labels(dataset, &dataset->classes, by_class, dataset->n_classes, class_levels, 1, err);
    if (status == KD_OK)
        status = name_labels(dataset, &dataset->super_classes, by_super, dataset->n_super_classes,
            super_levels, 2, err);
    return status;
}
