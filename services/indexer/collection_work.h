/* services/indexer/collection_work.h: what is done for a collection beside its calls: segments are
 * sealed, merged and indexed, groups of changes synced. Each function does one step of what is due,
 * and returns whether it did something. A step that fails leaves searches as they were, is logged
 * and described, and tried again after some seconds.
 *
 * Threads: any, but of each function one at a time for a collection. Searches and changes wait for
 * none of it longer than some thousand rows take to change hands. */
#ifndef KD_INDEXER_COLLECTION_WORK_H
#define KD_INDEXER_COLLECTION_WORK_H

#include "services/indexer/collection.h"

/* Files of vectors: seals what has grown enough, merges four segments of like size (up to
 * COLLECTION_MERGE_ROWS) and all of a collection that is approximate and has become quiet, writes
 * one anew that is dead by a quarter, and removes what is not needed any more. */
#define COLLECTION_MERGE_ROWS (1u << 20)
bool collection_tidy(collection *c);

/* Loads or builds the index of one segment that lacks the one its settings ask for. */
bool collection_build(collection *c);

/* Reads some of the vectors in collection.db that opening left out because a segment has them;
 * mends one that fails its checksum from there. One that can't be mended is told and passed over.
 * True: there are more. */
bool collection_verify(collection *c);

/* Syncs when the oldest change is nearly as old as the window of durability allows. *next_ms is
 * lowered to when to ask again. */
bool collection_sync(collection *c, int64_t *next_ms);

/* No more steps, and an end to those under way, soon and for good. */
void collection_stop_work(collection *c);

#endif
