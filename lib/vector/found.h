/* lib/vector/found.h: the best rows that an approximate search has seen, as a heap. */
#ifndef KD_VECTOR_FOUND_H
#define KD_VECTOR_FOUND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct kd_seen {
    float score;
    uint32_t row;
} kd_seen;

/* A binary heap in memory of the caller's. Of `best` the first is the best, else the worst. */
typedef struct kd_heap {
    kd_seen *all;
    size_t n;
    bool best;
} kd_heap;

static inline bool kd_heap_before(const kd_heap *heap, kd_seen a, kd_seen b)
{
    return heap->best ? a.score > b.score : a.score < b.score;
}

static inline void kd_heap_sink(kd_heap *heap, kd_seen item)
{
    size_t at = 0;
    for (size_t child = 1; child < heap->n; child = 2 * at + 1) {
        if (child + 1 < heap->n && kd_heap_before(heap, heap->all[child + 1], heap->all[child]))
            child++;
        if (!kd_heap_before(heap, heap->all[child], item))
            break;
        heap->all[at] = heap->all[child];
        at = child;
    }
    heap->all[at] = item;
}

static inline void kd_heap_push(kd_heap *heap, kd_seen item)
{
    size_t at = heap->n++;
    while (at > 0 && kd_heap_before(heap, item, heap->all[(at - 1) / 2])) {
        heap->all[at] = heap->all[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->all[at] = item;
}

static inline kd_seen kd_heap_pop(kd_heap *heap)
{
    const kd_seen first = heap->all[0], last = heap->all[--heap->n];
    if (heap->n)
        kd_heap_sink(heap, last);
    return first;
}

/* Keeps the `most` best, of a heap whose first is the worst. */
static inline void kd_heap_keep(kd_heap *heap, size_t most, kd_seen item)
{
    if (heap->n < most)
        kd_heap_push(heap, item);
    else if (most > 0 && item.score > heap->all[0].score)
        kd_heap_sink(heap, item);
}

#endif
