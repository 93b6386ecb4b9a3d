#include <assert.h>
#include <cblas.h>
#include <stdlib.h>

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/error_c.h>

#include "lib/vector/binding.h"
#include "lib/vector/vector.h"

enum { BLOCK = 256 }; /* rows assigned by one product */

/* The nearest centroid c of x has the largest x · c - |c|² / 2. */
static kd_status assign(const float *rows, size_t n, size_t dim, const float *centroids, size_t k,
    uint32_t *clusters, kd_error *err)
{
    float *const half = malloc((k + BLOCK * k) * sizeof *half);
    if (!half)
        return kd_error_memory(err, "the clusters");
    float *const products = half + k;
    for (size_t c = 0; c < k; c++)
        half[c] = kd_dot(centroids + c * dim, centroids + c * dim, dim) / 2;
    for (size_t from = 0; from < n; from += BLOCK) {
        const size_t rows_here = n - from < BLOCK ? n - from : BLOCK;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (int)rows_here, (int)k, (int)dim, 1.0f,
            rows + from * dim, (int)dim, centroids, (int)dim, 0.0f, products, (int)k);
        for (size_t r = 0; r < rows_here; r++) {
            uint32_t best = 0;
            for (uint32_t c = 1; c < k; c++)
                if (products[r * k + c] - half[c] > products[r * k + best] - half[best])
                    best = c;
            clusters[from + r] = best;
        }
    }
    free(half);
    return KD_OK;
}

kd_status kd_kmeans(
    const float *rows, size_t n, size_t dim, size_t k, uint32_t *clusters, kd_error *err)
{
    assert(rows && clusters);
    if (k == 0 || k > n)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "%zu rows don't make %zu clusters", n, k);
    if (n * k > KD_KMEANS_MOST / dim)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "%zu clusters of %zu rows of %zu values take too long", k, n, dim);
    float *const centroids = malloc(k * dim * sizeof *centroids);
    float error;
    if (!centroids)
        return kd_error_memory(err, "the clusters");
    kd_status status = KD_OK;
    const int before = kd_faiss_threads(1);
    if (faiss_kmeans_clustering(dim, n, k, rows, centroids, &error) != 0)
        status = kd_error_set(
            err, KD_INTERNAL, "the clusters could not be found: %s", faiss_get_last_error());
    (void)kd_faiss_threads(before);
    if (status == KD_OK)
        status = assign(rows, n, dim, centroids, k, clusters, err);
    free(centroids);
    return status;
}
