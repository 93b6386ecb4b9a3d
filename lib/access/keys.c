/* The file of keys, and keys themselves. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "lib/access/access.h"
#include "lib/access/internal.h"
#include "lib/base/clock.h"
#include "lib/base/file.h"

#define FILE_MAX (1u << 20)
#define KEY_BYTES 32u
#define PREFIX "kd_" /* people, and scanners for lost secrets, know a key by it */
#define LOCK_MS 5000 /* another command writes the file */

/* ---- A key ---- */

kd_status kd_key_make(char text[KD_KEY_TEXT], kd_error *err)
{
    uint8_t bytes[KEY_BYTES];
    unsigned char base64[4 * ((KEY_BYTES + 2) / 3) + 1];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        return kd_error_errno(err, errno, "no random bytes for a key");
    (void)EVP_EncodeBlock(base64, bytes, sizeof bytes);
    for (unsigned char *p = base64; *p; p++)
        *p = *p == '+' ? '-' : *p == '/' ? '_' : *p == '=' ? '\0' : *p;
    (void)kd_copy(text, KD_KEY_TEXT, PREFIX);
    (void)kd_copy(text + strlen(PREFIX), KD_KEY_TEXT - strlen(PREFIX), (const char *)base64);
    return KD_OK;
}

kd_status kd_key_write(const char *path, const char *text, kd_error *err)
{
    char line[KD_KEY_TEXT + 1];
    const int len = snprintf(line, sizeof line, "%s\n", text);
    return kd_file_write_private(path, line, (size_t)len, err);
}

kd_status kd_key_read(char text[KD_KEY_TEXT], const char *path, kd_error *err)
{
    kd_buf file = KD_BUF_INIT;
    kd_status status = kd_file_read(path, KD_AUTHORIZATION_MAX, &file, err);
    size_t len = file.len;
    while (status == KD_OK && len > 0 && isspace(file.data[len - 1]))
        len--;
    if (status == KD_OK &&
        (len != KD_KEY_TEXT - 1 || memcmp(file.data, PREFIX, strlen(PREFIX)) != 0 ||
            memchr(file.data, '\0', len)))
        status = kd_error_set(err, KD_INVALID_ARGUMENT,
            "%s holds no API key: it is one line, %s and 43 characters", path, PREFIX);
    if (status == KD_OK) {
        memcpy(text, file.data, len);
        text[len] = '\0';
    }
    kd_buf_free(&file);
    return status;
}

kd_status kd_key_hash(const char *text, uint8_t hash[KD_SHA256_BYTES], kd_error *err)
{
    /* A plain hash will do: a key is 256 random bits, which nobody guesses however fast the hash
     * is. Slow ones and salts are for what people choose. */
    return kd_sha256(text, strlen(text), hash, err);
}

bool kd_key_valid(const kd_key *key, int64_t now_ms)
{
    return key->revoked_ms == 0 && (key->expires_ms == 0 || key->expires_ms > now_ms);
}

/* ---- The file ---- */

void kd_keys_free(kd_keys *keys)
{
    free(keys->items);
    *keys = (kd_keys){NULL, 0};
}

/* Room for one more; NULL without memory. */
static kd_key *add(kd_keys *keys)
{
    kd_key *const grown = realloc(keys->items, (keys->n + 1) * sizeof *grown);
    if (!grown)
        return NULL;
    keys->items = grown;
    grown[keys->n] = (kd_key){.id = ""};
    return &grown[keys->n++];
}

static bool from_hex(const char *text, uint8_t *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(text) != 2 * len || strspn(text, digits) != 2 * len)
        return false;
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
                             (strchr(digits, text[2 * i + 1]) - digits));
    return true;
}

static bool from_json(const json_t *object, kd_key *key)
{
    const char *id, *name, *scope, *hash;
    json_int_t rate, created, expires, revoked;
    if (json_unpack((json_t *)object, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "id", &id, "name",
            &name, "scope", &scope, "sha256", &hash, "rate", &rate, "created_unix_ms", &created,
            "expires_unix_ms", &expires, "revoked_unix_ms", &revoked) != 0)
        return false;
    key->rate = (uint32_t)rate;
    key->created_ms = created;
    key->expires_ms = expires;
    key->revoked_ms = revoked;
    return rate >= 0 && rate <= KD_KEY_RATE_MAX && kd_copy(key->id, sizeof key->id, id) &&
           kd_copy(key->name, sizeof key->name, name) && kd_scope_parse(scope, &key->scope) &&
           from_hex(hash, key->hash, sizeof key->hash);
}

kd_status kd_keys_read(kd_keys *out, const char *path, kd_error *err)
{
    kd_buf text = KD_BUF_INIT;
    json_error_t at;
    json_t *root = NULL;
    *out = (kd_keys){NULL, 0};
    kd_status status = kd_file_read(path, FILE_MAX, &text, err);
    if (status != KD_OK)
        goto out;
    root = json_loadb((const char *)text.data, text.len, 0, &at);
    const json_t *const list = json_object_get(root, "keys");
    if (!root && (at.text[0] == '\0' || json_error_code(&at) == json_error_out_of_memory)) {
        status = kd_error_memory(err, "the keys");
        goto out;
    }
    if (!root || !json_is_array(list) || json_array_size(list) > KD_KEYS_MAX) {
        status = kd_error_set(err, KD_DATA_LOSS, "%s is damaged: %s", path,
            root ? "it has no list of keys" : at.text);
        goto out;
    }
    for (size_t i = 0; i < json_array_size(list) && status == KD_OK; i++) {
        kd_key *const key = add(out);
        if (!key)
            status = kd_error_memory(err, "the keys");
        else if (!from_json(json_array_get(list, i), key))
            status = kd_error_set(
                err, KD_DATA_LOSS, "%s is damaged: its key %zu can't be read", path, i + 1);
    }
out:
    if (status != KD_OK)
        kd_keys_free(out);
    json_decref(root);
    kd_buf_free(&text);
    return status;
}

static json_t *to_json(const kd_key *key)
{
    char hash[KD_SHA256_TEXT];
    kd_hex(key->hash, sizeof key->hash, hash);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "id", key->id, "name", key->name,
        "scope", kd_scope_name(key->scope), "sha256", hash, "rate", (json_int_t)key->rate,
        "created_unix_ms", (json_int_t)key->created_ms, "expires_unix_ms",
        (json_int_t)key->expires_ms, "revoked_unix_ms", (json_int_t)key->revoked_ms);
}

static kd_status write_keys(const char *path, const kd_keys *keys, kd_error *err)
{
    json_t *const list = json_array();
    bool good = list != NULL;
    for (size_t i = 0; i < keys->n && good; i++)
        good = json_array_append_new(list, to_json(&keys->items[i])) == 0;
    json_t *const root = json_pack("{s:o}", "keys", list);
    char *const text = good && root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    const kd_status status = text ? kd_file_write_private(path, text, strlen(text), err)
                                  : kd_error_memory(err, "the keys");
    free(text);
    json_decref(root);
    return status;
}

/* Two commands at a time must not lose each other's key. */
static kd_status take_lock(kd_lock **lock, const char *path, kd_error *err)
{
    const int64_t until = kd_mono_ms() + LOCK_MS;
    char *const name = kd_format("%s.lock", path);
    if (!name)
        return kd_error_memory(err, "a path");
    kd_status status;
    while ((status = kd_lock_acquire(lock, name, err)) == KD_FAILED_PRECONDITION &&
           kd_mono_ms() < until)
        kd_sleep_ms(20);
    free(name);
    return status;
}

/* The keys for a change, under the lock; no file is as good as one without keys. */
static kd_status begin(const char *path, kd_lock **lock, kd_keys *keys, kd_error *err)
{
    *keys = (kd_keys){NULL, 0};
    kd_status status = take_lock(lock, path, err);
    if (status == KD_OK)
        status = kd_keys_read(keys, path, err);
    return status == KD_NOT_FOUND ? KD_OK : status;
}

kd_status kd_keys_make(const char *path, kd_error *err)
{
    kd_lock *lock = NULL;
    kd_keys keys;
    kd_status status = begin(path, &lock, &keys, err);
    if (status == KD_OK && !kd_is_file(path))
        status = write_keys(path, &keys, err);
    kd_keys_free(&keys);
    kd_lock_release(lock);
    return status;
}

static kd_status check_new(
    const char *path, const kd_keys *keys, const kd_key *wanted, kd_error *err)
{
    const int64_t now = kd_wall_ms();
    kd_status status = kd_check_name("key", wanted->name, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < keys->n; i++)
        if (kd_key_valid(&keys->items[i], now) && strcmp(keys->items[i].name, wanted->name) == 0)
            return kd_error_set(err, KD_ALREADY_EXISTS, "there is a key '%s' already: %s",
                wanted->name, keys->items[i].id);
    if (keys->n == KD_KEYS_MAX)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "%s holds %u keys, no more fit: revoke one",
            path, KD_KEYS_MAX);
    return KD_OK;
}

/* Where all places are taken the oldest key that is of no use any more leaves. */
static void make_room(kd_keys *keys)
{
    const int64_t now = kd_wall_ms();
    size_t i = 0;
    while (i < keys->n && kd_key_valid(&keys->items[i], now))
        i++;
    if (keys->n < KD_KEYS_MAX || i == keys->n)
        return;
    memmove(&keys->items[i], &keys->items[i + 1], (keys->n - i - 1) * sizeof *keys->items);
    keys->n--;
}

kd_status kd_keys_create(
    const char *path, const kd_key *wanted, kd_key *made, char text[KD_KEY_TEXT], kd_error *err)
{
    kd_lock *lock = NULL;
    kd_keys keys;
    kd_key *key = NULL;
    kd_status status = begin(path, &lock, &keys, err);
    make_room(&keys);
    if (status == KD_OK)
        status = check_new(path, &keys, wanted, err);
    if (status == KD_OK)
        status = kd_key_make(text, err);
    if (status == KD_OK && !(key = add(&keys)))
        status = kd_error_memory(err, "the keys");
    if (status == KD_OK) {
        *key = *wanted;
        key->created_ms = kd_wall_ms();
        key->revoked_ms = 0;
        status = kd_key_hash(text, key->hash, err);
    }
    if (status == KD_OK) {
        kd_hex(key->hash, (KD_KEY_ID - 1) / 2, key->id);
        *made = *key;
        status = write_keys(path, &keys, err);
    }
    kd_keys_free(&keys);
    kd_lock_release(lock);
    return status;
}

kd_status kd_keys_revoke(const char *path, const char *name, kd_key *revoked, kd_error *err)
{
    const int64_t now = kd_wall_ms();
    kd_lock *lock = NULL;
    kd_keys keys;
    kd_key *found = NULL;
    kd_status status = begin(path, &lock, &keys, err);
    for (size_t i = 0; status == KD_OK && i < keys.n && !found; i++) {
        kd_key *const key = &keys.items[i];
        if (strcmp(key->id, name) == 0 || (kd_key_valid(key, now) && strcmp(key->name, name) == 0))
            found = key;
    }
    if (status == KD_OK && !found) {
        status = kd_error_set(err, KD_NOT_FOUND, "there is no key '%s'", name);
    } else if (status == KD_OK && found->revoked_ms != 0) {
        status = kd_error_set(err, KD_FAILED_PRECONDITION, "key '%s' is revoked already", name);
    } else if (status == KD_OK) {
        found->revoked_ms = now;
        *revoked = *found;
        status = write_keys(path, &keys, err);
    }
    kd_keys_free(&keys);
    kd_lock_release(lock);
    return status;
}
