/* services/gateway/cli/collection.h: the sub-commands of `kindred collection`. collection.c shows
 * and copies collections, collection_items.c changes what is in them, collection_index.c how they
 * are searched. */
#ifndef KD_CLI_COLLECTION_H
#define KD_CLI_COLLECTION_H

#include "services/gateway/cli/jobs.h"

int collection_add(int argc, const char **argv);
int collection_delete(int argc, const char **argv);
int collection_index(int argc, const char **argv);
int collection_items(int argc, const char **argv);

#endif
