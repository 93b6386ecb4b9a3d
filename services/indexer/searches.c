/* Search: those that differ in nothing but their queries are one search of the collection. */
#include <stdlib.h>

#include "kindred/v1/indexer.pb-c.h"

#include "services/indexer/messages.h"
#include "services/indexer/service.h"

/* ---- Answers ---- */

/* Rows first..first + n of what was found. One block of memory for all messages of a kind. */
static void reply(kd_call *call, const collection_found *found, size_t first, size_t n)
{
    Kindred__V1__SearchResponse response = KINDRED__V1__SEARCH_RESPONSE__INIT;
    size_t total = 0;
    for (size_t r = first; r < first + n; r++)
        total += found->counts[r];
    Kindred__V1__SearchResult *const results = calloc(n + 1, sizeof *results);
    Kindred__V1__SearchResult **const rows = calloc(n + 1, sizeof(Kindred__V1__SearchResult *));
    Kindred__V1__Hit *const hits = calloc(total + 1, sizeof *hits);
    Kindred__V1__Hit **const list = calloc(total + 1, sizeof(Kindred__V1__Hit *));
    Kindred__V1__Item *const items = calloc(total + 1, sizeof *items);
    bool good = results && rows && hits && list && items;
    size_t at = 0;
    for (size_t r = 0; good && r < n; r++) {
        const size_t count = found->counts[first + r];
        kindred__v1__search_result__init(&results[r]);
        rows[r] = &results[r];
        results[r].n_hits = count;
        results[r].hits = list + at;
        for (size_t i = 0; i < count; i++, at++) {
            const collection_hit *const hit = &found->hits[(first + r) * found->width + i];
            kindred__v1__hit__init(&hits[at]);
            good &= item_to_message(&hit->item, &items[at]);
            hits[at].item = &items[at];
            hits[at].score = hit->score;
            list[at] = &hits[at];
        }
    }
    if (good) {
        response.n_results = n;
        response.results = rows;
        kd_call_reply(call, &response.base);
    } else {
        kd_error err;
        (void)kd_error_memory(&err, "the hits");
        kd_call_fail(call, &err);
    }
    for (size_t i = 0; items && i < at; i++)
        item_message_clear(&items[i]);
    free(items);
    free(list);
    free(hits);
    free(rows);
    free(results);
}

/* ---- Running ---- */

/* What a request asks of a collection, but for the queries. */
typedef struct question {
    collection_search search; /* borrows from the request and from the rest of this */
    collection_condition conditions[COLLECTION_MAX_CONDITIONS];
    collection_examples examples;
    named_ids among, without, positive, negative; /* owned */
    float min_score;
} question;

static void question_clear(question *q)
{
    named_ids_clear(&q->among);
    named_ids_clear(&q->without);
    named_ids_clear(&q->positive);
    named_ids_clear(&q->negative);
}

/* Images to look among and to leave out may be ones that are not there, examples not. */
static kd_status find_images(
    question *q, collection *c, const Kindred__V1__SearchRequest *request, kd_error *err)
{
    const Kindred__V1__Examples *const like = request->like;
    kd_status status = named_ids_find(&q->among, c, request->image_ids, request->n_image_ids,
        request->keys, request->n_keys, err);
    if (status == KD_OK || status == KD_NOT_FOUND)
        status = named_ids_find(&q->without, c, request->exclude_image_ids,
            request->n_exclude_image_ids, request->exclude_keys, request->n_exclude_keys, err);
    if (status == KD_NOT_FOUND)
        status = KD_OK;
    if (status == KD_OK && like)
        status = named_ids_find(&q->positive, c, like->positive_image_ids,
            like->n_positive_image_ids, like->positive_keys, like->n_positive_keys, err);
    if (status == KD_OK && like)
        status = named_ids_find(&q->negative, c, like->negative_image_ids,
            like->n_negative_image_ids, like->negative_keys, like->n_negative_keys, err);
    return status;
}

/* question_clear in any case. */
static kd_status question_from(question *q, collection *c,
    const Kindred__V1__SearchRequest *request, kd_pool *pool, kd_error *err)
{
    *q = (question){.min_score = request->min_score ? (float)request->min_score->value : 0};
    kd_status status =
        conditions_from_messages(request->conditions, request->n_conditions, q->conditions, err);
    if (status == KD_OK)
        status = find_images(q, c, request, err);
    if (status != KD_OK)
        return status;
    q->examples = (collection_examples){.positive = q->positive.all,
        .n_positive = q->positive.n,
        .negative = q->negative.all,
        .n_negative = q->negative.n};
    q->search = (collection_search){.model_id = request->model_id,
        .like = request->like ? &q->examples : NULL,
        .k = request->k,
        .min_score = request->min_score ? &q->min_score : NULL,
        .by_class = request->by_class,
        .filter = {.super_classes = (const char *const *)request->super_classes,
            .n_super_classes = request->n_super_classes,
            .classes = (const char *const *)request->classes,
            .n_classes = request->n_classes,
            .image_ids = q->among.all,
            .n_image_ids = q->among.n,
            .conditions = q->conditions,
            .n_conditions = request->n_conditions},
        .exclude = q->without.all,
        .n_exclude = q->without.n,
        .exact = request->exact,
        .pool = pool};
    return KD_OK;
}

static const Kindred__V1__SearchRequest *request_of(const lot_call *call)
{
    return call->request;
}

/* Those of a list that are still to be answered. */
typedef struct lot {
    const indexer *x;
    collection *c;
    const lot_call **list;   /* n, owned, as the next */
    collection_row *queries; /* of all, side by side */
    size_t n;
} lot;

/* Runs n searches that are alike as one and answers them. Together they may be too much where each
 * alone is not. */
static void run_some(
    const lot *l, const lot_call *const *list, size_t n, collection_row *queries, size_t n_queries)
{
    question q;
    collection_found found = {0};
    kd_error err = KD_ERROR_INIT;
    const bool by_examples = request_of(list[0])->like;
    kd_status status = question_from(&q, l->c, request_of(list[0]), l->x->pool, &err);
    if (status == KD_OK) {
        q.search.queries = queries;
        q.search.n_queries = n_queries;
        kd_counter_add(l->x->scans, 1);
        status = collection_search_run(l->c, &q.search, &found, &err);
    }
    question_clear(&q);
    for (size_t i = 0, at = 0; i < n; i++) {
        const size_t of_this = request_of(list[i])->n_queries, rows = by_examples ? 1 : of_this;
        if (status == KD_OK) {
            kd_counter_add(l->x->searched, rows);
            reply(list[i]->call, &found, at, rows);
        } else if (status == KD_RESOURCE_EXHAUSTED && n > 1) {
            run_some(l, list + i, 1, queries + at, of_this);
        } else {
            kd_call_fail(list[i]->call, &err);
        }
        at += of_this;
    }
    collection_found_free(&found);
}

/* What is wrong with one search is no other's fault. */
static kd_status check(const lot *l, const lot_call *call, collection_row *queries, kd_error *err)
{
    const Kindred__V1__SearchRequest *const request = call->request;
    question q;
    if (kd_call_cancelled(call->call))
        return kd_error_set(err, KD_CANCELLED, "nobody waits for the answer any more");
    kd_status status = question_from(&q, l->c, request, l->x->pool, err);
    for (size_t i = 0; i < request->n_queries; i++)
        queries[i] = (collection_row){
            .values = request->queries[i]->values, .n_values = request->queries[i]->n_values};
    q.search.queries = queries;
    q.search.n_queries = request->n_queries;
    if (status == KD_OK)
        status = collection_search_check(l->c, &q.search, err);
    question_clear(&q);
    return status;
}

void run_searches(void *state, const lot_call *first)
{
    lot l = {.x = state};
    kd_error err = KD_ERROR_INIT;
    size_t n = 1, n_queries = first->weight;
    for (const lot_call *call = first->next; call; call = call->next, n++)
        n_queries += call->weight;
    l.list = calloc(n + 1, sizeof *l.list);
    l.queries = calloc(n_queries + 1, sizeof *l.queries);
    kd_status status =
        l.list && l.queries ? KD_OK : kd_error_memory(&err, "the queries of a search");
    if (status == KD_OK)
        status = registry_find(l.x->registry, request_of(first)->collection, &l.c, &err);
    n_queries = 0;
    for (const lot_call *call = first; call; call = call->next) {
        kd_error why = err;
        if (status == KD_OK && check(&l, call, l.queries + n_queries, &why) == KD_OK) {
            l.list[l.n++] = call;
            n_queries += call->weight;
        } else {
            kd_call_fail(call->call, &why);
        }
    }
    if (l.n > 0)
        run_some(&l, l.list, l.n, l.queries, n_queries);
    collection_release(l.c);
    free(l.queries);
    free(l.list);
}

/* Examples stand for one query each, and leave themselves out of the answer: no other is like it.
 */
void search(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const indexer *const x = state;
    const Kindred__V1__SearchRequest *const request = (const Kindred__V1__SearchRequest *)message;
    Kindred__V1__SearchRequest rest = *request;
    rest.n_queries = 0;
    rest.queries = NULL;
    lots_add(x->searches, call, request, request->like ? NULL : &rest.base, request->n_queries);
}
