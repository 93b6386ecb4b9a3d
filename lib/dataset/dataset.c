#include "lib/dataset/dataset.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "lib/dataset/internal.h"

static const char train_listing[] = "Ebay_train.txt";
static const char test_listing[] = "Ebay_test.txt";

/* ---- What loading builds ---- */

kd_status kd_dataset_add_text(
    kd_dataset *dataset, const char *text, size_t len, uint32_t *out, kd_error *err)
{
    const size_t offset = dataset->text.len;
    if (offset + len >= UINT32_MAX)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the paths of %s take more than 4 GiB together", dataset->dir);
    kd_buf_append(&dataset->text, text, len);
    kd_buf_append(&dataset->text, "", 1);
    if (!kd_buf_ok(&dataset->text))
        return kd_error_memory(err, "the paths of a dataset");
    *out = (uint32_t)offset;
    return KD_OK;
}

kd_status kd_dataset_add_item(kd_dataset *dataset, kd_item item, uint32_t line, kd_error *err)
{
    if (dataset->n_items == KD_DATASET_MAX_IMAGES)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "%s has more than %u images", dataset->dir,
            KD_DATASET_MAX_IMAGES);
    if (dataset->n_items == dataset->cap_items) {
        const size_t cap = dataset->cap_items ? 2 * dataset->cap_items : 1024;
        kd_item *const items = reallocarray(dataset->items, cap, sizeof *items);
        if (items)
            dataset->items = items;
        uint32_t *const lines = reallocarray(dataset->lines, cap, sizeof *lines);
        if (lines)
            dataset->lines = lines;
        if (!items || !lines)
            return kd_error_memory(err, "the images of a dataset");
        dataset->cap_items = cap;
    }
    dataset->items[dataset->n_items] = item;
    dataset->lines[dataset->n_items] = line;
    dataset->n_items++;
    return KD_OK;
}

kd_status kd_labels_add(kd_labels *labels, uint32_t id, uint32_t name, kd_error *err)
{
    if (labels->n == labels->cap) {
        const size_t cap = labels->cap ? 2 * labels->cap : 64;
        kd_label *const at = reallocarray(labels->at, cap, sizeof *at);
        if (!at)
            return kd_error_memory(err, "the class names of a dataset");
        labels->at = at;
        labels->cap = cap;
    }
    labels->at[labels->n++] = (kd_label){.id = id, .name = name};
    return KD_OK;
}

static int compare_labels(const void *left, const void *right)
{
    const kd_label *const a = left, *const b = right;
    return (a->id > b->id) - (a->id < b->id);
}

void kd_labels_sort(kd_labels *labels)
{
    if (labels->n > 0)
        qsort(labels->at, labels->n, sizeof *labels->at, compare_labels);
}

const kd_label *kd_labels_find(const kd_labels *labels, uint32_t id)
{
    const kd_label key = {.id = id};
    if (labels->n == 0)
        return NULL;
    return bsearch(&key, labels->at, labels->n, sizeof *labels->at, compare_labels);
}

static int compare_pairs(const void *left, const void *right)
{
    const kd_pair *const a = left, *const b = right;
    if (a->key != b->key)
        return a->key > b->key ? 1 : -1;
    return (a->index > b->index) - (a->index < b->index);
}

void kd_pairs_sort(kd_pair *pairs, size_t n)
{
    if (n > 0)
        qsort(pairs, n, sizeof *pairs, compare_pairs);
}

size_t kd_pairs_count(const kd_pair *pairs, size_t n)
{
    size_t count = n > 0;
    for (size_t i = 1; i < n; i++)
        count += pairs[i].key != pairs[i - 1].key;
    return count;
}

/* ---- What must hold across lines ---- */

/* pairs: the items by image id. The first line that repeats an id is the one to name. */
static kd_status check_image_ids(
    const kd_dataset *dataset, const kd_origin *origin, const kd_pair *pairs, kd_error *err)
{
    size_t at = SIZE_MAX, before = 0;
    for (size_t i = 1; i < dataset->n_items; i++) {
        if (pairs[i].key == pairs[i - 1].key && pairs[i].index < at) {
            at = pairs[i].index;
            before = pairs[i - 1].index;
        }
    }
    if (at == SIZE_MAX)
        return KD_OK;
    return kd_error_set(err, KD_INVALID_ARGUMENT, "%s:%u: image_id %llu is on %s:%u already",
        kd_origin_file(origin, at), dataset->lines[at],
        (unsigned long long)dataset->items[at].image_id, kd_origin_file(origin, before),
        dataset->lines[before]);
}

/* pairs: the items by class. A class lies under one super-class. */
static kd_status check_super_classes(
    const kd_dataset *dataset, const kd_origin *origin, const kd_pair *pairs, kd_error *err)
{
    size_t at = SIZE_MAX, before = 0;
    for (size_t i = 0, first = 0; i < dataset->n_items; i++) {
        if (pairs[i].key != pairs[first].key)
            first = i;
        const kd_item *const item = &dataset->items[pairs[i].index];
        if (item->super_class_id != dataset->items[pairs[first].index].super_class_id &&
            pairs[i].index < at) {
            at = pairs[i].index;
            before = pairs[first].index;
        }
    }
    if (at == SIZE_MAX)
        return KD_OK;
    return kd_error_set(err, KD_INVALID_ARGUMENT,
        "%s:%u: class_id %u is under super_class_id %u, but under %u on %s:%u",
        kd_origin_file(origin, at), dataset->lines[at], dataset->items[at].class_id,
        dataset->items[at].super_class_id, dataset->items[before].super_class_id,
        kd_origin_file(origin, before), dataset->lines[before]);
}

/* Checks, counts and names what the listings brought. */
static kd_status finish_listings(kd_dataset *dataset, const kd_origin *origin, kd_error *err)
{
    kd_status status = KD_OK;
    const size_t n = dataset->n_items;
    kd_pair *const pairs = calloc(3 * n, sizeof *pairs);
    if (!pairs)
        return kd_error_memory(err, "the images of a dataset");
    kd_pair *const by_image = pairs, *const by_class = pairs + n, *const by_super = pairs + 2 * n;
    for (size_t i = 0; i < n; i++) {
        const uint32_t index = (uint32_t)i;
        by_image[i] = (kd_pair){dataset->items[i].image_id, index};
        by_class[i] = (kd_pair){dataset->items[i].class_id, index};
        by_super[i] = (kd_pair){dataset->items[i].super_class_id, index};
    }
    kd_pairs_sort(by_image, n);
    kd_pairs_sort(by_class, n);
    kd_pairs_sort(by_super, n);
    status = check_image_ids(dataset, origin, by_image, err);
    if (status == KD_OK)
        status = check_super_classes(dataset, origin, by_class, err);
    dataset->n_classes = kd_pairs_count(by_class, n);
    dataset->n_super_classes = kd_pairs_count(by_super, n);
    if (status == KD_OK)
        status = kd_dataset_read_names(dataset, origin, by_class, err);
    if (status == KD_OK)
        status = kd_dataset_name_by_folders(dataset, by_class, by_super, err);
    free(pairs);
    return status;
}

/* ---- Opening ---- */

/* An empty dataset for the folder dir (len bytes); NULL without memory. */
static kd_dataset *new_dataset(const char *dir, size_t len)
{
    kd_dataset *const dataset = calloc(1, sizeof *dataset);
    if (!dataset)
        return NULL;
    while (len > 1 && dir[len - 1] == '/')
        len--;
    dataset->dir = strndup(dir, len);
    if (!dataset->dir) {
        free(dataset);
        return NULL;
    }
    return dataset;
}

static kd_status look_for(const kd_dataset *dataset, const char *name, bool *there, kd_error *err)
{
    char *const path = kd_format("%s/%s", dataset->dir, name);
    *there = path && kd_is_file(path);
    free(path);
    return path ? KD_OK : kd_error_memory(err, "a path");
}

static kd_status read_listings(
    kd_dataset *dataset, kd_split split, bool has_train, bool has_test, kd_error *err)
{
    kd_status status = KD_OK;
    const bool want_train = (split & KD_SPLIT_TRAIN) && has_train;
    const bool want_test = (split & KD_SPLIT_TEST) && has_test;
    if (!want_train && !want_test)
        return kd_error_set(err, KD_NOT_FOUND, "%s has no %s, only %s", dataset->dir,
            has_test ? train_listing : test_listing, has_test ? test_listing : train_listing);
    kd_origin origin = {.files = {train_listing, test_listing}};
    if (want_train)
        status = kd_dataset_read_listing(dataset, train_listing, err);
    origin.n_first = dataset->n_train = dataset->n_items;
    if (status == KD_OK && want_test)
        status = kd_dataset_read_listing(dataset, test_listing, err);
    if (status == KD_OK)
        status = finish_listings(dataset, &origin, err);
    return status;
}

/* Hands the loaded dataset over, or frees it. */
static kd_status hand_over(kd_dataset **out, kd_dataset *dataset, kd_status status)
{
    free(dataset->lines);
    dataset->lines = NULL;
    if (status == KD_OK)
        *out = dataset;
    else
        kd_dataset_free(dataset);
    return status;
}

kd_status kd_dataset_open(kd_dataset **out, const char *dir, kd_split split, kd_error *err)
{
    assert(out && dir && (split & KD_SPLIT_ALL) == split && split != 0);
    *out = NULL;
    if (!kd_is_dir(dir))
        return kd_error_set(err, KD_NOT_FOUND, "there is no folder %s", dir);
    kd_dataset *const dataset = new_dataset(dir, strlen(dir));
    if (!dataset)
        return kd_error_memory(err, "a dataset");
    bool has_train = false, has_test = false;
    kd_status status = look_for(dataset, train_listing, &has_train, err);
    if (status == KD_OK)
        status = look_for(dataset, test_listing, &has_test, err);
    if (status != KD_OK)
        return hand_over(out, dataset, status);
    if (has_train || has_test)
        status = read_listings(dataset, split, has_train, has_test, err);
    else
        status = kd_dataset_read_folders(dataset, split, err);
    return hand_over(out, dataset, status);
}

kd_status kd_dataset_open_listing(kd_dataset **out, const char *file, kd_error *err)
{
    assert(out && file);
    *out = NULL;
    if (!kd_is_file(file))
        return kd_error_set(err, KD_NOT_FOUND, "there is no listing %s", file);
    const char *const slash = strrchr(file, '/');
    const char *const name = slash ? slash + 1 : file;
    kd_dataset *const dataset =
        slash ? new_dataset(file, (size_t)(name - file)) : new_dataset(".", 1);
    if (!dataset)
        return kd_error_memory(err, "a dataset");
    kd_status status = kd_dataset_read_listing(dataset, name, err);
    const kd_origin origin = {.files = {name, name}};
    if (status == KD_OK)
        status = finish_listings(dataset, &origin, err);
    return hand_over(out, dataset, status);
}

void kd_dataset_free(kd_dataset *dataset)
{
    if (!dataset)
        return;
    free(dataset->dir);
    free(dataset->items);
    free(dataset->lines);
    free(dataset->classes.at);
    free(dataset->super_classes.at);
    kd_buf_free(&dataset->text);
    free(dataset);
}

/* ---- Asking ---- */

const kd_item *kd_dataset_items(const kd_dataset *dataset, size_t *n)
{
    *n = dataset->n_items;
    return dataset->items;
}

size_t kd_dataset_train_count(const kd_dataset *dataset)
{
    return dataset->n_train;
}

const char *kd_dataset_path(const kd_dataset *dataset, const kd_item *item)
{
    return kd_dataset_text(dataset, item->path);
}

char *kd_dataset_full_path(const kd_dataset *dataset, const kd_item *item)
{
    return kd_format("%s/%s", dataset->dir, kd_dataset_path(dataset, item));
}

static const char *name_of(const kd_dataset *dataset, const kd_labels *labels, uint32_t id)
{
    const kd_label *const label = kd_labels_find(labels, id);
    return label ? kd_dataset_text(dataset, label->name) : "unknown";
}

const char *kd_dataset_class_name(const kd_dataset *dataset, uint32_t class_id)
{
    return name_of(dataset, &dataset->classes, class_id);
}

const char *kd_dataset_super_class_name(const kd_dataset *dataset, uint32_t super_class_id)
{
    return name_of(dataset, &dataset->super_classes, super_class_id);
}

const char *kd_dataset_dir(const kd_dataset *dataset)
{
    return dataset->dir;
}

size_t kd_dataset_class_count(const kd_dataset *dataset)
{
    return dataset->n_classes;
}

size_t kd_dataset_super_class_count(const kd_dataset *dataset)
{
    return dataset->n_super_classes;
}

/* The items are hashed as the lines of a listing, so that `tail -n +2 Ebay_train.txt | sha256sum`
 * gives the same. */
kd_status kd_dataset_hash(const kd_dataset *dataset, char hash[KD_SHA256_TEXT], kd_error *err)
{
    kd_hasher *hasher = NULL;
    kd_buf line = KD_BUF_INIT;
    kd_status status = kd_hasher_new(&hasher, err);
    hash[0] = '\0';
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < dataset->n_items; i++) {
        const kd_item *const item = &dataset->items[i];
        line.len = 0;
        kd_buf_printf(&line, "%llu %u %u ", (unsigned long long)item->image_id, item->class_id,
            item->super_class_id);
        kd_buf_puts(&line, kd_dataset_path(dataset, item));
        kd_buf_puts(&line, "\n");
        if (!kd_buf_ok(&line)) {
            status = kd_error_memory(err, "the hash of a dataset");
            break;
        }
        kd_hasher_update(hasher, line.data, line.len);
    }
    uint8_t digest[KD_SHA256_BYTES];
    kd_hasher_finish(hasher, digest);
    if (status == KD_OK)
        kd_hex(digest, sizeof digest, hash);
    kd_buf_free(&line);
    return status;
}

bool kd_split_parse(const char *word, kd_split *out)
{
    static const struct {
        const char *word;
        kd_split split;
    } words[] = {{"train", KD_SPLIT_TRAIN}, {"test", KD_SPLIT_TEST}, {"all", KD_SPLIT_ALL}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(word, words[i].word) == 0) {
            *out = words[i].split;
            return true;
        }
    }
    return false;
}
