/* load ADDRESS IN_FLIGHT SECONDS PAYLOAD: keeps so many echoes on their way for so long, from one
 * thread over one connection, on the core itself. Each answer must be what was sent. Prints JSON.
 */
#include <stdio.h>
#include <stdlib.h>

#include "bench/unary.h"
#include "lib/base/clock.h"

#define WARM_UP_MS 300
#define MAX_SAMPLES (1u << 22)
#define MAX_IN_FLIGHT 1024u

typedef struct load {
    unary_client client;
    grpc_slice payload;
    float *samples; /* µs */
    size_t n_samples;
    uint64_t calls;
} load;

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "load: %s\n", what);
    exit(1);
}

static void begin(load *l, unary_call *o)
{
    o->begun_ns = kd_mono_ns();
    if (!unary_begin(&l->client, o, l->payload))
        die("a batch was refused");
}

static void end(load *l, unary_call *o)
{
    grpc_slice answer;
    if (o->code != GRPC_STATUS_OK || !unary_answer(o, &answer))
        die("a call failed");
    if (!grpc_slice_eq(answer, l->payload)) /* request and response have the same bytes */
        die("an answer is not what was sent");
    grpc_slice_unref(answer);
    unary_end(o);
    l->calls++;
    if (l->n_samples < MAX_SAMPLES)
        l->samples[l->n_samples++] = (float)(kd_mono_ns() - o->begun_ns) / 1e3f;
}

/* Until the time is over, then until none is on its way. */
static double run(load *l, unary_call *all, size_t in_flight, int64_t ms)
{
    const int64_t since = kd_mono_ns(), until = since + ms * 1000000;
    size_t flying = in_flight;
    l->calls = l->n_samples = 0;
    for (size_t i = 0; i < in_flight; i++)
        begin(l, &all[i]);
    while (flying > 0) {
        const grpc_event event =
            grpc_completion_queue_next(l->client.queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        unary_call *const o = event.tag;
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
    static unary_call all[MAX_IN_FLIGHT];
    load l = {0};
    if (argc != 5)
        die("usage: load ADDRESS IN_FLIGHT SECONDS PAYLOAD");
    const size_t in_flight = strtoul(argv[2], NULL, 10), payload = strtoul(argv[4], NULL, 10);
    const double seconds = strtod(argv[3], NULL);
    if (in_flight == 0 || in_flight > MAX_IN_FLIGHT || payload == 0 || payload > (1u << 20))
        die("a number is out of range");
    unary_open(&l.client, argv[1], "/kindred.bench.v1.EchoService/Echo");
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
    unary_close(&l.client);
    return 0;
}
