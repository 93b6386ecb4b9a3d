#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/base/buf.h"
#include "lib/base/thread.h"

enum { NICENESS = 10 };

typedef struct pool_job {
    kd_task task;
    void *arg;
} pool_job;

struct kd_pool {
    kd_queue *queue; /* of pool_job, owned by the queue until popped */
    pthread_t *threads;
    size_t n_threads;
};

static void *work(void *arg)
{
    kd_pool *const pool = arg;
    pool_job *job;
    while ((job = kd_queue_pop(pool->queue, -1)) != NULL) {
        const pool_job mine = *job;
        free(job);
        mine.task(mine.arg);
    }
    return NULL;
}

kd_status kd_pool_new(
    kd_pool **out, const char *name, size_t threads, size_t queue_capacity, kd_error *err)
{
    *out = NULL;
    kd_pool *pool = calloc(1, sizeof *pool);
    if (!pool)
        return kd_error_memory(err, "a thread pool");
    pool->threads = calloc(threads ? threads : 1, sizeof *pool->threads);
    if (!pool->threads || kd_queue_new(&pool->queue, queue_capacity, NULL) != KD_OK) {
        kd_pool_free(pool);
        return kd_error_memory(err, "a thread pool");
    }
    for (size_t i = 0; i < threads; i++) {
        if (pthread_create(&pool->threads[i], NULL, work, pool) != 0) {
            kd_pool_free(pool);
            return kd_error_set(
                err, KD_RESOURCE_EXHAUSTED, "cannot start thread %zu of pool %s", i + 1, name);
        }
        char label[16];
        (void)kd_copy(label, sizeof label, name);
        (void)pthread_setname_np(pool->threads[i], label);
        pool->n_threads++;
    }
    *out = pool;
    return KD_OK;
}

void kd_pool_free(kd_pool *pool)
{
    if (!pool)
        return;
    if (pool->queue)
        kd_queue_close(pool->queue);
    for (size_t i = 0; i < pool->n_threads; i++)
        pthread_join(pool->threads[i], NULL);
    kd_queue_free(pool->queue);
    free(pool->threads);
    free(pool);
}

size_t kd_pool_waiting(kd_pool *pool)
{
    return kd_queue_len(pool->queue);
}

bool kd_pool_try_run(kd_pool *pool, kd_task task, void *arg)
{
    pool_job *job = malloc(sizeof *job);
    if (!job)
        return false;
    *job = (pool_job){task, arg};
    if (kd_queue_try_push(pool->queue, job))
        return true;
    free(job);
    return false;
}

/* A loop's helpers may still wait in the queue when the loop is over (all work done by others), so
 * the loop lives on the heap until the last of them has let go. */
typedef struct pool_loop {
    void (*fn)(void *arg, size_t i);
    void *arg;
    size_t n;
    atomic_size_t next, done, refs;
    pthread_mutex_t mutex;
    pthread_cond_t all_done;
} pool_loop;

static void loop_release(pool_loop *loop)
{
    if (atomic_fetch_sub(&loop->refs, 1) != 1)
        return;
    pthread_cond_destroy(&loop->all_done);
    pthread_mutex_destroy(&loop->mutex);
    free(loop);
}

static void loop_work(pool_loop *loop)
{
    size_t i;
    while ((i = atomic_fetch_add(&loop->next, 1)) < loop->n) {
        loop->fn(loop->arg, i);
        if (atomic_fetch_add(&loop->done, 1) + 1 == loop->n) {
            pthread_mutex_lock(&loop->mutex);
            pthread_cond_broadcast(&loop->all_done);
            pthread_mutex_unlock(&loop->mutex);
        }
    }
}

static void loop_help(void *arg)
{
    pool_loop *const loop = arg;
    loop_work(loop);
    loop_release(loop);
}

void kd_pool_for(kd_pool *pool, size_t n, void (*fn)(void *arg, size_t i), void *arg)
{
    pool_loop *loop = pool && pool->n_threads > 0 && n > 1 ? malloc(sizeof *loop) : NULL;
    if (!loop) { /* alone: the same result, only slower */
        for (size_t i = 0; i < n; i++)
            fn(arg, i);
        return;
    }
    loop->fn = fn;
    loop->arg = arg;
    loop->n = n;
    atomic_init(&loop->next, 0);
    atomic_init(&loop->done, 0);
    atomic_init(&loop->refs, 1);
    pthread_mutex_init(&loop->mutex, NULL);
    kd_cond_init(&loop->all_done);
    const size_t helpers = pool->n_threads < n - 1 ? pool->n_threads : n - 1;
    /* NOLINTBEGIN(clang-analyzer-unix.Malloc): the analyzer does not follow the count; one
     * reference is ours until the end. */
    for (size_t i = 0; i < helpers; i++) {
        atomic_fetch_add(&loop->refs, 1);
        if (!kd_pool_try_run(pool, loop_help, loop))
            loop_release(loop);
    }
    loop_work(loop);
    pthread_mutex_lock(&loop->mutex);
    while (atomic_load(&loop->done) < n)
        pthread_cond_wait(&loop->all_done, &loop->mutex);
    pthread_mutex_unlock(&loop->mutex);
    loop_release(loop);
    /* NOLINTEND(clang-analyzer-unix.Malloc) */
}

size_t kd_pool_helpers(void)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 1 ? (size_t)cores - 1 : 0;
}

void kd_thread_background(void)
{
    (void)setpriority(PRIO_PROCESS, 0, NICENESS);
}
