/* Checking, and the keys as they were last read. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include <openssl/crypto.h>

#include "lib/access/access.h"
#include "lib/access/internal.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"

/* Between two looks at the file: a revoked key is of use no longer than that. */
#define LOOK_MS 200
#define SERVICE_ID "service" /* of a caller that has the services' key */

/* What a key may still do at once: as many calls as its rate has in a second. */
typedef struct bucket {
    double tokens;
    int64_t filled_ms;
} bucket;

struct kd_access {
    char *path; /* owned; NULL: no file */
    bool has_own;
    uint8_t own[KD_SHA256_BYTES]; /* hash of the services' key */
    atomic_bool on;
    pthread_mutex_t mutex; /* guards what follows; no other lock is taken while it is held */
    kd_keys keys;
    bucket *buckets;  /* of each key */
    struct stat read; /* the file that keys are from */
    struct stat told; /* the one that was said not to be readable */
    bool fails;       /* it still is not */
    int64_t look_ms;  /* monotonic */
    uint64_t version;
    int64_t expiry_ms; /* wall clock: when the next of them expires; INT64_MAX: none does */
};

/* ---- The file ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* A key goes on with what it had left. */
static void keep_bucket(const kd_access *access, const kd_key *key, bucket *to, int64_t now_ms)
{
    *to = (bucket){key->rate, now_ms};
    for (size_t i = 0; i < access->keys.n; i++)
        if (memcmp(access->keys.items[i].hash, key->hash, sizeof key->hash) == 0)
            *to = access->buckets[i];
}

/* As load. */
static void new_version(kd_access *access, int64_t wall_ms)
{
    access->version++;
    access->expiry_ms = INT64_MAX;
    for (size_t i = 0; i < access->keys.n; i++) {
        const kd_key *const key = &access->keys.items[i];
        if (key->expires_ms > wall_ms && key->expires_ms < access->expiry_ms)
            access->expiry_ms = key->expires_ms;
    }
}

/* Mutex held, or nobody else knows of access. On failure the keys are as they were. */
static kd_status load(kd_access *access, int64_t now_ms, kd_error *err)
{
    kd_keys keys;
    kd_status status = kd_keys_read(&keys, access->path, err);
    if (status != KD_OK)
        return status;
    bucket *const buckets = calloc(keys.n + 1, sizeof *buckets);
    if (!buckets) {
        kd_keys_free(&keys);
        return kd_error_memory(err, "the keys");
    }
    for (size_t i = 0; i < keys.n; i++)
        keep_bucket(access, &keys.items[i], &buckets[i], now_ms);
    kd_keys_free(&access->keys);
    free(access->buckets);
    access->keys = keys;
    access->buckets = buckets;
    new_version(access, kd_wall_ms());
    if (keys.n > 0)
        atomic_store(&access->on, true);
    return KD_OK;
}

/* Mutex held. A file that is gone or damaged takes no right away and gives none, and is tried again
 * at each look: what is wrong may not be the file's doing. */
static void refresh(kd_access *access, int64_t now_ms)
{
    struct stat now;
    kd_error err = KD_ERROR_INIT;
    if (!access->path || now_ms < access->look_ms)
        return;
    access->look_ms = now_ms + LOOK_MS;
    const int64_t wall_ms = kd_wall_ms();
    if (wall_ms >= access->expiry_ms)
        new_version(access, wall_ms);
    if (stat(access->path, &now) != 0)
        memset(&now, 0, sizeof now);
    if (same_file(&now, &access->read))
        return;
    if (load(access, now_ms, &err) == KD_OK) {
        access->read = now;
        access->fails = false;
        KD_LOG(KD_LOG_INFO, "keys_read", KD_INT("keys", (int64_t)access->keys.n));
    } else if (!access->fails || !same_file(&now, &access->told)) { /* said once */
        access->told = now;
        access->fails = true;
        kd_log_error(KD_LOG_ERROR, "keys_not_read", &err);
    }
}

kd_status kd_access_new(kd_access **out, const char *keys, const char *own, kd_error *err)
{
    kd_status status = KD_OK;
    kd_access *access = calloc(1, sizeof *access);
    *out = NULL;
    if (!access || (keys && !(access->path = strdup(keys)))) {
        free(access);
        return kd_error_memory(err, "the keys");
    }
    pthread_mutex_init(&access->mutex, NULL);
    atomic_init(&access->on, false);
    access->has_own = own != NULL;
    atomic_store(&access->on, own && !keys);
    if (own)
        status = kd_key_hash(own, access->own, err);
    if (status == KD_OK && keys) {
        (void)stat(keys, &access->read); /* before reading: a change in between is seen later */
        status = load(access, kd_mono_ms(), err);
    }
    if (status == KD_OK)
        *out = access;
    else
        kd_access_free(access);
    return status;
}

void kd_access_free(kd_access *access)
{
    if (!access)
        return;
    kd_keys_free(&access->keys);
    free(access->buckets);
    free(access->path);
    pthread_mutex_destroy(&access->mutex);
    free(access);
}

bool kd_access_is_on(kd_access *access)
{
    if (!access)
        return false;
    if (!atomic_load(&access->on)) {
        pthread_mutex_lock(&access->mutex);
        refresh(access, kd_mono_ms());
        pthread_mutex_unlock(&access->mutex);
    }
    return atomic_load(&access->on);
}

/* ---- Checking ---- */

static bool same_hash(const uint8_t *a, const uint8_t *b)
{
    /* Takes as long whatever they have in common. */
    return CRYPTO_memcmp(a, b, KD_SHA256_BYTES) == 0;
}

/* Takes one call off the bucket; false when it is empty. */
static bool take(bucket *b, uint32_t rate, int64_t now_ms)
{
    const double filled = b->tokens + (double)(now_ms - b->filled_ms) * rate / 1000.0;
    b->tokens = filled < rate ? filled : rate;
    b->filled_ms = now_ms;
    if (b->tokens < 1.0)
        return false;
    b->tokens -= 1.0;
    return true;
}

/* Mutex held. */
static kd_status check_key(kd_access *access, kd_access_time now, const uint8_t *hash,
    kd_scope needed, kd_caller *caller, kd_error *err)
{
    const kd_key *key = NULL;
    size_t at = 0;
    for (size_t i = 0; i < access->keys.n; i++) { /* all of them: time tells nothing */
        if (same_hash(access->keys.items[i].hash, hash)) {
            key = &access->keys.items[i];
            at = i;
        }
    }
    if (!key)
        return kd_error_set(err, KD_UNAUTHENTICATED, "the API key is not known here");
    if (key->revoked_ms != 0)
        return kd_error_set(err, KD_UNAUTHENTICATED, "API key '%s' is revoked", key->name);
    if (!kd_key_valid(key, now.wall_ms))
        return kd_error_set(err, KD_UNAUTHENTICATED, "API key '%s' has expired", key->name);
    (void)kd_copy(caller->id, sizeof caller->id, key->id);
    if (caller->scope > key->scope)
        caller->scope = key->scope;
    if (caller->scope < needed)
        return kd_error_set(err, KD_PERMISSION_DENIED, "API key '%s' has scope %s, this needs %s",
            key->name, kd_scope_name(caller->scope), kd_scope_name(needed));
    if (key->rate > 0 && !now.looks && !take(&access->buckets[at], key->rate, now.mono_ms))
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "API key '%s' may make %u calls a second; try again later", key->name, key->rate);
    return KD_OK;
}

/* The services' key has every scope, but no more than those have that it speaks for. */
static kd_status check_own(kd_scope needed, kd_caller *caller, kd_error *err)
{
    (void)kd_copy(caller->id, sizeof caller->id, SERVICE_ID);
    if (caller->scope < needed)
        return kd_error_set(err, KD_PERMISSION_DENIED, "the caller has scope %s, this needs %s",
            kd_scope_name(caller->scope), kd_scope_name(needed));
    return KD_OK;
}

/* The hash of the key in the header. */
static kd_status read_header(
    const char *authorization, uint8_t hash[KD_SHA256_BYTES], kd_error *err)
{
    static const char bearer[] = "Bearer ";
    if (!authorization || !*authorization)
        return kd_error_set(
            err, KD_UNAUTHENTICATED, "this needs an API key, sent as 'authorization: Bearer KEY'");
    if (strncasecmp(authorization, bearer, strlen(bearer)) != 0)
        return kd_error_set(
            err, KD_UNAUTHENTICATED, "the header authorization is not 'Bearer KEY'");
    return kd_key_hash(authorization + strlen(bearer), hash, err);
}

kd_status kd_access_check_at(kd_access *access, kd_access_time now, const char *authorization,
    const char *on_behalf, kd_scope needed, kd_caller *caller, kd_error *err)
{
    uint8_t hash[KD_SHA256_BYTES];
    kd_caller someone;
    if (!caller)
        caller = &someone;
    *caller = (kd_caller){.scope = KD_SCOPE_ADMIN};
    if (!access)
        return KD_OK;
    pthread_mutex_lock(&access->mutex);
    refresh(access, now.mono_ms);
    pthread_mutex_unlock(&access->mutex);
    if (!atomic_load(&access->on)) {
        /* What a service began goes on when keys are asked for. */
        if (access->has_own && read_header(authorization, hash, NULL) == KD_OK &&
            same_hash(access->own, hash))
            (void)kd_copy(caller->id, sizeof caller->id, SERVICE_ID);
        return KD_OK;
    }
    caller->scope = KD_SCOPE_OPEN;
    if (needed == KD_SCOPE_OPEN)
        return KD_OK;
    kd_status status = read_header(authorization, hash, err);
    if (status != KD_OK)
        return status;
    caller->scope = KD_SCOPE_ADMIN;
    if (on_behalf && *on_behalf && !kd_scope_parse(on_behalf, &caller->scope))
        caller->scope = KD_SCOPE_OPEN;
    if (access->has_own && same_hash(access->own, hash))
        return check_own(needed, caller, err);
    pthread_mutex_lock(&access->mutex);
    status = check_key(access, now, hash, needed, caller, err);
    pthread_mutex_unlock(&access->mutex);
    return status;
}

kd_status kd_access_check(kd_access *access, const char *authorization, const char *on_behalf,
    kd_scope needed, kd_caller *caller, kd_error *err)
{
    const kd_access_time now = {kd_wall_ms(), kd_mono_ms(), false};
    return kd_access_check_at(access, now, authorization, on_behalf, needed, caller, err);
}

kd_status kd_access_look(
    kd_access *access, const char *authorization, kd_scope needed, kd_caller *caller, kd_error *err)
{
    const kd_access_time now = {kd_wall_ms(), kd_mono_ms(), true};
    return kd_access_check_at(access, now, authorization, NULL, needed, caller, err);
}

/* ---- What lasts ---- */

uint64_t kd_access_version(kd_access *access)
{
    if (!access)
        return 0;
    pthread_mutex_lock(&access->mutex);
    refresh(access, kd_mono_ms());
    const uint64_t version = access->version;
    pthread_mutex_unlock(&access->mutex);
    return version;
}

bool kd_access_holds(kd_access *access, const kd_caller *caller)
{
    bool holds = false;
    if (!kd_access_is_on(access) || strcmp(caller->id, SERVICE_ID) == 0)
        return true;
    const int64_t wall_ms = kd_wall_ms();
    pthread_mutex_lock(&access->mutex);
    for (size_t i = 0; i < access->keys.n && !holds; i++)
        holds = strcmp(access->keys.items[i].id, caller->id) == 0 &&
                kd_key_valid(&access->keys.items[i], wall_ms);
    pthread_mutex_unlock(&access->mutex);
    return holds;
}
