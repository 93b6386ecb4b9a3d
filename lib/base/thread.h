/* lib/base/thread.h: a bounded queue and a thread pool over it. Both refuse instead of growing. */
#ifndef KD_BASE_THREAD_H
#define KD_BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"

KD_C_BEGIN

/* A condition variable on the monotonic clock: see kd_mono_after. Aborts on failure (it can only
 * fail for lack of memory at start). */
void kd_cond_init(pthread_cond_t *cond);

/* ---- Bounded queue of pointers, many producers and consumers, first in first out. ---- */
typedef struct kd_queue kd_queue;
KD_MUST_CHECK kd_status kd_queue_new(kd_queue **out, size_t capacity, kd_error *err);
void kd_queue_free(kd_queue *queue); /* what is still inside is the caller's */
/* False at once when full or closed: the item stays the caller's. */
bool kd_queue_try_push(kd_queue *queue, void *item);
/* Waits for room; false when closed. */
bool kd_queue_push(kd_queue *queue, void *item);
/* Waits up to timeout_ms (-1: for good) for an item. NULL on time-out, or when closed and empty. */
void *kd_queue_pop(kd_queue *queue, int64_t timeout_ms);
void kd_queue_close(kd_queue *queue); /* no more pushes; pops drain what is there */
size_t kd_queue_len(kd_queue *queue);

/* ---- Thread pool. ---- */
typedef struct kd_pool kd_pool;
typedef void (*kd_task)(void *arg);
/* queue_capacity bounds the tasks that wait. name shows in thread listings (15 characters). */
KD_MUST_CHECK kd_status kd_pool_new(
    kd_pool **out, const char *name, size_t threads, size_t queue_capacity, kd_error *err);
/* Runs what was taken, then ends the threads. */
void kd_pool_free(kd_pool *pool);
/* False at once when the queue is full. */
bool kd_pool_try_run(kd_pool *pool, kd_task task, void *arg);
size_t kd_pool_waiting(kd_pool *pool); /* tasks that no thread has begun */
/* Calls fn(arg, i) for each i in 0..n-1 on the pool's threads and the caller's; returns when all
 * are done. For data-parallel loops; fn must not fail. Never call it from a task of the same pool.
 */
void kd_pool_for(kd_pool *pool, size_t n, void (*fn)(void *arg, size_t i), void *arg);
/* The threads that are every core with the caller's: one more would take turns with another on a
 * core, and loops would end with one at work. */
size_t kd_pool_helpers(void);

/* The calling thread, and on Linux no other, gives way to the others from now on. */
void kd_thread_background(void);

KD_C_END
#endif
