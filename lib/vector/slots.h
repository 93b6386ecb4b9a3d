/* lib/vector/slots.h: which row of the flat storage an id has. A hash table of open addressing with
 * linear probing, 12 bytes an entry at most 3/4 full; removal closes the gap, so nothing is left
 * behind to clean up. */
#ifndef KD_VECTOR_SLOTS_H
#define KD_VECTOR_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

#define KD_SLOT_NONE UINT32_MAX

typedef struct kd_slots {
    uint64_t *ids;   /* owned, as slots */
    uint32_t *slots; /* KD_SLOT_NONE: free */
    size_t room;     /* a power of two, or 0 */
    size_t n;
} kd_slots;

void kd_slots_free(kd_slots *table);
/* Room for more entries, so that as many kd_slots_put cannot fail. */
KD_MUST_CHECK kd_status kd_slots_reserve(kd_slots *table, size_t more, kd_error *err);
void kd_slots_put(kd_slots *table, uint64_t id, uint32_t slot); /* adds or changes */
uint32_t kd_slots_get(const kd_slots *table, uint64_t id);      /* KD_SLOT_NONE: not there */
uint32_t kd_slots_take(kd_slots *table, uint64_t id);           /* get, and remove */

#endif
