/* services/indexer/messages.h: images and filters as messages, and back. */
#ifndef KD_INDEXER_MESSAGES_H
#define KD_INDEXER_MESSAGES_H

#include "kindred/v1/indexer.pb-c.h"

#include "services/indexer/collection.h"

/* Strings are borrowed from the message but for the attributes: free((char *)item->attributes). */
KD_MUST_CHECK kd_status item_from_message(
    const Kindred__V1__Item *message, collection_item *item, kd_error *err);

/* Strings are borrowed from the item but for the attributes: item_message_clear. False without
 * memory. */
bool item_to_message(const collection_item *item, Kindred__V1__Item *out);
void item_message_clear(Kindred__V1__Item *out);

/* Images that a message names by id and by key. */
typedef struct named_ids {
    uint64_t *all; /* owned where the message has keys, else the message's */
    size_t n;
    bool owned;
} named_ids;
/* Those by id, then those by key: COLLECTION_NO_ID where there is none, then KD_NOT_FOUND names the
 * first. KD_RESOURCE_EXHAUSTED. Clear in any case. */
KD_MUST_CHECK kd_status named_ids_find(named_ids *out, collection *c, uint64_t *ids, size_t n_ids,
    char *const *keys, size_t n_keys, kd_error *err);
void named_ids_clear(named_ids *ids);

/* Room for COLLECTION_MAX_CONDITIONS; strings are borrowed. */
KD_MUST_CHECK kd_status conditions_from_messages(
    Kindred__V1__Condition *const *messages, size_t n, collection_condition *out, kd_error *err);

#endif
