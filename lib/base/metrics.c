#include "lib/base/metrics.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define N_BOUNDS 14u
static const double seconds[N_BOUNDS] = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10};
static const double sizes[N_BOUNDS] = {
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192};

struct kd_counter {
    atomic_uint_fast64_t value;
};
struct kd_gauge {
    _Atomic double value;
};
struct kd_histogram {
    bool of_sizes;
    atomic_uint_fast64_t buckets[N_BOUNDS + 1]; /* the last: above every bound */
    _Atomic double sum;
};

typedef enum metric_type { COUNTER, GAUGE, HISTOGRAM } metric_type;

typedef struct metric {
    struct metric *next; /* in order of registration */
    metric_type type;
    char *name, *labels, *help; /* owned */
    union {
        struct kd_counter counter;
        struct kd_gauge gauge;
        struct kd_histogram histogram;
    };
} metric;

#define MAX_LOOKS 4u

struct kd_metrics {
    pthread_mutex_t printing; /* one at a time, as looks may forget what another would be setting */
    pthread_mutex_t mutex;    /* guards what follows, not the values */
    metric *first, **last;
    struct {
        void (*fn)(void *arg);
        void *arg;
    } looks[MAX_LOOKS];
    size_t n_looks;
};

/* Where updates go when there was no memory for a metric of one's own; never printed. */
static metric spare[3];

kd_status kd_metrics_new(kd_metrics **out, kd_error *err)
{
    kd_metrics *metrics = calloc(1, sizeof *metrics);
    *out = NULL;
    if (!metrics)
        return kd_error_memory(err, "the metrics registry");
    pthread_mutex_init(&metrics->printing, NULL);
    pthread_mutex_init(&metrics->mutex, NULL);
    metrics->last = &metrics->first;
    *out = metrics;
    return KD_OK;
}

static void metric_free(metric *m)
{
    if (!m)
        return;
    free(m->name);
    free(m->labels);
    free(m->help);
    free(m);
}

void kd_metrics_free(kd_metrics *metrics)
{
    if (!metrics)
        return;
    for (metric *m = metrics->first; m;) {
        metric *const next = m->next;
        metric_free(m);
        m = next;
    }
    pthread_mutex_destroy(&metrics->mutex);
    pthread_mutex_destroy(&metrics->printing);
    free(metrics);
}

static metric *metric_new(metric_type type, const char *name, const char *labels, const char *help)
{
    metric *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    m->type = type;
    m->name = strdup(name);
    m->labels = strdup(labels ? labels : "");
    m->help = strdup(help);
    if (m->name && m->labels && m->help)
        return m;
    metric_free(m);
    return NULL;
}

static metric *find(
    kd_metrics *metrics, metric_type type, const char *name, const char *labels, const char *help)
{
    if (!metrics)
        return &spare[type];
    pthread_mutex_lock(&metrics->mutex);
    metric *m = metrics->first;
    while (m && (m->type != type || strcmp(m->name, name) != 0 ||
                    strcmp(m->labels, labels ? labels : "") != 0))
        m = m->next;
    if (!m) {
        m = metric_new(type, name, labels, help);
        if (m) {
            *metrics->last = m;
            metrics->last = &m->next;
        }
    }
    pthread_mutex_unlock(&metrics->mutex);
    return m ? m : &spare[type];
}

kd_counter *kd_metrics_counter(
    kd_metrics *metrics, const char *name, const char *labels, const char *help)
{
    return &find(metrics, COUNTER, name, labels, help)->counter;
}

kd_gauge *kd_metrics_gauge(
    kd_metrics *metrics, const char *name, const char *labels, const char *help)
{
    return &find(metrics, GAUGE, name, labels, help)->gauge;
}

kd_histogram *kd_metrics_histogram(
    kd_metrics *metrics, const char *name, const char *labels, const char *help)
{
    return &find(metrics, HISTOGRAM, name, labels, help)->histogram;
}

kd_histogram *kd_metrics_sizes(
    kd_metrics *metrics, const char *name, const char *labels, const char *help)
{
    kd_histogram *const histogram = kd_metrics_histogram(metrics, name, labels, help);
    if (histogram != &spare[HISTOGRAM].histogram)
        histogram->of_sizes = true;
    return histogram;
}

void kd_metrics_forget(kd_metrics *metrics, const char *name)
{
    if (!metrics)
        return;
    pthread_mutex_lock(&metrics->mutex);
    metrics->last = &metrics->first;
    for (metric *m = metrics->first, *next; m; m = next) {
        next = m->next;
        if (strcmp(m->name, name) == 0) {
            metric_free(m);
        } else {
            *metrics->last = m;
            metrics->last = &m->next;
        }
    }
    *metrics->last = NULL;
    pthread_mutex_unlock(&metrics->mutex);
}

static const double *bounds_of(const kd_histogram *histogram)
{
    return histogram->of_sizes ? sizes : seconds;
}

void kd_counter_add(kd_counter *counter, uint64_t n)
{
    atomic_fetch_add_explicit(&counter->value, n, memory_order_relaxed);
}

uint64_t kd_counter_value(const kd_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

static void add_real(_Atomic double *to, double delta)
{
    double was = atomic_load_explicit(to, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(
        to, &was, was + delta, memory_order_relaxed, memory_order_relaxed))
        ;
}

void kd_gauge_set(kd_gauge *gauge, double value)
{
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}

void kd_gauge_add(kd_gauge *gauge, double delta)
{
    add_real(&gauge->value, delta);
}

double kd_gauge_value(const kd_gauge *gauge)
{
    return atomic_load_explicit(&gauge->value, memory_order_relaxed);
}

void kd_histogram_observe(kd_histogram *histogram, double value)
{
    const double *const bounds = bounds_of(histogram);
    size_t i = 0;
    while (i < N_BOUNDS && value > bounds[i])
        i++;
    atomic_fetch_add_explicit(&histogram->buckets[i], 1, memory_order_relaxed);
    add_real(&histogram->sum, value);
}

static void print_sample(const metric *m, const char *suffix, const char *more, kd_buf *out)
{
    kd_buf_printf(out, "%s%s", m->name, suffix);
    if (*m->labels || *more)
        kd_buf_printf(out, "{%s%s%s}", m->labels, *m->labels && *more ? "," : "", more);
}

static void print_histogram(const metric *m, kd_buf *out)
{
    const double *const bounds = bounds_of(&m->histogram);
    uint64_t total = 0;
    for (size_t i = 0; i <= N_BOUNDS; i++) {
        char le[40];
        total += atomic_load_explicit(&m->histogram.buckets[i], memory_order_relaxed);
        if (i < N_BOUNDS)
            (void)snprintf(le, sizeof le, "le=\"%g\"", bounds[i]);
        else
            (void)snprintf(le, sizeof le, "le=\"+Inf\"");
        print_sample(m, "_bucket", le, out);
        kd_buf_printf(out, " %llu\n", (unsigned long long)total);
    }
    print_sample(m, "_sum", "", out);
    kd_buf_printf(out, " %.9g\n", atomic_load_explicit(&m->histogram.sum, memory_order_relaxed));
    print_sample(m, "_count", "", out);
    kd_buf_printf(out, " %llu\n", (unsigned long long)total);
}

/* A gauge that only grows, as seconds do, is a counter to who reads it. */
static const char *type_word(const metric *m)
{
    static const char *const words[] = {"counter", "gauge", "histogram"};
    static const char total[] = "_total";
    const size_t len = strlen(m->name), end = sizeof total - 1;
    return len > end && strcmp(m->name + len - end, total) == 0 ? words[COUNTER] : words[m->type];
}

static void print_metric(const metric *m, kd_buf *out)
{
    if (m->type == HISTOGRAM) {
        print_histogram(m, out);
        return;
    }
    print_sample(m, "", "", out);
    if (m->type == COUNTER)
        kd_buf_printf(out, " %llu\n", (unsigned long long)kd_counter_value(&m->counter));
    else
        kd_buf_printf(out, " %.17g\n", kd_gauge_value(&m->gauge));
}

kd_status kd_metrics_on_print(
    kd_metrics *metrics, void (*look)(void *arg), void *arg, kd_error *err)
{
    pthread_mutex_lock(&metrics->mutex);
    const bool fits = metrics->n_looks < MAX_LOOKS;
    if (fits) {
        metrics->looks[metrics->n_looks].fn = look;
        metrics->looks[metrics->n_looks++].arg = arg;
    }
    pthread_mutex_unlock(&metrics->mutex);
    return fits ? KD_OK
                : kd_error_set(err, KD_INTERNAL, "more than %u looks before a print", MAX_LOOKS);
}

void kd_metrics_print(kd_metrics *metrics, kd_buf *out)
{
    pthread_mutex_lock(&metrics->printing);
    pthread_mutex_lock(&metrics->mutex);
    for (size_t i = 0; i < metrics->n_looks; i++) { /* none is ever taken back */
        pthread_mutex_unlock(&metrics->mutex);
        metrics->looks[i].fn(metrics->looks[i].arg);
        pthread_mutex_lock(&metrics->mutex);
    }
    /* All samples of a name stand together under its HELP and TYPE, as the format asks. */
    for (const metric *m = metrics->first; m; m = m->next) {
        bool seen = false;
        for (const metric *before = metrics->first; before != m && !seen; before = before->next)
            seen = strcmp(before->name, m->name) == 0;
        if (seen)
            continue;
        kd_buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", m->name, m->help, m->name, type_word(m));
        for (const metric *same = m; same; same = same->next)
            if (strcmp(same->name, m->name) == 0)
                print_metric(same, out);
    }
    pthread_mutex_unlock(&metrics->mutex);
    pthread_mutex_unlock(&metrics->printing);
}
