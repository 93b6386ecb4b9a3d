/* Images that are named by keys: which number each has. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/indexer/collection_internal.h"

const char *collection_label(const collection_item *item, char text[COLLECTION_LABEL_SIZE])
{
    if (item->key)
        (void)snprintf(text, COLLECTION_LABEL_SIZE, "image '%.100s'", item->key);
    else
        (void)snprintf(text, COLLECTION_LABEL_SIZE, "image %" PRIu64, item->image_id);
    return text;
}

kd_status collection_find_keys(
    collection *c, const char *const *names, size_t n, uint64_t *ids, kd_error *err)
{
    kd_status status = KD_OK;
    pthread_rwlock_rdlock(&c->memory);
    for (size_t i = 0; i < n; i++) {
        if (keys_find(c->keys, names[i], &ids[i]))
            continue;
        ids[i] = COLLECTION_NO_ID;
        if (status == KD_OK)
            status = kd_error_set(
                err, KD_NOT_FOUND, "collection '%s' has no image '%.100s'", c->name, names[i]);
    }
    pthread_rwlock_unlock(&c->memory);
    return status;
}

/* A change: its rows, and the keys that it has given numbers so far. */
typedef struct change {
    const collection_row *rows;
    size_t n;
    keys *keys;
    bool high; /* it names images by numbers such as keys are given */
} change;

static bool names(const change *all, uint64_t image_id)
{
    for (size_t i = 0; i < all->n && all->high; i++)
        if (!all->rows[i].item.key && all->rows[i].item.image_id == image_id)
            return true;
    return false;
}

/* The number of the image with this key: the one it has, else a new one. */
static kd_status number_of(
    collection *c, const change *all, const char *key, uint64_t *image_id, kd_error *err)
{
    bool there = keys_find(all->keys, key, image_id);
    if (there)
        return KD_OK;
    kd_status status = db_find_key(c->db, key, image_id, &there, err);
    while (status == KD_OK && !there) {
        collection_item taken;
        *image_id = keys_next(c->keys);
        /* Else it is somebody's own number. */
        there = !items_get(c->items, *image_id, &taken) && !names(all, *image_id);
    }
    return status == KD_OK ? keys_put(all->keys, *image_id, key, err) : status;
}

static kd_status number_all(
    collection *c, keys *of_change, collection_row *rows, size_t n, kd_error *err)
{
    change all = {rows, n, of_change, false};
    kd_status status = KD_OK;
    for (size_t i = 0; i < n; i++)
        all.high = all.high || (!rows[i].item.key && rows[i].item.image_id >= KEYS_FIRST);
    for (size_t i = 0; i < n && status == KD_OK; i++) {
        collection_item *const item = &rows[i].item;
        const char *const theirs = item->key ? NULL : keys_of(c->keys, item->image_id);
        if (item->key)
            status = number_of(c, &all, item->key, &item->image_id, err);
        else if (theirs)
            status = kd_error_set(err, KD_FAILED_PRECONDITION,
                "%" PRIu64 " is the number of image '%.100s', which goes by that key",
                item->image_id, theirs);
    }
    return status;
}

kd_status collection_number(
    collection *c, const collection_row *rows, size_t n, collection_row **out, kd_error *err)
{
    keys *of_change = NULL;
    *out = malloc(n * sizeof **out);
    kd_status status =
        *out ? keys_new(&of_change, err) : kd_error_memory(err, "a change of a collection");
    if (status == KD_OK) {
        memcpy(*out, rows, n * sizeof **out);
        status = number_all(c, of_change, *out, n, err);
    }
    keys_free(of_change);
    if (status != KD_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}
