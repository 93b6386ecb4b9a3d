/* Some images of a dataset as a set of their own. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/dataset/internal.h"

static kd_status copy_labels(kd_labels *to, const kd_labels *from, kd_error *err)
{
    if (from->n == 0)
        return KD_OK;
    to->at = calloc(from->n, sizeof *to->at);
    if (!to->at)
        return kd_error_memory(err, "the names of a dataset");
    memcpy(to->at, from->at, from->n * sizeof *to->at);
    to->n = to->cap = from->n;
    return KD_OK;
}

/* How many labels of either kind the items have. */
static kd_status count_labels(kd_dataset *set, kd_error *err)
{
    const size_t n = set->n_items;
    kd_pair *const pairs = calloc(2 * n + 1, sizeof *pairs);
    if (!pairs)
        return kd_error_memory(err, "the labels of a dataset");
    for (size_t i = 0; i < n; i++) {
        pairs[i] = (kd_pair){set->items[i].class_id, 0};
        pairs[n + i] = (kd_pair){set->items[i].super_class_id, 0};
    }
    kd_pairs_sort(pairs, n);
    kd_pairs_sort(pairs + n, n);
    set->n_classes = kd_pairs_count(pairs, n);
    set->n_super_classes = kd_pairs_count(pairs + n, n);
    free(pairs);
    return KD_OK;
}

kd_status kd_dataset_subset(
    kd_dataset **out, const kd_dataset *dataset, const bool *keep, kd_error *err)
{
    assert(out && dataset && keep);
    *out = NULL;
    kd_dataset *const set = calloc(1, sizeof *set);
    if (!set)
        return kd_error_memory(err, "a dataset");
    set->dir = strdup(dataset->dir);
    size_t n = 0;
    for (size_t i = 0; i < dataset->n_items; i++)
        n += keep[i];
    set->items = calloc(n + 1, sizeof *set->items);
    kd_buf_append(&set->text, dataset->text.data, dataset->text.len);
    kd_status status =
        set->dir && set->items && kd_buf_ok(&set->text) ? KD_OK : kd_error_memory(err, "a dataset");
    if (status == KD_OK)
        status = copy_labels(&set->classes, &dataset->classes, err);
    if (status == KD_OK)
        status = copy_labels(&set->super_classes, &dataset->super_classes, err);
    for (size_t i = 0; status == KD_OK && i < dataset->n_items; i++) {
        if (!keep[i])
            continue;
        set->items[set->n_items++] = dataset->items[i];
        set->n_train += i < dataset->n_train;
    }
    if (status == KD_OK)
        status = count_labels(set, err);
    if (status == KD_OK)
        *out = set;
    else
        kd_dataset_free(set);
    return status;
}
