/* Our own few lines: FAISS's k-means allocates inside OpenMP regions, which an exception can't
 * leave, so that it ends the process when there is no memory; and it warns on the process's
 * standard error. */
#include <assert.h>
#include <cblas.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/vector/vector.h"

enum {
    BLOCK = 256, /* rows assigned by one product */
    ROUNDS = 25,
    SEED = 1,
};

typedef struct kmeans {
    const float *rows;
    size_t n, dim, k;
    uint32_t *clusters; /* n */
    float *centres;     /* k × dim */
    double *sums;       /* k × dim: of the rows of each cluster */
    size_t *sizes;      /* k */
    float *half;        /* k: half the square of each centre's length */
    float *products;    /* BLOCK × k */
    float *far;         /* n: square of each row's distance to its centre */
    bool (*step)(void *arg);
    void *arg;
    bool stopped;
} kmeans;

static bool go_on(kmeans *m)
{
    m->stopped = m->stopped || (m->step && !m->step(m->arg));
    return !m->stopped;
}

static const float *row_of(const kmeans *m, size_t i)
{
    return m->rows + i * m->dim;
}

static float square_distance(const kmeans *m, const float *a, const float *b)
{
    float sum = 0;
    for (size_t d = 0; d < m->dim; d++)
        sum += (a[d] - b[d]) * (a[d] - b[d]);
    return sum;
}

/* k-means++: each next centre is a row, drawn by the square of its distance to those there are. */
static void choose_centres(kmeans *m)
{
    uint64_t state = SEED;
    size_t chosen = kd_random_next(&state) % m->n;
    for (size_t i = 0; i < m->n; i++)
        m->far[i] = FLT_MAX;
    for (size_t c = 0; c < m->k && go_on(m); c++) {
        float *const centre = m->centres + c * m->dim;
        double sum = 0;
        memcpy(centre, row_of(m, chosen), m->dim * sizeof *centre);
        for (size_t i = 0; i < m->n; i++) {
            const float square = square_distance(m, row_of(m, i), centre);
            m->far[i] = square < m->far[i] ? square : m->far[i];
            sum += (double)m->far[i];
        }
        double at = (double)(kd_random_next(&state) >> 11) * 0x1p-53 * sum;
        for (chosen = 0; chosen + 1 < m->n; chosen++) {
            at -= (double)m->far[chosen];
            if (at < 0)
                break;
        }
    }
}

/* The nearest centre c of x has the largest x · c - |c|² / 2. False: no row has moved. */
static bool assign(kmeans *m)
{
    const int dim = (int)m->dim, k = (int)m->k;
    bool moved = false;
    for (size_t c = 0; c < m->k; c++)
        m->half[c] = kd_dot(m->centres + c * m->dim, m->centres + c * m->dim, m->dim) / 2;
    for (size_t from = 0; from < m->n; from += BLOCK) {
        const size_t here = m->n - from < BLOCK ? m->n - from : BLOCK;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)here, k, dim, 1.0f,
            row_of(m, from), dim, m->centres, dim, 0.0f, m->products, k);
        for (size_t r = 0; r < here; r++) {
            const float *const products = m->products + r * m->k;
            uint32_t best = 0;
            for (uint32_t c = 1; c < m->k; c++)
                if (products[c] - m->half[c] > products[best] - m->half[best])
                    best = c;
            moved = moved || m->clusters[from + r] != best;
            m->clusters[from + r] = best;
        }
    }
    return moved;
}

/* A cluster without a row takes the row that is farthest from its own centre. */
static void fill_empty(kmeans *m, size_t cluster)
{
    size_t farthest = 0;
    for (size_t i = 1; i < m->n; i++)
        if (m->far[i] > m->far[farthest])
            farthest = i;
    memcpy(m->centres + cluster * m->dim, row_of(m, farthest), m->dim * sizeof *m->centres);
    m->far[farthest] = 0;
}

static void move_centres(kmeans *m)
{
    memset(m->sums, 0, m->k * m->dim * sizeof *m->sums);
    memset(m->sizes, 0, m->k * sizeof *m->sizes);
    for (size_t i = 0; i < m->n; i++) {
        const size_t c = m->clusters[i];
        m->far[i] = square_distance(m, row_of(m, i), m->centres + c * m->dim);
        m->sizes[c]++;
        for (size_t d = 0; d < m->dim; d++)
            m->sums[c * m->dim + d] += (double)row_of(m, i)[d];
    }
    for (size_t c = 0; c < m->k; c++) {
        if (m->sizes[c] == 0)
            fill_empty(m, c);
        for (size_t d = 0; d < m->dim && m->sizes[c] > 0; d++)
            m->centres[c * m->dim + d] = (float)(m->sums[c * m->dim + d] / (double)m->sizes[c]);
    }
}

kd_status kd_kmeans(const float *rows, size_t n, size_t dim, size_t k, uint32_t *clusters,
    bool (*step)(void *arg), void *arg, kd_error *err)
{
    assert(rows && clusters && dim > 0);
    if (k == 0 || k > n)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%zu rows don't make %zu clusters", n, k);
    if (n * k > KD_KMEANS_MOST / dim)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "%zu clusters of %zu rows of %zu values take too long", k, n, dim);
    kmeans m = {
        .rows = rows, .n = n, .dim = dim, .k = k, .clusters = clusters, .step = step, .arg = arg};
    m.centres = calloc(k, dim * sizeof *m.centres);
    m.sums = calloc(k, dim * sizeof *m.sums);
    m.sizes = calloc(k, sizeof *m.sizes);
    m.half = calloc(k, sizeof *m.half);
    m.products = calloc(k, BLOCK * sizeof *m.products);
    m.far = calloc(n, sizeof *m.far);
    const bool good = m.centres && m.sums && m.sizes && m.half && m.products && m.far;
    if (good) {
        for (size_t i = 0; i < n; i++)
            clusters[i] = UINT32_MAX;
        choose_centres(&m);
        for (unsigned round = 0; go_on(&m) && assign(&m) && round < ROUNDS; round++)
            move_centres(&m);
    }
    free(m.centres);
    free(m.sums);
    free(m.sizes);
    free(m.half);
    free(m.products);
    free(m.far);
    if (!good)
        return kd_error_memory(err, "the clusters");
    return m.stopped ? kd_error_set(err, KD_CANCELLED, "the clustering was stopped") : KD_OK;
}
