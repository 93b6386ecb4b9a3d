/* services/indexer/sampler.h: the recall of live queries. A share of the queries that are answered
 * approximately is run again in the background, both ways, and counted: how many hits the exact
 * search has, and how many of them the approximate one found. Exact work is done some rows at a
 * time, so that changes and searches wait for none of it; what comes while all is busy, or rests
 * as it does nine tenths of the time, is dropped, and so is a query during which segments changed.
 */
#ifndef KD_INDEXER_SAMPLER_H
#define KD_INDEXER_SAMPLER_H

#include "services/indexer/collection.h"

typedef struct sampler sampler;

/* share: of the queries, 0..1. */
KD_MUST_CHECK kd_status sampler_new(sampler **out, double share, kd_error *err);
void sampler_free(sampler *s); /* ends its thread; NULL is fine */

/* With the collection's memory locked for reading: n queries (n × dim) that were just answered; may
 * be sampled, then everything is copied. Never waits. */
void sampler_offer(
    sampler *s, collection *c, const kd_search *search, const float *queries, size_t n);

/* Waits until all that was taken is counted. */
void sampler_drain(sampler *s);

#endif
