#include "services/trainer/settings.h"

#include <string.h>

#include "lib/base/buf.h"

kd_status setting_word(unsigned *out, const char *what, const char *word, const char *const *names,
    size_t n, kd_error *err)
{
    if (word[0] == '\0')
        return KD_OK;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(word, names[i]) == 0) {
            *out = (unsigned)i;
            return KD_OK;
        }
    }
    kd_buf list = KD_BUF_INIT;
    for (size_t i = 0; i < n; i++)
        kd_buf_printf(&list, "%s\"%s\"", i == 0 ? "" : i + 1 < n ? ", " : " and ", names[i]);
    (void)kd_error_set(err, KD_INVALID_ARGUMENT, "%s is '%.40s', allowed are %s", what, word,
        kd_buf_ok(&list) ? (const char *)list.data : "others");
    kd_buf_free(&list);
    return KD_INVALID_ARGUMENT;
}

kd_status setting_count(uint32_t *out, const char *what, uint32_t value, uint32_t fallback,
    uint32_t least, uint32_t most, kd_error *err)
{
    *out = value == 0 ? fallback : value;
    if (value != 0 && (value < least || value > most))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "%s is %u, allowed are %u to %u", what, value, least, most);
    return KD_OK;
}

kd_status setting_positive(
    double *out, const char *what, double value, double fallback, double most, kd_error *err)
{
    *out = value == 0 ? fallback : value;
    if (!(*out >= 0 && *out <= most) || value < 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s is %g, allowed is more than 0 up to %g",
            what, value, most);
    return KD_OK;
}

kd_status setting_real(double *out, const char *what, const Kindred__V1__Real *value,
    double fallback, double least, double most, kd_error *err)
{
    *out = value ? value->value : fallback;
    if (!(*out >= least && *out <= most))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "%s is %g, allowed are %g to %g", what, *out, least, most);
    return KD_OK;
}

kd_status setting_share(float *out, const char *what, const Kindred__V1__Real *value,
    double fallback, double least, kd_error *err)
{
    double number;
    const kd_status status = setting_real(&number, what, value, fallback, least, 1, err);
    *out = (float)number;
    return status;
}
