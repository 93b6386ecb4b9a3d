/* Searches and upserts to an indexer, for run.py.
 *
 *   bench_search_load ADDRESS COLLECTION FILE N QUERIES DIM TRUTH
 *
 * FILE and TRUTH are what bench_vector_ours drew: N vectors, then the queries, and the numbers of
 * each query's true neighbours. Says that it is ready, then answers each line of standard input
 * with a line of JSON:
 *
 *   fill KIND                   makes the collection with an index of that kind, image i has vector
 *                               i, and waits until all of it is built
 *   search IN_FLIGHT WARM SECONDS
 *                               one query a call, so many on their way from one thread over one
 *                               connection; rate and times of those after the first WARM seconds,
 *                               and the recall of all
 *   upserts RATE SECONDS        so many calls a second, each puts an image that is there again */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/support/time.h>

#include "bench/args.h"
#include "bench/unary.h"
#include "kindred/v1/indexer.pb-c.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"

#define K 10u
#define MODEL "aaaabbbbccccdddd"
#define MOST 100000000u
#define REST_MS 15000 /* an approximate collection is built on when it is quiet */
#define MAX_IN_FLIGHT 1024u
#define MAX_SAMPLES (1u << 22)
#define FILL_BATCH 512u
#define FILL_MS 60000
#define MAX_UPSERTS 128u /* on their way: more are begun later, and the rate is lower */

typedef struct one {
    unary_call call; /* first: the queue's tag */
    size_t number;   /* of its query */
    struct one *next;
} one;

typedef struct load {
    const char *address, *collection;
    uint32_t n, n_queries, dim;
    float *vectors; /* owned, as the next three: those in the collection, then the queries */
    uint32_t *truth;
    grpc_slice *requests; /* a search for each query */
    float *samples;       /* ms */
    size_t n_samples, asked, right, answered;
    one all[MAX_IN_FLIGHT];
} load;

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "bench_search_load: %s\n", what);
    exit(1);
}

static void *must(void *pointer)
{
    if (!pointer)
        die("no memory");
    return pointer;
}

static void read_file(const char *path, void *bytes, size_t size, size_t n)
{
    FILE *const file = fopen(path, "rb");
    if (!file || fread(bytes, size, n, file) != n)
        die("cannot read what was drawn");
    (void)fclose(file);
}

/* ---- Filling ---- */

static grpc_slice packed(const ProtobufCMessage *message)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(message));
    (void)protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slice));
    return slice;
}

/* Images first, first + 1, …; n at most FILL_BATCH. */
static void with_upsert(const load *l, size_t first, size_t n,
    void (*then)(void *arg, const Kindred__V1__UpsertRequest *request), void *arg)
{
    static Kindred__V1__UpsertItem rows[FILL_BATCH], *list[FILL_BATCH];
    static Kindred__V1__Item items[FILL_BATCH];
    static char class_names[FILL_BATCH][24];
    Kindred__V1__UpsertRequest request = KINDRED__V1__UPSERT_REQUEST__INIT;
    for (size_t i = 0; i < n; i++) {
        kindred__v1__upsert_item__init(&rows[i]);
        kindred__v1__item__init(&items[i]);
        items[i].image_id = first + i;
        items[i].class_id = (uint32_t)((first + i) / 10);
        items[i].super_class_id = items[i].class_id % 20;
        (void)snprintf(class_names[i], sizeof class_names[i], "product-%u", items[i].class_id);
        items[i].class_name = class_names[i];
        items[i].super_class_name = (char *)"kind";
        items[i].uri = (char *)"/photographs/of/some/product.jpg";
        rows[i].item = &items[i];
        rows[i].n_values = l->dim;
        rows[i].values = l->vectors + (first + i) * l->dim;
        list[i] = &rows[i];
    }
    request.collection = (char *)(uintptr_t)l->collection;
    request.model_id = (char *)MODEL;
    request.n_items = n;
    request.items = list;
    then(arg, &request);
}

static void call(kd_channel *channel, const char *method, const ProtobufCMessage *request)
{
    const kd_call_options options = {.timeout_ms = FILL_MS};
    ProtobufCMessage *response = NULL;
    kd_error err = KD_ERROR_INIT;
    if (kd_channel_call(channel, &kindred__v1__indexer_service__descriptor, method, request,
            &options, &response, &err) != KD_OK)
        die(err.message);
    kd_message_free(response);
}

static void send_upsert(void *arg, const Kindred__V1__UpsertRequest *request)
{
    call(arg, "Upsert", &request->base);
}

/* Until nothing is built for so long. */
static void wait_for_index(const load *l, kd_channel *channel, int64_t rest_ms)
{
    const kd_call_options options = {.timeout_ms = FILL_MS};
    Kindred__V1__GetCollectionRequest get = KINDRED__V1__GET_COLLECTION_REQUEST__INIT;
    kd_error err = KD_ERROR_INIT;
    int64_t since_ms = kd_mono_ms();
    bool building = true;
    get.name = (char *)(uintptr_t)l->collection;
    while (building || kd_mono_ms() - since_ms < rest_ms) {
        ProtobufCMessage *response = NULL;
        if (kd_channel_call(channel, &kindred__v1__indexer_service__descriptor, "GetCollection",
                &get.base, &options, &response, &err) != KD_OK)
            die(err.message);
        building =
            ((Kindred__V1__GetCollectionResponse *)response)->collection->index_state->building;
        kd_message_free(response);
        if (building)
            since_ms = kd_mono_ms();
        kd_sleep_ms(100);
    }
}

static void fill(const load *l, const char *kind)
{
    kd_channel *channel = NULL;
    kd_error err = KD_ERROR_INIT;
    Kindred__V1__CreateCollectionRequest create = KINDRED__V1__CREATE_COLLECTION_REQUEST__INIT;
    Kindred__V1__IndexSettings index = KINDRED__V1__INDEX_SETTINGS__INIT;
    const int64_t begun = kd_mono_ns();
    if (kd_channel_open(&channel, l->address, NULL, &err) != KD_OK)
        die(err.message);
    create.name = (char *)(uintptr_t)l->collection;
    create.model_id = (char *)MODEL;
    create.dim = l->dim;
    index.kind = (char *)(uintptr_t)kind;
    create.index = &index;
    call(channel, "CreateCollection", &create.base);
    for (size_t at = 0; at < l->n; at += FILL_BATCH)
        with_upsert(l, at, l->n - at < FILL_BATCH ? l->n - at : FILL_BATCH, send_upsert, channel);
    const double filled = (double)(kd_mono_ns() - begun) / 1e9;
    wait_for_index(l, channel, strcmp(kind, "exact") == 0 ? 0 : REST_MS);
    kd_channel_close(channel);
    printf("{\"seconds\": %.3f, \"built\": %.3f}\n", filled, (double)(kd_mono_ns() - begun) / 1e9);
}

/* ---- Searching ---- */

static void make_requests(load *l)
{
    l->requests = must(calloc(l->n_queries, sizeof *l->requests));
    for (size_t i = 0; i < l->n_queries; i++) {
        Kindred__V1__SearchRequest request = KINDRED__V1__SEARCH_REQUEST__INIT;
        Kindred__V1__Vector query = KINDRED__V1__VECTOR__INIT, *list = &query;
        query.n_values = l->dim;
        query.values = l->vectors + (l->n + i) * l->dim;
        request.collection = (char *)(uintptr_t)l->collection;
        request.model_id = (char *)MODEL;
        request.n_queries = 1;
        request.queries = &list;
        request.k = K;
        l->requests[i] = packed(&request.base);
    }
}

static void begin(load *l, unary_client *client, one *o)
{
    o->number = l->asked++ % l->n_queries;
    o->call.begun_ns = kd_mono_ns();
    if (!unary_begin(client, &o->call, l->requests[o->number]))
        die("a batch was refused");
}

static void take(load *l, const one *o)
{
    grpc_slice bytes;
    if (!unary_answer(&o->call, &bytes))
        die("a call has no answer");
    Kindred__V1__SearchResponse *const answer = kindred__v1__search_response__unpack(
        NULL, GRPC_SLICE_LENGTH(bytes), GRPC_SLICE_START_PTR(bytes));
    if (!answer || answer->n_results != 1 || answer->results[0]->n_hits != K)
        die("an answer has not k hits");
    for (size_t h = 0; h < K; h++)
        for (size_t t = 0; t < K; t++)
            l->right += l->truth[o->number * K + t] == answer->results[0]->hits[h]->item->image_id;
    l->answered++;
    kindred__v1__search_response__free_unpacked(answer, NULL);
    grpc_slice_unref(bytes);
}

static void end(load *l, one *o, int64_t from_ns)
{
    const int64_t now = kd_mono_ns();
    if (o->call.code != GRPC_STATUS_OK)
        die("a call failed");
    if (now >= from_ns && l->n_samples < MAX_SAMPLES)
        l->samples[l->n_samples++] = (float)(now - o->call.begun_ns) / 1e6f;
    take(l, o);
    unary_end(&o->call);
}

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void search(load *l, uint32_t in_flight, double warm, double seconds)
{
    unary_client client;
    const int64_t since = kd_mono_ns();
    const int64_t from = since + (int64_t)(warm * 1e9), until = from + (int64_t)(seconds * 1e9);
    size_t counted = 0;
    l->n_samples = l->right = l->answered = 0;
    unary_open(&client, l->address, "/kindred.v1.IndexerService/Search");
    for (size_t i = 0; i < in_flight; i++)
        begin(l, &client, &l->all[i]);
    for (size_t flying = in_flight; flying > 0;) {
        const grpc_event event =
            grpc_completion_queue_next(client.queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        one *const o = event.tag;
        end(l, o, from);
        if (kd_mono_ns() < until) {
            counted = l->n_samples; /* what comes in after the end is in no rate */
            begin(l, &client, o);
        } else {
            flying--;
        }
    }
    unary_close(&client);
    if (counted == 0)
        die("no call was answered in time");
    qsort(l->samples, l->n_samples, sizeof *l->samples, compare);
    printf("{\"rate\": %.3f, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"recall\": %.6f}\n",
        (double)counted / seconds, (double)l->samples[l->n_samples / 2],
        (double)l->samples[l->n_samples * 99 / 100], (double)l->right / (double)(l->answered * K));
}

/* ---- Upserts ---- */

static void pack_upsert(void *arg, const Kindred__V1__UpsertRequest *request)
{
    *(grpc_slice *)arg = packed(&request->base);
}

/* Takes one answer until the time; false when there was none. */
static bool take_upsert(unary_client *client, int64_t until_ns, one **free_ones)
{
    const int64_t left = until_ns - kd_mono_ns();
    const gpr_timespec until = gpr_time_add(
        gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_nanos(left > 0 ? left : 0, GPR_TIMESPAN));
    const grpc_event event = grpc_completion_queue_next(client->queue, until, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        return false;
    one *const o = event.tag;
    if (o->call.code != GRPC_STATUS_OK)
        die("an upsert failed");
    unary_end(&o->call);
    o->next = *free_ones;
    *free_ones = o;
    return true;
}

static void upserts(load *l, double rate, double seconds)
{
    unary_client client;
    one *free_ones = NULL;
    uint64_t state = 1;
    size_t begun = 0, done = 0;
    const int64_t since = kd_mono_ns(), until = since + (int64_t)(seconds * 1e9);
    for (size_t i = 0; i < MAX_UPSERTS; i++) {
        l->all[i].next = free_ones;
        free_ones = &l->all[i];
    }
    unary_open(&client, l->address, "/kindred.v1.IndexerService/Upsert");
    while (kd_mono_ns() < until) {
        const int64_t next = since + (int64_t)((double)begun / rate * 1e9);
        if (kd_mono_ns() < next || !free_ones) {
            done += take_upsert(&client, free_ones && next < until ? next : until, &free_ones);
            continue;
        }
        one *const o = free_ones;
        grpc_slice bytes;
        free_ones = o->next;
        with_upsert(l, kd_random_next(&state) % l->n, 1, pack_upsert, &bytes);
        if (!unary_begin(&client, &o->call, bytes))
            die("a batch was refused");
        grpc_slice_unref(bytes);
        begun++;
    }
    const size_t in_time = done;
    while (done < begun)
        done += take_upsert(&client, kd_mono_ns() + INT64_C(1000000000), &free_ones);
    unary_close(&client);
    printf("{\"rate\": %.3f}\n", (double)in_time / seconds);
}

/* ---- Orders ---- */

static void answer(load *l, const char *line)
{
    uint32_t in_flight = 0;
    double first = 0, second = 0;
    char kind[16] = "";
    if (sscanf(line, "fill %15s", kind) == 1)
        fill(l, kind);
    else if (sscanf(line, "search %u %lf %lf", &in_flight, &first, &second) == 3 &&
             in_flight >= 1 && in_flight <= MAX_IN_FLIGHT)
        search(l, in_flight, first, second);
    else if (sscanf(line, "upserts %lf %lf", &first, &second) == 2 && first > 0)
        upserts(l, first, second);
    else
        die("an order is not understood");
    (void)fflush(stdout);
}

int main(int argc, char **argv)
{
    static load l;
    char line[64];
    if (argc != 8 || !bench_number(argv[4], MOST, &l.n) ||
        !bench_number(argv[5], MOST, &l.n_queries) || !bench_number(argv[6], 4096, &l.dim))
        die("usage: bench_search_load ADDRESS COLLECTION FILE N QUERIES DIM TRUTH");
    l.address = argv[1];
    l.collection = argv[2];
    l.vectors = must(malloc(((size_t)l.n + l.n_queries) * l.dim * sizeof *l.vectors));
    l.truth = must(malloc((size_t)l.n_queries * K * sizeof *l.truth));
    l.samples = must(malloc(MAX_SAMPLES * sizeof *l.samples));
    read_file(argv[3], l.vectors, l.dim * sizeof(float), (size_t)l.n + l.n_queries);
    read_file(argv[7], l.truth, K * sizeof *l.truth, l.n_queries);
    kd_rpc_init();
    make_requests(&l);
    printf("{\"ready\": \"%u vectors\"}\n", l.n);
    (void)fflush(stdout);
    while (fgets(line, sizeof line, stdin))
        answer(&l, line);
    for (size_t i = 0; i < l.n_queries; i++)
        grpc_slice_unref(l.requests[i]);
    kd_rpc_shutdown();
    free(l.requests);
    free(l.samples);
    free(l.truth);
    free(l.vectors);
    return 0;
}
