/* services/embedder/models.h: the models in memory, and the one thread that loads them.
 *
 * Loading takes seconds, so it is done beside the forward, by one thread that lives as long as the
 * table: LibTorch keeps a team of threads for each thread that calls it. Who needs a model that is
 * not there waits in its entry, and is told by the loader; images of other models pass by.
 *
 * What models take has a budget. One that was loaded makes the least recently used go until all
 * fit, never one that images are at work with; only then, so that one that can't be loaded costs
 * nobody a model. While it loads, its memory comes on top.
 *
 * Safe from any thread; the one lock is held for a look at the table, never during work. */
#ifndef KD_EMBEDDER_MODELS_H
#define KD_EMBEDDER_MODELS_H

#include "lib/base/metrics.h"
#include "lib/models/models.h"
#include "lib/nn/nn.h"

#define KD_EMBEDDER_MAX_MODELS 16u  /* in memory or on their way */
#define KD_EMBEDDER_MAX_PARKED 256u /* that wait for a model, of all models together */
#define KD_EMBEDDER_ROOM_MS 5000    /* a load waits so long for models in use to be done */
#define KD_EMBEDDER_RELOAD_MS 10000 /* after a failure, before a stand-in's use tries again */

typedef struct model_set model_set;
typedef struct served_model served_model;

/* Who waits for a model; lies in the waiter, which sets done and arg. */
typedef struct model_wait {
    struct model_wait *next;
    void *arg;
    /* By the loader's thread, without a lock: the model, which the waiter uses now
     * (model_set_release), or NULL and why. */
    void (*done)(struct model_wait *wait, served_model *model, const kd_error *why);
} model_wait;

typedef struct model_set_options {
    const char *dir; /* borrowed */
    kd_precision precision;
    uint64_t memory; /* bytes */
    uint32_t max_batch;
    kd_metrics *metrics; /* may be NULL */
} model_set_options;

/* KD_FAILED_PRECONDITION for a precision that this machine has no forward for. */
KD_MUST_CHECK kd_status model_set_new(
    model_set **out, const model_set_options *options, kd_error *err);
/* Ends the loader; who still waits for a model is told KD_UNAVAILABLE. To be called early: whoever
 * it tells needs the other stages. */
void model_set_close(model_set *m);
void model_set_free(model_set *m); /* once nobody uses one */

/* The model, which the caller uses from here on; or NULL with KD_OK: wait is called, perhaps before
 * this returns. KD_RESOURCE_EXHAUSTED when too many wait. */
KD_MUST_CHECK kd_status model_set_use(
    model_set *m, const kd_model *model, model_wait *wait, served_model **out, kd_error *err);
void model_set_release(model_set *m, served_model *model);

/* A name may be another model's than before: once that one is in memory, it answers to the name,
 * and the one before goes. Until then, and while it can't be loaded, the one before goes on if it
 * is in memory: *model, which is what the registry has for `asked`, becomes it, and the loading is
 * begun. An id is always its model's. */
void model_set_stand_in(model_set *m, const char *asked, kd_model *model);

/* By id or name. New images load it anew; those at work with it end first. False: not in memory. */
bool model_set_unload(model_set *m, const char *id_or_name);

/* Those in memory, most recently used first, without their training texts, and what each takes;
 * room for KD_EMBEDDER_MAX_MODELS. */
size_t model_set_list(model_set *m, kd_model *list, uint64_t *bytes);
uint64_t model_set_memory(const model_set *m); /* what they may take together */

/* Of a model in use. */
const kd_model *served_model_about(const served_model *model);
kd_forward *served_model_forward(served_model *model); /* for one thread */

#endif
