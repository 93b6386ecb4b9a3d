/* SearchProducts, a chain of questions that holds no thread while it waits:
 *
 *   collection (whose model?) -> embedding, or the stored vector -> nearest -> pictures -> answer
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/vector/vector.h"
#include "services/gateway/gateway.h"

#define MAX_THUMBNAIL 512u

typedef struct search {
    gateway *gateway;
    kd_call *call;
    const Kindred__V1__SearchProductsRequest *request; /* lives as long as the call */
    char *model_id;
    int64_t begun_ns;
    double embed_ms, search_ms;
    Kindred__V1__SearchResponse *found; /* kept for the picture thread */
} search;

static void search_free(search *s)
{
    free(s->model_id);
    kd_message_free(s->found);
    free(s);
}

static void fail(search *s, const kd_error *error)
{
    kd_call_fail(s->call, error);
    search_free(s);
}

static double lap_ms(search *s)
{
    const int64_t now = kd_mono_ns();
    const double ms = (double)(now - s->begun_ns) / 1e6;
    s->begun_ns = now;
    return ms;
}

/* ---- The answer ---- */

static void reply(search *s, const Kindred__V1__SearchResult *result, const kd_buf *pictures)
{
    Kindred__V1__SearchProductsResponse response = KINDRED__V1__SEARCH_PRODUCTS_RESPONSE__INIT;
    for (size_t i = 0; pictures && i < result->n_hits; i++) {
        result->hits[i]->thumbnail.data = pictures[i].data;
        result->hits[i]->thumbnail.len = pictures[i].len;
    }
    response.n_hits = result->n_hits;
    response.hits = result->hits;
    response.model_id = s->model_id;
    response.embed_ms = s->embed_ms;
    response.search_ms = s->search_ms;
    kd_call_reply(s->call, &response.base);
    for (size_t i = 0; pictures && i < result->n_hits; i++) /* borrowed from pictures */
        result->hits[i]->thumbnail = (ProtobufCBinaryData){0, NULL};
}

static void add_pictures(void *arg)
{
    search *const s = arg;
    const Kindred__V1__SearchResult *const result = s->found->results[0];
    kd_buf *const pictures = calloc(result->n_hits, sizeof *pictures);
    for (size_t i = 0; pictures && i < result->n_hits && !kd_call_cancelled(s->call); i++)
        make_thumbnail(
            s->gateway, result->hits[i]->item->uri, s->request->thumbnail_size, &pictures[i]);
    reply(s, result, pictures);
    for (size_t i = 0; pictures && i < result->n_hits; i++)
        kd_buf_free(&pictures[i]);
    free(pictures);
    search_free(s);
}

/* Takes a copy that outlives the callback. */
static Kindred__V1__SearchResponse *keep(const ProtobufCMessage *message)
{
    const size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *const bytes = malloc(len ? len : 1);
    Kindred__V1__SearchResponse *copy = NULL;
    if (bytes) {
        protobuf_c_message_pack(message, bytes);
        copy = kindred__v1__search_response__unpack(NULL, len, bytes);
    }
    free(bytes);
    return copy;
}

static void on_found(void *arg, const ProtobufCMessage *message, const kd_error *error)
{
    search *const s = arg;
    const Kindred__V1__SearchResponse *const found = (const Kindred__V1__SearchResponse *)message;
    kd_error err = KD_ERROR_INIT;
    s->search_ms = lap_ms(s);
    if (!found) {
        fail(s, error);
    } else if (found->n_results != 1) {
        (void)kd_error_set(
            &err, KD_INTERNAL, "the indexer answered %zu results to one query", found->n_results);
        fail(s, &err);
    } else if (s->request->thumbnail_size == 0 || found->results[0]->n_hits == 0) {
        reply(s, found->results[0], NULL);
        search_free(s);
    } else if (!(s->found = keep(message))) {
        (void)kd_error_memory(&err, "the pictures");
        fail(s, &err);
    } else if (!kd_pool_try_run(s->gateway->pictures, add_pictures, s)) {
        (void)kd_error_set(
            &err, KD_RESOURCE_EXHAUSTED, "too many searches with pictures wait already");
        fail(s, &err);
    }
}

/* ---- The question to the indexer ---- */

/* vector NULL: the query is by images of the collection. */
static void find_nearest(search *s, Kindred__V1__Vector *vector)
{
    Kindred__V1__SearchRequest request = KINDRED__V1__SEARCH_REQUEST__INIT;
    Kindred__V1__Examples self = KINDRED__V1__EXAMPLES__INIT;
    const Kindred__V1__SearchProductsRequest *const asked = s->request;
    uint64_t image_id = asked->image_id;
    char *key = asked->key;
    request.collection = asked->collection;
    request.model_id = s->model_id;
    if (vector) {
        request.n_queries = 1;
        request.queries = &vector;
    } else if (asked->query_case == KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_LIKE) {
        request.like = asked->like;
    } else if (asked->query_case == KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_KEY) {
        self.n_positive_keys = 1;
        self.positive_keys = &key;
        request.like = &self;
    } else {
        self.n_positive_image_ids = 1;
        self.positive_image_ids = &image_id;
        request.like = &self;
    }
    request.k = asked->k;
    request.n_super_classes = asked->n_super_classes;
    request.super_classes = asked->super_classes;
    request.n_classes = asked->n_classes;
    request.classes = asked->classes;
    request.n_image_ids = asked->n_image_ids;
    request.image_ids = asked->image_ids;
    request.n_exclude_image_ids = asked->n_exclude_image_ids;
    request.exclude_image_ids = asked->exclude_image_ids;
    request.n_keys = asked->n_keys;
    request.keys = asked->keys;
    request.n_exclude_keys = asked->n_exclude_keys;
    request.exclude_keys = asked->exclude_keys;
    request.n_conditions = asked->n_conditions;
    request.conditions = asked->conditions;
    request.min_score = asked->min_score;
    request.exact = asked->exact;
    request.by_class = asked->by_class;
    kd_call_ask(s->call, s->gateway->indexer, INDEXER, "Search", &request.base, on_found, s);
}

/* ---- The query's vector ---- */

static void on_embedded_query(void *arg, const ProtobufCMessage *message, const kd_error *error)
{
    search *const s = arg;
    const Kindred__V1__EmbedResponse *const answer = (const Kindred__V1__EmbedResponse *)message;
    s->embed_ms = lap_ms(s);
    if (!answer) {
        fail(s, error);
        return;
    }
    kd_error err = KD_ERROR_INIT;
    if (answer->n_embeddings != 1) {
        (void)kd_error_set(&err, KD_INTERNAL, "the embedder answered %zu embeddings to one image",
            answer->n_embeddings);
        fail(s, &err);
    } else if (answer->embeddings[0]->problem) {
        const Kindred__V1__Problem *const problem = answer->embeddings[0]->problem;
        (void)kd_error_set(&err, (kd_status)problem->code, "%s", problem->message);
        fail(s, &err);
    } else {
        Kindred__V1__Vector vector = KINDRED__V1__VECTOR__INIT;
        vector.n_values = answer->embeddings[0]->n_values;
        vector.values = answer->embeddings[0]->values;
        find_nearest(s, &vector);
    }
}

static void on_collection(void *arg, const ProtobufCMessage *message, const kd_error *error)
{
    search *const s = arg;
    const Kindred__V1__GetCollectionResponse *const answer =
        (const Kindred__V1__GetCollectionResponse *)message;
    kd_error err = KD_ERROR_INIT;
    if (!answer) {
        fail(s, error);
        return;
    }
    kd_status status = check_intact(answer->collection, &err);
    if (status == KD_OK && !(s->model_id = strdup(answer->collection->model_id)))
        status = kd_error_memory(&err, "a search");
    if (status != KD_OK) {
        fail(s, &err);
        return;
    }
    (void)lap_ms(s);
    switch (s->request->query_case) {
    case KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_IMAGE: {
        Kindred__V1__EmbedRequest embed = KINDRED__V1__EMBED_REQUEST__INIT;
        ProtobufCBinaryData image = s->request->image;
        embed.model = s->model_id;
        embed.n_images = 1;
        embed.images = &image;
        kd_call_ask(
            s->call, s->gateway->embedder, EMBEDDER, "Embed", &embed.base, on_embedded_query, s);
        break;
    }
    case KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_VECTOR:
        find_nearest(s, s->request->vector);
        break;
    default:
        find_nearest(s, NULL);
    }
}

static kd_status check(const Kindred__V1__SearchProductsRequest *request, kd_error *err)
{
    if (request->collection[0] == '\0')
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the search names no collection");
    if (request->k == 0 || request->k > KD_VECTOR_MAX_K)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "k is %u, allowed are 1 to %u", request->k, KD_VECTOR_MAX_K);
    if (request->query_case == KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY__NOT_SET)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "the search has no image, vector, image id, key or examples");
    if (request->thumbnail_size > MAX_THUMBNAIL)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the thumbnail size is %u, allowed are 0 to %u", request->thumbnail_size,
            MAX_THUMBNAIL);
    return KD_OK;
}

void search_products(void *state, kd_call *call, const ProtobufCMessage *message)
{
    const Kindred__V1__SearchProductsRequest *const request =
        (const Kindred__V1__SearchProductsRequest *)message;
    kd_error err = KD_ERROR_INIT;
    kd_status status = check(request, &err);
    search *const s = status == KD_OK ? calloc(1, sizeof *s) : NULL;
    if (status == KD_OK && !s)
        status = kd_error_memory(&err, "a search");
    if (status != KD_OK) {
        kd_call_fail(call, &err);
        return;
    }
    s->gateway = state;
    s->call = call;
    s->request = request;
    s->begun_ns = kd_mono_ns();
    Kindred__V1__GetCollectionRequest get = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    get.name = request->collection;
    kd_call_ask(call, s->gateway->indexer, INDEXER, "GetCollection", &get.base, on_collection, s);
}
