#include "services/indexer/attributes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"

enum { DIGITS = 17 }; /* of a real, so that it comes back to the bit */

static kd_status check_member(
    const char *name, const json_t *value, const char *image, kd_error *err)
{
    kd_error why = KD_ERROR_INIT;
    if (kd_check_name("attribute", name, &why) != KD_OK)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s: %s", image, why.message);
    if (json_is_string(value) && json_string_length(value) > COLLECTION_MAX_LABEL)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "attribute '%s' of %s has %zu bytes, allowed are %u", name, image,
            json_string_length(value), COLLECTION_MAX_LABEL);
    if (!json_is_string(value) && !isfinite(json_number_value(value)))
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "attribute '%s' of %s is not a finite number", name, image);
    return KD_OK;
}

kd_status attributes_write(char **out, const json_t *members, const char *image, kd_error *err)
{
    const char *name;
    json_t *value;
    const size_t n = json_object_size(members);
    *out = NULL;
    if (n > COLLECTION_MAX_ATTRIBUTES)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%s has %zu attributes, allowed are %u",
            image, n, COLLECTION_MAX_ATTRIBUTES);
    json_object_foreach((json_t *)(uintptr_t)members, name, value)
    {
        const kd_status status = check_member(name, value, image, err);
        if (status != KD_OK)
            return status;
    }
    *out = n ? json_dumps(members, JSON_COMPACT | JSON_SORT_KEYS | JSON_REAL_PRECISION(DIGITS))
             : strdup("");
    return *out ? KD_OK : kd_error_memory(err, "an image's attributes");
}

json_t *attributes_read(const char *text)
{
    return *text ? json_loads(text, 0, NULL) : json_object();
}
