#include <stdlib.h>

#include "lib/base/file.h"
#include "lib/image/image.h"
#include "services/gateway/gateway.h"

void make_thumbnail(const gateway *g, const char *uri, uint32_t side, kd_buf *out)
{
    kd_buf file = KD_BUF_INIT;
    kd_error ignored; /* a picture that is gone or moved leaves its place empty */
    const kd_process *const process = g->process;
    if (kd_file_read_under(uri, process->datasets, process->n_datasets, KD_IMAGE_MAX_BYTES, &file,
            &ignored) == KD_OK &&
        kd_image_thumbnail(file.data, file.len, side, out, &ignored) != KD_OK)
        kd_buf_free(out);
    kd_buf_free(&file);
}

static kd_status embed_one(gateway *g, kd_call *call, const Kindred__V1__AddImageRequest *request,
    const char *model_id, Kindred__V1__EmbedResponse **out, kd_error *err)
{
    Kindred__V1__EmbedRequest embed = KINDRED__V1__EMBED_REQUEST__INIT;
    ProtobufCBinaryData image = request->image;
    embed.model = (char *)model_id;
    embed.n_images = 1;
    embed.images = &image;
    const kd_status status = ask(call, g->embedder, EMBEDDER, "Embed", &embed.base, out, err);
    if (status != KD_OK)
        return status;
    if ((*out)->n_embeddings != 1)
        return kd_error_set(err, KD_INTERNAL, "the embedder answered %zu embeddings to one image",
            (*out)->n_embeddings);
    const Kindred__V1__Problem *const problem = (*out)->embeddings[0]->problem;
    return problem ? kd_error_set(err, (kd_status)problem->code, "%s", problem->message) : KD_OK;
}

void add_image(void *state, kd_call *call, const ProtobufCMessage *message)
{
    gateway *const g = state;
    const Kindred__V1__AddImageRequest *const request =
        (const Kindred__V1__AddImageRequest *)message;
    Kindred__V1__GetCollectionRequest get = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    Kindred__V1__GetCollectionResponse *got = NULL;
    Kindred__V1__EmbedResponse *embedded = NULL;
    Kindred__V1__UpsertResponse *upserted = NULL;
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    get.name = request->collection;
    if (!request->item)
        status =
            kd_error_set(&err, KD_INVALID_ARGUMENT, "the image has no item with its id and class");
    if (status == KD_OK)
        status = ask(call, g->indexer, INDEXER, "GetCollection", &get.base, &got, &err);
    if (status == KD_OK)
        status = check_intact(got->collection, &err);
    if (status == KD_OK)
        status = embed_one(g, call, request, got->collection->model_id, &embedded, &err);
    if (status == KD_OK) {
        Kindred__V1__UpsertRequest upsert = KINDRED__V1__UPSERT_REQUEST__INIT;
        Kindred__V1__UpsertItem item = KINDRED__V1__UPSERT_ITEM__INIT, *items[] = {&item};
        item.item = request->item;
        item.n_values = embedded->embeddings[0]->n_values;
        item.values = embedded->embeddings[0]->values;
        upsert.collection = request->collection;
        upsert.model_id = embedded->model_id;
        upsert.n_items = 1;
        upsert.items = items;
        status = ask(call, g->indexer, INDEXER, "Upsert", &upsert.base, &upserted, &err);
    }
    if (status == KD_OK) {
        Kindred__V1__AddImageResponse response = KINDRED__V1__ADD_IMAGE_RESPONSE__INIT;
        response.count = upserted->count;
        kd_call_reply(call, &response.base);
    } else {
        kd_call_fail(call, &err);
    }
    kd_message_free(upserted);
    kd_message_free(embedded);
    kd_message_free(got);
}
