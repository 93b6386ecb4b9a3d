/* services/embedder/models_internal.h: the table of models as its two files know it: models.c has
 * it, loader.c fills it. */
#ifndef KD_EMBEDDER_MODELS_INTERNAL_H
#define KD_EMBEDDER_MODELS_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>

#include "services/embedder/models.h"

struct served_model {
    served_model *next;  /* in the table, in the order of arrival */
    kd_model about;      /* without training */
    kd_forward *forward; /* NULL: to be loaded, or being loaded */
    uint64_t bytes;
    size_t users;
    bool going; /* for those who use it already; freed with the last */
    model_wait *waiting, **waiting_end;
    int64_t used_ns;
    int64_t successor_ms; /* the model that has its name now failed: not to be tried before */
};

struct model_set {
    model_set_options options;
    pthread_mutex_t mutex;  /* guards all that follows, but a forward's inside */
    pthread_cond_t changed; /* something to load, a model out of use, the end */
    served_model *first;
    size_t parked;
    bool closing;
    bool started, joined, probed;
    kd_status probe_status;
    kd_error probe_error;
    pthread_t thread;
    kd_gauge *count, *bytes;
    kd_counter *loads, *failures, *unloads;
};

/* With the mutex held. */
uint64_t model_set_bytes(const model_set *m);
void model_set_show(model_set *m); /* in the gauges */
void model_set_take_out(model_set *m, served_model *model);
/* No new image gets it. True: it is out of the table, to be destroyed without the mutex; else with
 * its last user. */
bool model_set_let_go(model_set *m, served_model *model);

void served_model_destroy(served_model *model);

void *loader_main(void *arg); /* loader.c: thread; arg is the table */

#endif
