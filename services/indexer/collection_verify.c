/* Opening takes sealed vectors from segments: here those of the truth are read after it. */
#include <inttypes.h>
#include <stdlib.h>

#include "lib/base/clock.h"
#include "lib/base/hash.h"
#include "lib/base/log.h"
#include "services/indexer/collection_internal.h"
#include "services/indexer/collection_work.h"

enum {
    STEP = 256,       /* rows, while changes wait */
    AGAIN_MS = 30000, /* before what failed and may pass is tried again */
};

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

/* With changes locked. What is lost is kept in *err, the first of it, and the rest looked at; of
 * another failure nothing in this step counts as verified. */
static void verify(collection *c, kd_error *err)
{
    db_bad_vector bad[STEP];
    size_t n_bad = 0;
    uint64_t next = c->verified;
    float *const vector = malloc(c->meta.dim * sizeof *vector);
    kd_status status = vector ? KD_OK : kd_error_memory(err, "a vector");
    if (status == KD_OK)
        status = db_verify_vectors(c->db, &next, STEP, bad, &n_bad, err);
    if (status == KD_DATA_LOSS) /* the file itself: there is no way past it */
        next = DB_VERIFIED;
    for (size_t i = 0; i < n_bad && status == KD_OK; i++) {
        kd_error why = KD_ERROR_INIT;
        status = mend(c, &bad[i], vector, &why);
        if (status != KD_OK && err->status != KD_DATA_LOSS)
            *err = why;
        if (status == KD_DATA_LOSS)
            status = KD_OK;
    }
    free(vector);
    if (status == KD_OK || status == KD_DATA_LOSS)
        c->verified = next;
    else
        c->verify_ms = kd_mono_ms() + AGAIN_MS;
}

/* Loss is told until the next start, of other failures the last one until it has passed. */
static void tell(collection *c, const kd_error *err)
{
    kd_error *const kept = &c->problems[COLLECTION_TRUTH]; /* written by this thread alone */
    if (err->status == KD_DATA_LOSS && kept->status == KD_DATA_LOSS)
        kd_log_error(KD_LOG_ERROR, "segments_failed", err);
    else if (kept->status != KD_DATA_LOSS && (err->status != KD_OK || kept->status != KD_OK))
        collection_told(c, kept, err);
}

bool collection_verify(collection *c)
{
    kd_error err = KD_ERROR_INIT;
    bool more = false;
    if (atomic_load(&c->stopped) || kd_mono_ms() < c->verify_ms)
        return false;
    pthread_mutex_lock(&c->changes);
    const bool due = c->verified != DB_VERIFIED && collection_check_usable(c, NULL) == KD_OK;
    if (due) {
        const uint64_t before = c->verified;
        verify(c, &err);
        more = c->verified != before && c->verified != DB_VERIFIED;
    }
    pthread_mutex_unlock(&c->changes);
    if (due)
        tell(c, &err);
    return more;
}
