/* lib/store/store.h: jobs and the embedding cache, in Redis through hiredis.
 *
 * The queue is Redis Streams with consumer groups: at least once, so handlers are idempotent. A
 * job's record is the hash kindred:job:ID; the streams kindred:queue:QUEUE carry ids. Every write
 * of progress or result carries the attempt number and is refused (KD_ABORTED) by a Lua script when
 * a newer attempt has begun. An owner renews its job every few seconds (XCLAIM … JUSTID); a job
 * that nobody renews is claimed by the next worker that asks; after KD_JOB_MAX_ATTEMPTS it fails
 * and goes to the dead letters.
 *
 * Threads: a kd_store is one connection for one thread at a time; open one for each thread. A lost
 * connection is opened again by the next call. Redis gone: KD_UNAVAILABLE, the sentence names the
 * address. */
#ifndef KD_STORE_STORE_H
#define KD_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/hash.h"
#include "lib/base/status.h"

typedef struct kd_store kd_store;

/* address is HOST:PORT. Connects lazily. timeout_ms bounds each command. */
KD_MUST_CHECK kd_status kd_store_open(
    kd_store **out, const char *address, uint32_t timeout_ms, kd_error *err);
void kd_store_close(kd_store *store);
KD_MUST_CHECK kd_status kd_store_ping(kd_store *store, kd_error *err);
/* What Redis says about itself. */
typedef struct kd_store_facts {
    char version[32];
    int64_t uptime_s;
    uint64_t used_bytes; /* of memory */
} kd_store_facts;
KD_MUST_CHECK kd_status kd_store_describe(kd_store *store, kd_store_facts *out, kd_error *err);
/* How long a job may go without renewal before this store's kd_jobs_take claims it; KD_JOB_STALE_MS
 * unless set. */
void kd_store_set_stale_ms(kd_store *store, uint32_t stale_ms);

/* ---- Jobs ---- */
#define KD_JOB_ID_TEXT 32
#define KD_JOB_MAX_ATTEMPTS 5u
#define KD_JOB_STALE_MS 30000 /* not renewed for so long: claimed by another worker */
#define KD_JOB_RENEW_MS 5000

typedef enum kd_job_state {
    KD_JOB_QUEUED = 1,
    KD_JOB_RUNNING = 2,
    KD_JOB_DONE = 3,
    KD_JOB_FAILED = 4,
    KD_JOB_CANCELLED = 5,
} kd_job_state;                                    /* numbers equal kindred.v1.JobState's */
const char *kd_job_state_name(kd_job_state state); /* "queued" and so on; static */

typedef struct kd_bytes {
    uint8_t *data; /* owned; NULL when empty, else with a NUL behind the last byte */
    size_t len;
} kd_bytes;

typedef struct kd_job {
    char id[KD_JOB_ID_TEXT];
    char kind[16]; /* "train", "index", "evaluate" */
    kd_job_state state;
    uint32_t attempt; /* 1 at the first try; 0 while never taken */
    bool cancel_requested;
    bool dead; /* gave up after KD_JOB_MAX_ATTEMPTS */
    /* Redis's wall clock, 0: not yet. started: the first try. */
    int64_t created_ms, started_ms, finished_ms;
    kd_bytes spec;          /* what to do: the caller's encoding */
    kd_bytes progress;      /* how far: the caller's encoding; empty before the first */
    kd_bytes result;        /* what came out */
    kd_status error_status; /* KD_OK unless failed or cancelled */
    char error_message[KD_ERROR_MESSAGE_MAX];
    char entry[32]; /* its stream entry, for the owner */
    char queue[32];
} kd_job;
void kd_job_clear(kd_job *job); /* frees what it owns; an all-zero job is fine */

/* id receives a new id: a later job has the greater one. queue: "train", "gateway". request, if not
 * "", names the request: one that was made within a day gives its job again, and no second is
 * queued, so that who lost the answer may ask again. */
KD_MUST_CHECK kd_status kd_jobs_submit(kd_store *store, const char *queue, const char *kind,
    const void *spec, size_t spec_len, const char *request, char id[KD_JOB_ID_TEXT], kd_error *err);
/* The job that a request made; *id is "" when there is none. */
KD_MUST_CHECK kd_status kd_jobs_find(
    kd_store *store, const char *request, char id[KD_JOB_ID_TEXT], kd_error *err);
KD_MUST_CHECK kd_status kd_jobs_get(kd_store *store, const char *id, kd_job *out, kd_error *err);
/* Newest first, at most limit, those older than the id `after` ("" begins; KD_NOT_FOUND when it is
 * none). *jobs is owned by the caller: kd_jobs_free. state 0: any; kind "": any; dead_only: dead
 * letters. */
KD_MUST_CHECK kd_status kd_jobs_list(kd_store *store, int state, const char *kind, bool dead_only,
    const char *after, size_t limit, kd_job **jobs, size_t *n, kd_error *err);
void kd_jobs_free(kd_job *jobs, size_t n);
/* Jobs that wait; those that a worker holds are not counted. */
KD_MUST_CHECK kd_status kd_jobs_depth(
    kd_store *store, const char *queue, uint64_t *depth, kd_error *err);

typedef struct kd_job_counts {
    uint64_t by_state[KD_JOB_CANCELLED + 1]; /* [KD_JOB_QUEUED] and so on; [0] is 0 */
    uint64_t dead;                           /* of the failed ones, the dead letters */
} kd_job_counts;
/* All jobs. Reads each record's state. */
KD_MUST_CHECK kd_status kd_jobs_count(kd_store *store, kd_job_counts *out, kd_error *err);

/* Marks a queued job cancelled at once; a running one is flagged, its owner sees it at its next
 * progress or renewal. KD_FAILED_PRECONDITION when it has ended. */
KD_MUST_CHECK kd_status kd_jobs_cancel(kd_store *store, const char *id, kd_error *err);
/* Queues a failed or cancelled job again, attempts counted anew. Else KD_FAILED_PRECONDITION. */
KD_MUST_CHECK kd_status kd_jobs_retry(kd_store *store, const char *id, kd_error *err);

/* The worker's side. Takes a job for `consumer` (a stable name: its own pending entries come first,
 * at once; then stale ones of others; then new ones), waiting up to wait_ms. *taken false: none
 * came. Jobs cancelled meanwhile are acknowledged and passed over; those over the attempts are
 * failed. Only for an idle consumer: a job that it still holds counts as left behind by its last
 * life. A take whose answer was lost, as Redis was silent or went away, gave its job to nobody:
 * the store's next take has it as the same attempt. */
KD_MUST_CHECK kd_status kd_jobs_take(kd_store *store, const char *queue, const char *consumer,
    uint32_t wait_ms, kd_job *out, bool *taken, kd_error *err);
/* Writes progress (len 0: only renews) and learns of cancellation. KD_ABORTED: a newer attempt
 * runs. */
KD_MUST_CHECK kd_status kd_jobs_progress(kd_store *store, const kd_job *job, const char *consumer,
    const void *progress, size_t len, bool *cancel_requested, kd_error *err);
/* Ends the job: DONE with a result, FAILED or CANCELLED with the error. Acknowledges its entry.
 * KD_ABORTED: a newer attempt runs. Saying the same again is fine. */
KD_MUST_CHECK kd_status kd_jobs_finish(kd_store *store, const kd_job *job, kd_job_state state,
    const void *result, size_t len, const kd_error *why, kd_error *err);
/* Gives the job back unended, for the worker's next life (a planned restart): it is queued again,
 * and this attempt doesn't count. KD_ABORTED as above. Saying it again is fine. */
KD_MUST_CHECK kd_status kd_jobs_release(kd_store *store, const kd_job *job, kd_error *err);

/* ---- Embedding cache: an entry for each model and SHA-256, expiry on each ---- */
/* How values are kept; each form has entries of its own, and never sees the other's. */
typedef enum kd_cache_form {
    KD_CACHE_FLOAT32, /* kindred:emb:MODEL:SHA256, bit for bit */
    KD_CACHE_FLOAT16, /* kindred:emb16:MODEL:SHA256, half the memory; see lib/base/half.h */
} kd_cache_form;
/* One image under one model. model is what computed it: a model's id, and what else its values
 * depend on. All borrowed for the call. */
typedef struct kd_cache_entry {
    const char *model;
    const uint8_t *sha256; /* KD_SHA256_BYTES */
    float *values;         /* dim of them */
    size_t dim;
    bool found; /* by the last kd_cache_get */
} kd_cache_entry;
/* One pipelined round trip for n entries, of any models: fills the values of those that it finds.
 * On failure none is found, and values may be anything. */
KD_MUST_CHECK kd_status kd_cache_get(
    kd_store *store, kd_cache_form form, kd_cache_entry *entries, size_t n, kd_error *err);
/* Likewise keeps them. ttl_seconds 0 keeps nothing. */
KD_MUST_CHECK kd_status kd_cache_put(kd_store *store, kd_cache_form form,
    const kd_cache_entry *entries, size_t n, uint32_t ttl_seconds, kd_error *err);

#endif
