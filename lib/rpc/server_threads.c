/* What a server's threads do: take events, give up calls whose clients are gone in all but name or
 * have lost their right, look at the wall clock. */
#include <stdlib.h>

#include <grpc/support/time.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/rpc/internal.h"

#define SWEEPS 8          /* in the time of a stall */
#define LOOK_MS 1000      /* at the clock, and at the keys */
#define CLOCK_STEP_MS 500 /* of the wall clock; what is less is waited for */
#define POST_AGAIN_MS 100 /* after there was no memory to */

/* A call whose client has moved nothing since then, with a reference to it. */
static kd_call *find_stalled(kd_server *server, int64_t since)
{
    kd_call *found = NULL;
    pthread_mutex_lock(&server->mutex);
    for (kd_call *call = server->calls; call && !found; call = call->next) {
        const int64_t receiving = atomic_load(&call->receiving_ms);
        const int64_t sending = atomic_load(&call->sending_ms);
        if (((receiving > 0 && receiving < since) || (sending > 0 && sending < since)) &&
            kd_call_try_ref(call))
            found = call;
    }
    pthread_mutex_unlock(&server->mutex);
    return found;
}

/* Ends a call from outside of its handler, which learns that it is cancelled. */
static void give_up(kd_call *call, kd_status status, const char *why)
{
    if (call->endpoint && call->endpoint->idle_ends && atomic_load(&call->reading))
        kd_call_end_idle(call, status, why);
    else
        (void)grpc_call_cancel_with_status(call->grpc, (grpc_status_code)status, why, NULL);
}

/* Gives up calls whose clients have not sent, or read, a message in time. */
static void sweep(kd_server *server)
{
    const int64_t since = kd_mono_ms() - server->options.stall_ms;
    for (kd_call *call; (call = find_stalled(server, since)) != NULL; kd_call_unref(call)) {
        const bool receiving = atomic_exchange(&call->receiving_ms, 0) > 0;
        atomic_store(&call->sending_ms, 0); /* once is enough */
        give_up(call, KD_DEADLINE_EXCEEDED,
            receiving ? "the client's message did not arrive in time"
                      : "the client has not read its answer in time");
    }
    kd_health_sweep(server->health);
}

/* A call whose caller has lost its right to it, with a reference to it. */
static kd_call *find_revoked(kd_server *server)
{
    kd_call *found = NULL;
    pthread_mutex_lock(&server->mutex);
    for (kd_call *call = server->calls; call && !found; call = call->next)
        if (atomic_load(&call->keyed) && !kd_access_holds(server->options.access, &call->caller) &&
            kd_call_try_ref(call))
            found = call;
    pthread_mutex_unlock(&server->mutex);
    return found;
}

typedef struct keys_seen {
    uint64_t version;
    bool again;
} keys_seen;

/* A key that is revoked ends what it began. Twice, as the first look may miss a call that the keys
 * before let in and that is not marked yet. */
static void look_at_keys(kd_server *server, keys_seen *seen)
{
    const uint64_t now = kd_access_version(server->options.access);
    if (now == seen->version && !seen->again)
        return;
    *seen = (keys_seen){now, now != seen->version};
    for (kd_call *call; (call = find_revoked(server)) != NULL; kd_call_unref(call)) {
        atomic_store(&call->keyed, false); /* once is enough */
        give_up(call, KD_UNAUTHENTICATED, "the API key has been revoked, or has expired");
    }
}

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
    if (!post(thread)) /* for good they would run out, and clients wait without an end */
        atomic_fetch_add(&thread->missing, 1);
}

static gpr_timespec wake_up_at(struct kd_server_thread *self, bool sweeps, int64_t pause_ms)
{
    if (atomic_load(&self->missing) > 0 && (!sweeps || pause_ms > POST_AGAIN_MS))
        pause_ms = POST_AGAIN_MS;
    else if (!sweeps)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(pause_ms, GPR_TIMESPAN));
}

/* The core's timers (deadlines, keep-alive, the pauses before it connects again) wait for a time of
 * day. When the wall clock is set back they all stand still for as long as it was set back, unless
 * the core is told to look again. It has a function for that, which it does not export to C. */
extern void core_look_at_timers(void) __asm__("_Z16grpc_kick_pollerv") __attribute__((weak));

static void watch_wall_clock(int64_t *lead_ms)
{
    const int64_t before_ms = *lead_ms;
    *lead_ms = kd_wall_ms() - kd_mono_ms();
    if (llabs(*lead_ms - before_ms) < CLOCK_STEP_MS)
        return;
    KD_LOG(KD_LOG_WARN, "clock_set", KD_INT("by_ms", *lead_ms - before_ms));
    if (core_look_at_timers)
        core_look_at_timers();
}

void *kd_server_take_events(void *arg)
{
    struct kd_server_thread *const self = arg;
    kd_server *const server = self->server;
    const bool sweeps = self == server->threads; /* the first does, and looks at clock and keys */
    const int64_t sweep_ms = server->options.stall_ms / SWEEPS;
    const int64_t pause_ms = sweep_ms < LOOK_MS ? sweep_ms : LOOK_MS;
    keys_seen seen = {kd_access_version(server->options.access), false};
    int64_t next_sweep_ms = 0, next_look_ms = 0, lead_ms = kd_wall_ms() - kd_mono_ms();
    for (;;) {
        const gpr_timespec until = wake_up_at(self, sweeps, pause_ms);
        const grpc_event event = grpc_completion_queue_next(self->queue, until, NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        while (atomic_load(&self->missing) > 0 && post(self))
            atomic_fetch_sub(&self->missing, 1);
        const int64_t now_ms = sweeps ? kd_mono_ms() : 0;
        if (sweeps && now_ms >= next_look_ms) {
            watch_wall_clock(&lead_ms);
            look_at_keys(server, &seen);
            next_look_ms = now_ms + LOOK_MS;
        }
        if (sweeps && now_ms >= next_sweep_ms) {
            sweep(server);
            next_sweep_ms = now_ms + sweep_ms;
        }
        if (event.type == GRPC_QUEUE_TIMEOUT)
            continue;
        kd_tag *const tag = event.tag;
        KD_TSAN_ACQUIRE(tag);
        tag->done(tag->owner, event.success != 0);
    }
}
