/* kindred doctor: the collections. A stored picture, embedded again, must find itself. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "services/gateway/cli/doctor.h"
#include "services/gateway/cli/files.h"

#define PICTURES 16u    /* that may be tried until one can be read */
#define NEIGHBOURS 100u /* a picture that is stored so often is still found among its copies */
#define TIE 1e-6f       /* copies have one vector, and the lower id comes first */

/* A collection while it is looked at. */
typedef struct subject {
    doctor *d;
    const Kindred__V1__Collection *collection;
    char *name; /* "collection shop" */
    const char *advice;
    char model[80]; /* its model's name */
} subject;

static const char again_advice[] =
    "Put the pictures back as they were, or index the dataset again with `kindred index`.";

/* ---- Its model ---- */

static kd_status find_model(subject *s, kd_error *err)
{
    Kindred__V1__GetModelRequest request = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *answer = NULL;
    (void)kd_copy(s->model, sizeof s->model, s->collection->model_id);
    if (!s->d->trainer)
        return KD_OK; /* it is said to be away already */
    s->advice = "Bring its model back (put models/ID back from a backup, or import the same "
                "weights: an id is made from the content), or delete the collection and index the "
                "dataset again by another model.";
    request.model = s->collection->model_id;
    kd_status status = doctor_ask(s->d, CLI_TRAINER, "GetModel", &request.base, &answer, err);
    if (status == KD_OK && answer->model)
        (void)kd_copy(s->model, sizeof s->model, answer->model->name);
    else if (status == KD_NOT_FOUND)
        status = kd_error_set(err, status,
            "its model %s is gone, so that no picture can be "
            "searched for",
            s->collection->model_id);
    kd_message_free(answer);
    return status;
}

/* ---- A picture and its vector ---- */

/* The first of the images whose file can be read, else the first; its bytes. *why: of the last file
 * that could not be. */
static const Kindred__V1__Item *pick(
    const Kindred__V1__ListItemsResponse *page, kd_buf *picture, kd_error *why)
{
    for (size_t i = 0; i < page->n_items; i++) {
        const char *const uri = page->items[i]->uri;
        if (uri[0] == '\0')
            (void)kd_error_set(why, KD_NOT_FOUND, "no path is stored");
        else if (cli_read_image(uri, picture, why) == KD_OK)
            return page->items[i];
        kd_buf_free(picture);
    }
    return page->items[0];
}

static kd_status check_stored(subject *s, uint64_t image_id, kd_error *err)
{
    Kindred__V1__GetItemRequest request = KINDRED__V1__GET_ITEM_REQUEST__INIT;
    Kindred__V1__GetItemResponse *answer = NULL;
    char what[CLI_TEXT];
    double length;
    request.collection = s->collection->name;
    request.image_id = image_id;
    s->advice = "Restore a snapshot with `kindred collection restore`, or index the dataset again "
                "with `kindred index`.";
    kd_status status = doctor_ask(s->d, CLI_INDEXER, "GetItem", &request.base, &answer, err);
    if (status != KD_OK)
        return status;
    (void)snprintf(what, sizeof what, "the vector of image %llu", (unsigned long long)image_id);
    if (answer->n_values != s->collection->dim)
        status = kd_error_set(err, KD_DATA_LOSS, "%s has %zu values, the collection %u", what,
            answer->n_values, s->collection->dim);
    if (status == KD_OK)
        status = doctor_vector(what, answer->values, answer->n_values, &length, err);
    kd_message_free(answer);
    return status;
}

/* ---- It finds itself ---- */

/* Where the image stands among the hits, from 1, copies of it aside; 0: not at all. */
static size_t rank_of(const Kindred__V1__SearchResult *result, uint64_t image_id, float *score)
{
    for (size_t i = 0; i < result->n_hits; i++) {
        if (!result->hits[i]->item || result->hits[i]->item->image_id != image_id)
            continue;
        *score = result->hits[i]->score;
        return result->hits[0]->score - *score <= TIE ? 1 : i + 1;
    }
    return 0;
}

static kd_status search(subject *s, const Kindred__V1__Item *item,
    const Kindred__V1__EmbedResponse *embedded, float *score, kd_error *err)
{
    Kindred__V1__SearchRequest request = KINDRED__V1__SEARCH_REQUEST__INIT;
    Kindred__V1__SearchResponse *answer = NULL;
    Kindred__V1__Vector query = KINDRED__V1__VECTOR__INIT, *queries[] = {&query};
    const unsigned long long image = item->image_id;
    query.values = embedded->embeddings[0]->values;
    query.n_values = embedded->embeddings[0]->n_values;
    request.collection = s->collection->name;
    request.model_id = s->collection->model_id;
    request.queries = queries;
    request.n_queries = 1;
    request.k = NEIGHBOURS;
    kd_status status = doctor_ask(s->d, CLI_INDEXER, "Search", &request.base, &answer, err);
    if (status != KD_OK)
        return status;
    const size_t rank =
        answer->n_results == 1 ? rank_of(answer->results[0], item->image_id, score) : 0;
    if (rank == 0)
        status = kd_error_set(err, KD_DATA_LOSS, "image %llu (%s) does not find itself among %u",
            image, item->uri, NEIGHBOURS);
    else if (rank > 1 || !(fabsf(*score - 1) <= DOCTOR_TOLERANCE))
        status = kd_error_set(err, KD_DATA_LOSS,
            "image %llu (%s) finds itself at rank %zu with score %.4f, not first with 1: the file "
            "or the vector has changed",
            image, item->uri, rank, (double)*score);
    kd_message_free(answer);
    return status;
}

static kd_status find_itself(
    subject *s, const Kindred__V1__Item *item, const kd_buf *picture, float *score, kd_error *err)
{
    Kindred__V1__EmbedResponse *embedded = NULL;
    kd_error fault = KD_ERROR_INIT;
    s->advice = again_advice;
    kd_status status = doctor_embed(s->d, s->collection->model_id, picture, &embedded, &fault);
    if (status != KD_OK)
        return kd_error_set(err, status, "image %llu (%s): %s", (unsigned long long)item->image_id,
            item->uri, fault.message);
    status = search(s, item, embedded, score, err);
    kd_message_free(embedded);
    return status;
}

/* ---- One collection ---- */

static kd_status list_some(subject *s, Kindred__V1__ListItemsResponse **page, kd_error *err)
{
    Kindred__V1__ListItemsRequest request = KINDRED__V1__LIST_ITEMS_REQUEST__INIT;
    request.collection = s->collection->name;
    request.page_size = PICTURES;
    s->advice = "See the indexer's log.";
    return doctor_ask(s->d, CLI_INDEXER, "ListItems", &request.base, page, err);
}

/* Says the line, but for a fault, which is returned. */
static kd_status check_pictures(subject *s, kd_error *err)
{
    Kindred__V1__ListItemsResponse *page = NULL;
    kd_buf picture = KD_BUF_INIT;
    kd_error why = KD_ERROR_INIT;
    const unsigned long long count = s->collection->count;
    float score = 0;
    kd_status status = list_some(s, &page, err);
    if (status != KD_OK)
        return status;
    if (page->n_items == 0) {
        doctor_say(s->d, DOCTOR_OK, s->name, NULL, "empty, by model %s", s->model);
        goto out;
    }
    const Kindred__V1__Item *const item = pick(page, &picture, &why);
    status = check_stored(s, item->image_id, err);
    if (status != KD_OK)
        goto out;
    if (picture.len == 0) {
        doctor_say(s->d, DOCTOR_SKIP, s->name, NULL,
            "%llu images by model %s; none of the first %zu pictures can be read here: %s", count,
            s->model, page->n_items, why.message);
    } else if (!s->d->embedder) {
        doctor_say(s->d, DOCTOR_SKIP, s->name, NULL,
            "%llu images by model %s; no embedder to search by one", count, s->model);
    } else {
        status = find_itself(s, item, &picture, &score, err);
        if (status == KD_OK)
            doctor_say(s->d, DOCTOR_OK, s->name, NULL,
                "%llu images by model %s; image %llu finds itself at rank 1 with score %.4f", count,
                s->model, (unsigned long long)item->image_id, (double)score);
    }
out:
    kd_buf_free(&picture);
    kd_message_free(page);
    return status;
}

static void check_collection(doctor *d, const Kindred__V1__Collection *collection)
{
    subject s = {.d = d, .collection = collection};
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    s.name = cli_must(kd_format("collection %s", collection->name));
    if (collection->damage[0] != '\0') {
        s.advice = "Restore a snapshot with `kindred collection restore`, or delete the collection "
                   "and index the dataset again.";
        status = kd_error_set(&err, KD_DATA_LOSS, "%s", collection->damage);
    }
    if (status == KD_OK)
        status = find_model(&s, &err);
    if (status == KD_OK)
        status = check_pictures(&s, &err);
    if (status != KD_OK)
        doctor_say_error(d, s.name, s.advice, &err);
    free(s.name);
}

typedef struct collections {
    doctor *d;
    uint64_t n; /* seen */
} collections;

static bool take_collection(void *arg, const ProtobufCMessage *item)
{
    collections *const c = arg;
    if (c->n++ < c->d->limit)
        check_collection(c->d, (const Kindred__V1__Collection *)item);
    return true;
}

void doctor_collections(doctor *d)
{
    Kindred__V1__ListCollectionsRequest request = KINDRED__V1__LIST_COLLECTIONS_REQUEST__INIT;
    const cli_pages pages = {.service = CLI_INDEXER,
        .method = "ListCollections",
        .field = "collections",
        .timeout_ms = DOCTOR_MS};
    collections c = {.d = d};
    kd_error err = KD_ERROR_INIT;
    if (!d->indexer)
        doctor_say(d, DOCTOR_SKIP, "collections", NULL, "no indexer to list them");
    else if (cli_each(d->channel, &pages, &request.base, take_collection, &c, &err) != KD_OK)
        doctor_say_error(d, "collections", "See the indexer's log.", &err);
    else if (c.n == 0)
        doctor_say(d, DOCTOR_OK, "collections", NULL, "none yet; `kindred index` fills one");
    else if (c.n > d->limit)
        doctor_say(d, DOCTOR_SKIP, "collections", NULL,
            "%llu of %llu were left out; --limit %llu takes them all",
            (unsigned long long)(c.n - d->limit), (unsigned long long)c.n, (unsigned long long)c.n);
}
