/* What a server's threads do: take events, each off a queue of its own. */
#include <grpc/support/time.h>

#include "lib/rpc/internal.h"

bool kd_server_writer_waits(kd_server *server)
{
    return atomic_fetch_add(&server->waiting_writers, 1) + 1 < server->options.workers;
}

void kd_server_writer_goes_on(kd_server *server)
{
    atomic_fetch_sub(&server->waiting_writers, 1);
}

/* Asks the core for one more call, whose events come to the thread. False without memory. */
static bool post(struct kd_server_thread *self)
{
    kd_call *const call = kd_call_new(self);
    if (!call)
        return false;
    KD_TSAN_RELEASE(&call->on_new);
    if (grpc_server_request_call(self->server->grpc, &call->grpc, &call->details, &call->metadata,
            self->queue, self->queue, &call->on_new) != GRPC_CALL_OK)
        kd_call_unref(call); /* the end has begun */
    return true;
}

void kd_server_post(struct kd_server_thread *thread)
{
    if (!post(thread)) { /* for good they would run out, and clients wait without an end */
        atomic_fetch_add(&thread->missing, 1);
        kd_server_look(thread->server);
    }
}

bool kd_server_post_missing(struct kd_server_thread *thread)
{
    while (atomic_load(&thread->missing) > 0 && post(thread))
        atomic_fetch_sub(&thread->missing, 1);
    return atomic_load(&thread->missing) == 0;
}

void *kd_server_take_events(void *arg)
{
    struct kd_server_thread *const self = arg;
    const gpr_timespec never = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    for (;;) {
        const grpc_event event = grpc_completion_queue_next(self->queue, never, NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        kd_tag *const tag = event.tag;
        KD_TSAN_ACQUIRE(tag);
        tag->done(tag->owner, event.success != 0);
    }
}
