/* services/gateway/gateway.h: what the files of the gateway share.
 *
 * RPC handlers answer later (search) or run on the server's workers (jobs, status). Index and
 * evaluate jobs are run by one job thread, which coordinates embedder and indexer. */
#ifndef KD_GATEWAY_GATEWAY_H
#define KD_GATEWAY_GATEWAY_H

#include <pthread.h>
#include <stdatomic.h>

#include "kindred/v1/embedder.pb-c.h"
#include "kindred/v1/gateway.pb-c.h"
#include "kindred/v1/indexer.pb-c.h"
#include "kindred/v1/process.pb-c.h"
#include "kindred/v1/trainer.pb-c.h"

#include "lib/base/thread.h"
#include "lib/dataset/dataset.h"
#include "lib/service/service.h"
#include "lib/store/store.h"

#define GATEWAY_WORKERS 4u
#define GATEWAY_QUEUE "gateway"
#define TRAINER_QUEUE "train"

#define EMBEDDER &kindred__v1__embedder_service__descriptor
#define INDEXER &kindred__v1__indexer_service__descriptor
#define TRAINER &kindred__v1__trainer_service__descriptor
#define GATEWAY &kindred__v1__gateway_service__descriptor
#define PROCESS &kindred__v1__process_service__descriptor

typedef struct watcher watcher;
typedef struct worker worker;
typedef struct peers peers;
struct web;

typedef struct gateway {
    kd_process *process;
    kd_channel *embedder, *indexer, *trainer;
    kd_queue *stores;  /* of kd_store, one for each worker: taken for a call, put back */
    kd_pool *pictures; /* thumbnails of search results */
    char *reports_dir; /* DATA/reports */
    watcher *watcher;
    worker *worker;
    peers *peers;
    struct web *web;
} gateway;

/* ---- service.c ---- */
KD_MUST_CHECK kd_status service_add(gateway *g, kd_server *server, kd_error *err);
/* A store of the gateway's own few; never NULL. */
kd_store *store_take(gateway *g);
void store_give(gateway *g, kd_store *store);
/* Folder or file under the dataset roots; *real is a new string (free). */
KD_MUST_CHECK kd_status check_path(const gateway *g, const char *path, char **real, kd_error *err);
/* Calls a peer on behalf of a blocking handler, with a time-out of a minute. */
KD_MUST_CHECK kd_status ask(kd_call *call, kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    void *response /* ProtobufCMessage ** of any type */, kd_error *err);

/* ---- search.c ---- */
void search_products(void *state, kd_call *call, const ProtobufCMessage *message);

/* ---- images.c ---- */
void add_image(void *state, kd_call *call, const ProtobufCMessage *message);
/* Reads the image at uri, if it lies under a dataset root, as a JPEG of at most `side`; nothing on
 * failure. */
void make_thumbnail(const gateway *g, const char *uri, uint32_t side, kd_buf *out);

/* KD_DATA_LOSS with the reason when the indexer could not read it. */
KD_MUST_CHECK kd_status check_intact(const Kindred__V1__Collection *collection, kd_error *err);

/* ---- jobs.c ---- */
void submit_job(void *state, kd_call *call, const ProtobufCMessage *message);
void get_job(void *state, kd_call *call, const ProtobufCMessage *message);
void list_jobs(void *state, kd_call *call, const ProtobufCMessage *message);
void cancel_job(void *state, kd_call *call, const ProtobufCMessage *message);
void retry_job(void *state, kd_call *call, const ProtobufCMessage *message);
/* A record as a message; borrows from job. job_message_clear frees what was unpacked. */
typedef struct job_message {
    Kindred__V1__Job job;
    Kindred__V1__Problem problem;
} job_message;
void job_message_make(job_message *out, const kd_job *job);
void job_message_clear(job_message *out);

/* ---- status.c ---- */
void get_status(void *state, kd_call *call, const ProtobufCMessage *message);

/* ---- submit.c ---- */
/* Says at once what would make the job fail later; resolves paths and fills defaults into the copy
 * *out (packed, freed by the caller) with its queue and kind (static). */
KD_MUST_CHECK kd_status submit_check(gateway *g, kd_call *call, const Kindred__V1__JobSpec *spec,
    kd_buf *out, const char **queue, const char **kind, kd_error *err);

/* ---- watch.c ---- */
KD_MUST_CHECK kd_status watcher_new(watcher **out, const char *redis, kd_error *err);
void watcher_drain(watcher *w); /* ends every watch with KD_UNAVAILABLE */
void watcher_free(watcher *w);
void watch_job(void *state, kd_call *call, const ProtobufCMessage *message);

/* ---- peers.c: what the gateway depends on, looked at every five seconds ---- */
typedef enum peer_id { PEER_EMBEDDER, PEER_INDEXER, PEER_TRAINER, PEER_REDIS, PEERS } peer_id;
KD_MUST_CHECK kd_status peers_new(peers **out, const gateway *g, kd_error *err);
void peers_drain(peers *p); /* no look begins from now on */
void peers_free(peers *p);  /* waits for the one that goes on */
/* For who has asked one by itself. */
void peers_saw(peers *p, peer_id which, bool serves);
int64_t peers_away_since(peers *p, peer_id which); /* ms since 1970; 0: it is there */

/* ---- worker.c: the job thread ---- */
KD_MUST_CHECK kd_status worker_new(worker **out, gateway *g, kd_error *err);
/* Asks it to stop at the job's next step and to give the job back, so that it goes on after a
 * restart. */
void worker_stop(worker *w);
void worker_free(worker *w); /* waits for that */

/* A job that is being run. */
typedef struct running_job {
    gateway *gateway;
    worker *worker;
    kd_job *job;
    const Kindred__V1__JobSpec *spec;
    atomic_bool stop;      /* cancelled, superseded or the process ends: leave soon */
    kd_status stop_reason; /* KD_CANCELLED, KD_ABORTED (superseded) or KD_UNAVAILABLE (the process
                              ends) */
    int64_t last_write_ms;
    /* What is shown. */
    char phase[96];
    uint64_t total;
    atomic_uint_fast64_t done;
    int64_t rate_since_ms;
    uint64_t rate_since_done;
    double rate;
} running_job;

/* Writes progress when it is time, renews, learns of cancellation. Called by the job thread alone,
 * at least every second. KD_CANCELLED and so on once the job should stop. */
KD_MUST_CHECK kd_status job_step(running_job *r, kd_error *err);
void job_phase(running_job *r, const char *phase);
/* Calls a peer, again and again while it is UNAVAILABLE, busy or slow, for up to two minutes: it
 * may be restarting. From any thread of the job. */
KD_MUST_CHECK kd_status job_ask(running_job *r, kd_channel *channel,
    const ProtobufCServiceDescriptor *service, const char *method, const ProtobufCMessage *request,
    void *response /* ProtobufCMessage ** of any type */, kd_error *err);

/* ---- embed_set.c ---- */
/* The images that could not be embedded. */
typedef struct skipped {
    pthread_mutex_t mutex;
    uint64_t count;
    char *names[20]; /* the first, "path: reason" */
    size_t n_names;
} skipped;
void skipped_init(skipped *s);
void skipped_add(skipped *s, const char *path, const char *reason);
void skipped_clear(skipped *s);

/* n consecutive items from `first` with their embeddings (n × dim); ok[i] false: skipped. Called
 * from several threads at a time. */
typedef kd_status (*on_embedded)(
    void *arg, size_t first, size_t n, const float *values, const bool *ok, kd_error *err);
/* Embeds every item of the dataset by the model, some chunks side by side, in bounded memory; adds
 * to r->done as it goes. */
KD_MUST_CHECK kd_status embed_set(running_job *r, const kd_dataset *dataset, const char *model_id,
    size_t dim, skipped *skip, on_embedded done, void *arg, kd_error *err);

/* ---- index_job.c, evaluate_job.c ---- */
KD_MUST_CHECK kd_status run_index(running_job *r, Kindred__V1__JobResult *result, kd_error *err);
KD_MUST_CHECK kd_status run_evaluate(running_job *r, Kindred__V1__JobResult *result, kd_error *err);
/* ---- result.c ---- */
/* Frees a message's text that is owned where it differs from protobuf-c's shared empty one. */
void result_free_text(char *text);
/* Frees what the two put into a result. */
void result_clear(Kindred__V1__JobResult *result);
/* Moves names and count into the result. */
void result_skipped(Kindred__V1__JobResult *result, skipped *s);

#endif
