/* lib/dataset/dataset.h: which images there are, and to which product each belongs.
 *
 * Two layouts are read. Stanford Online Products: Ebay_train.txt and Ebay_test.txt, a header line
 * `image_id class_id super_class_id path`, then a line for each image, ids from 1, paths relative
 * to the folder (the path is the rest of the line and may hold blanks). Or a folder of class
 * folders: DIR/[train|test/][SUPER/]CLASS/IMAGE, where IMAGE ends in .jpg, .jpeg, .png or .webp;
 * its ids are given in sorted order from 1, the same whichever split is opened; without train and
 * test all is train; a class without SUPER is a super-class of its own.
 *
 * Names come from classes.csv beside the listing where there is one (columns Class Name, Class ID,
 * Coarse Class Name, Coarse Class ID; its ids count from 0, the listing's from 1), else from the
 * image's folder where the label has that folder alone. A wrong line is an error with file and line
 * number. Whether the image files are there is not looked at. */
#ifndef KD_DATASET_DATASET_H
#define KD_DATASET_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/status.h"

#define KD_DATASET_MAX_IMAGES 10000000u
#define KD_DATASET_MAX_PATH 4096u

typedef enum kd_split {
    KD_SPLIT_TRAIN = 1,
    KD_SPLIT_TEST = 2,
    KD_SPLIT_ALL = 3, /* both, train first */
} kd_split;

typedef struct kd_item {
    uint64_t image_id; /* unique in the dataset */
    uint32_t class_id;
    uint32_t super_class_id;
    uint32_t path; /* offset: kd_dataset_path */
} kd_item;

typedef struct kd_dataset kd_dataset;

/* Opens the folder: the splits asked for (KD_SPLIT_ALL takes what there is). KD_NOT_FOUND: no such
 * folder, no listing and no class folders, or not that split; KD_INVALID_ARGUMENT: a wrong line
 * (FILE:LINE: what), an empty listing, an image id twice, a class under two super-classes or under
 * another one than in classes.csv, a path that is absolute or climbs out with "..". */
KD_MUST_CHECK kd_status kd_dataset_open(
    kd_dataset **out, const char *dir, kd_split split, kd_error *err);
/* One listing file of the same form; paths are relative to its folder. */
KD_MUST_CHECK kd_status kd_dataset_open_listing(kd_dataset **out, const char *file, kd_error *err);
/* The items that keep marks (one for each item) as a set of their own, maybe of none, with all
 * names of the whole. */
KD_MUST_CHECK kd_status kd_dataset_subset(
    kd_dataset **out, const kd_dataset *dataset, const bool *keep, kd_error *err);
void kd_dataset_free(kd_dataset *dataset);

/* Items in listing order, borrowed. */
const kd_item *kd_dataset_items(const kd_dataset *dataset, size_t *n);
/* The first so many items are the train split's, the others the test split's; 0 after
 * kd_dataset_open_listing. */
size_t kd_dataset_train_count(const kd_dataset *dataset);
/* Relative path as listed, borrowed. */
const char *kd_dataset_path(const kd_dataset *dataset, const kd_item *item);
/* The folder + path, a new string (free); NULL without memory. */
char *kd_dataset_full_path(const kd_dataset *dataset, const kd_item *item);
/* Names, borrowed, never NULL: the id as text where there is no name, "unknown" for an id that
 * neither the images nor classes.csv have. */
const char *kd_dataset_class_name(const kd_dataset *dataset, uint32_t class_id);
const char *kd_dataset_super_class_name(const kd_dataset *dataset, uint32_t super_class_id);
const char *kd_dataset_dir(const kd_dataset *dataset);

size_t kd_dataset_class_count(const kd_dataset *dataset);
size_t kd_dataset_super_class_count(const kd_dataset *dataset);

/* SHA-256 over every item (ids and path), hexadecimal: the lineage's "data hash". */
KD_MUST_CHECK kd_status kd_dataset_hash(
    const kd_dataset *dataset, char hash[KD_SHA256_TEXT], kd_error *err);

bool kd_split_parse(const char *word, kd_split *out); /* "train", "test", "all" */

/* ---- Sampler: which images make a batch ---- */

typedef enum kd_sampler_kind {
    /* P classes × K images (Hermans et al. 2017). Deals the classes that have at least 2 images in
     * passes, each pass every class once in a new seeded order; a batch's P classes differ (all
     * classes when there are fewer than P), and so do the K images of a class, unless it has fewer
     * than K: those repeat. An image comes up again only after all others of its class did. Classes
     * with one image are left out. An epoch is at least one whole pass, and about as many images as
     * the set has. */
    KD_SAMPLER_CLASSES,
    /* The same, and as long, with each batch's classes spread evenly over the super-classes: two
     * super-classes give numbers of classes to a batch that differ by 1 at most, unless the smaller
     * gives all that it has; with more than P super-classes P of them give one each. In an epoch
     * as a whole, too, super-classes with classes to spare differ by 1 at most, and so do the
     * classes of one super-class. Where an epoch has no room for all classes of a large
     * super-class, the next goes on with the others: if it gives m of its c classes in an epoch,
     * ceil(c / m) epochs in a row have them all. */
    KD_SAMPLER_BALANCED,
    /* Every image once an epoch in a new seeded order, those of classes with one image too. The
     * last batch may be smaller, but a single image left over joins the batch before it. */
    KD_SAMPLER_SHUFFLED,
} kd_sampler_kind;

typedef struct kd_sampler_options {
    kd_sampler_kind kind;
    const uint32_t *labels; /* class of each image; borrowed for the call, as are the groups */
    const uint32_t *groups; /* BALANCED: super-class of each image; a class is in its first one's */
    size_t n;               /* images */
    uint32_t p, k;          /* CLASSES, BALANCED: from 2, together at most 2^20 images */
    uint32_t batch;         /* SHUFFLED: images, 2..2^20 */
    uint64_t seed;
} kd_sampler_options;

typedef struct kd_sampler kd_sampler;
/* *lone: how many classes have one image. KD_INVALID_ARGUMENT when p, k or batch is out of bounds,
 * KD_FAILED_PRECONDITION when fewer than 2 classes have 2 images (SHUFFLED: have any). */
KD_MUST_CHECK kd_status kd_sampler_new(
    kd_sampler **out, const kd_sampler_options *options, size_t *lone, kd_error *err);
void kd_sampler_free(kd_sampler *sampler);
/* Images in the largest batch: at most p × k, or batch + 1. */
size_t kd_sampler_max_batch(const kd_sampler *sampler);
/* Starts an epoch (a new sampler is at epoch 0): the order depends on seed and epoch alone. Returns
 * the number of batches, which is the same in every epoch. */
size_t kd_sampler_epoch(kd_sampler *sampler, uint32_t epoch);
/* Image numbers of batch b of the current epoch into images (room for the largest batch), class
 * behind class but for SHUFFLED; returns how many. */
size_t kd_sampler_batch(const kd_sampler *sampler, size_t b, uint32_t *images);

#endif
