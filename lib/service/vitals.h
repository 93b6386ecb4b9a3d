/* lib/service/vitals.h: metrics that every service has: memory, processor, calls in work. */
#ifndef KD_SERVICE_VITALS_H
#define KD_SERVICE_VITALS_H

#include "lib/service/service.h"

/* Once process->metrics and process->server are there; both outlive the last print. */
KD_MUST_CHECK kd_status kd_vitals_add(kd_process *process, kd_error *err);
uint64_t kd_resident_bytes(void); /* of this process; 0 where /proc doesn't say */

#endif
