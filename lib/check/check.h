/* lib/check/check.h: what is wrong with a dataset before anything is trained or measured on it.
 *
 * Every image is read and decoded once, as training and serving do it. Found are: files that are
 * missing or broken, pictures of odd size, classes with one image, images with the same bytes and
 * images that look the same, each within a split and across the splits. An image in both splits
 * is a leak: the answer to a test question was trained on. The same image in two classes is a
 * label conflict: one of the labels is wrong.
 *
 * Looking the same is told by a perceptual hash of 64 bits, the signs of the lowest frequencies of
 * the picture shrunk to 32 x 32 grey pixels against their median: the DCT based hash in C. Zauner,
 * "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010, section 3.2.1. Two
 * images are near when their hashes differ in KD_CHECK_NEAR_BITS bits at most. All such pairs are
 * found, without comparing each image with each: of KD_CHECK_NEAR_BITS + 1 bands of the hash at
 * least one is equal (M. Norouzi, A. Punjani, D. Fleet, "Fast Search in Hamming Space with
 * Multi-Index Hashing", CVPR 2012, section 2).
 *
 * The threshold comes from 2,936 photographs of groceries. Copies of them written as JPEG of
 * quality 75 or 30, or at half or a quarter of their size, were all within 4 bits, and so were 98%
 * of those made 20% brighter, 91% of those that lost 1% at each edge, and 20% of those that lost
 * 2.5%. Among the photographs themselves 6 pairs are, second shots of a scene that nobody moved in;
 * 4 more at 6 bits are the same product taken in the hand again; from 12 bits on different products
 * begin to pair. */
#ifndef KD_CHECK_CHECK_H
#define KD_CHECK_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/dataset/dataset.h"
#include "lib/image/image.h"

#define KD_CHECK_NEAR_BITS 4u
/* Pictures whose 32 x 32 grey pixels deviate less than this from their mean, of 255, are flat: all
 * blank pictures look the same, so that near-duplicates are not sought among them. */
#define KD_CHECK_FLAT 2.0

typedef struct kd_check_options {
    uint32_t min_side; /* a picture with a shorter side is small */
    double max_aspect; /* one whose longer side is more than so many shorter ones is elongated */
    size_t threads;    /* 0: one for each core */
    /* Called now and then, on the thread that asked for the check. False: stop. May be NULL. */
    bool (*progress)(void *arg, const char *phase, size_t done, size_t total);
    void *arg;
} kd_check_options;
#define KD_CHECK_OPTIONS_INIT {.min_side = 64, .max_aspect = 4}

typedef enum kd_check_state {
    KD_CHECK_READ, /* all went well */
    KD_CHECK_MISSING,
    KD_CHECK_BROKEN, /* cannot be read, or lib/image refuses it */
} kd_check_state;

typedef struct kd_check_image {
    char *reason; /* why it is broken, else NULL */
    uint32_t width, height;
    kd_check_state state;
    kd_image_format format;
    bool small, elongated, flat;
} kd_check_image;

/* Images that belong together: members[first] to members[first + n - 1]. */
typedef struct kd_check_group {
    size_t first, n; /* n: from 2 */
    bool leak;       /* they are of both splits */
    bool conflict;   /* they are of different classes */
} kd_check_group;

/* First those that leak and conflict, then those that do one of it, then the others; each kind and
 * each group's members in listing order. */
typedef struct kd_check_groups {
    kd_check_group *at;
    uint32_t *members; /* numbers of items */
    size_t n, n_members;
    size_t n_leaks, n_conflicts; /* groups */
} kd_check_groups;

typedef struct kd_check_split {
    size_t images, classes, super_classes;
    size_t least, most; /* images of a class */
    double median;
    uint32_t *lone; /* ids of the classes with one image, ascending */
    size_t n_lone;
} kd_check_split;

typedef struct kd_check {
    kd_check_split train, test, all; /* a split without images isn't there */
    kd_check_image *images;          /* one for each of the dataset's items */
    size_t n;
    size_t missing, broken, small, elongated, flat; /* images */
    size_t formats[KD_IMAGE_FORMATS];               /* of those that could be read */
    kd_check_groups duplicates;                     /* the same bytes */
    kd_check_groups near;                           /* looks the same; not the same bytes alone */
} kd_check;

/* Checks all images of the dataset. The memory is about 150 bytes an image, besides one decoded
 * picture a thread. *out is owned by the caller (kd_check_free) and keeps nothing of the dataset.
 * KD_CANCELLED: progress said so. KD_RESOURCE_EXHAUSTED: no memory; an image over a limit is
 * broken. KD_INTERNAL: no more. */
KD_MUST_CHECK kd_status kd_check_new(
    kd_check **out, const kd_dataset *dataset, const kd_check_options *options, kd_error *err);
void kd_check_free(kd_check *check);

/* Nothing that makes training fail or a measurement wrong: no image is missing or broken, and no
 * duplicate leaks or conflicts. With strict no near-duplicate does either. */
bool kd_check_passed(const kd_check *check, bool strict);

#endif
