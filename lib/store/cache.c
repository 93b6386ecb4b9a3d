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

kd_status kd_cache_get(kd_store *store, kd_cache_form form, const char *model_id, size_t n,
    const uint8_t (*sha256)[KD_SHA256_BYTES], size_t dim, float *vectors, bool *found,
    kd_error *err)
{
    const size_t size = dim * forms[form].size;
    assert(store && model_id && (n == 0 || (sha256 && vectors && found)) && dim > 0);
    if (n == 0)
        return KD_OK;
    memset(found, 0, n * sizeof *found);
    kd_status status = kd_store_connect(store, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        char hex[HEX_SIZE];
        kd_hex(sha256[i], KD_SHA256_BYTES, hex);
        if (redisAppendCommand(store->context, "GET %s:%s:%s", forms[form].prefix, model_id, hex) !=
            REDIS_OK)
            return kd_store_lost(store, err);
    }
    for (size_t i = 0; i < n; i++) { /* to the end even after a refusal: replies stay in step */
        redisReply *const reply = next_reply(store, &status, err);
        if (!reply)
            break;
        if (reply->type == REDIS_REPLY_ERROR && status == KD_OK) {
            status = kd_store_refused(store, reply, err);
        } else if (reply->type == REDIS_REPLY_STRING && reply->len == size) {
            if (form == KD_CACHE_FLOAT16)
                kd_half_unpack((const uint8_t *)reply->str, dim, vectors + i * dim);
            else
                memcpy(vectors + i * dim, reply->str, size);
            found[i] = true;
        }
        freeReplyObject(reply);
    }
    if (status != KD_OK)
        memset(found, 0, n * sizeof *found);
    return status;
}

/* Row i as it is kept: itself, or in halves. */
static const void *kept(
    kd_cache_form form, const float *vectors, size_t dim, size_t i, uint8_t *halves)
{
    if (form == KD_CACHE_FLOAT32)
        return vectors + i * dim;
    kd_half_pack(vectors + i * dim, dim, halves);
    return halves;
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

kd_status kd_cache_put(kd_store *store, kd_cache_form form, const char *model_id, size_t n,
    const uint8_t (*sha256)[KD_SHA256_BYTES], size_t dim, const float *vectors,
    uint32_t ttl_seconds, kd_error *err)
{
    assert(store && model_id && (n == 0 || (sha256 && vectors)) && dim > 0);
    if (n == 0 || ttl_seconds == 0)
        return KD_OK;
    kd_status status = kd_store_connect(store, err);
    if (status != KD_OK)
        return status;
    uint8_t *const halves = form == KD_CACHE_FLOAT16 ? malloc(dim * forms[form].size) : NULL;
    if (form == KD_CACHE_FLOAT16 && !halves)
        return kd_error_memory(err, "a cache entry");
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        char hex[HEX_SIZE];
        kd_hex(sha256[i], KD_SHA256_BYTES, hex);
        if (redisAppendCommand(store->context, "SETEX %s:%s:%s %u %b", forms[form].prefix, model_id,
                hex, (unsigned)ttl_seconds, kept(form, vectors, dim, i, halves),
                dim * forms[form].size) != REDIS_OK)
            status = kd_store_lost(store, err);
    }
    free(halves);
    return status == KD_OK ? take_replies(store, n, err) : status;
}
