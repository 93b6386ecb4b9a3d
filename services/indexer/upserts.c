/* Upsert: those of one collection that wait together are one change of it. */
#include <stdlib.h>
#include <string.h>

#include "kindred/v1/indexer.pb-c.h"

#include "services/indexer/messages.h"
#include "services/indexer/service.h"

static const Kindred__V1__UpsertRequest *request_of(const lot_call *call)
{
    return call->request;
}

/* Attributes in rows are owned, the rest is the request's. */
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

static void rows_clear(collection_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free((char *)(uintptr_t)rows[i].item.attributes);
    memset(rows, 0, n * sizeof *rows);
}

/* Those of a list that are still to be answered. */
typedef struct lot {
    const indexer *x;
    collection *c;
    const lot_call **list; /* n, owned, as the next */
    collection_row *rows;  /* of all, side by side */
    size_t n;
} lot;

/* Makes one change of n upserts and answers them. What is wrong with one is no other's fault: where
 * it fails, each is tried alone. */
static void run_some(
    const lot *l, const lot_call *const *list, size_t n, const collection_row *rows, size_t n_rows)
{
    Kindred__V1__UpsertResponse response = KINDRED__V1__UPSERT_RESPONSE__INIT;
    kd_error err = KD_ERROR_INIT;
    const kd_status status =
        collection_upsert(l->c, request_of(list[0])->model_id, rows, n_rows, &response.count, &err);
    for (size_t i = 0, at = 0; i < n; i++) {
        const size_t of_this = list[i]->weight;
        if (status == KD_OK) {
            kd_counter_add(l->x->upserted, of_this);
            kd_call_reply(list[i]->call, &response.base);
        } else if (n > 1) {
            run_some(l, list + i, 1, rows + at, of_this);
        } else {
            kd_call_fail(list[i]->call, &err);
        }
        at += of_this;
    }
}

void run_upserts(void *state, const lot_call *first)
{
    lot l = {.x = state};
    kd_error err = KD_ERROR_INIT;
    size_t n = 1, n_rows = first->weight;
    for (const lot_call *call = first->next; call; call = call->next, n++)
        n_rows += call->weight;
    l.list = calloc(n + 1, sizeof *l.list);
    l.rows = calloc(n_rows + 1, sizeof *l.rows);
    kd_status status = l.list && l.rows ? KD_OK : kd_error_memory(&err, "a change of a collection");
    if (status == KD_OK)
        status = registry_find(l.x->registry, request_of(first)->collection, &l.c, &err);
    n_rows = 0;
    for (const lot_call *call = first; call; call = call->next) {
        kd_error why = err;
        if (status == KD_OK && rows_from(call->request, l.rows + n_rows, &why) == KD_OK) {
            l.list[l.n++] = call;
            n_rows += call->weight;
        } else {
            if (l.rows)
                rows_clear(l.rows + n_rows, call->weight);
            kd_call_fail(call->call, &why);
        }
    }
    if (l.n > 0)
        run_some(&l, l.list, l.n, l.rows, n_rows);
    if (l.rows)
        rows_clear(l.rows, n_rows);
    collection_release(l.c);
    free(l.rows);
    free(l.list);
}

void upsert(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const indexer *const x = state;
    const Kindred__V1__UpsertRequest *const request = (const Kindred__V1__UpsertRequest *)message;
    Kindred__V1__UpsertRequest rest = *request;
    rest.n_items = 0;
    rest.items = NULL;
    /* One of no images is refused: it must not pass among others. */
    lots_add(x->upserts, call, request, request->n_items ? &rest.base : NULL, request->n_items);
}
