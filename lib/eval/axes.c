/* The map of the embeddings: two principal axes, and the labels that get a colour. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/eval/details.h"

#define ROUNDS 300u
#define SEED 1u

/* ---- Principal axes ----
 * Orthogonal iteration (Golub, Van Loan, "Matrix Computations", 4th ed., 8.2.4) with the covariance
 * left as the product that it is: two passes over the rows a round, no dim × dim matrix. */

typedef struct axes {
    const float *rows; /* n × dim */
    size_t n, dim;
    double *mean;     /* dim */
    double *at[2];    /* dim each, of length 1, at right angles */
    double *next[2];  /* dim each */
    double spread[2]; /* the variance along each, times n */
} axes;

static double dot(const double *a, const double *b, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static double project(const axes *a, const float *row, const double *axis)
{
    double sum = 0;
    for (size_t j = 0; j < a->dim; j++)
        sum += ((double)row[j] - a->mean[j]) * axis[j];
    return sum;
}

static void scale(double *v, size_t n, double by)
{
    for (size_t i = 0; i < n; i++)
        v[i] *= by;
}

/* The two at right angles and of length 1; a vector without length becomes zero. */
static void straighten(double *const v[2], size_t n)
{
    for (size_t k = 0; k < 2; k++) {
        const double before = sqrt(dot(v[k], v[k], n));
        if (k == 1) {
            const double along = dot(v[0], v[1], n);
            for (size_t i = 0; i < n; i++)
                v[1][i] -= along * v[0][i];
        }
        const double length = sqrt(dot(v[k], v[k], n));
        scale(v[k], n, length > 1e-12 * before && length > 0 ? 1 / length : 0);
    }
}

/* next = covariance × at, times n; the variance along each axis on the way. */
static void multiply(axes *a)
{
    for (size_t k = 0; k < 2; k++) {
        memset(a->next[k], 0, a->dim * sizeof *a->next[k]);
        a->spread[k] = 0;
    }
    for (size_t i = 0; i < a->n; i++) {
        const float *const row = a->rows + i * a->dim;
        for (size_t k = 0; k < 2; k++) {
            const double length = project(a, row, a->at[k]);
            a->spread[k] += length * length;
            for (size_t j = 0; j < a->dim; j++)
                a->next[k][j] += length * ((double)row[j] - a->mean[j]);
        }
    }
}

/* Turns the two within their plane to the directions of most and least variance (Rayleigh-Ritz). */
static void turn(axes *a)
{
    const double cross = dot(a->at[0], a->next[1], a->dim);
    const double angle = 0.5 * atan2(2 * cross, a->spread[0] - a->spread[1]);
    const double c = cos(angle), s = sin(angle);
    for (size_t j = 0; j < a->dim; j++) {
        const double x = a->at[0][j], y = a->at[1][j];
        a->at[0][j] = c * x + s * y;
        a->at[1][j] = c * y - s * x;
    }
}

static void point_up(double *axis, size_t n)
{
    size_t most = 0;
    for (size_t i = 1; i < n; i++)
        if (fabs(axis[i]) > fabs(axis[most]))
            most = i;
    if (axis[most] < 0)
        scale(axis, n, -1);
}

static void find_mean(axes *a)
{
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->dim; j++)
            a->mean[j] += (double)a->rows[i * a->dim + j];
    scale(a->mean, a->dim, 1 / (double)a->n);
}

static double whole_spread(const axes *a)
{
    double sum = 0;
    for (size_t i = 0; i < a->n; i++)
        for (size_t j = 0; j < a->dim; j++) {
            const double d = (double)a->rows[i * a->dim + j] - a->mean[j];
            sum += d * d;
        }
    return sum;
}

static void iterate(axes *a)
{
    uint64_t state = SEED;
    double before = 0;
    for (size_t k = 0; k < 2; k++)
        for (size_t j = 0; j < a->dim; j++)
            a->at[k][j] = (double)(kd_random_next(&state) >> 11) * 0x1p-53 - 0.5;
    straighten(a->at, a->dim);
    for (unsigned round = 0; round < ROUNDS; round++) {
        multiply(a);
        const double now = a->spread[0] + a->spread[1];
        if (round > 8 && now - before <= 1e-9 * now)
            break;
        before = now;
        for (size_t k = 0; k < 2; k++)
            memcpy(a->at[k], a->next[k], a->dim * sizeof *a->at[k]);
        straighten(a->at, a->dim);
    }
    multiply(a);
    turn(a);
    for (size_t k = 0; k < 2; k++)
        point_up(a->at[k], a->dim);
}

kd_status kd_principal_axes(
    const float *rows, size_t n, size_t dim, float *coordinates, double shares[2], kd_error *err)
{
    assert(rows && n > 0 && dim > 0 && coordinates);
    double *const memory = calloc(dim, 5 * sizeof *memory);
    if (!memory)
        return kd_error_memory(err, "the axes");
    axes a = {.rows = rows,
        .n = n,
        .dim = dim,
        .mean = memory,
        .at = {memory + dim, memory + 2 * dim},
        .next = {memory + 3 * dim, memory + 4 * dim}};
    double along[2] = {0, 0};
    find_mean(&a);
    const double whole = whole_spread(&a);
    iterate(&a);
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 2; k++) {
            const double at = project(&a, rows + i * dim, a.at[k]);
            coordinates[2 * i + k] = (float)at;
            along[k] += at * at;
        }
    for (size_t k = 0; k < 2; k++)
        shares[k] = whole > 0 ? along[k] / whole : 0;
    free(memory);
    return KD_OK;
}

/* ---- Groups ---- */

typedef struct group {
    uint32_t label;
    size_t n;
} group;

static int by_label(const void *a, const void *b)
{
    const uint32_t x = ((const group *)a)->label, y = ((const group *)b)->label;
    return x < y ? -1 : x > y;
}

static int largest_first(const void *a, const void *b)
{
    const group *const x = a, *const y = b;
    if (x->n != y->n)
        return x->n > y->n ? -1 : 1;
    return by_label(a, b);
}

/* The largest groups, up to KD_REPORT_MAP_LABELS, to the front of groups (room for n). */
static size_t find_groups(const uint32_t *labels, size_t n, group *groups)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        groups[i] = (group){labels[i], 1};
    qsort(groups, n, sizeof *groups, by_label);
    for (size_t i = 0; i < n; i++) {
        if (kept > 0 && groups[kept - 1].label == groups[i].label)
            groups[kept - 1].n++;
        else
            groups[kept++] = groups[i];
    }
    qsort(groups, kept, sizeof *groups, largest_first);
    return kept < KD_REPORT_MAP_LABELS ? kept : KD_REPORT_MAP_LABELS;
}

kd_status kd_details_map(kd_report_details *details, const float *rows, const uint32_t *labels,
    size_t n, size_t dim, const kd_label_names *names, kd_error *err)
{
    assert(details && !details->map.points && n <= KD_REPORT_POINTS);
    if (n < 3)
        return KD_OK;
    kd_report_map map = {.n = n};
    group *const groups = malloc(n * sizeof *groups);
    float *const coordinates = malloc(2 * n * sizeof *coordinates);
    map.points = malloc(n * sizeof *map.points);
    kd_status status =
        groups && coordinates && map.points ? KD_OK : kd_error_memory(err, "the map");
    if (status == KD_OK)
        status = kd_principal_axes(rows, n, dim, coordinates, map.shares, err);
    if (status == KD_OK) {
        map.n_groups = find_groups(labels, n, groups);
        for (size_t g = 0; g < map.n_groups; g++) {
            map.groups[g] = names->name(names->arg, KD_EVAL_SUPER_CLASS, groups[g].label);
            map.group_sizes[g] = groups[g].n;
        }
        for (size_t i = 0; i < n; i++) {
            uint32_t g = 0;
            while (g < map.n_groups && groups[g].label != labels[i])
                g++;
            map.points[i] = (kd_report_point){coordinates[2 * i], coordinates[2 * i + 1], g};
        }
        details->map = map;
        map.points = NULL;
    }
    free(map.points);
    free(coordinates);
    free(groups);
    return status;
}
