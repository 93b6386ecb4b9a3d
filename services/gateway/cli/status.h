/* services/gateway/cli/status.h: what `kindred status` has found out, and what is to be said of it.
 * status.c asks, status_warnings.c judges, status_print.c prints. */
#ifndef KD_CLI_STATUS_H
#define KD_CLI_STATUS_H

#include "kindred/v1/embedder.pb-c.h"
#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"
#include "services/gateway/cli/cli.h"
#include "services/gateway/cli/local.h"

/* Something that an operator should know. */
typedef struct status_warning {
    bool grave; /* a part of the stack does not work: the exit status says so */
    char *what, *advice;
} status_warning;

typedef struct status_facts {
    char gateway[LOCAL_ADDRESS];
    bool is_local; /* the gateway is that of the stack on data */
    local_stack local;
    char *data; /* owned */
    Kindred__V1__GetStatusResponse *stack;
    /* NULL, or not known, without the service that knows it. */
    Kindred__V1__ListLoadedModelsResponse *loaded;
    Kindred__V1__GetEmbedCountsResponse *embeds;
    bool knows_models, knows_collections;
    uint64_t models;
    Kindred__V1__ListCollectionsResponse **pages; /* of collections; owned */
    size_t n_pages;
    uint64_t collections;
    uint64_t dead; /* jobs that were given up in the last week; the newest of them: */
    char dead_id[64];
    status_warning *warnings; /* owned */
    size_t n_warnings;
} status_facts;

const Kindred__V1__ServiceStatus *status_service(const status_facts *f, const char *name);
/* Calls fn for each collection. */
void status_each_collection(const status_facts *f,
    void (*fn)(void *arg, const Kindred__V1__Collection *collection), void *arg);

/* ---- status_warnings.c ---- */
void status_judge(status_facts *f); /* fills warnings */
bool status_is_grave(const status_facts *f);
/* Live recall where there was a query, else what the tuning reached; false: it is exact. */
bool status_recall(const Kindred__V1__Collection *c, double *recall);

/* ---- status_print.c ---- */
void status_print_json(const status_facts *f);
void status_print_table(const status_facts *f);

#endif
