/* The calls about images: upsert, delete, get, list, search. */
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/indexer.pb-c.h"

#include "services/indexer/messages.h"
#include "services/indexer/service.h"

#define DEFAULT_PAGE 100u

/* ---- Changes ---- */

static kd_status rows_from(
    const Kindred__V1__UpsertRequest *request, collection_row *rows, kd_error *err)
{
    for (size_t i = 0; i < request->n_items; i++) {
        const Kindred__V1__Item *const item = request->items[i]->item;
        if (!item)
            return kd_error_set(
                err, KD_INVALID_ARGUMENT, "image %zu of the request has no item", i + 1);
        const kd_status status = item_from_message(item, &rows[i].item, err);
        if (status != KD_OK)
            return status;
        rows[i].values = request->items[i]->values;
        rows[i].n_values = request->items[i]->n_values;
    }
    return KD_OK;
}

void upsert(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__UpsertRequest *const request = (const Kindred__V1__UpsertRequest *)message;
    Kindred__V1__UpsertResponse response = KINDRED__V1__UPSERT_RESPONSE__INIT;
    collection *c = NULL;
    kd_error err = KD_ERROR_INIT;
    uint64_t count = 0;
    const size_t n = request->n_items; /* the answer frees the request */
    collection_row *const rows = calloc(n + 1, sizeof *rows);
    kd_status status = rows ? rows_from(request, rows, &err) : kd_error_memory(&err, "a batch");
    if (status == KD_OK)
        status = registry_find(x->registry, request->collection, &c, &err);
    if (status == KD_OK)
        status = collection_upsert(c, request->model_id, rows, n, &count, &err);
    if (status == KD_OK) {
        kd_counter_add(x->upserted, n);
        response.count = count;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    collection_release(c);
    for (size_t i = 0; rows && i < n; i++)
        free((char *)(uintptr_t)rows[i].item.attributes);
    free(rows);
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
        status = collection_remove(c, request->image_ids, request->n_image_ids, &removed, &err);
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
    collection_info info = {.dim = 0};
    kd_error err = KD_ERROR_INIT;
    float *values = NULL;
    kd_status status = registry_find(x->registry, request->collection, &c, &err);
    if (status == KD_OK) {
        collection_describe(c, &info);
        values = calloc(info.dim + 1, sizeof *values);
        status = values ? collection_get(c, request->image_id, &found, values, &err)
                        : kd_error_memory(&err, "a vector");
    }
    Kindred__V1__Item item = KINDRED__V1__ITEM__INIT;
    if (status == KD_OK && !item_to_message(&found.hits[0].item, &item))
        status = kd_error_memory(&err, "an image");
    if (status == KD_OK) {
        response.item = &item;
        response.n_values = info.dim;
        response.values = values;
        response.model_id = info.model_id;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    item_message_clear(&item);
    collection_found_free(&found);
    free(values);
    collection_release(c);
}

static void reply_items(kd_call *call, const collection_found *found, size_t n, bool more)
{
    Kindred__V1__ListItemsResponse response = KINDRED__V1__LIST_ITEMS_RESPONSE__INIT;
    Kindred__V1__Item *const items = calloc(n + 1, sizeof *items);
    Kindred__V1__Item **const list = calloc(n + 1, sizeof(Kindred__V1__Item *));
    char token[24] = "";
    bool good = items && list;
    for (size_t i = 0; good && i < n; i++) {
        good = item_to_message(&found->hits[i].item, &items[i]);
        list[i] = &items[i];
    }
    if (good) {
        if (more)
            (void)snprintf(token, sizeof token, "%llu",
                (unsigned long long)found->hits[n - 1].item.image_id + 1);
        response.n_items = n;
        response.items = list;
        response.next_page_token = token;
        kd_call_reply(call, &response.base);
    } else {
        kd_error err;
        (void)kd_error_memory(&err, "the items");
        kd_call_fail(call, &err);
    }
    for (size_t i = 0; items && i < n; i++)
        item_message_clear(&items[i]);
    free(list);
    free(items);
}

void list_items(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__ListItemsRequest *const request =
        (const Kindred__V1__ListItemsRequest *)message;
    collection *c = NULL;
    collection_found found = {0};
    kd_error err = KD_ERROR_INIT;
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
        status = collection_list(c, from, size, &found, &err);
    if (status == KD_OK) /* a full page may be the last: then the next is empty */
        reply_items(call, &found, found.counts[0], found.counts[0] == size);
    else
        kd_call_fail(call, &err);
    collection_found_free(&found);
    collection_release(c);
}

/* One block of memory for the whole answer's messages. */
static void reply_results(kd_call *call, const collection_found *found)
{
    Kindred__V1__SearchResponse response = KINDRED__V1__SEARCH_RESPONSE__INIT;
    size_t total = 0;
    for (size_t r = 0; r < found->n_rows; r++)
        total += found->counts[r];
    Kindred__V1__SearchResult *const results = calloc(found->n_rows + 1, sizeof *results);
    Kindred__V1__SearchResult **const rows =
        calloc(found->n_rows + 1, sizeof(Kindred__V1__SearchResult *));
    Kindred__V1__Hit *const hits = calloc(total + 1, sizeof *hits);
    Kindred__V1__Hit **const list = calloc(total + 1, sizeof(Kindred__V1__Hit *));
    Kindred__V1__Item *const items = calloc(total + 1, sizeof *items);
    bool good = results && rows && hits && list && items;
    if (good) {
        size_t at = 0;
        for (size_t r = 0; r < found->n_rows; r++) {
            kindred__v1__search_result__init(&results[r]);
            rows[r] = &results[r];
            results[r].n_hits = found->counts[r];
            results[r].hits = list + at;
            for (size_t i = 0; i < found->counts[r]; i++, at++) {
                const collection_hit *const hit = &found->hits[r * found->width + i];
                kindred__v1__hit__init(&hits[at]);
                good &= item_to_message(&hit->item, &items[at]);
                hits[at].item = &items[at];
                hits[at].score = hit->score;
                list[at] = &hits[at];
            }
        }
        response.n_results = found->n_rows;
        response.results = rows;
    }
    if (good) {
        kd_call_reply(call, &response.base);
    } else {
        kd_error err;
        (void)kd_error_memory(&err, "the hits");
        kd_call_fail(call, &err);
    }
    for (size_t i = 0; items && i < total; i++)
        item_message_clear(&items[i]);
    free(items);
    free(list);
    free(hits);
    free(rows);
    free(results);
}

void search(void *state, kd_call *call, const ProtobufCMessage *message)
{
    indexer *const x = state;
    const Kindred__V1__SearchRequest *const request = (const Kindred__V1__SearchRequest *)message;
    collection *c = NULL;
    collection_found found = {0};
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    collection_row queries[COLLECTION_MAX_QUERIES];
    if (request->n_queries > COLLECTION_MAX_QUERIES)
        status = kd_error_set(&err, KD_INVALID_ARGUMENT, "%zu queries, allowed are 1 to %u",
            request->n_queries, COLLECTION_MAX_QUERIES);
    for (size_t i = 0; status == KD_OK && i < request->n_queries; i++)
        queries[i] = (collection_row){
            .values = request->queries[i]->values, .n_values = request->queries[i]->n_values};
    collection_condition conditions[COLLECTION_MAX_CONDITIONS];
    if (status == KD_OK)
        status =
            conditions_from_messages(request->conditions, request->n_conditions, conditions, &err);
    if (status == KD_OK)
        status = registry_find(x->registry, request->collection, &c, &err);
    if (status == KD_OK) {
        const Kindred__V1__Examples *const like = request->like;
        collection_examples examples = {0};
        if (like)
            examples = (collection_examples){.positive = like->positive_image_ids,
                .n_positive = like->n_positive_image_ids,
                .negative = like->negative_image_ids,
                .n_negative = like->n_negative_image_ids};
        const float min_score = request->min_score ? (float)request->min_score->value : 0;
        const collection_search s = {.model_id = request->model_id,
            .queries = queries,
            .n_queries = request->n_queries,
            .like = like ? &examples : NULL,
            .k = request->k,
            .min_score = request->min_score ? &min_score : NULL,
            .by_class = request->by_class,
            .filter = {.super_classes = (const char *const *)request->super_classes,
                .n_super_classes = request->n_super_classes,
                .classes = (const char *const *)request->classes,
                .n_classes = request->n_classes,
                .image_ids = request->image_ids,
                .n_image_ids = request->n_image_ids,
                .conditions = conditions,
                .n_conditions = request->n_conditions},
            .exclude = request->exclude_image_ids,
            .n_exclude = request->n_exclude_image_ids,
            .exact = request->exact,
            .pool = x->pool};
        status = collection_search_run(c, &s, &found, &err);
    }
    if (status == KD_OK) {
        kd_counter_add(x->searched, found.n_rows);
        reply_results(call, &found);
    } else {
        kd_call_fail(call, &err);
    }
    collection_found_free(&found);
    collection_release(c);
}
