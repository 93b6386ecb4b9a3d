/* services/indexer/attributes.h: what else is known of an image, as text: a JSON object from names
 * to texts and reals, compact and sorted by name, so that equal attributes are equal bytes; "" for
 * none.
 */
#ifndef KD_INDEXER_ATTRIBUTES_H
#define KD_INDEXER_ATTRIBUTES_H

#include <jansson.h>

#include "services/indexer/collection.h"

/* A new string of the members (names to json_string and json_real), free. KD_INVALID_ARGUMENT names
 * the image ("image 7") and what is wrong: too many, a name, a text, a number. */
KD_MUST_CHECK kd_status attributes_write(
    char **out, const json_t *members, const char *image, kd_error *err);
/* The members of such a string, a new reference; an empty object for "". NULL without memory. */
json_t *attributes_read(const char *text);

#endif
