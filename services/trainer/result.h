/* services/trainer/result.h: what a train job brought, for its record. */
#ifndef KD_TRAINER_RESULT_H
#define KD_TRAINER_RESULT_H

#include "lib/models/models.h"
#include "lib/store/store.h"

/* A packed kindred.v1.JobResult of the published model; out->data is owned by the caller (free). */
KD_MUST_CHECK kd_status job_result_pack(const kd_model *model, kd_bytes *out, kd_error *err);

#endif
