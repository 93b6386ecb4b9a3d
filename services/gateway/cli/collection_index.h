/* services/gateway/cli/collection_index.h: how a collection is searched and written, in options,
 * requests and tables. */
#ifndef KD_CLI_COLLECTION_INDEX_H
#define KD_CLI_COLLECTION_INDEX_H

#include <popt.h>

#include "kindred/v1/indexer.pb-c.h"

#include "services/gateway/cli/cli.h"

typedef struct index_options {
    const char *kind, *storage; /* NULL: not given; as 0 and -1 below */
    float target_recall;
    int window_ms;
} index_options;
#define INDEX_OPTIONS_INIT {.window_ms = -1}

#define INDEX_OPTIONS(o)                                                                           \
    {"kind", 0, POPT_ARG_STRING, &(o).kind, 0,                                                     \
        "exact, hnsw or ivf; auto is exact while the collection is small", "KIND"},                \
        {"storage", 0, POPT_ARG_STRING, &(o).storage, 0,                                           \
            "what an approximate search looks at first: int8, float16 or float32", "TYPE"},        \
        {"target-recall", 0, POPT_ARG_FLOAT, &(o).target_recall, 0,                                \
            "part of the ten nearest that it is to find, 0.5 to 1", "R"},                          \
        {"durability-window", 0, POPT_ARG_INT, &(o).window_ms, 0,                                  \
            "what power loss may take, milliseconds; 0 syncs every change", "MS"}

/* What the requests point to. */
typedef struct index_messages {
    Kindred__V1__IndexSettings index;
    Kindred__V1__Durability durability;
} index_messages;

/* Leaves NULL what no option speaks of. */
void index_options_ask(const index_options *options, index_messages *messages,
    Kindred__V1__IndexSettings **index, Kindred__V1__Durability **durability);

void index_fields(cli_table *table, const Kindred__V1__Collection *c);

#endif
