/* soak ADDRESS MODEL MODEL LIST SECONDS: a bit of everything to the embedder for so long, each kind
 * from a thread of its own, one call after the other. What a call must give is checked; the first
 * that gives something else ends the program with 1. At the end a line of JSON: for each kind how
 * many calls ended how.
 *
 * LIST names a JPEG in each line. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/args.h"
#include "bench/embedder/load.h"
#include "kindred/v1/embedder.pb-c.h"
#include "lib/base/clock.h"
#include "lib/base/half.h"
#include "lib/base/random.h"
#include "lib/rpc/rpc.h"

#define EMBEDDER (&kindred__v1__embedder_service__descriptor)
#define STREAM_IMAGES 32u /* fewer than the embedder takes without an answer being read */
#define MAX_IMAGES 4u
#define WIDTH 320u
#define HEIGHT 240u
#define CALL_MS 300000  /* of calls that must end well, however busy the machine */
#define IMPATIENT_MS 60 /* the longest patience of calls that are given up or too late */
#define PAUSE_MS 200

typedef struct soak {
    kd_channel *channel;
    char *models[2];
    int64_t until_ms;
    const char *list;
} soak;

typedef struct worker {
    const struct kind *kind;
    const soak *soak;
    load_photos photos;
    uint8_t *pixels; /* owned: WIDTH × HEIGHT × 3 */
    uint64_t random, round;
    uint64_t codes[KD_UNAUTHENTICATED + 1];
} worker;

typedef struct kind {
    const char *name;
    void (*once)(worker *w);
} kind;

typedef Kindred__V1__EmbedRequest embed_request;
typedef Kindred__V1__EmbedResponse embed_response;

static uint32_t below(worker *w, uint32_t n)
{
    return (uint32_t)(kd_random_next(&w->random) >> 32) % n;
}

static _Noreturn void unexpected(const worker *w, const char *what)
{
    (void)fprintf(stderr, "%s, call %llu: ", w->kind->name, (unsigned long long)w->round);
    load_die(what);
}

/* ---- Requests ---- */

static embed_request request_of(const worker *w, ProtobufCBinaryData *images, size_t n)
{
    embed_request request = KINDRED__V1__EMBED_REQUEST__INIT;
    request.model = w->soak->models[w->round % 2];
    request.images = images;
    request.n_images = n;
    return request;
}

/* One photograph: the next use of the worker's photographs changes it. */
static ProtobufCBinaryData photo(worker *w, bool cached)
{
    const kd_buf *const bytes = load_photos_next(&w->photos, cached);
    return (ProtobufCBinaryData){bytes->len, bytes->data};
}

static kd_status ask(worker *w, const embed_request *request, int64_t timeout_ms,
    embed_response **response, kd_error *err)
{
    ProtobufCMessage *message = NULL;
    const kd_call_options options = {.timeout_ms = timeout_ms};
    const kd_status status = kd_channel_call(
        w->soak->channel, EMBEDDER, "Embed", &request->base, &options, &message, err);
    *response = (embed_response *)message;
    w->codes[status]++;
    return status;
}

/* False for a call that was shed, after a pause: what was given up holds its place until the
 * embedder comes to it. */
static bool taken(const worker *w, kd_status status, const kd_error *err)
{
    if (status == KD_OK)
        return true;
    if (status != KD_RESOURCE_EXHAUSTED)
        unexpected(w, err->message);
    kd_sleep_ms(PAUSE_MS);
    return false;
}

static void check_good(
    const worker *w, const Kindred__V1__Embedding *embedding, size_t dim, bool half)
{
    float values[4096];
    if (!embedding || embedding->problem)
        unexpected(w, embedding ? embedding->problem->message : "no embedding");
    if (half && embedding->values_f16.len == 2 * dim && dim <= 4096) {
        kd_half_unpack(embedding->values_f16.data, dim, values);
        load_check(values, dim);
    } else if (!half && dim > 0 && embedding->n_values == dim) {
        load_check(embedding->values, dim);
    } else {
        unexpected(w, "an embedding is not of the dimension that is said");
    }
}

/* A call that must go well, and all of its images too, unless the embedder sheds it. */
static void must(worker *w, const embed_request *request)
{
    embed_response *response = NULL;
    kd_error err = KD_ERROR_INIT;
    const size_t n = request->n_images + request->n_pixels;
    const bool half = request->vector_format == KINDRED__V1__VECTOR_FORMAT__VECTOR_FORMAT_FLOAT16;
    if (!taken(w, ask(w, request, CALL_MS, &response, &err), &err))
        return;
    if (response->n_embeddings != n)
        unexpected(w, "not as many embeddings as images");
    for (size_t i = 0; i < n; i++)
        check_good(w, response->embeddings[i], response->dim, half);
    kd_message_free(response);
}

/* ---- The kinds ---- */

static void unary(worker *w)
{
    ProtobufCBinaryData images[MAX_IMAGES];
    const size_t n = w->photos.n < MAX_IMAGES ? 1 : 1 + below(w, MAX_IMAGES);
    for (size_t i = 0; i < n; i++) /* neighbours in the list: none is changed by the next */
        images[i] = photo(w, false);
    const embed_request request = request_of(w, images, n);
    must(w, &request);
}

static void cached(worker *w)
{
    ProtobufCBinaryData image = photo(w, true);
    const embed_request request = request_of(w, &image, 1);
    must(w, &request);
}

static void float16(worker *w)
{
    ProtobufCBinaryData image = photo(w, w->round % 4 == 0);
    embed_request request = request_of(w, &image, 1);
    request.vector_format = KINDRED__V1__VECTOR_FORMAT__VECTOR_FORMAT_FLOAT16;
    must(w, &request);
}

static void pixels(worker *w)
{
    Kindred__V1__Pixels some = KINDRED__V1__PIXELS__INIT, *list = &some;
    const uint64_t mark[2] = {w->round, w->photos.salt};
    memcpy(w->pixels, mark, sizeof mark);
    some.width = WIDTH;
    some.height = HEIGHT;
    some.rgb = (ProtobufCBinaryData){WIDTH * HEIGHT * 3, w->pixels};
    embed_request request = request_of(w, NULL, 0);
    request.n_pixels = 1;
    request.pixels = &list;
    must(w, &request);
}

/* A cut photograph beside a whole one, bytes that are no image, a model that is not there. */
static void broken(worker *w)
{
    uint8_t noise[256];
    ProtobufCBinaryData images[2];
    embed_response *response = NULL;
    kd_error err = KD_ERROR_INIT;
    for (size_t i = 0; i < sizeof noise; i++)
        noise[i] = (uint8_t)below(w, 256);
    images[0] = photo(w, false);
    images[1] = w->round % 2 == 0 ? (ProtobufCBinaryData){images[0].len / 2, images[0].data}
                                  : (ProtobufCBinaryData){sizeof noise, noise};
    embed_request request = request_of(w, images, 2);
    if (w->round % 8 == 7) {
        request.model = (char *)(uintptr_t)"none-of-that-name";
        if (ask(w, &request, CALL_MS, &response, &err) != KD_NOT_FOUND)
            unexpected(w, "an unknown model was found");
        return;
    }
    if (!taken(w, ask(w, &request, CALL_MS, &response, &err), &err))
        return;
    if (response->n_embeddings != 2)
        unexpected(w, "not as many embeddings as images");
    check_good(w, response->embeddings[0], response->dim, false);
    const Kindred__V1__Problem *const problem = response->embeddings[1]->problem;
    if (!problem || problem->code != KD_INVALID_ARGUMENT)
        unexpected(w, "a broken image has an embedding");
    kd_message_free(response);
}

static void late(worker *w)
{
    ProtobufCBinaryData image = photo(w, false);
    const embed_request request = request_of(w, &image, 1);
    embed_response *response = NULL;
    kd_error err = KD_ERROR_INIT;
    const kd_status status = ask(w, &request, 1 + below(w, IMPATIENT_MS), &response, &err);
    if (status != KD_DEADLINE_EXCEEDED)
        (void)taken(w, status, &err);
    kd_message_free(response);
    kd_sleep_ms(below(w, PAUSE_MS));
}

/* A call that is given up at some time of its life. */
static void cancelled(worker *w)
{
    ProtobufCBinaryData image = photo(w, false);
    const embed_request request = request_of(w, &image, 1);
    kd_stream *stream = NULL;
    ProtobufCMessage *message = NULL;
    bool waiting = false;
    kd_error err = KD_ERROR_INIT;
    kd_status status =
        kd_stream_open(&stream, w->soak->channel, EMBEDDER, "Embed", &request.base, NULL, &err);
    if (status != KD_OK)
        unexpected(w, err.message);
    status = kd_stream_read(stream, below(w, IMPATIENT_MS), &message, &waiting, &err);
    if (!waiting)
        (void)taken(w, status, &err);
    w->codes[waiting ? KD_CANCELLED : status]++;
    kd_message_free(message);
    kd_stream_close(stream);
    kd_sleep_ms(below(w, PAUSE_MS));
}

/* One in eight of a stream's images is broken; one stream in four is left half-way. */
static void streamed(worker *w)
{
    uint64_t seen = 0; /* a bit for each id */
    kd_stream *stream = NULL;
    kd_error err = KD_ERROR_INIT;
    const uint32_t read = w->round % 4 == 3 ? below(w, STREAM_IMAGES) : STREAM_IMAGES;
    if (kd_stream_open(&stream, w->soak->channel, EMBEDDER, "EmbedStream", NULL,
            &(kd_call_options){.timeout_ms = CALL_MS}, &err) != KD_OK)
        unexpected(w, err.message);
    for (uint32_t i = 0; i < STREAM_IMAGES; i++) {
        Kindred__V1__EmbedStreamRequest message = KINDRED__V1__EMBED_STREAM_REQUEST__INIT;
        message.id = i;
        message.model = i == 0 ? w->soak->models[w->round % 2] : (char *)(uintptr_t)"";
        message.input_case = KINDRED__V1__EMBED_STREAM_REQUEST__INPUT_IMAGE;
        message.image = photo(w, i % 8 == 1);
        if (i % 8 == 7)
            message.image.len /= 2;
        if (kd_stream_write(stream, &message.base, &err) != KD_OK)
            unexpected(w, err.message);
    }
    if (read == STREAM_IMAGES)
        kd_stream_end(stream);
    for (uint32_t i = 0; i < read; i++) {
        ProtobufCMessage *message = NULL;
        bool waiting = false;
        if (kd_stream_read(stream, -1, &message, &waiting, &err) != KD_OK)
            unexpected(w, err.message);
        const Kindred__V1__EmbedStreamResponse *const answer = (const void *)message;
        if (!answer || !answer->embedding || answer->id >= STREAM_IMAGES ||
            (seen >> answer->id & 1) != 0)
            unexpected(w, "an answer is missing or there twice");
        seen |= 1ull << answer->id;
        if (answer->id % 8 != 7)
            check_good(w, answer->embedding, answer->embedding->n_values, false);
        else if (!answer->embedding->problem)
            unexpected(w, "a broken image has an embedding");
        kd_message_free(message);
    }
    w->codes[read == STREAM_IMAGES ? KD_OK : KD_CANCELLED]++;
    kd_stream_close(stream);
}

static const kind kinds[] = {{"unary", unary}, {"streams", streamed}, {"cached", cached},
    {"float16", float16}, {"pixels", pixels}, {"broken", broken}, {"cancelled", cancelled},
    {"late", late}};
#define KINDS (sizeof kinds / sizeof kinds[0])

/* ---- The run ---- */

static void *work(void *arg)
{
    worker *const w = arg;
    for (; kd_mono_ms() < w->soak->until_ms; w->round++)
        w->kind->once(w);
    return NULL;
}

static void worker_init(worker *w, const kind *of, const soak *s)
{
    w->kind = of;
    w->soak = s;
    load_photos_read(&w->photos, s->list);
    w->random = w->photos.salt;
    w->pixels = calloc(WIDTH * HEIGHT, 3);
    if (!w->pixels)
        load_die("no memory");
    for (size_t i = 0; i < WIDTH * HEIGHT * 3; i++)
        w->pixels[i] = (uint8_t)(i * 31 / WIDTH);
}

static void report(const worker *workers)
{
    for (size_t i = 0; i < KINDS; i++) {
        printf("%s\"%s\": {", i > 0 ? ", " : "{", kinds[i].name);
        const char *comma = "";
        for (unsigned code = 0; code <= KD_UNAUTHENTICATED; code++) {
            if (workers[i].codes[code] == 0)
                continue;
            printf("%s\"%s\": %llu", comma, kd_status_name((kd_status)code),
                (unsigned long long)workers[i].codes[code]);
            comma = ", ";
        }
        printf("}");
    }
    printf("}\n");
}

int main(int argc, char **argv)
{
    static worker workers[KINDS];
    pthread_t threads[KINDS];
    soak s = {0};
    uint32_t seconds = 0;
    kd_error err = KD_ERROR_INIT;
    if (argc != 6 || !bench_number(argv[5], 7 * 24 * 3600, &seconds))
        load_die("usage: ADDRESS MODEL MODEL LIST SECONDS");
    kd_rpc_init();
    if (kd_channel_open(&s.channel, argv[1], NULL, &err) != KD_OK)
        load_die(err.message);
    s.models[0] = argv[2];
    s.models[1] = argv[3];
    s.list = argv[4];
    for (size_t i = 0; i < KINDS; i++)
        worker_init(&workers[i], &kinds[i], &s);
    s.until_ms = kd_mono_ms() + (int64_t)seconds * 1000;
    for (size_t i = 0; i < KINDS; i++)
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0)
            load_die("cannot start a thread");
    for (size_t i = 0; i < KINDS; i++)
        (void)pthread_join(threads[i], NULL);
    report(workers);
    for (size_t i = 0; i < KINDS; i++) {
        load_photos_free(&workers[i].photos);
        free(workers[i].pixels);
    }
    kd_channel_close(s.channel);
    kd_rpc_shutdown();
    return 0;
}
