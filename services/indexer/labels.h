/* services/indexer/labels.h: the names of classes or super-classes, each kept once and counted, by
 * id and by name.
 *
 * Threads: look-ups side by side, changes alone; the caller holds the lock. */
#ifndef KD_INDEXER_LABELS_H
#define KD_INDEXER_LABELS_H

#include <stdint.h>

/* A bigger table that cannot be had only makes look-ups slower; a first one that cannot be had is
 * seen by the caller: the element is then in no table. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* One name of one id. An id has one name, unless its images were not all given the same. */
typedef struct label {
    uint64_t uses;
    uint32_t id;
    struct label_name *of;
    struct label *next;     /* another name of the same id */
    struct label *same;     /* another id of the same name… */
    struct label **same_at; /* …and what points to this one among them */
} label;

/* All names of one id. */
typedef struct label_id {
    uint32_t id;
    label *names; /* owned, never empty */
    UT_hash_handle hh;
} label_id;

/* All ids of one name. */
typedef struct label_name {
    label *ids; /* never empty */
    UT_hash_handle hh;
    char name[];
} label_name;

typedef struct labels {
    label_id *by_id;     /* a uthash table, owned; as the next */
    label_name *by_name; /* of the same */
} labels;

/* A use of the label, given back by labels_drop; NULL without memory. */
label *labels_take(labels *all, uint32_t id, const char *name);
void labels_drop(labels *all, label *used); /* NULL is fine; with the last use the label goes */

const label_id *labels_find(const labels *all, uint32_t id); /* NULL: none, as the next */
const label_name *labels_find_name(const labels *all, const char *name);

uint64_t labels_bytes(const labels *all); /* memory in use, about */

#endif
