/* What is asked of a collection, before it is searched. */
#include "services/indexer/collection_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- Limits ---- */

static kd_status check_most(size_t n, size_t most, const char *doing, kd_error *err)
{
    return n <= most ? KD_OK
                     : kd_error_set(err, KD_INVALID_ARGUMENT, "a search %s %zu, allowed are %zu",
                           doing, n, most);
}

static kd_status check_queries(const collection *c, const collection_search *s, kd_error *err)
{
    if (s->n_queries == 0 || s->n_queries > COLLECTION_MAX_QUERIES)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "a search has %zu queries, allowed are 1 to %u", s->n_queries, COLLECTION_MAX_QUERIES);
    for (size_t i = 0; i < s->n_queries; i++) {
        char what[32];
        (void)snprintf(what, sizeof what, "query %zu", i + 1);
        if (s->queries[i].n_values != c->meta.dim)
            return kd_error_set(err, KD_INVALID_ARGUMENT,
                "%s has %zu values, vectors of collection '%s' have %zu", what,
                s->queries[i].n_values, c->name, c->meta.dim);
        const kd_status checked = kd_vector_check(what, s->queries[i].values, c->meta.dim, err);
        if (checked != KD_OK)
            return checked;
    }
    return KD_OK;
}

static kd_status check_examples(const collection_search *s, kd_error *err)
{
    if (s->n_queries > 0)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "a search has both queries and examples, allowed is one");
    if (s->like->n_positive == 0)
        return kd_error_set(
            err, KD_INVALID_ARGUMENT, "a search by examples has none that is wanted");
    kd_status status =
        check_most(s->like->n_positive, COLLECTION_MAX_EXAMPLES, "has wanted examples:", err);
    if (status == KD_OK)
        status =
            check_most(s->like->n_negative, COLLECTION_MAX_EXAMPLES, "has unwanted examples:", err);
    return status;
}

static kd_status check_condition(const collection_condition *test, kd_error *err)
{
    if (test->n_texts > COLLECTION_MAX_FILTER)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the condition on '%.100s' has %zu texts, allowed are %u", test->name, test->n_texts,
            COLLECTION_MAX_FILTER);
    if (isnan(test->min) || isnan(test->max) || test->min > test->max)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the condition on '%.100s' is from %g to %g, which no number meets", test->name,
            test->min, test->max);
    return KD_OK;
}

kd_status collection_search_check(const collection *c, const collection_search *s, kd_error *err)
{
    const collection_filter *const filter = &s->filter;
    kd_status status = s->like ? KD_OK : collection_check_model(c, s->model_id, err);
    if (status == KD_OK)
        status = s->like ? check_examples(s, err) : check_queries(c, s, err);
    if (status == KD_OK && (s->k == 0 || s->k > KD_VECTOR_MAX_K))
        status = kd_error_set(
            err, KD_INVALID_ARGUMENT, "k is %zu, allowed are 1 to %u", s->k, KD_VECTOR_MAX_K);
    if (status == KD_OK && s->min_score && !isfinite(*s->min_score))
        status = kd_error_set(err, KD_INVALID_ARGUMENT, "the lowest score is not a number");
    if (status == KD_OK)
        status =
            check_most(filter->n_super_classes, COLLECTION_MAX_FILTER, "names super-classes:", err);
    if (status == KD_OK)
        status = check_most(filter->n_classes, COLLECTION_MAX_FILTER, "names classes:", err);
    if (status == KD_OK)
        status =
            check_most(filter->n_image_ids, COLLECTION_MAX_IDS, "lists images to look among:", err);
    if (status == KD_OK)
        status =
            check_most(filter->n_conditions, COLLECTION_MAX_CONDITIONS, "has conditions:", err);
    for (size_t i = 0; status == KD_OK && i < filter->n_conditions; i++)
        status = check_condition(&filter->conditions[i], err);
    if (status == KD_OK)
        status = check_most(s->n_exclude, COLLECTION_MAX_EXCLUDE, "leaves out images:", err);
    return status;
}

/* ---- Examples ---- */

/* query += weight × the vector of each; vector is room for one. */
static kd_status add_vectors(const collection *c, const uint64_t *ids, size_t n, double weight,
    double *query, float *vector, kd_error *err)
{
    const size_t dim = c->meta.dim;
    for (size_t i = 0; i < n; i++) {
        if (!collection_vector(c, ids[i], vector))
            return kd_error_set(
                err, KD_NOT_FOUND, "collection '%s' has no image %" PRIu64, c->name, ids[i]);
        for (size_t j = 0; j < dim; j++)
            query[j] += weight * (double)vector[j];
    }
    return KD_OK;
}

kd_status search_examples(
    const collection *c, const collection_examples *like, float *query, kd_error *err)
{
    const size_t dim = c->meta.dim, n_negative = like->n_negative;
    double sum[KD_VECTOR_MAX_DIM] = {0}, squares = 0;
    const double wanted = (n_negative ? 2.0 : 1.0) / (double)like->n_positive;
    kd_status status = add_vectors(c, like->positive, like->n_positive, wanted, sum, query, err);
    if (status == KD_OK && n_negative)
        status =
            add_vectors(c, like->negative, n_negative, -1.0 / (double)n_negative, sum, query, err);
    if (status != KD_OK)
        return status;
    for (size_t j = 0; j < dim; j++)
        squares += sum[j] * sum[j];
    if (squares < 1e-12)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "the examples cancel each other out");
    if (like->n_positive == 1 && n_negative == 0)
        return KD_OK; /* the stored vector to the bit */
    for (size_t j = 0; j < dim; j++)
        query[j] = (float)(sum[j] / sqrt(squares));
    return KD_OK;
}
