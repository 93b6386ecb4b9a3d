/* services/indexer/lots.h: calls that wait for a thread, and are done together where they are
 * alike: a pass over a collection for many queries costs far less than a pass for each, and so does
 * a commit for many images.
 *
 * A thread takes the call that waits longest and, with it, what is like it. A call that comes alone
 * is run at once. Of calls that are alike one lot runs at a time, so that the others gather
 * meanwhile; other ones run beside it. Who has had an answer often asks again: after a lot of
 * several calls the next one waits until as many are there, for an eighth of what the lot took, and
 * LOTS_GATHER_MS at most. LOTS_WAITING may wait; more are RESOURCE_EXHAUSTED at once. */
#ifndef KD_INDEXER_LOTS_H
#define KD_INDEXER_LOTS_H

#include "lib/rpc/rpc.h"

#define LOTS_WAITING 1024u
#define LOTS_THREADS_MOST 4u
#define LOTS_GATHER_MS 10

typedef struct lots lots;

typedef struct lot_call {
    kd_call *call;
    const void *request; /* lives as long as the call */
    struct lot_call *next;
    size_t weight;
    bool alone; /* like no other */
    uint64_t hash;
    size_t key_len;
    uint8_t key[];
} lot_call;

typedef struct lots_options {
    const char *what; /* the calls, for sentences and the threads' name */
    size_t threads;   /* 1..LOTS_THREADS_MOST */
    size_t together;  /* no more weight in a lot, unless a call alone has it */
    /* Answers each of the list, which stays the caller's. Who has answered a call does not look at
     * its request any more. */
    void (*run)(void *state, const lot_call *first);
    void *state;
} lots_options;

KD_MUST_CHECK kd_status lots_new(lots **out, const lots_options *options, kd_error *err);
void lots_free(lots *l); /* once no call is in flight; NULL is fine */

/* The call is answered, now or later. rest is what the request has in common with those like it;
 * NULL: it is like no other. */
void lots_add(
    lots *l, kd_call *call, const void *request, const ProtobufCMessage *rest, size_t weight);

#endif
