/* services/indexer/describe.h: a collection's settings and the state of its index as messages, and
 * back. */
#ifndef KD_INDEXER_DESCRIBE_H
#define KD_INDEXER_DESCRIBE_H

#include "kindred/v1/indexer.pb-c.h"

#include "services/indexer/collection.h"

/* What a described collection's message points to. */
typedef struct described_parts {
    Kindred__V1__IndexSettings settings;
    Kindred__V1__IndexState state;
    Kindred__V1__Durability durability;
} described_parts;

/* Strings are borrowed from info. */
void describe_index(
    const collection_info *info, Kindred__V1__Collection *out, described_parts *parts);

/* What a message leaves out stays; either may be NULL. KD_INVALID_ARGUMENT names what is unknown or
 * out of its range. */
KD_MUST_CHECK kd_status settings_from_messages(const Kindred__V1__IndexSettings *index,
    const Kindred__V1__Durability *durability, collection_settings *settings, kd_error *err);

#endif
