/* The calls about images but for upsert and search: delete, get, list. */
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/indexer.pb-c.h"

#include "services/indexer/messages.h"
#include "services/indexer/service.h"

#define DEFAULT_PAGE 100u

/* ---- Delete ---- */

/* By id and by key; those that are not there are passed over. */
static kd_status remove_all(
    collection *c, const Kindred__V1__DeleteItemsRequest *request, size_t *removed, kd_error *err)
{
    named_ids ids;
    kd_status status = named_ids_find(
        &ids, c, request->image_ids, request->n_image_ids, request->keys, request->n_keys, err);
    if (status == KD_OK || status == KD_NOT_FOUND)
        status = collection_remove(c, ids.all, ids.n, removed, err);
    named_ids_clear(&ids);
    return status;
}

void delete_items(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__DeleteItemsRequest *const request =
        (const Kindred__V1__DeleteItemsRequest *)message;
    Kindred__V1__DeleteItemsResponse response = KINDRED__V1__DELETE_ITEMS_RESPONSE__INIT;
    collection *c = NULL;
    kd_error err = KD_ERROR_INIT;
    size_t removed = 0;
    kd_status status = registry_find(x->registry, request->collection, &c, &err);
    if (status == KD_OK)
        status = remove_all(c, request, &removed, &err);
    if (status == KD_OK) {
        kd_counter_add(x->deleted, removed);
        response.deleted = removed;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    collection_release(c);
}

/* ---- Questions ---- */

void get_item(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__GetItemRequest *const request = (const Kindred__V1__GetItemRequest *)message;
    Kindred__V1__GetItemResponse response = KINDRED__V1__GET_ITEM_RESPONSE__INIT;
    collection *c = NULL;
    collection_found found = {0};
    kd_error err = KD_ERROR_INIT;
    float *values = NULL;
    kd_status status = registry_find(x->registry, request->collection, &c, &err);
    if (status == KD_OK) {
        values = calloc(collection_dim(c) + 1, sizeof *values);
        status = values ? KD_OK : kd_error_memory(&err, "a vector");
    }
    uint64_t image_id = request->image_id;
    if (status == KD_OK && *request->key)
        status = collection_find_keys(c, (const char *const *)&request->key, 1, &image_id, &err);
    if (status == KD_OK)
        status = collection_get(c, image_id, &found, values, &err);
    Kindred__V1__Item item = KINDRED__V1__ITEM__INIT;
    if (status == KD_OK && !item_to_message(&found.hits[0].item, &item))
        status = kd_error_memory(&err, "an image");
    if (status == KD_OK) {
        response.item = &item;
        response.n_values = collection_dim(c);
        response.values = values;
        response.model_id = (char *)(uintptr_t)collection_model(c);
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    item_message_clear(&item);
    collection_found_free(&found);
    free(values);
    collection_release(c);
}

/* A page as it is told. What the items and vectors borrow from lives in found and with. */
typedef struct page {
    size_t n;
    collection_found found; /* owned, as the rest: all items */
    collection_found *with; /* with vectors: an item each, as it was with its vector */
    float *values;          /* n × dim */
    Kindred__V1__Item *items, **item_list;
    Kindred__V1__Vector *vectors, **vector_list;
} page;

static void page_clear(page *p)
{
    for (size_t i = 0; p->items && i < p->n; i++)
        item_message_clear(&p->items[i]);
    for (size_t i = 0; p->with && i < p->n; i++)
        collection_found_free(&p->with[i]);
    collection_found_free(&p->found);
    free(p->with);
    free(p->values);
    free(p->items);
    free(p->item_list);
    free(p->vectors);
    free(p->vector_list);
}

/* An image that went since the page was read is left out. */
static kd_status add_vectors(page *p, collection *c, kd_error *err)
{
    const size_t dim = collection_dim(c), n = p->found.counts[0];
    p->with = calloc(n + 1, sizeof *p->with);
    p->values = malloc((n * dim + 1) * sizeof *p->values);
    p->vectors = calloc(n + 1, sizeof *p->vectors);
    p->vector_list = calloc(n + 1, sizeof(Kindred__V1__Vector *));
    if (!p->with || !p->values || !p->vectors || !p->vector_list)
        return kd_error_memory(err, "a page of vectors");
    for (size_t i = 0; i < n; i++) {
        float *const values = p->values + p->n * dim;
        const kd_status status =
            collection_get(c, p->found.hits[i].item.image_id, &p->with[p->n], values, err);
        if (status == KD_NOT_FOUND)
            continue;
        if (status != KD_OK)
            return status;
        kindred__v1__vector__init(&p->vectors[p->n]);
        p->vectors[p->n].n_values = dim;
        p->vectors[p->n].values = values;
        p->vector_list[p->n] = &p->vectors[p->n];
        p->n++;
    }
    return KD_OK;
}

static kd_status page_read(
    page *p, collection *c, uint64_t from, size_t size, bool with_vectors, kd_error *err)
{
    kd_status status = collection_list(c, from, size, &p->found, err);
    if (status != KD_OK)
        return status;
    const size_t n = p->found.counts[0];
    p->items = calloc(n + 1, sizeof *p->items);
    p->item_list = calloc(n + 1, sizeof(Kindred__V1__Item *));
    if (!p->items || !p->item_list)
        return kd_error_memory(err, "a page of images");
    if (with_vectors)
        status = add_vectors(p, c, err);
    else
        p->n = n;
    for (size_t i = 0; i < p->n && status == KD_OK; i++) {
        const collection_hit *const hit = with_vectors ? p->with[i].hits : &p->found.hits[i];
        p->item_list[i] = &p->items[i];
        if (!item_to_message(&hit->item, &p->items[i]))
            status = kd_error_memory(err, "a page of images");
    }
    return status;
}

void list_items(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__ListItemsRequest *const request =
        (const Kindred__V1__ListItemsRequest *)message;
    Kindred__V1__ListItemsResponse response = KINDRED__V1__LIST_ITEMS_RESPONSE__INIT;
    collection *c = NULL;
    page p = {0};
    kd_error err = KD_ERROR_INIT;
    char token[24] = "";
    uint64_t from = 0;
    size_t size = request->page_size ? request->page_size : DEFAULT_PAGE;
    size = size > COLLECTION_MAX_PAGE ? COLLECTION_MAX_PAGE : size;
    kd_status status = KD_OK;
    if (request->page_token[0] != '\0' &&
        !kd_parse_u64(request->page_token, 0, COLLECTION_MAX_ID, &from))
        status = kd_error_set(&err, KD_INVALID_ARGUMENT, "the page token is not one of ours");
    if (status == KD_OK)
        status = registry_find(x->registry, request->collection, &c, &err);
    if (status == KD_OK)
        status = page_read(&p, c, from, size, request->with_vectors, &err);
    if (status == KD_OK) {
        const size_t read = p.found.counts[0];
        const uint64_t last = read ? p.found.hits[read - 1].item.image_id : COLLECTION_MAX_ID;
        /* a full page may be the last: then the next is empty */
        if (read == size && last < COLLECTION_MAX_ID)
            (void)snprintf(token, sizeof token, "%llu", (unsigned long long)last + 1);
        response.n_items = p.n;
        response.items = p.item_list;
        response.next_page_token = token;
        response.n_vectors = request->with_vectors ? p.n : 0;
        response.vectors = p.vector_list;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    page_clear(&p);
    collection_release(c);
}
