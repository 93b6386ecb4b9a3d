/* services/indexer/segment.h: vectors that no longer change. They are sealed: in a mapped file
 * segments/NUMBER.vec, by image id, and where searches are approximate with an index over them in
 * NUMBER.ann; or frozen: in memory, until they are written.
 *
 * A row is alive while its tag is an image's place, and dead once it is SEGMENT_DEAD: the image is
 * gone, replaced, or in another segment. Which rows are alive is not in the files: a row is when
 * collection.db has its image with a vector of the same hash.
 *
 * Files are written beside, synced and renamed. All in them is guarded by XXH3: the head, the table
 * of ids and hashes, and each vector by its hash. */
#ifndef KD_INDEXER_SEGMENT_H
#define KD_INDEXER_SEGMENT_H

#include <stdatomic.h>

#include "lib/vector/vector.h"

#define SEGMENT_DEAD UINT32_MAX

typedef struct segment {
    kd_rows rows;           /* tags are the ones below */
    uint32_t *tags;         /* owned */
    size_t dead;            /* rows */
    size_t slot;            /* its place among the parts */
    kd_index *frozen;       /* owned: holds the rows; NULL when they are mapped */
    uint64_t number;        /* of its files; 0: frozen */
    const uint64_t *hashes; /* of the vectors; mapped */
    void *map;              /* owned, of map_bytes */
    size_t map_bytes;
    kd_ann *ann; /* owned; NULL: there is none yet */
    /* Of the threads that work on segments, see collection_work.h. */
    bool stored;      /* its index is in its file, and was not loaded yet */
    bool busy;        /* being merged, or its index built */
    bool damaged;     /* since it was mapped */
    int64_t again_ms; /* what failed is not tried before */
} segment;

/* Of the file of vectors: one that is searched, and one that waits for its index to take the place
 * of others. That is none yet for who opens the collection. */
#define SEGMENT_FILE "vec"
#define SEGMENT_WAITING "waiting"

/* PATH/segments/NUMBER.ending; NULL without memory. */
char *segment_file(const char *path, uint64_t number, const char *ending);

/* Takes over the index; all rows are alive. On failure it is still the caller's. */
KD_MUST_CHECK kd_status segment_freeze(segment **out, kd_index *index, kd_error *err);

/* Maps NUMBER.ending and verifies it; all rows are dead. KD_DATA_LOSS names the file. */
KD_MUST_CHECK kd_status segment_open(segment **out, const char *path, uint64_t number,
    const char *ending, size_t dim, kd_error *err);
void segment_free(segment *s); /* NULL is fine; leaves the files */

/* A row of the segment that is made, in the order of their ids. */
typedef struct segment_pick {
    uint64_t id;
    const segment *from;
    uint32_t row;
} segment_pick;

/* Writes NUMBER.ending. Stops with KD_CANCELLED once *halt. KD_DATA_LOSS when a row that it takes
 * was damaged since it was mapped. */
KD_MUST_CHECK kd_status segment_write(const char *path, uint64_t number, const char *ending,
    size_t dim, const segment_pick *picks, size_t n, const atomic_bool *halt, kd_error *err);
/* Of one that waited: it is a segment for good. */
KD_MUST_CHECK kd_status segment_keep(const char *path, uint64_t number, kd_error *err);

void segment_unlink_index(const char *path, uint64_t number);
/* All its files; what is not there is fine. */
void segment_unlink(const char *path, uint64_t number);

#endif
