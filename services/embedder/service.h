/* services/embedder/service.h: kindred.v1.EmbedderService over the pipeline. */
#ifndef KD_EMBEDDER_SERVICE_H
#define KD_EMBEDDER_SERVICE_H

#include "lib/service/service.h"
#include "services/embedder/pipeline.h"

KD_MUST_CHECK kd_status service_add(kd_server *server, pipeline *p, kd_error *err);

const char *precision_name(kd_precision precision); /* "float32", "bfloat16" */

/* Answers of orders about models that were carried out. */
void service_reply_loaded(kd_call *call, const kd_model *model);
void service_reply_unloaded(kd_call *call);

#endif
