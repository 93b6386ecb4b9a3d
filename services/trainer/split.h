/* services/trainer/split.h: which images train, and which tell how well.
 *
 * The choice depends on the seed, the classes and which images are usable alone: what trains makes
 * no difference, so that systems which train on classes and on super-classes can be measured on the
 * same images. */
#ifndef KD_TRAINER_SPLIT_H
#define KD_TRAINER_SPLIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

#define SPLIT_SHARE 0.1 /* the default */
#define SPLIT_MAX_SHARE 0.5
#define SPLIT_LEAST_IMAGES 4u      /* of a class that gives some up (IMAGES) */
#define SPLIT_LEAST_CLASSES 4u     /* with 2 images each, that some may be given up (CLASSES) */
#define SPLIT_MAX_VALIDATION 2000u /* images measured after each epoch */
#define SPLIT_MAX_GALLERY 2000u
#define SPLIT_MAX_CLASS (SPLIT_MAX_VALIDATION / 2) /* images of a class that validates whole */

typedef enum train_cut {
    /* Whole classes validate, which training never sees: how well unseen products are found. The
     * share is of the classes with 2 to SPLIT_MAX_CLASS images, at least 2 and at most half of
     * them. Each super-class gives one before any gives two; none gives more than half of its
     * classes while others can, nor its last one unless all are down to that. Classes are what
     * counts as found. Trained by super-class, the network knows the validation images' labels and
     * a classifier's accuracy can be told; trained by class it knows none of them, and there is no
     * accuracy. */
    TRAIN_CUT_CLASSES,
    /* Of each class with SPLIT_LEAST_IMAGES or more a share of its images, at least one; of each
     * super-class where no class has so many. */
    TRAIN_CUT_IMAGES,
    TRAIN_CUT_NONE, /* all train */
} train_cut;

bool train_cut_parse(const char *word, train_cut *out); /* by these names: */
const char *train_cut_name(train_cut cut);              /* "classes", "images" or "none"; static */

/* Each array belongs to images 0..n-1; all are borrowed for the call. */
typedef struct train_split_input {
    const uint32_t *classes;
    const uint32_t *groups; /* super-classes */
    const bool *usable;
    size_t n;
    train_cut cut;
    double share; /* more than 0 up to SPLIT_MAX_SHARE */
    uint64_t seed;
} train_split_input;

/* Image numbers; all owned. */
typedef struct train_split {
    /* In rising order; every usable image is in one of them: what trains, what is measured after
     * each epoch, and what is held back beyond SPLIT_MAX_VALIDATION. */
    uint32_t *train, *validation, *held;
    /* Of train: what validation looks among, beside itself. IMAGES: images of the families that
     * validate, one of each at least. CLASSES: of all that train, distractors only, as evenly over
     * the classes as can be and not more than validate. */
    uint32_t *gallery;
    size_t n_train, n_validation, n_held, n_gallery;
    train_cut
        cut; /* IMAGES in place of CLASSES where fewer than SPLIT_LEAST_CLASSES could be cut */
    bool by_class; /* classes count as found, not labels: a cut by CLASSES */
} train_split;

/* KD_INVALID_ARGUMENT: the share. */
KD_MUST_CHECK kd_status train_split_make(
    train_split *out, const train_split_input *input, kd_error *err);
void train_split_free(train_split *split);

#endif
