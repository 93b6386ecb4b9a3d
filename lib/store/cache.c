/* The embedding cache: one pipelined round trip for a batch of keys. */
#include <assert.h>
#include <string.h>

#include "lib/store/client.h"

#define HEX_SIZE (2 * KD_SHA256_BYTES + 1)

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

kd_status kd_cache_get(kd_store *store, const char *model_id, size_t n,
    const uint8_t (*sha256)[KD_SHA256_BYTES], size_t dim, float *vectors, bool *found,
    kd_error *err)
{
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
        if (redisAppendCommand(store->context, "GET kindred:emb:%s:%s", model_id, hex) != REDIS_OK)
            return kd_store_lost(store, err);
    }
    for (size_t i = 0; i < n; i++) { /* to the end even after a refusal: replies stay in step */
        redisReply *const reply = next_reply(store, &status, err);
        if (!reply)
            break;
        if (reply->type == REDIS_REPLY_ERROR && status == KD_OK) {
            status = kd_store_refused(store, reply, err);
        } else if (reply->type == REDIS_REPLY_STRING && reply->len == dim * sizeof *vectors) {
            memcpy(vectors + i * dim, reply->str, reply->len);
            found[i] = true;
        }
        freeReplyObject(reply);
    }
    if (status != KD_OK)
        memset(found, 0, n * sizeof *found);
    return status;
}

kd_status kd_cache_put(kd_store *store, const char *model_id, size_t n,
    const uint8_t (*sha256)[KD_SHA256_BYTES], size_t dim, const float *vectors,
    uint32_t ttl_seconds, kd_error *err)
{
    assert(store && model_id && (n == 0 || (sha256 && vectors)) && dim > 0);
    if (n == 0 || ttl_seconds == 0)
        return KD_OK;
    kd_status status = kd_store_connect(store, err);
    if (status != KD_OK)
        return status;
    for (size_t i = 0; i < n; i++) {
        char hex[HEX_SIZE];
        kd_hex(sha256[i], KD_SHA256_BYTES, hex);
        if (redisAppendCommand(store->context, "SETEX kindred:emb:%s:%s %u %b", model_id, hex,
                (unsigned)ttl_seconds, vectors + i * dim, dim * sizeof *vectors) != REDIS_OK)
            return kd_store_lost(store, err);
    }
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
