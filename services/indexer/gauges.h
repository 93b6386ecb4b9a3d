/* services/indexer/gauges.h: how large the index is, as metrics. */
#ifndef KD_INDEXER_GAUGES_H
#define KD_INDEXER_GAUGES_H

#include "services/indexer/service.h"

/* Once x->registry is there; x outlives the last print. */
KD_MUST_CHECK kd_status gauges_add(indexer *x, kd_metrics *metrics, kd_error *err);

#endif
