/* load ADDRESS MODEL LIST: photographs to the embedder, one in each call, on the core itself over
 * one connection. load.h says what it is told by standard input; besides,
 *
 *   open RATE WARM SECONDS
 *
 * begins so many calls a second however many are on their way, at times of a Poisson process, and
 * counts a call's time from when it should have begun. It says {"over": true} after the last. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <grpc/support/time.h>

#include "bench/embedder/load.h"
#include "bench/unary.h"
#include "kindred/v1/embedder.pb-c.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"

static const char *const code_names[LOAD_CODES] = {"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE",
    "DATA_LOSS", "UNAUTHENTICATED"};

typedef struct one {
    unary_call call;  /* first: the queue's tag */
    struct one *next; /* of those that are free */
} one;

typedef struct load {
    unary_client client;
    char *model;
    load_photos photos;
    load_run run;
    bool cached;
    size_t flying;
    one *free_ones; /* owned, a list */
} load;

static grpc_slice request_of(load *l)
{
    Kindred__V1__EmbedRequest message = KINDRED__V1__EMBED_REQUEST__INIT;
    const kd_buf *const photo = load_photos_next(&l->photos, l->cached);
    ProtobufCBinaryData image = {photo->len, photo->data};
    message.model = l->model;
    message.n_images = 1;
    message.images = &image;
    grpc_slice slice = grpc_slice_malloc(kindred__v1__embed_request__get_packed_size(&message));
    (void)kindred__v1__embed_request__pack(&message, GRPC_SLICE_START_PTR(slice));
    return slice;
}

static void begin(load *l, int64_t begun_ns)
{
    one *o = l->free_ones;
    if (o)
        l->free_ones = o->next;
    else if (!(o = calloc(1, sizeof *o)))
        load_die("no memory");
    const grpc_slice bytes = request_of(l);
    o->call.begun_ns = begun_ns;
    if (!unary_begin(&l->client, &o->call, bytes))
        load_die("a batch was refused");
    grpc_slice_unref(bytes);
    l->flying++;
}

static void check(load *l, const unary_call *call)
{
    grpc_slice bytes;
    if (!unary_answer(call, &bytes))
        load_die("a call has no answer");
    Kindred__V1__EmbedResponse *const answer = kindred__v1__embed_response__unpack(
        NULL, GRPC_SLICE_LENGTH(bytes), GRPC_SLICE_START_PTR(bytes));
    if (!answer || answer->n_embeddings != 1)
        load_die("an answer is not one embedding");
    const Kindred__V1__Embedding *const embedding = answer->embeddings[0];
    if (embedding->problem)
        load_die(embedding->problem->message);
    if (answer->dim == 0 || embedding->n_values != answer->dim)
        load_die("an embedding is not of the dimension that is said");
    load_check(embedding->values, embedding->n_values);
    if (embedding->cached && !l->cached)
        load_die("a fresh photograph was in the cache");
    l->run.cached += embedding->cached ? 1 : 0;
    kindred__v1__embed_response__free_unpacked(answer, NULL);
    grpc_slice_unref(bytes);
}

static void end(load *l, one *o)
{
    load_count(&l->run, (unsigned)o->call.code);
    if (o->call.code == GRPC_STATUS_OK) {
        load_good(&l->run, o->call.begun_ns);
        check(l, &o->call);
    }
    unary_end(&o->call);
    o->next = l->free_ones;
    l->free_ones = o;
    l->flying--;
}

/* Takes one answer; false when there was none until the time (kd_mono_ns; -1: for good). */
static bool take(load *l, int64_t until_ns)
{
    gpr_timespec until = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (until_ns >= 0) {
        const int64_t left = until_ns - kd_mono_ns();
        until = gpr_time_add(
            gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left > 0 ? left : 0, GPR_TIMESPAN));
    }
    const grpc_event event = grpc_completion_queue_next(l->client.queue, until, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        return false;
    end(l, event.tag);
    return true;
}

static void closed(load *l, const load_order *order)
{
    const int64_t until = l->run.begun_ns + (int64_t)((order->warm + order->seconds) * 1e9);
    for (uint32_t i = 0; i < order->in_flight; i++)
        begin(l, kd_mono_ns());
    while (l->flying > 0) {
        (void)take(l, -1);
        if (kd_mono_ns() < until)
            begin(l, kd_mono_ns());
    }
}

static void open_loop(load *l, const load_order *order)
{
    uint64_t state = 1;
    const int64_t until = l->run.begun_ns + (int64_t)((order->warm + order->seconds) * 1e9);
    int64_t next = l->run.begun_ns;
    while (next < until) {
        if (kd_mono_ns() < next) {
            (void)take(l, next);
            continue;
        }
        begin(l, next);
        const double u = (double)((kd_random_next(&state) >> 11) + 1) * 0x1p-53;
        next += (int64_t)(-log(u) / order->rate * 1e9);
    }
    printf("{\"over\": true}\n");
    (void)fflush(stdout);
    while (l->flying > 0)
        (void)take(l, -1);
}

int main(int argc, char **argv)
{
    load l = {0};
    load_order order;
    if (argc != 4)
        load_die("usage: ADDRESS MODEL LIST");
    load_photos_read(&l.photos, argv[3]);
    l.model = argv[2];
    unary_open(&l.client, argv[1], "/kindred.v1.EmbedderService/Embed");
    printf("{\"ready\": \"%zu photographs\"}\n", l.photos.n);
    (void)fflush(stdout);
    while (load_next_order(&order, true)) {
        l.cached = order.cached;
        load_begin(&l.run);
        if (order.open)
            open_loop(&l, &order);
        else
            closed(&l, &order);
        load_report(&l.run, order.warm, order.warm + order.seconds, code_names);
    }
    while (l.free_ones) {
        one *const o = l.free_ones;
        l.free_ones = o->next;
        free(o);
    }
    load_run_free(&l.run);
    load_photos_free(&l.photos);
    unary_close(&l.client);
    return 0;
}
