/* lib/dataset/internal.h: what the files of this room share. Nobody else includes it. */
#ifndef KD_DATASET_INTERNAL_H
#define KD_DATASET_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/dataset/dataset.h"

/* Ids are positive, so that they fit every store's signed 64 bits and a "none" beside them. */
#define KD_DATASET_MAX_ID INT64_MAX

typedef struct kd_label {
    uint32_t id;
    uint32_t name; /* offset in kd_dataset.text */
} kd_label;

typedef struct kd_labels {
    kd_label *at; /* owned; sorted by id once loading is over */
    size_t n, cap;
} kd_labels;

struct kd_dataset {
    char *dir;
    kd_item *items;
    uint32_t *lines; /* line of each item; only while a listing is loaded */
    size_t n_items, cap_items;
    size_t n_train; /* of the items: they come first */
    kd_buf text; /* paths and names, each ended by NUL: a few big blocks, not 100,000 small ones */
    kd_labels classes, super_classes;  /* names; may know more ids than the items have */
    size_t n_classes, n_super_classes; /* that the items have */
};

/* A key with the item that has it: sorted, equal keys stand together in listing order. */
typedef struct kd_pair {
    uint64_t key;
    uint32_t index;
} kd_pair;
void kd_pairs_sort(kd_pair *pairs, size_t n);
size_t kd_pairs_count(const kd_pair *pairs, size_t n); /* different keys, of sorted pairs */

/* Where the items came from, for error sentences: item i < n_first stands in files[0]. */
typedef struct kd_origin {
    const char *files[2];
    size_t n_first;
} kd_origin;

static inline const char *kd_origin_file(const kd_origin *origin, size_t index)
{
    return origin->files[index < origin->n_first ? 0 : 1];
}

static inline const char *kd_dataset_text(const kd_dataset *dataset, uint32_t offset)
{
    return (const char *)dataset->text.data + offset;
}

/* Appends len bytes and a NUL to the text; the offset into *out. */
KD_MUST_CHECK kd_status kd_dataset_add_text(
    kd_dataset *dataset, const char *text, size_t len, uint32_t *out, kd_error *err);
KD_MUST_CHECK kd_status kd_dataset_add_item(
    kd_dataset *dataset, kd_item item, uint32_t line, kd_error *err);
KD_MUST_CHECK kd_status kd_labels_add(kd_labels *labels, uint32_t id, uint32_t name, kd_error *err);
void kd_labels_sort(kd_labels *labels);
const kd_label *kd_labels_find(const kd_labels *labels, uint32_t id); /* sorted; NULL: not there */

/* Adds the items of DIR/name. */
KD_MUST_CHECK kd_status kd_dataset_read_listing(
    kd_dataset *dataset, const char *name, kd_error *err);
/* Adds the items of a folder of class folders, and the names. */
KD_MUST_CHECK kd_status kd_dataset_read_folders(kd_dataset *dataset, kd_split split, kd_error *err);
/* Adds the names of DIR/classes.csv; nothing when there is no such file. */
KD_MUST_CHECK kd_status kd_dataset_read_names(
    kd_dataset *dataset, const kd_origin *origin, const kd_pair *by_class, kd_error *err);
/* Names what has no name yet by the images' folders, else by the id. by_class and by_super are
 * the items sorted by class and by super-class. */
KD_MUST_CHECK kd_status kd_dataset_name_by_folders(
    kd_dataset *dataset, const kd_pair *by_class, const kd_pair *by_super, kd_error *err);

/* The next line of a text that ends at end, without line feed and carriage return; NULL at the
 * end. *at moves behind it. */
const char *kd_next_line(const char **at, const char *end, size_t *len);

/* How many bytes of text to show in a sentence: at most 40, and no character cut in two. */
int kd_excerpt(const char *text, size_t len);

#endif
