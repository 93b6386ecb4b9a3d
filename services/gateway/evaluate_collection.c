/* A gallery and the neighbours in it as the indexer has them. */
#include <stdlib.h>
#include <string.h>

#include "services/gateway/evaluate.h"

#define PAGE 500u             /* images with their vectors */
#define QUERIES 128u          /* of a search */
#define K (KD_EVAL_HITS + 1u) /* with the query itself, if it is there */

static const char *collection_of(const running_job *r)
{
    return r->spec->evaluate->collection;
}

/* ---- The gallery ---- */

typedef struct listed {
    uint64_t id;
    size_t at; /* in the dataset */
} listed;

static int by_id(const void *a, const void *b)
{
    const uint64_t x = ((const listed *)a)->id, y = ((const listed *)b)->id;
    return x < y ? -1 : x > y;
}

static listed *list_ids(const embedded *e)
{
    listed *const all = malloc((e->n_items + 1) * sizeof *all);
    for (size_t i = 0; all && i < e->n_items; i++)
        all[i] = (listed){e->items[i].image_id, i};
    if (all)
        qsort(all, e->n_items, sizeof *all, by_id);
    return all;
}

static kd_status check_model(running_job *r, const Kindred__V1__Model *model, kd_error *err)
{
    Kindred__V1__GetCollectionRequest request = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *response = NULL;
    request.name = (char *)collection_of(r);
    kd_status status =
        job_ask(r, r->gateway->indexer, INDEXER, "GetCollection", &request.base, &response, err);
    if (status == KD_OK)
        status = check_intact(response->collection, err);
    if (status == KD_OK && strcmp(response->collection->model_id, model->id) != 0)
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "collection '%s' holds vectors of model %s, not of %s", request.name,
            response->collection->model_id, model->id);
    kd_message_free(response);
    return status;
}

static kd_status take_page(const running_job *r, embedded *e, const listed *all, size_t dim,
    const Kindred__V1__ListItemsResponse *page, kd_error *err)
{
    if (page->n_vectors != page->n_items)
        return kd_error_set(err, KD_INTERNAL, "a page has %zu images and %zu vectors",
            page->n_items, page->n_vectors);
    for (size_t i = 0; i < page->n_items; i++) {
        const listed key = {.id = page->items[i]->image_id};
        const listed *const found = bsearch(&key, all, e->n_items, sizeof *all, by_id);
        if (!found)
            return kd_error_set(err, KD_FAILED_PRECONDITION,
                "collection '%s' holds image %llu, which is not in the gallery", collection_of(r),
                (unsigned long long)key.id);
        if (page->vectors[i]->n_values != dim)
            return kd_error_set(err, KD_INTERNAL, "a vector has %zu values and not %zu",
                page->vectors[i]->n_values, dim);
        memcpy(e->values + found->at * dim, page->vectors[i]->values, dim * sizeof *e->values);
        e->ok[found->at] = true;
    }
    return KD_OK;
}

static kd_status take_pages(
    running_job *r, embedded *e, const listed *all, size_t dim, kd_error *err)
{
    Kindred__V1__ListItemsRequest request = KINDRED__V1__LIST_ITEMS_REQUEST__INIT;
    Kindred__V1__ListItemsResponse *page = NULL, *before = NULL; /* before holds the token */
    kd_status status;
    request.collection = (char *)collection_of(r);
    request.page_size = PAGE;
    request.with_vectors = true;
    do {
        status = job_ask(r, r->gateway->indexer, INDEXER, "ListItems", &request.base, &page, err);
        kd_message_free(before);
        before = status == KD_OK ? page : NULL;
        if (status == KD_OK)
            status = take_page(r, e, all, dim, page, err);
        if (status == KD_OK) {
            atomic_fetch_add(&r->done, page->n_items);
            request.page_token = page->next_page_token;
            status = job_step(r, err);
        }
    } while (status == KD_OK && *request.page_token);
    kd_message_free(before);
    return status;
}

kd_status embedded_from_collection(running_job *r, const kd_dataset *dataset,
    const Kindred__V1__Model *model, skipped *skip, embedded *out, kd_error *err)
{
    kd_status status = embedded_new(out, dataset, model->dim, err);
    listed *const all = status == KD_OK ? list_ids(out) : NULL;
    if (status == KD_OK && !all)
        status = kd_error_memory(err, "the gallery's ids");
    if (status == KD_OK)
        status = check_model(r, model, err);
    if (status == KD_OK)
        status = take_pages(r, out, all, model->dim, err);
    free(all);
    for (size_t i = 0; status == KD_OK && i < out->n_items; i++)
        if (!out->ok[i])
            skipped_add(skip, kd_dataset_path(dataset, &out->items[i]), "is not in the collection");
    if (status == KD_OK)
        embedded_compact(out, model->dim);
    return status;
}

/* ---- Neighbours ---- */

typedef struct asking {
    running_job *r;
    const kd_eval_input *input;
    const char *model_id;
    kd_hit *hits; /* owned: n_queries × KD_EVAL_HITS, as the next */
    uint32_t *counts;
} asking;

static kd_status take_result(
    const asking *a, size_t q, const Kindred__V1__SearchResult *result, kd_error *err)
{
    const uint64_t self = a->input->selves ? a->input->selves[q] : UINT64_MAX;
    for (size_t i = 0; i < result->n_hits && a->counts[q] < KD_EVAL_HITS; i++) {
        const Kindred__V1__Hit *const hit = result->hits[i];
        if (!hit->item)
            return kd_error_set(err, KD_INTERNAL, "the indexer answered a hit without an image");
        if (hit->item->image_id != self)
            a->hits[q * KD_EVAL_HITS + a->counts[q]++] =
                (kd_hit){.id = hit->item->image_id, .score = hit->score};
    }
    return KD_OK;
}

static kd_status ask_some(const asking *a, size_t first, size_t n, kd_error *err)
{
    Kindred__V1__SearchRequest request = KINDRED__V1__SEARCH_REQUEST__INIT;
    Kindred__V1__SearchResponse *response = NULL;
    Kindred__V1__Vector vectors[QUERIES], *list[QUERIES];
    const size_t dim = a->input->dim;
    for (size_t i = 0; i < n; i++) {
        kindred__v1__vector__init(&vectors[i]);
        vectors[i].n_values = dim;
        vectors[i].values = (float *)(a->input->queries + (first + i) * dim); /* packed from */
        list[i] = &vectors[i];
    }
    request.collection = (char *)collection_of(a->r);
    request.model_id = (char *)a->model_id;
    request.n_queries = n;
    request.queries = list;
    request.k = K;
    kd_status status =
        job_ask(a->r, a->r->gateway->indexer, INDEXER, "Search", &request.base, &response, err);
    if (status == KD_OK && response->n_results != n)
        status = kd_error_set(err, KD_INTERNAL, "the indexer answered %zu results to %zu queries",
            response->n_results, n);
    for (size_t i = 0; i < n && status == KD_OK; i++)
        status = take_result(a, first + i, response->results[i], err);
    kd_message_free(response);
    return status;
}

kd_status take_neighbours(
    running_job *r, const kd_eval_input *input, kd_eval *eval, double *recall, kd_error *err)
{
    const size_t n = input->n_queries;
    asking a = {.r = r, .input = input, .model_id = r->spec->evaluate->models[0]};
    a.hits = calloc(n + 1, KD_EVAL_HITS * sizeof *a.hits);
    a.counts = calloc(n + 1, sizeof *a.counts);
    kd_status status = a.hits && a.counts ? KD_OK : kd_error_memory(err, "the neighbours");
    for (size_t q = 0; q < n && status == KD_OK; q += QUERIES) {
        status = ask_some(&a, q, n - q < QUERIES ? n - q : QUERIES, err);
        if (status == KD_OK)
            status = job_step(r, err);
    }
    if (status == KD_OK)
        status = kd_eval_take_hits(input, a.hits, a.counts, eval, recall, err);
    free(a.hits);
    free(a.counts);
    return status;
}
