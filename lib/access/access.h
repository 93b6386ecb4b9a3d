/* lib/access/access.h: who may do what. An API key has a scope; gRPC methods and HTTP routes say
 * which one they need, and kd_access_check decides.
 *
 * Keys lie in a JSON file (DATA/keys.json), hashed; `kindred key` writes it, services read it again
 * when it has changed. As long as it holds no key everything is allowed: kd_service refuses to
 * listen to other machines then. From the first key on each caller needs one.
 *
 * Services know each other by a key of their own (--key-file), which is in no list. What a service
 * asks another on behalf of a caller carries the caller's scope too, and may do no more than that:
 * the right is the caller's, the trust is the service's. */
#ifndef KD_ACCESS_ACCESS_H
#define KD_ACCESS_ACCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/status.h"

/* Each has what the ones before it have. */
typedef enum kd_scope {
    KD_SCOPE_OPEN, /* needs no key: health */
    KD_SCOPE_READ,
    KD_SCOPE_WRITE,
    KD_SCOPE_ADMIN,
} kd_scope;
const char *kd_scope_name(kd_scope scope);            /* "read"; static */
bool kd_scope_parse(const char *word, kd_scope *out); /* "read", "write" or "admin" */

/* True when only this machine reaches HOST:PORT. */
bool kd_is_loopback(const char *address);

/* ---- Keys ---- */
#define KD_KEY_TEXT 47u /* "kd_", 32 random bytes as base64url, NUL */
#define KD_KEY_ID 13u   /* the first hexadecimal digits of its hash, NUL */
#define KD_KEY_NAME 65u
#define KD_KEYS_FILE "keys.json"         /* of a data folder */
#define KD_SERVICE_KEY "run/service.key" /* likewise: the services' own, made by `kindred up` */
#define KD_KEYS_MAX 1000u /* of a file; the oldest that is revoked or expired makes room */
#define KD_KEY_RATE_MAX 100000u

typedef struct kd_key {
    char id[KD_KEY_ID];
    char name[KD_KEY_NAME]; /* formed as a collection's; of the valid keys only one has it */
    kd_scope scope;
    uint32_t rate;                              /* calls a second, and at once; 0: any number */
    int64_t created_ms, expires_ms, revoked_ms; /* since 1970; 0: never */
    uint8_t hash[KD_SHA256_BYTES];              /* of the key's text */
} kd_key;

typedef struct kd_keys {
    kd_key *items; /* owned, in order of their making */
    size_t n;
} kd_keys;

/* KD_NOT_FOUND: there is no such file. KD_DATA_LOSS: it is damaged. */
KD_MUST_CHECK kd_status kd_keys_read(kd_keys *out, const char *path, kd_error *err);
void kd_keys_free(kd_keys *keys);
/* Makes the file, without a key, unless it is there. */
KD_MUST_CHECK kd_status kd_keys_make(const char *path, kd_error *err);
/* Adds a key with wanted's name, scope, rate and expires_ms, and makes the file when need be; text
 * is the only copy of the key. KD_ALREADY_EXISTS: a valid key has this name. */
KD_MUST_CHECK kd_status kd_keys_create(
    const char *path, const kd_key *wanted, kd_key *made, char text[KD_KEY_TEXT], kd_error *err);
/* By id, or by the name of a valid key. KD_NOT_FOUND; KD_FAILED_PRECONDITION: it is revoked. */
KD_MUST_CHECK kd_status kd_keys_revoke(
    const char *path, const char *key, kd_key *revoked, kd_error *err);

/* A key's text alone in a file that only its owner reads. kd_key_make makes a new one; reading
 * allows a line's end behind it. */
KD_MUST_CHECK kd_status kd_key_write(const char *path, const char *text, kd_error *err);
KD_MUST_CHECK kd_status kd_key_make(char text[KD_KEY_TEXT], kd_error *err);
KD_MUST_CHECK kd_status kd_key_read(char text[KD_KEY_TEXT], const char *path, kd_error *err);

/* ---- Checking ---- */
typedef struct kd_access kd_access;

/* keys: path of the file, which must be there; own: the key of the services among themselves. Both
 * may be NULL, and are copied. With own alone only services are let in. */
KD_MUST_CHECK kd_status kd_access_new(
    kd_access **out, const char *keys, const char *own, kd_error *err);
void kd_access_free(kd_access *access); /* NULL is fine */
/* Callers need a key. Once true it stays so. NULL: false. */
bool kd_access_is_on(kd_access *access);

typedef struct kd_caller {
    kd_scope scope;     /* what it may do: KD_SCOPE_ADMIN where no key is asked for */
    char id[KD_KEY_ID]; /* of its key; "service" for a service; empty without one */
} kd_caller;

/* Whether who sent these may do what needs `needed`. Safe from any thread; takes microseconds.
 * authorization  "Bearer KEY", the header of that name; NULL or empty: it sent none
 * on_behalf      the scope that it lends its own to, the header KD_ON_BEHALF; NULL or empty: none
 * caller         may be NULL
 * Fails with KD_UNAUTHENTICATED (no key, or one that is unknown, revoked or expired),
 * KD_PERMISSION_DENIED (its scope is too small) or KD_RESOURCE_EXHAUSTED (its rate; the calls of
 * services are not counted). The sentence never has the key. access NULL allows everything. */
KD_MUST_CHECK kd_status kd_access_check(kd_access *access, const char *authorization,
    const char *on_behalf, kd_scope needed, kd_caller *caller, kd_error *err);
/* The same for who asks for itself, and nothing is counted: for a door before one that checks. */
KD_MUST_CHECK kd_status kd_access_look(kd_access *access, const char *authorization,
    kd_scope needed, kd_caller *caller, kd_error *err);

/* For what lasts. The version is another one once a caller may have lost its right; then
 * kd_access_holds tells of one who was let in to what needs a key whether that goes on: its key has
 * been neither revoked nor taken out, and has not expired; without a key, that none is asked for.
 */
uint64_t kd_access_version(kd_access *access);
bool kd_access_holds(kd_access *access, const kd_caller *caller);
#define KD_ON_BEHALF "kindred-scope"
#define KD_AUTHORIZATION_MAX 128u /* bytes of a header that can be right */

#endif
