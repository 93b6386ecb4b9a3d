/* services/trainer/worker.h: the thread that takes train jobs off the queue, one after the other.
 */
#ifndef KD_TRAINER_WORKER_H
#define KD_TRAINER_WORKER_H

#include "services/trainer/trainer.h"

typedef struct worker worker;

KD_MUST_CHECK kd_status worker_start(worker **out, trainer *t, kd_error *err);
/* No new job; the one at hand is left at its next step and stays queued for the next process. */
void worker_ask_stop(worker *w);
void worker_stop(worker *w); /* asks, waits, frees; NULL is fine */

#endif
