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
void kd_dataset_free(kd_dataset *dataset);

/* Items in listing order, borrowed. */
const kd_item *kd_dataset_items(const kd_dataset *dataset, size_t *n);
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

/* ---- P classes × K images sampler (Hermans et al. 2017) ---- */
typedef struct kd_sampler kd_sampler;
/* Deals the classes that have at least 2 images in passes, each pass every class once in a new
 * seeded order; a batch's P classes differ (all classes when there are fewer than P), and so do the
 * K images of a class, unless it has fewer than K: those repeat. An image comes up again only after
 * all others of its class did. Classes with one image are left out and counted in *lone. labels[i]
 * is the label of image i. KD_FAILED_PRECONDITION when fewer than 2 classes have 2 images,
 * KD_INVALID_ARGUMENT when p or k is below 2 or p × k above 2^20. */
KD_MUST_CHECK kd_status kd_sampler_new(kd_sampler **out, const uint32_t *labels, size_t n,
    uint32_t p, uint32_t k, uint64_t seed, size_t *lone, kd_error *err);
void kd_sampler_free(kd_sampler *sampler);
/* Starts an epoch (a new sampler is at epoch 0): the order depends on seed and epoch alone. Returns
 * the number of batches: at least one whole pass, and about as many images as the set has. */
size_t kd_sampler_epoch(kd_sampler *sampler, uint32_t epoch);
/* Image numbers of batch b of the current epoch into images (room p × k), class behind class;
 * returns how many. */
size_t kd_sampler_batch(const kd_sampler *sampler, size_t b, uint32_t *images);

#endif
