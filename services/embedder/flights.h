/* services/embedder/flights.h: the images in work by content, so that of identical ones at the same
 * time only the first is computed: the others wait for its result.
 *
 * An entry lives in its image, so that the table is as bounded as the images are. Safe from any
 * thread; the one lock is held for a look-up or a walk over those who wait for one image, never
 * during work. */
#ifndef KD_EMBEDDER_FLIGHTS_H
#define KD_EMBEDDER_FLIGHTS_H

#include <stdbool.h>

#include "lib/base/hash.h"

typedef struct flights flights;

typedef struct flight {
    const char *model;      /* its id; borrowed, as is the digest, until the landing */
    const uint8_t *sha256;  /* KD_SHA256_BYTES */
    struct flight *next;    /* in the table, or of those who wait for the same first */
    struct flight *waiting; /* a first's */
} flight;

KD_MUST_CHECK kd_status flights_new(flights **out, kd_error *err);
void flights_free(flights *f);

/* Waits for the first of the same model and digest; false when there is none. From a true on one
 * belongs to whoever lands the first. */
bool flights_join(flights *f, flight *one);
/* The same, or else makes it the first: true when it is. */
bool flights_begin(flights *f, flight *one);
/* Whether wants says yes to the first or to any that waits for it. If not the first leaves the
 * table, so that none joins it that would be dropped with it; its landing is still to come. */
bool flights_wanted(flights *f, flight *first, bool (*wants)(const flight *one));
/* Takes the first out of the table and returns those who waited for it, linked by next. */
flight *flights_land(flights *f, flight *first);

#endif
