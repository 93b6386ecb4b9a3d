/* lib/check/internal.h: what the files of this room share. Nobody else includes it. */
#ifndef KD_CHECK_INTERNAL_H
#define KD_CHECK_INTERNAL_H

#include "lib/check/check.h"

/* What an image is compared by; only of those that could be read. */
typedef struct check_trait {
    uint8_t digest[KD_SHA256_BYTES]; /* of the file */
    uint64_t look;                   /* not of flat ones */
} check_trait;

/* A check under way. */
typedef struct check_work {
    kd_check *check;
    const kd_dataset *dataset;
    const kd_item *items;
    const kd_check_options *options;
    check_trait *traits; /* owned: one for each item */
} check_work;

/* Counts n items into *out, which is all 0 before. */
KD_MUST_CHECK kd_status check_count(
    kd_check_split *out, const kd_item *items, size_t n, kd_error *err);

/* The perceptual hash; *deviation is for KD_CHECK_FLAT. */
KD_MUST_CHECK kd_status check_look(
    const kd_image *image, uint64_t *look, double *deviation, kd_error *err);

/* Fills check->duplicates and check->near. */
KD_MUST_CHECK kd_status check_find_groups(const check_work *work, kd_error *err);

/* KD_CANCELLED when the caller wants no more. */
KD_MUST_CHECK kd_status check_progress(
    const check_work *work, const char *phase, size_t done, size_t total, kd_error *err);

#endif
