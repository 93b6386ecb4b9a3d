#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/thread.h"

struct kd_queue {
    pthread_mutex_t mutex;
    pthread_cond_t has_item, has_room;
    void **items; /* ring */
    size_t capacity, first, len;
    bool closed;
};

void kd_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attr;
    if (pthread_condattr_init(&attr) != 0 ||
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) != 0 ||
        pthread_cond_init(cond, &attr) != 0)
        abort();
    pthread_condattr_destroy(&attr);
}

kd_status kd_queue_new(kd_queue **out, size_t capacity, kd_error *err)
{
    *out = NULL;
    kd_queue *queue = calloc(1, sizeof *queue);
    void **items = calloc(capacity ? capacity : 1, sizeof *items);
    if (!queue || !items) {
        free(items);
        free(queue);
        return kd_error_memory(err, "a queue");
    }
    queue->items = items;
    queue->capacity = capacity ? capacity : 1;
    pthread_mutex_init(&queue->mutex, NULL);
    kd_cond_init(&queue->has_item);
    kd_cond_init(&queue->has_room);
    *out = queue;
    return KD_OK;
}

void kd_queue_free(kd_queue *queue)
{
    if (!queue)
        return;
    pthread_cond_destroy(&queue->has_item);
    pthread_cond_destroy(&queue->has_room);
    pthread_mutex_destroy(&queue->mutex);
    free(queue->items);
    free(queue);
}

/* Lock held, room there. */
static void put(kd_queue *queue, void *item)
{
    queue->items[(queue->first + queue->len) % queue->capacity] = item;
    queue->len++;
    pthread_cond_signal(&queue->has_item);
}

bool kd_queue_try_push(kd_queue *queue, void *item)
{
    pthread_mutex_lock(&queue->mutex);
    const bool fits = !queue->closed && queue->len < queue->capacity;
    if (fits)
        put(queue, item);
    pthread_mutex_unlock(&queue->mutex);
    return fits;
}

bool kd_queue_push(kd_queue *queue, void *item)
{
    pthread_mutex_lock(&queue->mutex);
    while (!queue->closed && queue->len == queue->capacity)
        pthread_cond_wait(&queue->has_room, &queue->mutex);
    const bool open = !queue->closed;
    if (open)
        put(queue, item);
    pthread_mutex_unlock(&queue->mutex);
    return open;
}

void *kd_queue_pop(kd_queue *queue, int64_t timeout_ms)
{
    void *item = NULL;
    const struct timespec until = kd_mono_after(timeout_ms < 0 ? 0 : timeout_ms);
    pthread_mutex_lock(&queue->mutex);
    while (queue->len == 0 && !queue->closed) {
        if (timeout_ms < 0)
            pthread_cond_wait(&queue->has_item, &queue->mutex);
        else if (pthread_cond_timedwait(&queue->has_item, &queue->mutex, &until) != 0)
            break;
    }
    if (queue->len > 0) {
        item = queue->items[queue->first];
        queue->first = (queue->first + 1) % queue->capacity;
        queue->len--;
        pthread_cond_signal(&queue->has_room);
    }
    pthread_mutex_unlock(&queue->mutex);
    return item;
}

void kd_queue_close(kd_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    queue->closed = true;
    pthread_cond_broadcast(&queue->has_item);
    pthread_cond_broadcast(&queue->has_room);
    pthread_mutex_unlock(&queue->mutex);
}

size_t kd_queue_len(kd_queue *queue)
{
    pthread_mutex_lock(&queue->mutex);
    const size_t len = queue->len;
    pthread_mutex_unlock(&queue->mutex);
    return len;
}
