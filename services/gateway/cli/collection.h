/* services/gateway/cli/collection.h: the sub-commands of `kindred collection`. collection.c shows
 * and copies collections, collection_items.c changes what is in them, collection_index.c how they
 * are searched, collection_export.c and collection_import.c write and read files. */
#ifndef KD_CLI_COLLECTION_H
#define KD_CLI_COLLECTION_H

#include "services/gateway/cli/jobs.h"

int collection_add(int argc, const char **argv);
int collection_delete(int argc, const char **argv);
int collection_index(int argc, const char **argv);
int collection_items(int argc, const char **argv);
int collection_export(int argc, const char **argv);
int collection_import(int argc, const char **argv);

/* What is known of the rows of a file of vectors lies beside it: x.npy gives x.jsonl. A new string.
 */
char *cli_items_path(const char *vectors);

#endif
