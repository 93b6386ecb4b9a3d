/* Decoding: straight into the batch's memory, on threads beside the forward. */
#include "lib/image/image.h"
#include "services/embedder/pipeline.h"

#define BULK_TURN 4 /* each so many-th turn is the streams', if they have any */

/* Pixels come as the client says: they have no header that a decoder would check. */
static kd_status preprocess_pixels(
    const kd_preprocess *preprocess, const Kindred__V1__Pixels *pixels, float *input, kd_error *err)
{
    const uint32_t width = pixels->width, height = pixels->height;
    const size_t len = pixels->rgb.len;
    if (width == 0 || height == 0 || width > KD_IMAGE_MAX_SIDE || height > KD_IMAGE_MAX_SIDE)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the pixels are %u × %u, each side is 1 to %u", width, height, KD_IMAGE_MAX_SIDE);
    if (len != (size_t)width * height * 3)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the pixels have %zu bytes, %u × %u × 3 are %zu", len, width, height,
            (size_t)width * height * 3);
    if (len > KD_IMAGE_MAX_BYTES)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the pixels have %zu bytes, the limit is %u", len, KD_IMAGE_MAX_BYTES);
    const kd_image image = {pixels->rgb.data, width, height};
    return kd_preprocess_image(preprocess, &image, input, err);
}

static kd_status decode(const slot *s, float *input, kd_error *err)
{
    const kd_preprocess *const preprocess = &s->owner->model.preprocess;
    return s->pixels ? preprocess_pixels(preprocess, s->pixels, input, err)
                     : kd_preprocess_run(preprocess, s->bytes, s->len, input, err);
}

/* Waits for a place when the forward is behind: that is what bounds the memory of decoded images.
 */
static void decode_slot(slot *s)
{
    pipeline *const p = s->owner->pipeline;
    batch_place where;
    kd_error err = KD_ERROR_INIT;
    if (!pipeline_wanted(s)) {
        batches_forget(p->batches);
        pipeline_land(s, NULL);
    } else if (batches_reserve(p->batches, s->served, s->owner->model.preprocess.image_size, &where,
                   &err) != KD_OK) {
        batches_forget(p->batches);
        pipeline_land(s, &err);
    } else if (decode(s, where.input, &s->problem) != KD_OK) {
        batches_give_back(p->batches, &where);
        pipeline_land(s, NULL);
    } else {
        s->problem.status = KD_OK;
        batches_filled(p->batches, &where, s);
    }
}

/* There is an image for each token, in one of the queues or just about to be. */
static void decode_next(void *arg)
{
    pipeline *const p = arg;
    const bool bulk = atomic_fetch_add(&p->turns, 1) % BULK_TURN == BULK_TURN - 1;
    slot *s = NULL;
    while (!s) {
        s = kd_queue_pop(bulk ? p->bulk : p->urgent, 0);
        if (!s)
            s = kd_queue_pop(bulk ? p->urgent : p->bulk, 0);
    }
    decode_slot(s);
}

void decode_submit(slot *s)
{
    pipeline *const p = s->owner->pipeline;
    kd_error err = KD_ERROR_INIT;
    batches_expect(p->batches);
    if (kd_pool_try_run(p->decoders, decode_next, p)) {
        (void)kd_queue_push(s->owner->stream ? p->bulk : p->urgent, s); /* the counts leave room */
        return;
    }
    batches_forget(p->batches);
    (void)kd_error_memory(&err, "an image");
    pipeline_land(s, &err);
}
