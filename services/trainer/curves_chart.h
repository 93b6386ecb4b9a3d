/* services/trainer/curves_chart.h: one chart of a run's page. Nobody but curves.c and its test
 * includes it. */
#ifndef KD_TRAINER_CURVES_CHART_H
#define KD_TRAINER_CURVES_CHART_H

#include "services/trainer/curves.h"

#define TRAIN_CHART_COLOURS 6u /* --c0 to --c5 of curves.css; then they begin again */
#define TRAIN_NUMBER_TEXT 32u

typedef struct train_chart {
    const char *title, *unit;         /* unit NULL: none */
    const train_curve *const *curves; /* each with a value at least */
    size_t n_curves;
    size_t n_epochs;
    bool from_zero;      /* the axis begins there also when all values are far above */
    uint32_t best_epoch; /* 0: none */
} train_chart;

/* Appends the <svg>. */
KD_MUST_CHECK kd_status train_chart_svg(const train_chart *chart, kd_buf *out, kd_error *err);

/* Where an axis begins and ends, in steps of 1, 2 or 5 times a power of ten: both ends are
 * multiples of it. */
typedef struct train_axis {
    double step;
    int64_t first, last; /* ticks, as multiples of step */
} train_axis;
train_axis train_axis_for(double least, double most);

/* As it stands in tables: "0.7250", "33.21", "1.500e-6". The value is finite. */
void train_number(double value, char text[TRAIN_NUMBER_TEXT]);

#endif
