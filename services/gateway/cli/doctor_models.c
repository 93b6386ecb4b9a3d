/* kindred doctor: the models, by the file, by a real load and by a picture; and the cache. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/image/image.h"
#include "services/gateway/cli/doctor.h"

#define PICTURE_SIDE 64u
#define CACHE_WAIT_MS                                                                              \
    4000 /* the cache is written behind the answer; after a fault it rests 1 s                     \
          */
#define CACHE_POLL_MS 20
#define SAME_TOLERANCE 1e-4f /* of a value, of two batches that were filled differently */

typedef struct models {
    doctor *d;
    kd_buf picture; /* PNG */
    uint64_t n;     /* seen */
    bool cache_told;
} models;

/* A picture that no run before has embedded, so that the first embedding is no cache's. */
static kd_status draw_picture(kd_buf *out, kd_error *err)
{
    uint64_t seed = (uint64_t)kd_wall_ms() << 20 ^ (uint64_t)kd_mono_ns() ^ (uint64_t)getpid();
    kd_image image = KD_IMAGE_INIT;
    kd_status status = kd_image_new(&image, PICTURE_SIDE, PICTURE_SIDE, err);
    for (size_t i = 0; status == KD_OK && i < (size_t)PICTURE_SIDE * PICTURE_SIDE * 3; i++)
        image.pixels[i] = (uint8_t)kd_random_next(&seed);
    if (status == KD_OK)
        status = kd_image_encode_png(&image, out, err);
    kd_image_free(&image);
    return status;
}

/* ---- The cache ---- */

static void say_cache(models *m, bool cached)
{
    m->cache_told = true;
    if (cached)
        doctor_say(m->d, DOCTOR_OK, "cache", NULL, "a picture's second embedding came from it");
    else
        doctor_say(m->d, DOCTOR_WARN, "cache",
            "Searches go on, slower. See that the embedder's Redis (--redis) answers and has "
            "memory to spare; its log says cache_lost and why.",
            "a picture was embedded anew each time, for %d s", CACHE_WAIT_MS / 1000);
}

/* Embeds the picture again, until it comes from the cache where that wasn't looked at yet. Each
 * answer must be the first. */
static kd_status embed_again(
    models *m, const Kindred__V1__Model *model, const Kindred__V1__Embedding *first, kd_error *err)
{
    const int64_t until = kd_mono_ms() + CACHE_WAIT_MS;
    for (;;) {
        Kindred__V1__EmbedResponse *again = NULL;
        kd_status status = doctor_embed(m->d, model->id, &m->picture, &again, err);
        if (status != KD_OK)
            return status;
        const Kindred__V1__Embedding *const second = again->embeddings[0];
        bool same = second->n_values == first->n_values;
        float off = 0;
        for (size_t i = 0; same && i < first->n_values; i++) {
            off = fabsf(first->values[i] - second->values[i]);
            same = off <= SAME_TOLERANCE; /* not when it is NaN */
        }
        if (!same)
            status =
                kd_error_set(err, KD_DATA_LOSS, "the same picture gave two vectors, %g apart%s",
                    (double)off, second->cached ? "; the second came from the cache" : "");
        const bool cached = second->cached;
        kd_message_free(again);
        if (status != KD_OK || m->cache_told)
            return status;
        if (cached || kd_mono_ms() > until) {
            say_cache(m, cached);
            return KD_OK;
        }
        kd_sleep_ms(CACHE_POLL_MS);
    }
}

/* ---- One model ---- */

static kd_status embed_picture(models *m, const Kindred__V1__Model *model, kd_error *err)
{
    Kindred__V1__EmbedResponse *first = NULL;
    double length;
    kd_status status = doctor_embed(m->d, model->id, &m->picture, &first, err);
    if (status != KD_OK)
        return status;
    const Kindred__V1__Embedding *const one = first->embeddings[0];
    if (one->n_values != model->dim)
        status = kd_error_set(err, KD_DATA_LOSS, "a picture's vector has %zu values, the model %u",
            one->n_values, model->dim);
    if (status == KD_OK)
        status = doctor_vector("a picture's vector", one->values, one->n_values, &length, err);
    if (status == KD_OK)
        status = embed_again(m, model, one, err);
    kd_message_free(first);
    return status;
}

static kd_status check_file(doctor *d, const char *id, kd_error *err)
{
    Kindred__V1__GetModelRequest request = KINDRED__V1__GET_MODEL_REQUEST__INIT;
    Kindred__V1__GetModelResponse *answer = NULL;
    request.model = (char *)(uintptr_t)id;
    request.verify = true;
    const kd_status status = doctor_ask(d, CLI_TRAINER, "GetModel", &request.base, &answer, err);
    kd_message_free(answer);
    return status;
}

static kd_status load(doctor *d, const char *id, kd_error *err)
{
    Kindred__V1__LoadModelRequest request = KINDRED__V1__LOAD_MODEL_REQUEST__INIT;
    Kindred__V1__LoadModelResponse *answer = NULL;
    request.model = (char *)(uintptr_t)id;
    const kd_status status =
        doctor_ask(d, DOCTOR_EMBEDDER, "LoadModel", &request.base, &answer, err);
    kd_message_free(answer);
    return status;
}

static void check_model(models *m, const Kindred__V1__Model *model)
{
    doctor *const d = m->d;
    kd_error err = KD_ERROR_INIT;
    char bytes[CLI_TEXT];
    char *const name = cli_must(kd_format("model %s", model->name));
    char *const advice = cli_must(kd_format(
        "Put its folder models/%s back from a backup, or remove it with `kindred model rm %s` and "
        "import or train it again.",
        model->id, model->id));
    kd_status status = check_file(d, model->id, &err);
    if (status == KD_OK && !d->embedder) {
        doctor_say(d, DOCTOR_SKIP, name, NULL, "%s is whole; no embedder to load it",
            cli_bytes(model->bytes, bytes));
    } else {
        if (status == KD_OK)
            status = load(d, model->id, &err);
        if (status == KD_OK)
            status = embed_picture(m, model, &err);
        if (status == KD_OK)
            doctor_say(d, DOCTOR_OK, name, NULL,
                "%s, whole; it loads and gives %u values of length 1, twice the same",
                cli_bytes(model->bytes, bytes), model->dim);
        else
            doctor_say_error(d, name, advice, &err);
    }
    free(advice);
    free(name);
}

static bool take_model(void *arg, const ProtobufCMessage *item)
{
    models *const m = arg;
    if (m->n++ < m->d->limit)
        check_model(m, (const Kindred__V1__Model *)item);
    return true;
}

void doctor_models(doctor *d)
{
    Kindred__V1__ListModelsRequest request = KINDRED__V1__LIST_MODELS_REQUEST__INIT;
    const cli_pages pages = {
        .service = CLI_TRAINER, .method = "ListModels", .field = "models", .timeout_ms = DOCTOR_MS};
    models m = {.d = d, .picture = KD_BUF_INIT};
    kd_error err = KD_ERROR_INIT;
    kd_status status = KD_OK;
    if (!d->trainer) {
        doctor_say(d, DOCTOR_SKIP, "models", NULL, "no trainer to list them");
    } else {
        status = draw_picture(&m.picture, &err);
        if (status == KD_OK)
            status = cli_each(d->channel, &pages, &request.base, take_model, &m, &err);
        if (status != KD_OK)
            doctor_say_error(d, "models", "See the trainer's log.", &err);
        else if (m.n == 0)
            doctor_say(d, DOCTOR_OK, "models", NULL,
                "none yet; `kindred model import` or `kindred model init` makes one");
        else if (m.n > d->limit)
            doctor_say(d, DOCTOR_SKIP, "models", NULL,
                "%llu of %llu were left out; --limit %llu takes them all",
                (unsigned long long)(m.n - d->limit), (unsigned long long)m.n,
                (unsigned long long)m.n);
    }
    if (!m.cache_told)
        doctor_say(d, DOCTOR_SKIP, "cache", NULL, "no model embedded a picture");
    kd_buf_free(&m.picture);
}
