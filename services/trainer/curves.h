/* services/trainer/curves.h: a run's page: its learning curves as one HTML file that needs nothing
 * else and runs nothing. */
#ifndef KD_TRAINER_CURVES_H
#define KD_TRAINER_CURVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/status.h"

typedef struct train_curve {
    const char *name; /* "recall@1" */
    /* Curves of one group share a chart: "loss", "retrieval", "accuracy", "distances", "rate" and
     * "speed" have a title and a unit of their own, any other stands as it is. */
    const char *group;
    const double *values; /* n_epochs of the page; NaN or infinite where there is none */
} train_curve;

typedef struct train_page {               /* everything borrowed; texts are UTF-8 */
    const char *title, *job, *model_name; /* NULL: not known */
    const char *const (*facts)[2];        /* settings and data: name, value */
    size_t n_facts;
    const train_curve *curves;
    size_t n_curves;
    size_t n_epochs;     /* that are over */
    uint32_t best_epoch; /* from 1; 0: none */
    bool running;        /* the page then loads itself anew each minute */
    const char *note;    /* what must be said first, such as why it collapsed; NULL: nothing */
} train_page;

/* Appends the page. KD_INVALID_ARGUMENT when a text is not valid UTF-8. */
KD_MUST_CHECK kd_status train_page_html(const train_page *page, kd_buf *out, kd_error *err);

#endif
