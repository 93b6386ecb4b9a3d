/* load ADDRESS IN_FLIGHT SECONDS PAYLOAD: keeps so many echoes on their way for so long, from one
 * thread over one connection, on the core itself. Each answer must be what was sent. Prints JSON.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include "lib/base/clock.h"
#include "lib/rpc/rpc.h"

#define WARM_UP_MS 300
#define MAX_SAMPLES (1u << 22)
#define MAX_IN_FLIGHT 1024u

typedef struct one {
    grpc_call *call;
    grpc_byte_buffer *request, *received;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
    int64_t begun_ns;
} one;

typedef struct load {
    grpc_channel *channel;
    grpc_completion_queue *queue;
    grpc_slice method, payload;
    float *samples; /* µs */
    size_t n_samples;
    uint64_t calls;
} load;

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static void begin(load *l, one *o)
{
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    grpc_metadata_array_init(&o->initial);
    grpc_metadata_array_init(&o->trailing);
    o->request = grpc_raw_byte_buffer_create(&l->payload, 1); /* the core empties it */
    o->received = NULL;
    o->begun_ns = kd_mono_ns();
    o->call = grpc_channel_create_call(l->channel, NULL, GRPC_PROPAGATE_DEFAULTS, l->queue,
        l->method, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = o->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &o->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &o->received;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &o->trailing;
    ops[5].data.recv_status_on_client.status = &o->code;
    ops[5].data.recv_status_on_client.status_details = &o->details;
    if (grpc_call_start_batch(o->call, ops, 6, o, NULL) != GRPC_CALL_OK)
        die("a batch was refused");
}

static void end(load *l, one *o)
{
    grpc_byte_buffer_reader reader;
    if (o->code != GRPC_STATUS_OK || !o->received ||
        !grpc_byte_buffer_reader_init(&reader, o->received))
        die("a call failed");
    grpc_slice answer = grpc_byte_buffer_reader_readall(&reader);
    if (!grpc_slice_eq(answer, l->payload)) /* request and response have the same bytes */
        die("an answer is not what was sent");
    grpc_slice_unref(answer);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(o->request);
    grpc_byte_buffer_destroy(o->received);
    grpc_metadata_array_destroy(&o->initial);
    grpc_metadata_array_destroy(&o->trailing);
    grpc_slice_unref(o->details);
    grpc_call_unref(o->call);
    l->calls++;
    if (l->n_samples < MAX_SAMPLES)
        l->samples[l->n_samples++] = (float)(kd_mono_ns() - o->begun_ns) / 1e3f;
}

/* Until the time is over, then until none is on its way. */
static double run(load *l, one *all, size_t in_flight, int64_t ms)
{
    const int64_t since = kd_mono_ns(), until = since + ms * 1000000;
    size_t flying = in_flight;
    l->calls = l->n_samples = 0;
    for (size_t i = 0; i < in_flight; i++)
        begin(l, &all[i]);
    while (flying > 0) {
        const grpc_event event =
            grpc_completion_queue_next(l->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        one *const o = event.tag;
        end(l, o);
        if (kd_mono_ns() < until)
            begin(l, o);
        else
            flying--;
    }
    return (double)(kd_mono_ns() - since) / 1e9;
}

static int compare(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static one all[MAX_IN_FLIGHT];
    load l = {0};
    if (argc != 5)
        die("usage: load ADDRESS IN_FLIGHT SECONDS PAYLOAD");
    const size_t in_flight = strtoul(argv[2], NULL, 10), payload = strtoul(argv[4], NULL, 10);
    const double seconds = strtod(argv[3], NULL);
    if (in_flight == 0 || in_flight > MAX_IN_FLIGHT || payload == 0 || payload > (1u << 20))
        die("a number is out of range");
    kd_rpc_init();
    grpc_channel_credentials *const plain = grpc_insecure_credentials_create();
    l.channel = grpc_channel_create(argv[1], plain, NULL);
    l.queue = grpc_completion_queue_create_for_next(NULL);
    l.method = grpc_slice_from_static_string("/kindred.bench.v1.EchoService/Echo");
    l.samples = malloc(MAX_SAMPLES * sizeof *l.samples);
    uint8_t *const bytes = calloc(1, payload + 8); /* field 1, bytes: tag, varint, data */
    if (!l.samples || !bytes)
        die("no memory");
    size_t len = 0;
    bytes[len++] = 0x0a;
    size_t rest = payload;
    for (; rest > 127; rest >>= 7)
        bytes[len++] = (uint8_t)(rest & 127) | 128;
    bytes[len++] = (uint8_t)rest;
    for (size_t i = 0; i < payload; i++)
        bytes[len++] = (uint8_t)(i * 7);
    l.payload = grpc_slice_from_copied_buffer((const char *)bytes, len);

    (void)run(&l, all, in_flight, WARM_UP_MS);
    const double took = run(&l, all, in_flight, (int64_t)(seconds * 1e3));
    qsort(l.samples, l.n_samples, sizeof *l.samples, compare);
    printf("{\"calls\": %llu, \"seconds\": %.3f, \"per_second\": %.1f, \"p50_us\": %.1f, "
           "\"p99_us\": %.1f}\n",
        (unsigned long long)l.calls, took, (double)l.calls / took,
        (double)l.samples[l.n_samples / 2], (double)l.samples[l.n_samples * 99 / 100]);

    free(bytes);
    free(l.samples);
    grpc_slice_unref(l.payload);
    grpc_completion_queue_shutdown(l.queue);
    while (grpc_completion_queue_next(l.queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(l.queue);
    grpc_channel_destroy(l.channel);
    grpc_channel_credentials_release(plain);
    kd_rpc_shutdown();
    return 0;
}
