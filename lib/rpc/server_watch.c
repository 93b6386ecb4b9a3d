/* A server's watch: a thread that gives up calls whose clients are gone in all but name or have
 * lost their right, looks at the wall clock, and asks for calls again that there was no memory for.
 * It waits on the monotonic clock. The core's own waits may be for a time of day and stand still
 * when the wall clock is set back, so nothing here depends on them. */
#include <pthread.h>
#include <stdlib.h>

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

/* Asks for the calls that are missing; false while there are some. */
static bool post_missing(kd_server *server)
{
    bool all = true;
    for (unsigned i = 0; i < server->n_threads; i++)
        all = kd_server_post_missing(&server->threads[i]) && all;
    return all;
}

/* Until the next look; false at the end. */
static bool wait_for_look(kd_server *server, int64_t look_ms)
{
    const struct timespec next = kd_mono_after(post_missing(server) ? look_ms : POST_AGAIN_MS);
    int waited = 0;
    pthread_mutex_lock(&server->mutex);
    while (!server->watch_ends && !server->look && waited == 0)
        waited = pthread_cond_timedwait(&server->watch_wakes, &server->mutex, &next);
    server->look = false;
    const bool ends = server->watch_ends;
    pthread_mutex_unlock(&server->mutex);
    return !ends;
}

void kd_server_look(kd_server *server)
{
    pthread_mutex_lock(&server->mutex);
    server->look = true;
    pthread_cond_signal(&server->watch_wakes);
    pthread_mutex_unlock(&server->mutex);
}

static void *watch(void *arg)
{
    kd_server *const server = arg;
    const int64_t sweep_ms = server->options.stall_ms / SWEEPS;
    const int64_t look_ms = sweep_ms < LOOK_MS ? sweep_ms : LOOK_MS;
    keys_seen seen = {kd_access_version(server->options.access), false};
    int64_t next_sweep_ms = 0, next_look_ms = 0, lead_ms = kd_wall_ms() - kd_mono_ms();
    while (wait_for_look(server, look_ms)) {
        const int64_t now_ms = kd_mono_ms();
        if (now_ms >= next_look_ms) {
            watch_wall_clock(&lead_ms);
            look_at_keys(server, &seen);
            next_look_ms = now_ms + LOOK_MS;
        }
        if (now_ms >= next_sweep_ms) {
            sweep(server);
            next_sweep_ms = now_ms + sweep_ms;
        }
    }
    return NULL;
}

kd_status kd_server_watch(kd_server *server, kd_error *err)
{
    if (pthread_create(&server->watch, NULL, watch, server) != 0)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED, "cannot start a server thread");
    (void)pthread_setname_np(server->watch, "rpc-watch");
    server->watches = true;
    return KD_OK;
}

void kd_server_end_watch(kd_server *server)
{
    if (!server->watches)
        return;
    pthread_mutex_lock(&server->mutex);
    server->watch_ends = true;
    pthread_cond_signal(&server->watch_wakes);
    pthread_mutex_unlock(&server->mutex);
    pthread_join(server->watch, NULL);
    server->watches = false;
}
