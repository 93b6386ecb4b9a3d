#include "lib/vector/ivf.h"

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/IndexFlat_c.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/random.h"
#include "lib/vector/binding.h"
#include "lib/vector/scan.h"

enum {
    ROUNDS = 8,      /* of k-means */
    PER_CENTRE = 32, /* rows that it looks at */
    AHEAD = 2,       /* rows that are brought near before they are scored */
    ASSIGNED = 4096, /* rows at a time */
};

size_t kd_ivf_lists(size_t n)
{
    const size_t lists = (size_t)(4 * sqrt((double)n));
    return lists ? lists : 1;
}

kd_status kd_ivf_new(kd_ivf *ivf, size_t n, size_t dim, kd_error *err)
{
    *ivf = (kd_ivf){.n = n, .dim = dim, .lists = kd_ivf_lists(n)};
    ivf->centres = calloc(ivf->lists, dim * sizeof *ivf->centres);
    ivf->starts = calloc(ivf->lists + 1, sizeof *ivf->starts);
    ivf->order = calloc(n + 1, sizeof *ivf->order);
    if (ivf->centres && ivf->starts && ivf->order)
        return KD_OK;
    kd_ivf_free(ivf);
    return kd_error_memory(err, "the lists of an approximate index");
}

void kd_ivf_free(kd_ivf *ivf)
{
    free(ivf->centres);
    free(ivf->starts);
    free(ivf->order);
    *ivf = (kd_ivf){0};
}

size_t kd_ivf_bytes(const kd_ivf *ivf)
{
    return ivf->lists * (ivf->dim * sizeof(float) + sizeof(uint32_t)) + ivf->n * sizeof(uint32_t);
}

/* ---- Building ---- */

/* Different rows, drawn: the first *n of a shuffle (Fisher and Yates) of those in the mask. order
 * is scratch. */
static float *draw_sample(
    const kd_rows *rows, const uint8_t *mask, size_t *n, uint64_t seed, uint32_t *order)
{
    size_t all = 0;
    for (size_t row = 0; row < rows->n; row++)
        if (mask[row / 8] >> (row % 8) & 1)
            order[all++] = (uint32_t)row;
    if (*n > all)
        *n = all;
    float *const sample = malloc((*n * rows->dim + 1) * sizeof *sample);
    for (size_t i = 0; i < *n && sample; i++) {
        const size_t other = i + kd_random_next(&seed) % (all - i);
        const uint32_t row = order[other];
        order[other] = order[i];
        order[i] = row;
        memcpy(sample + i * rows->dim, rows->vectors + row * rows->dim, rows->dim * sizeof *sample);
    }
    return sample;
}

static kd_status find_centres(
    kd_ivf *ivf, const kd_rows *rows, const uint8_t *mask, uint64_t seed, kd_error *err)
{
    size_t n = PER_CENTRE * ivf->lists;
    kd_status status = KD_OK;
    FaissClustering *clustering = NULL;
    FaissIndexFlat *flat = NULL;
    float *const sample = draw_sample(rows, mask, &n, seed, ivf->order);
    if (!sample)
        return kd_error_memory(err, "the lists of an approximate index");
    FaissClusteringParameters how;
    faiss_ClusteringParameters_init(&how);
    how.niter = ROUNDS;
    how.spherical = 1;
    how.min_points_per_centroid = 1;
    how.max_points_per_centroid = PER_CENTRE;
    how.seed = (int)(seed % 1000000);
    const int threads = kd_faiss_threads(1);
    if (faiss_Clustering_new_with_params(&clustering, (int)rows->dim, (int)ivf->lists, &how) != 0 ||
        faiss_IndexFlat_new_with(&flat, (int64_t)rows->dim, METRIC_INNER_PRODUCT) != 0 ||
        faiss_Clustering_train(clustering, (int64_t)n, sample, flat) != 0) {
        status = kd_error_set(err, KD_INTERNAL, "clustering failed: %s", faiss_get_last_error());
    } else {
        float *centres = NULL;
        size_t n_floats = 0;
        faiss_Clustering_centroids(clustering, &centres, &n_floats);
        memcpy(ivf->centres, centres, ivf->lists * rows->dim * sizeof *centres);
    }
    (void)kd_faiss_threads(threads);
    if (clustering)
        faiss_Clustering_free(clustering);
    if (flat)
        faiss_IndexFlat_free(flat);
    free(sample);
    return status;
}

/* Each row's list, in nearest. */
static kd_status assign(const kd_ivf *ivf, const kd_rows *rows, uint32_t *nearest,
    const kd_ann_options *options, kd_error *err)
{
    kd_status status = KD_OK;
    uint64_t *const ids = malloc(ivf->lists * sizeof *ids);
    uint32_t *const tags = calloc(ivf->lists, sizeof *tags);
    uint32_t *const counts = malloc(ASSIGNED * sizeof *counts);
    kd_hit *const hits = malloc(ASSIGNED * sizeof *hits);
    if (!ids || !tags || !counts || !hits)
        status = kd_error_memory(err, "the lists of an approximate index");
    for (size_t i = 0; i < ivf->lists && status == KD_OK; i++)
        ids[i] = i;
    const kd_rows centres = {ivf->centres, ids, tags, ivf->lists, ivf->dim};
    for (size_t first = 0; first < rows->n && status == KD_OK; first += ASSIGNED) {
        const size_t n = rows->n - first < ASSIGNED ? rows->n - first : ASSIGNED;
        status = kd_scan(&centres, &(kd_search){.k = 1}, rows->vectors + first * rows->dim, n, hits,
            counts, options->pool, err);
        for (size_t i = 0; i < n && status == KD_OK; i++)
            nearest[first + i] = counts[i] ? (uint32_t)hits[i].id : 0;
        if (status == KD_OK && options->progress &&
            !options->progress(options->progress_arg, first + n, rows->n))
            status = kd_error_set(err, KD_CANCELLED, "building the index was cancelled");
    }
    free(ids);
    free(tags);
    free(counts);
    free(hits);
    return status;
}

kd_status kd_ivf_fill(kd_ivf *ivf, const kd_rows *rows, const uint8_t *mask,
    const kd_ann_options *options, kd_error *err)
{
    kd_status status = find_centres(ivf, rows, mask, options->seed, err);
    if (status != KD_OK)
        return status;
    uint32_t *const nearest = malloc((rows->n + 1) * sizeof *nearest);
    if (!nearest)
        return kd_error_memory(err, "the lists of an approximate index");
    status = assign(ivf, rows, nearest, options, err);
    if (status == KD_OK) { /* a counting sort */
        for (size_t row = 0; row < rows->n; row++)
            ivf->starts[nearest[row]]++;
        for (size_t list = 0, at = 0; list <= ivf->lists; list++) {
            const size_t n = ivf->starts[list];
            ivf->starts[list] = (uint32_t)at;
            at += n;
        }
        for (size_t row = 0; row < rows->n; row++)
            ivf->order[ivf->starts[nearest[row]]++] = (uint32_t)row;
        for (size_t list = ivf->lists; list > 0; list--)
            ivf->starts[list] = ivf->starts[list - 1];
        ivf->starts[0] = 0;
    }
    free(nearest);
    return status;
}

/* ---- Search ---- */

static void read_list(const kd_ivf *ivf, const kd_codes *codes, const kd_code_query *query,
    const kd_search *search, size_t list, size_t keep, kd_heap *found)
{
    const kd_rows *const rows = codes->rows;
    for (size_t i = ivf->starts[list]; i < ivf->starts[list + 1]; i++) {
        if (i + AHEAD < ivf->n)
            kd_codes_fetch(codes, ivf->order[i + AHEAD]);
        const uint32_t row = ivf->order[i];
        if (!kd_search_passes(search, rows, row))
            continue;
        const float score = kd_codes_score(codes, query, row);
        if ((found->n < keep || score > found->all[0].score) &&
            !kd_search_excludes(search, rows->ids[row]))
            kd_heap_keep(found, keep, (kd_seen){score, row});
    }
}

kd_status kd_ivf_search(const kd_ivf *ivf, const kd_codes *codes, const kd_code_query *query,
    const kd_search *search, size_t probes, size_t keep, kd_seen *found, size_t *n_found,
    kd_error *err)
{
    kd_heap best = {.all = found}, near = {.all = malloc((probes + 1) * sizeof *near.all)};
    if (!near.all)
        return kd_error_memory(err, "a search");
    for (size_t list = 0; list < ivf->lists; list++) {
        const float *const centre = ivf->centres + list * ivf->dim;
        const float score = codes->kernels->dot(query->values, centre, ivf->dim);
        kd_heap_keep(&near, probes, (kd_seen){score, (uint32_t)list});
    }
    for (size_t i = 0; i < near.n; i++)
        read_list(ivf, codes, query, search, near.all[i].row, keep, &best);
    free(near.all);
    *n_found = best.n;
    return KD_OK;
}
