/* Opening takes sealed vectors from segments: here those of the truth are read after it. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "services/indexer/collection_internal.h"
#include "services/indexer/collection_work.h"

enum { STEP = 256 }; /* rows, while changes wait */

/* With changes locked. */
static kd_status mend(collection *c, const db_bad_vector *bad, float *vector, kd_error *err)
{
    pthread_rwlock_rdlock(&c->memory);
    const bool there = collection_vector(c, bad->image_id, vector);
    pthread_rwlock_unlock(&c->memory);
    if (!there || kd_xxh3(vector, c->meta.dim * sizeof *vector) != bad->hash)
        return kd_error_set(err, KD_DATA_LOSS,
            "collection '%s' is damaged: the vector of image %" PRIu64 " fails its checksum",
            c->name, bad->image_id);
    const kd_status status = db_mend_vector(c->db, bad->image_id, vector, err);
    if (status == KD_OK)
        KD_LOG(KD_LOG_WARN, "vector_mended", KD_STR("collection", c->name),
            KD_INT("image_id", bad->image_id),
            KD_STR("reason", "it failed its checksum in collection.db"));
    return status;
}

/* With changes locked. err is set when something is wrong; a lost vector does not keep the others
 * from being read. */
static void verify(collection *c, kd_error *err)
{
    db_bad_vector bad[STEP];
    size_t n_bad = 0;
    float *const vector = malloc(c->meta.dim * sizeof *vector);
    kd_status status = vector ? KD_OK : kd_error_memory(err, "a vector");
    if (status == KD_OK)
        status = db_verify_vectors(c->db, &c->verified, STEP, bad, &n_bad, err);
    for (size_t i = 0; i < n_bad && status == KD_OK; i++) {
        status = mend(c, &bad[i], vector, err);
        if (status == KD_DATA_LOSS)
            status = KD_OK;
    }
    if (status != KD_OK)
        c->verified = DB_VERIFIED; /* it is told until the next start */
    free(vector);
}

bool collection_verify(collection *c)
{
    kd_error err = KD_ERROR_INIT;
    bool more = false;
    if (atomic_load(&c->stopped))
        return false;
    pthread_mutex_lock(&c->changes);
    if (c->verified != DB_VERIFIED && collection_check_usable(c, NULL) == KD_OK) {
        verify(c, &err);
        more = c->verified != DB_VERIFIED;
    }
    pthread_mutex_unlock(&c->changes);
    if (err.status != KD_OK)
        collection_told(c, &c->problems[COLLECTION_TRUTH], &err);
    return more;
}
