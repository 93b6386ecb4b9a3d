/* lib/service/process.h: kindred.v1.ProcessService, which every service serves beside its own. */
#ifndef KD_SERVICE_PROCESS_H
#define KD_SERVICE_PROCESS_H

#include "lib/service/service.h"

/* process is borrowed for the server's life. */
KD_MUST_CHECK kd_status kd_process_add(kd_process *process, kd_error *err);
/* The handler of SetLogLevel for this process, state. */
void kd_process_set_log_level(void *state, kd_call *call, const ProtobufCMessage *message);

#endif
