/* services/indexer/collection.h: one named gallery: vectors of one model with the attributes of
 * their images, durable on disk, searched in memory and in mapped files.
 *
 * A folder holds collection.db (SQLite), which is the truth, and segments/, which is made from it
 * and can be made again. New vectors are in a growing part in memory; when there are enough they
 * become a segment: a file of vectors that is mapped and, where searches are approximate, a file of
 * the index over them (see segment.h and parts.h). Opening verifies every row and every segment;
 * what no good segment holds is read from SQLite.
 *
 * Threads: every function may be called from any thread. Searches run side by side. Changes follow
 * each other; a change holds up searches only while it updates memory, not while it writes, and so
 * does work on segments (collection_work.h).
 *
 * Lifetime: counted. Who gets a collection from here or from the registry releases it. */
#ifndef KD_INDEXER_COLLECTION_H
#define KD_INDEXER_COLLECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/status.h"
#include "lib/base/thread.h"
#include "lib/vector/vector.h"

#define COLLECTION_MAX_BATCH 4096u /* images in one change */
#define COLLECTION_MAX_URI 4096u   /* bytes */
#define COLLECTION_MAX_LABEL 256u  /* bytes of a class or super-class name */
#define COLLECTION_MAX_TEXT                                                                        \
    (64u << 20)                     /* bytes of strings in one answer: what a message can carry */
#define COLLECTION_MAX_QUERIES 256u /* in one search */
#define COLLECTION_MAX_FILTER 100u  /* classes in one filter, and super-classes */
#define COLLECTION_MAX_IDS 10000u   /* image ids in one filter */
#define COLLECTION_MAX_EXCLUDE 1000u
#define COLLECTION_MAX_CONDITIONS 16u
#define COLLECTION_MAX_ATTRIBUTES 32u /* of an image */
#define COLLECTION_MAX_COLUMNS 64u    /* names of attributes in a collection */
#define COLLECTION_MAX_EXAMPLES 100u  /* of each kind */
#define COLLECTION_MAX_PAGE 1000u
#define COLLECTION_MAX_KEY 256u     /* bytes */
#define COLLECTION_MAX_ID INT64_MAX /* image ids are SQLite's row ids */
#define COLLECTION_NO_ID UINT64_MAX /* no image has it */
#define COLLECTION_NAME_SIZE 65u    /* what kd_check_name allows, and NUL */

#define COLLECTION_SEAL_ROWS 16384u         /* that become a segment, unless told otherwise… */
#define COLLECTION_SEAL_BYTES (64u << 20)   /* …or as many as have these bytes of vectors */
#define COLLECTION_QUIET_MS 10000u          /* without new images, then fewer are worth an index */
#define COLLECTION_APPROXIMATE_ROWS 200000u /* from which COLLECTION_AUTO is, unless as above */
#define COLLECTION_LEAST_WINDOW_MS 10u
#define COLLECTION_MAX_WINDOW_MS 60000u

typedef struct collection collection;

/* How a collection is searched. */
typedef enum collection_index {
    COLLECTION_AUTO,  /* exactly; from approximate_rows on as with HNSW */
    COLLECTION_EXACT, /* as the next, values of these are on disk */
    COLLECTION_HNSW,
    COLLECTION_IVF,
} collection_index;

typedef struct collection_settings {
    collection_index index;
    kd_ann_storage storage;        /* of an approximate index, as target_recall */
    float target_recall;           /* 0.5..1 */
    uint32_t durability_window_ms; /* 0: a change is on disk when it is acknowledged; else it may be
                                      lost by power loss for so long, never by kill -9 */
} collection_settings;
#define COLLECTION_SETTINGS_INIT {.storage = KD_ANN_INT8, .target_recall = 0.95f}

/* KD_INVALID_ARGUMENT says what is out of its range. */
KD_MUST_CHECK kd_status collection_settings_check(const collection_settings *s, kd_error *err);
/* "auto", "exact", "hnsw", "ivf"; "int8", "float16", "float32". */
const char *collection_index_word(collection_index index);
const char *collection_storage_word(kd_ann_storage storage);
bool collection_index_parse(const char *word, collection_index *out);
bool collection_storage_parse(const char *word, kd_ann_storage *out);

/* What holds for all collections of a process; 0 takes the default. */
typedef struct collection_options {
    size_t seal_rows, approximate_rows;
    uint32_t quiet_ms;
    kd_pool *build_pool;     /* that shares the building of indexes; NULL: a thread alone */
    struct sampler *sampler; /* gets live queries, see sampler.h; NULL: none. Outlives them */
} collection_options;

/* An image's attributes. The strings are UTF-8, and but for key never NULL; they belong to whoever
 * made the item. */
typedef struct collection_item {
    uint64_t image_id; /* in an upsert not looked at where there is a key */
    const char *key;   /* that names the image in place of its id, unique; NULL: none */
    uint32_t class_id;
    uint32_t super_class_id;
    const char *class_name;
    const char *super_class_name;
    const char *uri;
    /* What else is known: "", or a JSON object of texts and reals as attributes.h makes them. */
    const char *attributes;
} collection_item;

typedef struct collection_row {
    collection_item item;
    const float *values; /* n_values floats of length 1 */
    size_t n_values;
} collection_row;

typedef struct collection_info {
    char name[COLLECTION_NAME_SIZE];
    char model_id[COLLECTION_NAME_SIZE];
    size_t dim;
    uint64_t count;
    uint64_t classes, super_classes; /* distinct ids */
    uint64_t memory_bytes;           /* without what is mapped */
    uint64_t mapped_bytes;
    uint64_t disk_bytes;
    int64_t created_ms;
    collection_settings settings;
    collection_index in_use; /* EXACT, HNSW or IVF */
    float recall;            /* least of the segments' as tuned; 0: none is approximate */
    float live_recall;       /* of late, by live queries that were run again; 0: none was */
    uint64_t live_queries;   /* that were */
    size_t segments, approximate_segments;
    uint64_t growing, sealed, dead;     /* rows; dead ones are in segments, count is without them */
    bool building;                      /* there is work to do on segments */
    char problem[KD_ERROR_MESSAGE_MAX]; /* that work on segments last failed with; "" when it is
                                           well */
} collection_info;

/* ---- Life ---- */

/* Makes an empty collection in the folder path, which must not exist yet, and opens it. After a
 * crash in between the folder may be there and incomplete: give one that is renamed when done (see
 * collection_move). Fails with KD_INVALID_ARGUMENT (name, model id, dim), KD_RESOURCE_EXHAUSTED
 * (disk, memory), KD_PERMISSION_DENIED, KD_INTERNAL. */
KD_MUST_CHECK kd_status collection_create(collection **out, const char *path, const char *name,
    const char *model_id, size_t dim, const collection_options *options, kd_error *err);

/* Opens what is there; options may be NULL. A segment that is damaged is named in the log and made
 * again later. KD_NOT_FOUND without collection.db; KD_DATA_LOSS names the collection and
 * the row that is damaged; KD_FAILED_PRECONDITION for a file of a later version. On a disk that
 * cannot be written it is searched, and changes are KD_FAILED_PRECONDITION until it can. */
KD_MUST_CHECK kd_status collection_open(collection **out, const char *path, const char *name,
    const collection_options *options, kd_error *err);

collection *collection_hold(collection *c); /* one more release to come; returns c */
void collection_release(collection *c);     /* the last one closes; NULL is fine */

/* Renames its folder, which nothing must be at, while it is open; lasts when it returns. When that
 * fails the collection is where it was. */
KD_MUST_CHECK kd_status collection_move(collection *c, const char *path, kd_error *err);

/* Closes its file for good: changes, lists and snapshots get KD_NOT_FOUND from now on, while
 * searches go on. For a collection that is deleted or replaced while others still hold it. */
void collection_retire(collection *c);

const char *collection_name(const collection *c);  /* borrowed, as the next */
const char *collection_model(const collection *c); /* its model's id */
size_t collection_dim(const collection *c);
void collection_describe(collection *c, collection_info *info);

/* KD_FAILED_PRECONDITION unless the collection holds vectors of that model. */
KD_MUST_CHECK kd_status collection_check_model(
    const collection *c, const char *model_id, kd_error *err);

/* How it is searched and written from now on; lasts. What it takes is built beside searches. */
KD_MUST_CHECK kd_status collection_configure(
    collection *c, const collection_settings *settings, kd_error *err);
/* Likewise, as change makes them of those that hold; nobody else changes them meanwhile, and it
 * uses no collection. */
KD_MUST_CHECK kd_status collection_reconfigure(collection *c,
    kd_status (*change)(void *arg, collection_settings *settings, kd_error *err), void *arg,
    kd_error *err);

/* ---- Changes: when they return KD_OK, the change is on disk (see durability_window_ms) and the
 * next search sees it ---- */

/* Adds or replaces 1..COLLECTION_MAX_BATCH images, all or none; of an id or key that is given twice
 * the last counts. *count (may be NULL) is the number of images now. Fails with KD_INVALID_ARGUMENT
 * (names the image), KD_FAILED_PRECONDITION (model,
 * the id of an image that has a key), KD_NOT_FOUND (retired), KD_RESOURCE_EXHAUSTED
 * (disk, memory), KD_PERMISSION_DENIED, KD_DATA_LOSS, KD_INTERNAL. Should memory run out after the
 * commit, the images are on disk, and found when the same upsert is repeated or the collection is
 * opened again. */
KD_MUST_CHECK kd_status collection_upsert(collection *c, const char *model_id,
    const collection_row *rows, size_t n, uint64_t *count, kd_error *err);

/* Removes 1..COLLECTION_MAX_BATCH images, all or none; ids that are not there are passed over.
 * *removed counts the others. Fails as collection_upsert. */
KD_MUST_CHECK kd_status collection_remove(
    collection *c, const uint64_t *ids, size_t n, size_t *removed, kd_error *err);

/* ---- Questions ---- */

/* The ids of the images with these keys, COLLECTION_NO_ID where there is none: then KD_NOT_FOUND
 * names the first, and the other ids are filled in all the same. An id is not used for another key
 * as long as the collection is open. */
KD_MUST_CHECK kd_status collection_find_keys(
    collection *c, const char *const *keys, size_t n, uint64_t *ids, kd_error *err);

#define COLLECTION_LABEL_SIZE 128u
/* "image 7" or "image 'chair-7'", in text, for sentences; returns text. */
const char *collection_label(const collection_item *item, char text[COLLECTION_LABEL_SIZE]);

typedef struct collection_hit {
    collection_item item; /* its strings belong to the collection_found */
    float score;          /* 0 where nothing was searched */
} collection_hit;

/* Rows of hits: one row for each query; a single one for a page or an item. */
typedef struct collection_found {
    collection_hit *hits; /* row r begins at hits + r * width */
    size_t *counts;       /* hits in each row */
    size_t n_rows, width;
    char *text; /* what the items' strings point into */
} collection_found;
void collection_found_free(collection_found *found); /* an emptied or {0} one is fine */

/* An attribute is one of the texts, or, without any, a number of min..max. */
typedef struct collection_condition {
    const char *name;
    const char *const *texts;
    size_t n_texts;
    double min, max;
} collection_condition;

/* Images that are of one of the super-classes, of one of the classes, among the ids, and meet all
 * conditions; an empty list lets all through. Words are names, else ids as numbers. */
typedef struct collection_filter {
    const char *const *super_classes;
    size_t n_super_classes;
    const char *const *classes;
    size_t n_classes;
    const uint64_t *image_ids;
    size_t n_image_ids;
    const collection_condition *conditions;
    size_t n_conditions;
} collection_filter;

/* A query for what is like some images and unlike others: with m and n the means of their vectors
 * m + (m - n), without negative ones m, scaled to length 1. The images are left out of the answer.
 */
typedef struct collection_examples {
    const uint64_t *positive;
    size_t n_positive; /* 1..COLLECTION_MAX_EXAMPLES */
    const uint64_t *negative;
    size_t n_negative;
} collection_examples;

typedef struct collection_search {
    const char *model_id;            /* that made the queries */
    const collection_row *queries;   /* values and n_values only */
    size_t n_queries;                /* 1..COLLECTION_MAX_QUERIES */
    const collection_examples *like; /* in place of queries and model_id; NULL: none */
    size_t k;                        /* 1..KD_VECTOR_MAX_K */
    const float *min_score;          /* hits below it are left out; NULL: none */
    bool by_class;                   /* of each class only the best image is a hit */
    collection_filter filter;
    const uint64_t *exclude;
    size_t n_exclude;
    bool exact;    /* whatever the collection's index is */
    kd_pool *pool; /* that shares the work; NULL: the calling thread alone */
} collection_search;

/* The k nearest of each query, best first, ties by lower image id. On success the caller frees
 * *found. Fails with KD_INVALID_ARGUMENT (names the query), KD_FAILED_PRECONDITION (model),
 * KD_NOT_FOUND (a class, super-class or attribute that no image has, an example that is not
 * there), KD_RESOURCE_EXHAUSTED, KD_INTERNAL. */
KD_MUST_CHECK kd_status collection_search_run(
    collection *c, const collection_search *search, collection_found *found, kd_error *err);

/* What can be said of a search without searching: KD_INVALID_ARGUMENT or KD_FAILED_PRECONDITION, as
 * collection_search_run would. */
KD_MUST_CHECK kd_status collection_search_check(
    const collection *c, const collection_search *search, kd_error *err);

/* One image as *found's only hit; values (may be NULL) takes its vector, dim floats. KD_NOT_FOUND
 * names the image. */
KD_MUST_CHECK kd_status collection_get(
    collection *c, uint64_t image_id, collection_found *found, float *values, kd_error *err);

/* Images in the order of their ids, the first at or above from; limit 1..COLLECTION_MAX_PAGE. The
 * next page begins at the last id + 1; a short page is the last one. */
KD_MUST_CHECK kd_status collection_list(
    collection *c, uint64_t from, size_t limit, collection_found *found, kd_error *err);

/* Writes the collection as it is now to one file (replaced if there), whole or not at all, while it
 * is used; *bytes (may be NULL) is its size. */
KD_MUST_CHECK kd_status collection_snapshot(
    collection *c, const char *file, uint64_t *bytes, kd_error *err);

#endif
