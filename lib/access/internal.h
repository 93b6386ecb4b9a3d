/* lib/access/internal.h: what the files of lib/access share with each other and their tests. */
#ifndef KD_ACCESS_INTERNAL_H
#define KD_ACCESS_INTERNAL_H

#include "lib/access/access.h"

KD_MUST_CHECK kd_status kd_key_hash(const char *text, uint8_t hash[KD_SHA256_BYTES], kd_error *err);
bool kd_key_valid(const kd_key *key, int64_t now_ms);

/* kd_access_check at a time of the caller's: of the wall clock, which keys expire by, and of the
 * monotonic one, which rates count by. */
typedef struct kd_access_time {
    int64_t wall_ms, mono_ms;
    bool looks; /* counts nothing */
} kd_access_time;
KD_MUST_CHECK kd_status kd_access_check_at(kd_access *access, kd_access_time now,
    const char *authorization, const char *on_behalf, kd_scope needed, kd_caller *caller,
    kd_error *err);

#endif
