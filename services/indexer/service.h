/* services/indexer/service.h: kindred.v1.IndexerService over the registry of collections. */
#ifndef KD_INDEXER_SERVICE_H
#define KD_INDEXER_SERVICE_H

#include "lib/service/service.h"
#include "services/indexer/keeper.h"
#include "services/indexer/lots.h"
#include "services/indexer/sampler.h"

typedef struct indexer {
    registry *registry;
    keeper *keeper;
    sampler *sampler;
    kd_pool *pool;       /* the work of one search, shared */
    kd_pool *build_pool; /* with a thread of the keeper half of the cores; NULL: that alone */
    char *snapshots_dir; /* DATA/snapshots */
    lots *searches, *upserts;
    kd_counter *upserted, *deleted, *searched, *scans;
    kd_metrics *metrics;                                                  /* borrowed */
    kd_gauge *collections, *damaged, *images, *memory_bytes, *disk_bytes; /* gauges.c */
} indexer;

KD_MUST_CHECK kd_status service_add(indexer *x, kd_server *server, kd_error *err);

/* ---- items.c: the calls about images ---- */
void delete_items(void *state, kd_call *call, const ProtobufCMessage *message);
void get_item(void *state, kd_call *call, const ProtobufCMessage *message);
void list_items(void *state, kd_call *call, const ProtobufCMessage *message);

/* ---- searches.c, upserts.c ---- */
void search(void *state, kd_call *call, const ProtobufCMessage *message);
void run_searches(void *state, const lot_call *first); /* state: the indexer */
void upsert(void *state, kd_call *call, const ProtobufCMessage *message);
void run_upserts(void *state, const lot_call *first);

#endif
