#include "services/trainer/features.h"

#include <stdlib.h>
#include <string.h>

static size_t batch_size(size_t n, size_t from)
{
    return n - from < FEATURES_BATCH ? n - from : FEATURES_BATCH;
}

static kd_status run(feature_rows *out, loader *l, kd_forward *forward, const uint32_t *images,
    size_t n, loader_tick tick, void *tick_arg, kd_error *err)
{
    kd_status status = KD_OK;
    size_t begun = 0;
    for (size_t taken = 0; status == KD_OK && taken < n; taken += batch_size(n, taken)) {
        for (; begun < n && loader_begun(l) < LOADER_AHEAD; begun += batch_size(n, begun))
            loader_begin(l, images + begun, batch_size(n, begun), LOADER_PLAIN, 0);
        loader_batch batch;
        loader_take(l, &batch);
        if (batch.n > 0)
            status = kd_forward_features(
                forward, batch.pixels, batch.n, out->values + out->n * KD_NN_FEATURES, err);
        if (status == KD_OK && batch.n > 0)
            memcpy(out->images + out->n, batch.images, batch.n * sizeof *out->images);
        out->n += batch.n;
        loader_give_back(l);
        if (status == KD_OK)
            status = tick(tick_arg, taken + batch_size(n, taken), err);
    }
    loader_drop(l);
    return status;
}

kd_status features_compute(feature_rows *out, loader *l, const kd_net *net, uint32_t image_size,
    const uint32_t *images, size_t n, loader_tick tick, void *tick_arg, kd_error *err)
{
    kd_forward *forward = NULL;
    kd_status status = KD_OK;
    *out = (feature_rows){.images = calloc(n + 1, sizeof *out->images),
        .values = calloc(n + 1, KD_NN_FEATURES * sizeof *out->values)};
    if (!out->images || !out->values)
        status = kd_error_memory(err, "the images' features");
    if (status == KD_OK)
        status = kd_forward_new(&forward, net, image_size, FEATURES_BATCH, err);
    if (status == KD_OK)
        status = run(out, l, forward, images, n, tick, tick_arg, err);
    kd_forward_free(forward);
    if (status != KD_OK)
        features_free(out);
    return status;
}

void features_free(feature_rows *rows)
{
    free(rows->images);
    free(rows->values);
    *rows = (feature_rows){.n = 0};
}
