/* Mutual information of two labelings. */
#include <math.h>
#include <stdlib.h>

#include "lib/eval/eval.h"

typedef struct sizes { /* of one labeling's groups */
    uint32_t *each;    /* how many items group g has */
    size_t n;
    uint32_t *distinct, *times; /* the sizes that occur, and how often */
    size_t n_distinct;
} sizes;

typedef struct pair {
    uint32_t a, b; /* groups */
} pair;

static int by_number(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static int by_pair(const void *left, const void *right)
{
    const pair *const a = left, *const b = right;
    return a->a != b->a ? (a->a > b->a) - (a->a < b->a) : (a->b > b->b) - (a->b < b->b);
}

static void sizes_free(sizes *s)
{
    free(s->each);
    free(s->distinct);
    free(s->times);
}

/* Runs of equal numbers in the sorted values: what they are and how long. */
static size_t count_runs(const uint32_t *sorted, size_t n, uint32_t *values, uint32_t *lengths)
{
    size_t runs = 0;
    for (size_t i = 0; i < n; i++) {
        if (i == 0 || sorted[i] != sorted[i - 1]) {
            values[runs] = sorted[i];
            lengths[runs++] = 0;
        }
        lengths[runs - 1]++;
    }
    return runs;
}

/* groups: the labels made numbers from 0, room for n. */
static kd_status sizes_make(
    sizes *s, const uint32_t *labels, size_t n, uint32_t *groups, kd_error *err)
{
    uint32_t *const sorted = calloc(n, sizeof *sorted);
    uint32_t *const names = calloc(n, sizeof *names);
    s->each = calloc(n, sizeof *s->each);
    s->distinct = calloc(n, sizeof *s->distinct);
    s->times = calloc(n, sizeof *s->times);
    const bool good = sorted && names && s->each && s->distinct && s->times;
    if (good) {
        for (size_t i = 0; i < n; i++)
            sorted[i] = labels[i];
        qsort(sorted, n, sizeof *sorted, by_number);
        s->n = count_runs(sorted, n, names, s->each);
        for (size_t i = 0; i < n; i++) {
            const uint32_t *const at = bsearch(&labels[i], names, s->n, sizeof *names, by_number);
            groups[i] = at ? (uint32_t)(at - names) : 0;
        }
        for (size_t i = 0; i < s->n; i++)
            sorted[i] = s->each[i];
        qsort(sorted, s->n, sizeof *sorted, by_number);
        s->n_distinct = count_runs(sorted, s->n, s->distinct, s->times);
    }
    free(names);
    free(sorted);
    return good ? KD_OK : kd_error_memory(err, "the clusters");
}

static double entropy(const sizes *s, double n)
{
    double sum = 0;
    for (size_t i = 0; i < s->n; i++)
        sum -= s->each[i] / n * log(s->each[i] / n);
    return sum;
}

static double log_factorial(double n)
{
    int sign;
    return lgamma_r(n + 1, &sign);
}

/* What two groups of a and b of n items add to the mutual information of random labelings of these
 * sizes: Vinh and others' equation 24a. */
static double expected_term(uint32_t size_a, uint32_t size_b, size_t items)
{
    const double a = size_a, b = size_b, n = (double)items;
    const double fixed = log_factorial(a) + log_factorial(b) + log_factorial(n - a) +
                         log_factorial(n - b) - log_factorial(n);
    double sum = 0;
    const uint64_t sizes_sum = (uint64_t)size_a + size_b;
    for (uint64_t k = sizes_sum > items ? sizes_sum - items : 1; k <= size_a && k <= size_b; k++) {
        const double both = (double)k;
        sum += both / n * log(n * both / (a * b)) *
               exp(fixed - log_factorial(both) - log_factorial(a - both) - log_factorial(b - both) -
                   log_factorial(n - a - b + both));
    }
    return sum;
}

/* Groups of equal sizes have equal terms: few pairs of sizes stand for all pairs of groups. */
static double expected_information(const sizes *a, const sizes *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < a->n_distinct; i++)
        for (size_t j = 0; j < b->n_distinct; j++)
            sum += (double)a->times[i] * b->times[j] *
                   expected_term(a->distinct[i], b->distinct[j], n);
    return sum;
}

static double information(const pair *pairs, size_t n, const sizes *a, const sizes *b)
{
    double sum = 0;
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && by_pair(&pairs[to], &pairs[from]) == 0;)
            to++;
        const double both = (double)(to - from), all = (double)n;
        sum += both / all *
               log(all * both / ((double)a->each[pairs[from].a] * b->each[pairs[from].b]));
    }
    return sum;
}

kd_status kd_mutual_information(
    const uint32_t *a, const uint32_t *b, size_t n, double *nmi, double *ami, kd_error *err)
{
    sizes of_a = {.n = 0}, of_b = {.n = 0};
    *nmi = *ami = 0;
    if (n == 0)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "there is nothing in the clusters");
    uint32_t *const groups = calloc(n, 2 * sizeof *groups);
    pair *const pairs = calloc(n, sizeof *pairs);
    kd_status status = groups && pairs ? KD_OK : kd_error_memory(err, "the clusters");
    if (status == KD_OK)
        status = sizes_make(&of_a, a, n, groups, err);
    if (status == KD_OK)
        status = sizes_make(&of_b, b, n, groups + n, err);
    if (status == KD_OK && of_a.n == 1 && of_b.n == 1) { /* nothing to tell: all agree */
        *nmi = *ami = 1;
    } else if (status == KD_OK) {
        for (size_t i = 0; i < n; i++)
            pairs[i] = (pair){groups[i], groups[n + i]};
        qsort(pairs, n, sizeof *pairs, by_pair);
        const double mutual = information(pairs, n, &of_a, &of_b);
        const double mean = (entropy(&of_a, (double)n) + entropy(&of_b, (double)n)) / 2;
        const double expected = expected_information(&of_a, &of_b, n);
        const double room = mean - expected;
        *nmi = mutual / mean;
        /* As scikit-learn: never quite 0 below the line. */
        *ami = (mutual - expected) / (room < 0 ? fmin(room, -2.2e-16) : fmax(room, 2.2e-16));
    }
    sizes_free(&of_b);
    sizes_free(&of_a);
    free(pairs);
    free(groups);
    return status;
}
