/* services/trainer/service.h: kindred.v1.TrainerService. */
#ifndef KD_TRAINER_SERVICE_H
#define KD_TRAINER_SERVICE_H

#include "services/trainer/trainer.h"

KD_MUST_CHECK kd_status service_add(trainer *t, kd_error *err);

#endif
