/* bench/unary.h: unary calls of a load generator, many on their way from one thread over one
 * connection, on the core itself. */
#ifndef KD_BENCH_UNARY_H
#define KD_BENCH_UNARY_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>

#include "lib/rpc/rpc.h"

typedef struct unary_client {
    grpc_channel_credentials *plain;
    grpc_channel *channel;
    grpc_completion_queue *queue;
    grpc_slice method;
} unary_client;

static inline void unary_open(unary_client *c, const char *address, const char *method)
{
    kd_rpc_init();
    c->plain = grpc_insecure_credentials_create();
    c->channel = grpc_channel_create(address, c->plain, NULL);
    c->queue = grpc_completion_queue_create_for_next(NULL);
    c->method = grpc_slice_from_static_string(method);
}

/* Once no call is on its way. */
static inline void unary_close(unary_client *c)
{
    grpc_completion_queue_shutdown(c->queue);
    while (grpc_completion_queue_next(c->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_completion_queue_destroy(c->queue);
    grpc_channel_destroy(c->channel);
    grpc_channel_credentials_release(c->plain);
    kd_rpc_shutdown();
}

/* Is the tag of the queue's event when it is over. */
typedef struct unary_call {
    grpc_call *call;
    grpc_byte_buffer *request, *received;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice details;
    int64_t begun_ns; /* the caller's */
} unary_call;

/* The request stays the caller's. False: the core refuses. */
static inline bool unary_begin(unary_client *c, unary_call *u, grpc_slice request)
{
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    grpc_metadata_array_init(&u->initial);
    grpc_metadata_array_init(&u->trailing);
    u->request = grpc_raw_byte_buffer_create(&request, 1); /* the core empties it */
    u->received = NULL;
    u->call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, c->queue,
        c->method, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = u->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &u->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &u->received;
    ops[5].op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    ops[5].data.recv_status_on_client.trailing_metadata = &u->trailing;
    ops[5].data.recv_status_on_client.status = &u->code;
    ops[5].data.recv_status_on_client.status_details = &u->details;
    return grpc_call_start_batch(u->call, ops, 6, u, NULL) == GRPC_CALL_OK;
}

/* The answer's bytes, to be unreferenced; false when there are none. */
static inline bool unary_answer(const unary_call *u, grpc_slice *bytes)
{
    grpc_byte_buffer_reader reader;
    if (!u->received || !grpc_byte_buffer_reader_init(&reader, u->received))
        return false;
    *bytes = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return true;
}

static inline void unary_end(unary_call *u)
{
    grpc_byte_buffer_destroy(u->request);
    grpc_byte_buffer_destroy(u->received);
    grpc_metadata_array_destroy(&u->initial);
    grpc_metadata_array_destroy(&u->trailing);
    grpc_slice_unref(u->details);
    grpc_call_unref(u->call);
}

#endif
