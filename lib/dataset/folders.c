/* A folder of class folders: DIR/[train|test/][SUPER/]CLASS/IMAGE.
 *
 * The whole folder is read whatever split is asked for, and ids are given in sorted order, so that
 * an image has the same ids in every split. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "lib/dataset/internal.h"

typedef struct found { /* an image; names are offsets in the dataset's text */
    uint32_t super_name, class_name, path;
    kd_split split;
    kd_item item;
} found;

typedef struct walker {
    kd_dataset *dataset;
    found *images;
    size_t n, cap;
} walker;

/* What a folder holds: two sorted lists of names, owned. Other files and hidden ones are passed
 * over. */
typedef struct name_list {
    char **at;
    size_t n, cap;
} name_list;
typedef struct folder_list {
    name_list folders, images;
} folder_list;

static void free_names(name_list *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->at[i]);
    free(names->at);
    *names = (name_list){0};
}

static void free_listing(folder_list *listing)
{
    free_names(&listing->folders);
    free_names(&listing->images);
}

static bool add_name(name_list *names, const char *name)
{
    if (names->n == names->cap) {
        const size_t cap = names->cap ? 2 * names->cap : 32;
        char **const at = reallocarray(names->at, cap, sizeof *at);
        if (!at)
            return false;
        names->at = at;
        names->cap = cap;
    }
    names->at[names->n] = strdup(name);
    if (!names->at[names->n])
        return false;
    names->n++;
    return true;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void sort_names(name_list *names)
{
    if (names->n > 0)
        qsort(names->at, names->n, sizeof *names->at, compare_names);
}

static bool is_image(const char *name)
{
    static const char *const ends[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *const dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof ends / sizeof ends[0]; i++)
        if (strcasecmp(dot, ends[i]) == 0)
            return true;
    return false;
}

static bool is_folder(DIR *dir, const struct dirent *entry)
{
    struct stat info;
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return entry->d_type == DT_DIR;
    const int fd = dirfd(dir);
    return fd >= 0 && fstatat(fd, entry->d_name, &info, 0) == 0 && S_ISDIR(info.st_mode);
}

/* rel: below the dataset's folder, "" for itself. */
static kd_status list_folder(
    const kd_dataset *dataset, const char *rel, folder_list *out, kd_error *err)
{
    kd_status status = KD_OK;
    char *const path = kd_format("%s/%s", dataset->dir, rel);
    DIR *const dir = path ? opendir(path) : NULL;
    *out = (folder_list){0};
    if (!dir) {
        status = path ? kd_error_errno(err, errno, "cannot read folder %s", path)
                      : kd_error_memory(err, "a path");
        goto out;
    }
    for (const struct dirent *entry; status == KD_OK && (errno = 0, entry = readdir(dir));) {
        name_list *to = NULL;
        if (entry->d_name[0] == '.')
            continue;
        if (is_folder(dir, entry))
            to = &out->folders;
        else if (is_image(entry->d_name))
            to = &out->images;
        if (to && !kd_utf8_valid(entry->d_name, strlen(entry->d_name)))
            status =
                kd_error_set(err, KD_INVALID_ARGUMENT, "a name in %s is not valid UTF-8", path);
        else if (to && !add_name(to, entry->d_name))
            status = kd_error_memory(err, "a list of files");
    }
    if (status == KD_OK && errno != 0)
        status = kd_error_errno(err, errno, "cannot read folder %s", path);
    sort_names(&out->folders);
    sort_names(&out->images);
out:
    if (dir)
        (void)closedir(dir);
    if (status != KD_OK)
        free_listing(out);
    free(path);
    return status;
}

static kd_status add_image(
    walker *walk, const found *like, const char *rel, const char *name, kd_error *err)
{
    char *const path = kd_format("%s/%s", rel, name);
    found image = *like;
    if (!path)
        return kd_error_memory(err, "a path");
    kd_status status = KD_OK;
    if (strlen(path) >= KD_DATASET_MAX_PATH)
        status = kd_error_set(
            err, KD_INVALID_ARGUMENT, "a path in %s/%.100s… is too long", walk->dataset->dir, rel);
    else
        status = kd_dataset_add_text(walk->dataset, path, strlen(path), &image.path, err);
    free(path);
    if (status != KD_OK)
        return status;
    if (walk->n == walk->cap) {
        const size_t cap = walk->cap ? 2 * walk->cap : 1024;
        found *const images = reallocarray(walk->images, cap, sizeof *images);
        if (!images)
            return kd_error_memory(err, "the images of a dataset");
        walk->images = images;
        walk->cap = cap;
    }
    walk->images[walk->n++] = image;
    return KD_OK;
}

/* A class folder whose listing is at hand. super NULL: the class is its own super-class. */
static kd_status add_class(walker *walk, kd_split split, const char *rel, const char *super,
    const char *class_name, const folder_list *listing, kd_error *err)
{
    found like = {.split = split};
    const char *const above = super ? super : class_name;
    kd_status status =
        kd_dataset_add_text(walk->dataset, above, strlen(above), &like.super_name, err);
    if (status == KD_OK)
        status = kd_dataset_add_text(
            walk->dataset, class_name, strlen(class_name), &like.class_name, err);
    for (size_t i = 0; i < listing->images.n && status == KD_OK; i++)
        status = add_image(walk, &like, rel, listing->images.at[i], err);
    return status;
}

/* A folder that is a class (it holds images) or, at the first level, a super-class (it holds class
 * folders). super NULL: the first level. */
static kd_status walk_folder(walker *walk, kd_split split, const char *rel, const char *super,
    const char *name, kd_error *err)
{
    folder_list inside;
    const char *const dir = walk->dataset->dir;
    kd_status status = list_folder(walk->dataset, rel, &inside, err);
    if (status != KD_OK)
        return status;
    if (inside.images.n > 0 && inside.folders.n > 0)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s/%s holds images beside folders, so it is neither a class nor a super-class", dir,
            rel);
    else if (super && inside.folders.n > 0)
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s/%s/%s is too deep, expected SUPER/CLASS/IMAGE or CLASS/IMAGE", dir, rel,
            inside.folders.at[0]);
    else if (inside.images.n > 0)
        status = add_class(walk, split, rel, super, name, &inside, err);
    for (size_t i = 0; i < inside.folders.n && status == KD_OK; i++) {
        const char *const below = inside.folders.at[i];
        char *const path = kd_format("%s/%s", rel, below);
        status = path ? walk_folder(walk, split, path, name, below, err)
                      : kd_error_memory(err, "a path");
        free(path);
    }
    free_listing(&inside);
    return status;
}

/* All folders of DIR/root, or of DIR where root is "". */
static kd_status walk_split(
    walker *walk, kd_split split, const char *root, const name_list *folders, kd_error *err)
{
    kd_status status = KD_OK;
    for (size_t i = 0; i < folders->n && status == KD_OK; i++) {
        const char *const name = folders->at[i];
        char *const rel = kd_format("%s%s%s", root, root[0] ? "/" : "", name);
        status =
            rel ? walk_folder(walk, split, rel, NULL, name, err) : kd_error_memory(err, "a path");
        free(rel);
    }
    return status;
}

/* Walks DIR/train or DIR/test. *is_split: there is such a folder, with folders in it (a class
 * may well be called "train"). */
static kd_status walk_named_split(walker *walk, kd_split split, const char *root,
    const name_list *folders, bool *is_split, kd_error *err)
{
    folder_list inside;
    const char *const *const there =
        folders->n ? bsearch(&root, folders->at, folders->n, sizeof *folders->at, compare_names)
                   : NULL;
    *is_split = false;
    if (!there)
        return KD_OK;
    kd_status status = list_folder(walk->dataset, root, &inside, err);
    if (status != KD_OK)
        return status;
    *is_split = inside.folders.n > 0;
    status = walk_split(walk, split, root, &inside.folders, err);
    free_listing(&inside);
    return status;
}

/* ---- Ids ---- */

/* By names; the images of a class by split and path. */
static int compare_by_name(const void *left, const void *right, void *arg)
{
    const found *const a = left, *const b = right;
    int order = strcmp(kd_dataset_text(arg, a->super_name), kd_dataset_text(arg, b->super_name));
    if (order == 0)
        order = strcmp(kd_dataset_text(arg, a->class_name), kd_dataset_text(arg, b->class_name));
    if (order == 0)
        order = (int)a->split - (int)b->split;
    if (order == 0)
        order = strcmp(kd_dataset_text(arg, a->path), kd_dataset_text(arg, b->path));
    return order;
}

static int compare_by_split(const void *left, const void *right)
{
    const found *const a = left, *const b = right;
    if (a->split != b->split)
        return (int)a->split - (int)b->split;
    return (a->item.image_id > b->item.image_id) - (a->item.image_id < b->item.image_id);
}

/* Sorts the images by split, class and path, numbers everything from 1, and names the labels. */
static kd_status number(walker *walk, kd_error *err)
{
    kd_dataset *const dataset = walk->dataset;
    kd_status status = KD_OK;
    uint32_t class_id = 0, super_id = 0;
    if (walk->n == 0)
        return kd_error_set(err, KD_NOT_FOUND,
            "%s holds no dataset: neither Ebay_train.txt and Ebay_test.txt nor folders of images",
            dataset->dir);
    qsort_r(walk->images, walk->n, sizeof *walk->images, compare_by_name, dataset);
    for (size_t i = 0; i < walk->n && status == KD_OK; i++) {
        found *const now = &walk->images[i];
        const found *const before = i ? now - 1 : NULL;
        const bool new_super = !before || strcmp(kd_dataset_text(dataset, now->super_name),
                                              kd_dataset_text(dataset, before->super_name)) != 0;
        const bool new_class = new_super || strcmp(kd_dataset_text(dataset, now->class_name),
                                                kd_dataset_text(dataset, before->class_name)) != 0;
        if (new_super)
            status = kd_labels_add(&dataset->super_classes, ++super_id, now->super_name, err);
        if (new_class && status == KD_OK)
            status = kd_labels_add(&dataset->classes, ++class_id, now->class_name, err);
        now->item = (kd_item){.image_id = i, /* the order so far */
            .class_id = class_id,
            .super_class_id = super_id,
            .path = now->path};
    }
    qsort(walk->images, walk->n, sizeof *walk->images, compare_by_split);
    for (size_t i = 0; i < walk->n; i++)
        walk->images[i].item.image_id = i + 1;
    return status;
}

/* Keeps the images of the split. They are sorted by class within a split. */
static kd_status keep(walker *walk, kd_split split, kd_error *err)
{
    kd_dataset *const dataset = walk->dataset;
    kd_status status = KD_OK;
    uint8_t *const seen = calloc(dataset->classes.n + dataset->super_classes.n + 2, 1);
    if (!seen)
        return kd_error_memory(err, "the classes of a dataset");
    uint8_t *const seen_super = seen + dataset->classes.n + 1;
    for (size_t i = 0; i < walk->n && status == KD_OK; i++) {
        const found *const image = &walk->images[i];
        if (!(image->split & split))
            continue;
        status = kd_dataset_add_item(dataset, image->item, 0, err);
        dataset->n_train += image->split == KD_SPLIT_TRAIN;
        dataset->n_classes += !seen[image->item.class_id];
        dataset->n_super_classes += !seen_super[image->item.super_class_id];
        seen[image->item.class_id] = 1;
        seen_super[image->item.super_class_id] = 1;
    }
    free(seen);
    if (status == KD_OK && dataset->n_items == 0)
        status = kd_error_set(err, KD_NOT_FOUND, "%s has no %s images: there is no folder %s/%s",
            dataset->dir, split == KD_SPLIT_TEST ? "test" : "train", dataset->dir,
            split == KD_SPLIT_TEST ? "test" : "train");
    return status;
}

kd_status kd_dataset_read_folders(kd_dataset *dataset, kd_split split, kd_error *err)
{
    walker walk = {.dataset = dataset};
    folder_list top;
    bool has_train = false, has_test = false;
    kd_status status = list_folder(dataset, "", &top, err);
    if (status != KD_OK)
        return status;
    status = walk_named_split(&walk, KD_SPLIT_TRAIN, "train", &top.folders, &has_train, err);
    if (status == KD_OK)
        status = walk_named_split(&walk, KD_SPLIT_TEST, "test", &top.folders, &has_test, err);
    if (status == KD_OK && !has_train && !has_test)
        status = walk_split(&walk, KD_SPLIT_TRAIN, "", &top.folders, err);
    if (status == KD_OK)
        status = number(&walk, err);
    if (status == KD_OK)
        status = keep(&walk, split, err);
    free_listing(&top);
    free(walk.images);
    return status;
}
