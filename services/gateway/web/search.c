/* Search and embed: calls whose pictures may come as they are. */
#include "services/gateway/web/web.h"

#define DEFAULT_K 5 /* as the command's */

static const char *const no_parts[KD_HTTP_PARTS] = {NULL};

void web_search(void *state, kd_http_request *request, kd_http_answer *answer)
{
    web *const w = state;
    const ProtobufCMessageDescriptor *const type =
        &kindred__v1__search_products_request__descriptor;
    kd_error err = KD_ERROR_INIT;
    web_images images = {.n = 0};
    json_t *object = NULL;
    Kindred__V1__SearchProductsRequest *search = NULL;
    ProtobufCMessage *response = NULL;
    web_trip trip;
    web_trip_begin(&trip, request, answer);
    kd_status status = web_read(request, type, no_parts, &object, &images, &err);
    if (status == KD_OK && !json_object_get(object, "k") &&
        json_object_set_new(object, "k", json_integer(DEFAULT_K)) != 0)
        status = kd_error_memory(&err, "a search");
    if (status == KD_OK)
        status = kd_message_from_json((ProtobufCMessage **)&search, type, object, &err);
    if (status == KD_OK && images.n > 1)
        status = kd_error_set(
            &err, KD_INVALID_ARGUMENT, "a search is by one image, here are %zu", images.n);
    if (status == KD_OK && images.n == 1 && search->query_case != 0)
        status = kd_error_set(&err, KD_INVALID_ARGUMENT,
            "the search has a picture as its body and another query beside it");
    const bool borrows = status == KD_OK && images.n == 1;
    if (borrows) {
        search->query_case = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY_IMAGE;
        search->image = images.raw[0];
    }
    if (status == KD_OK)
        status = web_ask(w, &trip, GATEWAY, "SearchProducts", &search->base, &response, &err);
    if (status == KD_OK)
        web_answer_json(answer, response, 9);
    else
        kd_http_fail(answer, &err);
    if (borrows) { /* the picture is not the message's to free */
        search->query_case = KINDRED__V1__SEARCH_PRODUCTS_REQUEST__QUERY__NOT_SET;
        search->image = (ProtobufCBinaryData){0, NULL};
    }
    kd_message_free(response);
    kd_message_free(search);
    json_decref(object);
    web_images_clear(&images);
}

void web_embed(void *state, kd_http_request *request, kd_http_answer *answer)
{
    web *const w = state;
    const ProtobufCMessageDescriptor *const type = &kindred__v1__embed_request__descriptor;
    kd_error err = KD_ERROR_INIT;
    web_images images = {.n = 0};
    json_t *object = NULL;
    Kindred__V1__EmbedRequest *embed = NULL;
    ProtobufCMessage *response = NULL;
    web_trip trip;
    web_trip_begin(&trip, request, answer);
    kd_status status = web_read(request, type, no_parts, &object, &images, &err);
    if (status == KD_OK)
        status = kd_message_from_json((ProtobufCMessage **)&embed, type, object, &err);
    if (status == KD_OK && images.n > 0 && embed->n_images > 0)
        status = kd_error_set(&err, KD_INVALID_ARGUMENT,
            "the request has pictures as they are and others in images: only one of them may be");
    const bool borrows = status == KD_OK && images.n > 0;
    if (borrows) {
        embed->n_images = images.n;
        embed->images = images.raw;
    }
    if (status == KD_OK)
        status = web_ask(w, &trip, EMBEDDER, "Embed", &embed->base, &response, &err);
    if (status == KD_OK)
        web_answer_json(answer, response, 9);
    else
        kd_http_fail(answer, &err);
    if (borrows) {
        embed->n_images = 0;
        embed->images = NULL;
    }
    kd_message_free(response);
    kd_message_free(embed);
    json_decref(object);
    web_images_clear(&images);
}
