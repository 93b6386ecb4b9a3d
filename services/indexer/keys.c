#include "services/indexer/keys.h"

#include <stdlib.h>
#include <string.h>

/* As labels.h has it. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

typedef struct named {
    uint64_t image_id;
    UT_hash_handle by_id, by_key;
    char key[];
} named;

struct keys {
    named *by_id, *by_key; /* two uthash tables of the same, owned */
    uint64_t text_bytes, next;
};

kd_status keys_new(keys **out, kd_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return kd_error_memory(err, "a collection's keys");
    (*out)->next = KEYS_FIRST;
    return KD_OK;
}

void keys_free(keys *all)
{
    if (!all)
        return;
    while (all->by_id)
        keys_remove(all, all->by_id->image_id);
    free(all);
}

static named *find(const keys *all, uint64_t image_id)
{
    named *found = NULL;
    HASH_FIND(by_id, all->by_id, &image_id, sizeof image_id, found);
    return found;
}

static named *find_key(const keys *all, const char *key)
{
    named *found = NULL;
    HASH_FIND(by_key, all->by_key, key, strlen(key), found);
    return found;
}

static bool add(keys *all, named *n, size_t len)
{
    HASH_ADD(by_id, all->by_id, image_id, sizeof n->image_id, n);
    if (!n->by_id.tbl)
        return false;
    HASH_ADD(by_key, all->by_key, key[0], len, n);
    if (n->by_key.tbl)
        return true;
    HASH_DELETE(by_id, all->by_id, n);
    return false;
}

kd_status keys_put(keys *all, uint64_t image_id, const char *key, kd_error *err)
{
    if (!key)
        return KD_OK;
    const named *const other = find_key(all, key);
    if (other && other->image_id == image_id)
        return KD_OK;
    if (other)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "two images have the key '%.100s'", key);
    const size_t len = strlen(key);
    named *const n = calloc(1, sizeof *n + len + 1);
    if (!n)
        return kd_error_memory(err, "a collection's keys");
    n->image_id = image_id;
    memcpy(n->key, key, len + 1);
    keys_remove(all, image_id);
    if (!add(all, n, len)) {
        free(n);
        return kd_error_memory(err, "a collection's keys");
    }
    all->text_bytes += len + 1;
    if (image_id >= all->next)
        all->next = image_id + 1;
    return KD_OK;
}

void keys_remove(keys *all, uint64_t image_id)
{
    named *const n = find(all, image_id);
    if (!n)
        return;
    HASH_DELETE(by_id, all->by_id, n);
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): who is in one table is in both */
    HASH_DELETE(by_key, all->by_key, n);
    all->text_bytes -= strlen(n->key) + 1;
    free(n);
}

const char *keys_of(const keys *all, uint64_t image_id)
{
    const named *const n = find(all, image_id);
    return n ? n->key : NULL;
}

bool keys_find(const keys *all, const char *key, uint64_t *image_id)
{
    const named *const n = find_key(all, key);
    if (n)
        *image_id = n->image_id;
    return n != NULL;
}

uint64_t keys_bytes(const keys *all)
{
    return HASH_CNT(by_id, all->by_id) * sizeof(named) + all->text_bytes;
}

uint64_t keys_next(keys *all)
{
    return all->next++;
}
