/* services/trainer/settings.h: how one setting of a training is read, by kind.
 *
 * Each fails with KD_INVALID_ARGUMENT and names the setting, what it holds and what may stand
 * there. */
#ifndef KD_TRAINER_SETTINGS_H
#define KD_TRAINER_SETTINGS_H

#include "kindred/v1/training.pb-c.h"

#include "lib/base/status.h"

/* *out: the place of the word among the names; empty leaves *out. */
KD_MUST_CHECK kd_status setting_word(unsigned *out, const char *what, const char *word,
    const char *const *names, size_t n, kd_error *err);
/* A whole number; 0 stands for the fallback, which may lie outside the limits. */
KD_MUST_CHECK kd_status setting_count(uint32_t *out, const char *what, uint32_t value,
    uint32_t fallback, uint32_t least, uint32_t most, kd_error *err);
/* A number above 0; 0 stands for the fallback. */
KD_MUST_CHECK kd_status setting_positive(
    double *out, const char *what, double value, double fallback, double most, kd_error *err);
/* A number that may be 0; absent takes the fallback. */
KD_MUST_CHECK kd_status setting_real(double *out, const char *what, const Kindred__V1__Real *value,
    double fallback, double least, double most, kd_error *err);
/* The same up to 1. */
KD_MUST_CHECK kd_status setting_share(float *out, const char *what, const Kindred__V1__Real *value,
    double fallback, double least, kd_error *err);

#endif
