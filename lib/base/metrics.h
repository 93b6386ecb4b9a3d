/* lib/base/metrics.h: a registry of counters, gauges and histograms, printed as Prometheus text
 * (exposition format 0.0.4). Registering takes a lock, updating is one atomic operation.
 *
 * A metric is identified by name and labels; asking for it again gives the same one. Labels are
 * given ready-made (`method="Search",code="OK"`), from values of ours, never from a user's. */
#ifndef KD_BASE_METRICS_H
#define KD_BASE_METRICS_H

#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/status.h"

KD_C_BEGIN

typedef struct kd_metrics kd_metrics;
typedef struct kd_counter kd_counter;
typedef struct kd_gauge kd_gauge;
typedef struct kd_histogram kd_histogram;

KD_MUST_CHECK kd_status kd_metrics_new(kd_metrics **out, kd_error *err);
void kd_metrics_free(kd_metrics *metrics);

/* Borrowed from the registry. They never return NULL: without memory a shared spare is returned
 * that nobody prints. metrics may be NULL (the spare again), so that libraries need no test. */
kd_counter *kd_metrics_counter(
    kd_metrics *metrics, const char *name, const char *labels, const char *help);
kd_gauge *kd_metrics_gauge(
    kd_metrics *metrics, const char *name, const char *labels, const char *help);
/* Seconds: bounds 0.5 ms, 1, 2.5, 5, 10, 25, 50, 100, 250, 500 ms, 1, 2.5, 5, 10 s. */
kd_histogram *kd_metrics_histogram(
    kd_metrics *metrics, const char *name, const char *labels, const char *help);
/* Counts of things: bounds 1, 2, 4 and so on to 8192. */
kd_histogram *kd_metrics_sizes(
    kd_metrics *metrics, const char *name, const char *labels, const char *help);

/* Drops every metric of the name, whatever its labels: for a look (below) that makes those anew of
 * what is still there. Nobody else may have one of them. */
void kd_metrics_forget(kd_metrics *metrics, const char *name);

void kd_counter_add(kd_counter *counter, uint64_t n);
uint64_t kd_counter_value(const kd_counter *counter);
void kd_gauge_set(kd_gauge *gauge, double value);
void kd_gauge_add(kd_gauge *gauge, double delta);
double kd_gauge_value(const kd_gauge *gauge);
void kd_histogram_observe(kd_histogram *histogram, double value);

void kd_metrics_print(kd_metrics *metrics, kd_buf *out);
/* look runs before each print, on its thread and never twice at a time, to bring gauges up to date;
 * quickly, and waiting for nothing. For as long as there are prints. */
KD_MUST_CHECK kd_status kd_metrics_on_print(
    kd_metrics *metrics, void (*look)(void *arg), void *arg, kd_error *err);

KD_C_END
#endif
