#include "lib/eval/tables.h"

#include <stdlib.h>

static int by_id(const void *left, const void *right)
{
    const kd_eval_place *const a = left, *const b = right;
    return (a->id > b->id) - (a->id < b->id);
}

static int by_value(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static kd_status find_places(kd_eval_tables *out, const kd_eval_input *input, kd_error *err)
{
    const size_t n = input->n_gallery;
    kd_eval_place *const all = calloc(n, sizeof *all);
    if (!all)
        return kd_error_memory(err, "the gallery's ids");
    for (size_t i = 0; i < n; i++)
        all[i] = (kd_eval_place){input->gallery_ids[i], (uint32_t)i};
    qsort(all, n, sizeof *all, by_id);
    out->places = all;
    out->n_places = n;
    for (size_t i = 1; i < n; i++)
        if (all[i].id == all[i - 1].id)
            return kd_error_set(err, KD_INVALID_ARGUMENT, "the gallery has image %llu twice",
                (unsigned long long)all[i].id);
    return KD_OK;
}

uint32_t kd_eval_place_of(const kd_eval_tables *tables, uint64_t id)
{
    const kd_eval_place key = {.id = id};
    const kd_eval_place *const found =
        bsearch(&key, tables->places, tables->n_places, sizeof key, by_id);
    return found ? found->place : KD_EVAL_NONE;
}

static kd_status find_selves(kd_eval_tables *out, const kd_eval_input *input, kd_error *err)
{
    out->selves = calloc(input->n_queries, sizeof *out->selves);
    if (!out->selves)
        return kd_error_memory(err, "the queries' own places");
    for (size_t q = 0; q < input->n_queries; q++) {
        const uint64_t id = input->selves ? input->selves[q] : UINT64_MAX;
        out->selves[q] = id == UINT64_MAX ? KD_EVAL_NONE : kd_eval_place_of(out, id);
    }
    return KD_OK;
}

static uint32_t place_of(const kd_label_table *t, uint32_t label)
{
    const uint32_t *const found = bsearch(&label, t->labels, t->n, sizeof label, by_value);
    return found ? (uint32_t)(found - t->labels) : KD_EVAL_NONE;
}

static kd_status make_labels(
    kd_label_table *t, const kd_eval_input *input, unsigned kind, kd_error *err)
{
    const size_t n = input->n_gallery;
    const uint32_t *const of_gallery = input->gallery_labels[kind];
    t->labels = calloc(n, sizeof *t->labels);
    t->starts = calloc(n + 1, sizeof *t->starts);
    t->members = calloc(n, sizeof *t->members);
    t->gallery = calloc(n, sizeof *t->gallery);
    t->queries = calloc(input->n_queries, sizeof *t->queries);
    if (!t->labels || !t->starts || !t->members || !t->gallery || !t->queries)
        return kd_error_memory(err, "the labels");
    for (size_t i = 0; i < n; i++)
        t->labels[i] = of_gallery[i];
    qsort(t->labels, n, sizeof *t->labels, by_value);
    for (size_t i = 0; i < n; i++)
        if (t->n == 0 || t->labels[t->n - 1] != t->labels[i])
            t->labels[t->n++] = t->labels[i];
    for (size_t q = 0; q < input->n_queries; q++)
        t->queries[q] = place_of(t, input->query_labels[kind][q]);
    /* Counting sort: starts holds each label's end while members fill up from behind. */
    for (size_t i = 0; i < n; i++) {
        t->gallery[i] = place_of(t, of_gallery[i]);
        t->starts[t->gallery[i]]++;
    }
    for (size_t l = 1; l <= t->n; l++)
        t->starts[l] += t->starts[l - 1];
    for (size_t i = n; i-- > 0;)
        t->members[--t->starts[t->gallery[i]]] = (uint32_t)i;
    return KD_OK;
}

kd_status kd_eval_tables_make(kd_eval_tables *out, const kd_eval_input *input, kd_error *err)
{
    *out = (kd_eval_tables){.selves = NULL};
    kd_status status = find_places(out, input, err);
    if (status == KD_OK)
        status = find_selves(out, input, err);
    for (unsigned kind = 0; kind < KD_EVAL_KINDS && status == KD_OK; kind++)
        status = make_labels(&out->of[kind], input, kind, err);
    return status;
}

void kd_eval_tables_free(kd_eval_tables *tables)
{
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        kd_label_table *const t = &tables->of[kind];
        free(t->labels);
        free(t->starts);
        free(t->members);
        free(t->gallery);
        free(t->queries);
    }
    free(tables->places);
    free(tables->selves);
}
