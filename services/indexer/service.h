/* services/indexer/service.h: kindred.v1.IndexerService over the registry of collections. */
#ifndef KD_INDEXER_SERVICE_H
#define KD_INDEXER_SERVICE_H

#include "lib/service/service.h"
#include "services/indexer/keeper.h"
#include "services/indexer/sampler.h"

typedef struct indexer {
    registry *registry;
    keeper *keeper;
    sampler *sampler;
    kd_pool *pool;       /* the queries of one search side by side */
    kd_pool *build_pool; /* with a thread of the keeper half of the cores; NULL: that alone */
    char *snapshots_dir; /* DATA/snapshots */
    kd_counter *upserted, *deleted, *searched;
} indexer;

KD_MUST_CHECK kd_status service_add(indexer *x, kd_server *server, kd_error *err);

/* ---- items.c: the calls about images ---- */
void upsert(void *state, kd_call *call, const ProtobufCMessage *message);
void delete_items(void *state, kd_call *call, const ProtobufCMessage *message);
void get_item(void *state, kd_call *call, const ProtobufCMessage *message);
void list_items(void *state, kd_call *call, const ProtobufCMessage *message);
void search(void *state, kd_call *call, const ProtobufCMessage *message);

#endif
