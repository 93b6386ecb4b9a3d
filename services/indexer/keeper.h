/* services/indexer/keeper.h: the threads that do the work of collection_work.h for all collections
 * of a registry: one for files of vectors, one for indexes, one for syncs. They run at a lower
 * priority than searches, but for the syncs. */
#ifndef KD_INDEXER_KEEPER_H
#define KD_INDEXER_KEEPER_H

#include "services/indexer/registry.h"

typedef struct keeper keeper;

KD_MUST_CHECK kd_status keeper_start(keeper **out, registry *r, kd_error *err);
/* Ends what is under way, soon; before registry_close. NULL is fine. */
void keeper_stop(keeper *k);

#endif
