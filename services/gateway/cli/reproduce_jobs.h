/* services/gateway/cli/reproduce_jobs.h: the jobs of kindred reproduce, which may be there already.
 *
 * Each returns the exit status, and has said what went wrong. */
#ifndef KD_CLI_REPRODUCE_JOBS_H
#define KD_CLI_REPRODUCE_JOBS_H

#include "services/gateway/cli/reproduce.h"

/* Sees to it that the model of that name is there: part->model_id, and part->train where the job
 * that made it is still known. The model says whether images were held back: r->nothing_held. */
int reproduce_train(reproduction *r, reproduce_part *part, Kindred__V1__TrainSpec *training);
/* Sees to it that the part's collection holds the training set. */
int reproduce_index(const reproduction *r, const reproduce_part *part);
/* Measures: r->evaluation. */
int reproduce_evaluate(reproduction *r, Kindred__V1__EvaluateSpec *evaluation);

#endif
