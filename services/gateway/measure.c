/* One model's answers measured: who is found, how sure that is, and how the clusters fall. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/file.h"
#include "services/gateway/evaluate.h"

#define SAMPLES 1000u
#define SEED 1u

static bool pass_step(void *arg, size_t done)
{
    kd_error ignored; /* the reason stands in the job */
    (void)done;
    return job_step(arg, &ignored) == KD_OK;
}

static bool cluster_step(void *arg)
{
    return pass_step(arg, 0);
}

/* ---- Who is who ---- */

typedef struct placed {
    uint64_t id;
    size_t at; /* position in the gallery */
} placed;

static int by_id(const void *a, const void *b)
{
    const uint64_t x = ((const placed *)a)->id, y = ((const placed *)b)->id;
    return x < y ? -1 : x > y;
}

/* Are item a of one set and item b of another the same file? */
static kd_status same_file(
    const embedded *one, size_t a, const embedded *other, size_t b, bool *same, kd_error *err)
{
    char *const x = kd_dataset_full_path(one->dataset, &one->items[one->rows[a]]);
    char *const y = kd_dataset_full_path(other->dataset, &other->items[other->rows[b]]);
    const bool memory = x && y;
    *same = memory && strcmp(x, y) == 0;
    free(x);
    free(y);
    return memory ? KD_OK : kd_error_memory(err, "a path");
}

/* Which gallery image is the query itself: the same id and, with another listing as the gallery,
 * the same picture too. UINT64_MAX: none. */
static kd_status find_selves(const protocol *p, const embedded *queries, const embedded *gallery,
    uint64_t *selves, kd_error *err)
{
    kd_status status = KD_OK;
    if (strcmp(p->name, "catalogue") != 0) {
        memcpy(selves, queries->ids, queries->n * sizeof *selves);
        return KD_OK;
    }
    placed *const index = malloc((gallery->n ? gallery->n : 1) * sizeof *index);
    if (!index)
        return kd_error_memory(err, "the gallery's ids");
    for (size_t i = 0; i < gallery->n; i++)
        index[i] = (placed){gallery->ids[i], i};
    qsort(index, gallery->n, sizeof *index, by_id);
    for (size_t i = 0; i < queries->n && status == KD_OK; i++) {
        const placed key = {.id = queries->ids[i]};
        const placed *const found = bsearch(&key, index, gallery->n, sizeof *index, by_id);
        bool same = false;
        if (found)
            status = same_file(gallery, found->at, queries, i, &same, err);
        selves[i] = same ? found->id : UINT64_MAX;
    }
    free(index);
    return status;
}

/* ---- Clusters ---- */

static kd_status cluster(running_job *r, const embedded *queries, size_t dim,
    const uint32_t *labels, kd_report_measures *out, kd_error *err)
{
    const size_t n = queries->n;
    uint32_t *const found = calloc(n, sizeof *found);
    if (!found)
        return kd_error_memory(err, "the clusters");
    memcpy(found, labels, n * sizeof *found);
    qsort(found, n, sizeof *found, compare_labels);
    size_t k = 1;
    for (size_t i = 1; i < n; i++)
        k += found[i] != found[i - 1];
    kd_status status = KD_OK;
    if (n * k <= KD_KMEANS_MOST / dim) { /* else it would take hours: left out */
        status = kd_kmeans(queries->values, n, dim, k, found, cluster_step, r, err);
        if (status == KD_OK)
            status = kd_mutual_information(labels, found, n, &out->nmi, &out->ami, err);
    }
    if (status == KD_CANCELLED)
        status = job_step(r, err); /* says why */
    free(found);
    return status;
}

/* ---- One kind of label ---- */

static kd_status measure_kind(const measured *m, const measured *first, unsigned kind,
    kd_pool *pool, kd_report_measures *out, kd_error *err)
{
    const double unknown = (double)NAN;
    *out = (kd_report_measures){.nmi = unknown, .ami = unknown};
    for (unsigned i = 0; i < KD_REPORT_FMRS; i++)
        kd_pairs_fnmr(m->eval.pairs[kind], kd_report_fmrs[i], &out->fnmr[i], &out->thresholds[i]);
    kd_status status = kd_eval_metrics(&m->eval, kind, NULL, &out->means, err);
    if (status == KD_OK)
        status = kd_eval_intervals(&m->eval, NULL, kind, SAMPLES, SEED, pool, out->intervals, err);
    if (status == KD_OK && first)
        status = kd_eval_intervals(
            &m->eval, &first->eval, kind, SAMPLES, SEED, pool, out->differences, err);
    return status;
}

static kd_status run_pass(running_job *r, const protocol *p, const embedded *queries,
    const embedded *gallery, size_t dim, kd_pool *pool, measured *out, kd_error *err)
{
    const Kindred__V1__EvaluateSpec *const spec = r->spec->evaluate;
    uint64_t *const selves = calloc(queries->n ? queries->n : 1, sizeof *selves);
    if (!selves)
        return kd_error_memory(err, "the queries");
    const kd_eval_input input = {.queries = queries->values,
        .n_queries = queries->n,
        .gallery = gallery->values,
        .n_gallery = gallery->n,
        .dim = dim,
        .gallery_ids = gallery->ids,
        .selves = selves,
        .query_labels = {queries->classes, queries->supers},
        .gallery_labels = {gallery->classes, gallery->supers},
        .vote_k = spec->vote_k,
        .vote_by_score = strcmp(spec->vote_weighting, "score") == 0,
        .pool = pool,
        .progress = pass_step,
        .progress_arg = r};
    kd_status status = find_selves(p, queries, gallery, selves, err);
    if (status == KD_OK)
        status = kd_eval_run(&input, &out->eval, err);
    if (status == KD_OK && spec->collection[0] != '\0')
        status = take_neighbours(r, &input, &out->eval, &out->index_recall, err);
    if (status == KD_CANCELLED)
        status = job_step(r, err); /* says why */
    free(selves);
    return status;
}

kd_status measure(running_job *r, const protocol *p, const embedded *queries,
    const embedded *gallery, size_t dim, const measured *first, measured *out, kd_error *err)
{
    const uint32_t *const labels[KD_EVAL_KINDS] = {queries->classes, queries->supers};
    kd_pool *pool = NULL;
    kd_status status = kd_pool_new(&pool, "evaluate", kd_pool_helpers(), 256, err);
    if (status == KD_OK)
        status = run_pass(r, p, queries, gallery, dim, pool, out, err);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS && status == KD_OK; kind++) {
        status = measure_kind(out, first, kind, pool, &out->of[kind], err);
        if (status == KD_OK)
            status = cluster(r, queries, dim, labels[kind], &out->of[kind], err);
    }
    kd_pool_free(pool);
    return status;
}
