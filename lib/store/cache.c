/* The embedding cache: one pipelined round trip for a batch of keys. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/half.h"
#include "lib/store/client.h"

#define HEX_SIZE (2 * KD_SHA256_BYTES + 1)

typedef struct form_of {
    const char *prefix;
    size_t size; /* of a value */
} form_of;
static const form_of forms[] = {
    [KD_CACHE_FLOAT32] = {"kindred:emb", sizeof(float)}, [KD_CACHE_FLOAT16] = {"kindred:emb16", 2}};

/* The next reply of the pipeline; NULL after a lost connection, which *status then tells. */
static redisReply *next_reply(kd_store *store, kd_status *status, kd_error *err)
{
    void *reply = NULL;
    if (redisGetReply(store->context, &reply) != REDIS_OK || !reply) {
        *status = kd_store_lost(store, err);
        return NULL;
    }
    return reply;
}

/* Takes an entry's values from a reply that has them. */
static void unpack(kd_cache_form form, const redisReply *reply, kd_cache_entry *entry)
{
    if (reply->type != REDIS_REPLY_STRING || reply->len != entry->dim * forms[form].size)
        return;
    if (form == KD_CACHE_FLOAT16)
        kd_half_unpack((const uint8_t *)reply->str, entry->dim, entry->values);
    else
        memcpy(entry->values, reply->str, reply->len);
    entry->found = true;
}

kd_status kd_cache_get(
    kd_store *store, kd_cache_form form, kd_cache_entry *entries, size_t n, kd_error *err)
{
    assert(store && (n == 0 || entries));
    if (n == 0)
        return KD_OK;
    for (size_t i = 0; i < n; i++)
        entries[i].found = false;
    kd_status status = kd_store_connect(store, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        char hex[HEX_SIZE];
        kd_hex(entries[i].sha256, KD_SHA256_BYTES, hex);
        if (redisAppendCommand(store->context, "GET %s:%s:%s", forms[form].prefix, entries[i].model,
                hex) != REDIS_OK)
            return kd_store_lost(store, err);
    }
    for (size_t i = 0; i < n; i++) { /* to the end even after a refusal: replies stay in step */
        redisReply *const reply = next_reply(store, &status, err);
        if (!reply)
            break;
        if (reply->type == REDIS_REPLY_ERROR && status == KD_OK)
            status = kd_store_refused(store, reply, err);
        else
            unpack(form, reply, &entries[i]);
        freeReplyObject(reply);
    }
    for (size_t i = 0; status != KD_OK && i < n; i++)
        entries[i].found = false;
    return status;
}

static kd_status take_replies(kd_store *store, size_t n, kd_error *err)
{
    kd_status status = KD_OK;
    for (size_t i = 0; i < n; i++) {
        redisReply *const reply = next_reply(store, &status, err);
        if (!reply)
            break;
        if (reply->type == REDIS_REPLY_ERROR && status == KD_OK)
            status = kd_store_refused(store, reply, err);
        freeReplyObject(reply);
    }
    return status;
}

/* halves: room for the values as they are kept in KD_CACHE_FLOAT16. */
static int append_put(kd_store *store, kd_cache_form form, const kd_cache_entry *entry,
    uint32_t ttl_seconds, uint8_t *halves)
{
    char hex[HEX_SIZE];
    const void *kept = entry->values;
    if (form == KD_CACHE_FLOAT16) {
        kd_half_pack(entry->values, entry->dim, halves);
        kept = halves;
    }
    kd_hex(entry->sha256, KD_SHA256_BYTES, hex);
    return redisAppendCommand(store->context, "SETEX %s:%s:%s %u %b", forms[form].prefix,
        entry->model, hex, (unsigned)ttl_seconds, kept, entry->dim * forms[form].size);
}

kd_status kd_cache_put(kd_store *store, kd_cache_form form, const kd_cache_entry *entries, size_t n,
    uint32_t ttl_seconds, kd_error *err)
{
    assert(store && (n == 0 || entries));
    size_t largest = 1;
    if (n == 0 || ttl_seconds == 0)
        return KD_OK;
    kd_status status = kd_store_connect(store, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n; i++)
        largest = entries[i].dim > largest ? entries[i].dim : largest;
    uint8_t *const halves = form == KD_CACHE_FLOAT16 ? malloc(largest * forms[form].size) : NULL;
    if (form == KD_CACHE_FLOAT16 && !halves)
        return kd_error_memory(err, "a cache entry");
    for (size_t i = 0; i < n && status == KD_OK; i++)
        if (append_put(store, form, &entries[i], ttl_seconds, halves) != REDIS_OK)
            status = kd_store_lost(store, err);
    free(halves);
    return status == KD_OK ? take_replies(store, n, err) : status;
}
