#include "services/embedder/flights.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 1024u

struct flights {
    pthread_mutex_t mutex;
    flight *buckets[BUCKETS];
};

kd_status flights_new(flights **out, kd_error *err)
{
    *out = calloc(1, sizeof **out);
    if (!*out)
        return kd_error_memory(err, "the images in work");
    pthread_mutex_init(&(*out)->mutex, NULL);
    return KD_OK;
}

void flights_free(flights *f)
{
    if (!f)
        return;
    pthread_mutex_destroy(&f->mutex);
    free(f);
}

/* Mutex held. Where the first with the same key hangs, or where one would be put. A digest is as
 * good as random. */
static flight **place_of(flights *f, const flight *one)
{
    const unsigned number = one->sha256[0] | (unsigned)one->sha256[1] << 8;
    flight **place = &f->buckets[number % BUCKETS];
    while (*place && (memcmp((*place)->sha256, one->sha256, KD_SHA256_BYTES) != 0 ||
                         strcmp((*place)->model, one->model) != 0))
        place = &(*place)->next;
    return place;
}

/* Mutex held. */
static void wait_for(flight *first, flight *one)
{
    one->next = first->waiting;
    first->waiting = one;
}

bool flights_join(flights *f, flight *one)
{
    pthread_mutex_lock(&f->mutex);
    flight *const first = *place_of(f, one);
    if (first)
        wait_for(first, one);
    pthread_mutex_unlock(&f->mutex);
    return first != NULL;
}

bool flights_begin(flights *f, flight *one)
{
    pthread_mutex_lock(&f->mutex);
    flight **const place = place_of(f, one);
    const bool begins = *place == NULL;
    if (begins) {
        one->next = one->waiting = NULL;
        *place = one;
    } else {
        wait_for(*place, one);
    }
    pthread_mutex_unlock(&f->mutex);
    return begins;
}

/* Mutex held. One that left already, as nobody wanted it, may have a successor with its key. */
static void leave(flights *f, flight *first)
{
    flight **const place = place_of(f, first);
    if (*place == first)
        *place = first->next;
}

bool flights_wanted(flights *f, flight *first, bool (*wants)(const flight *one))
{
    pthread_mutex_lock(&f->mutex);
    bool wanted = wants(first);
    for (const flight *one = first->waiting; one && !wanted; one = one->next)
        wanted = wants(one);
    if (!wanted)
        leave(f, first);
    pthread_mutex_unlock(&f->mutex);
    return wanted;
}

flight *flights_land(flights *f, flight *first)
{
    pthread_mutex_lock(&f->mutex);
    leave(f, first);
    flight *const waiting = first->waiting;
    first->waiting = NULL;
    pthread_mutex_unlock(&f->mutex);
    return waiting;
}
