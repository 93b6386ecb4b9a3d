/* How many images, classes and super-classes a split has. */
#include <stdlib.h>

#include "lib/check/internal.h"

static int compare(const void *left, const void *right)
{
    const uint32_t *const a = left, *const b = right;
    return (*a > *b) - (*a < *b);
}

/* Room for the n values of a label. */
static uint32_t *room_for(size_t n)
{
    return calloc(n ? n : 1, sizeof(uint32_t));
}

static size_t count_distinct(const uint32_t *sorted, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += i == 0 || sorted[i] != sorted[i - 1];
    return count;
}

/* ids: the class of each image, sorted; what they become, the sizes of the classes, is no id any
 * more. The lone classes' ids are kept before they are overwritten: a class takes one place and has
 * at least one. */
static void count_classes(kd_check_split *out, uint32_t *ids, size_t n)
{
    size_t classes = 0;
    for (size_t i = 0, next; i < n; i = next) {
        const uint32_t id = ids[i];
        for (next = i + 1; next < n && ids[next] == id;)
            next++;
        if (next - i == 1)
            out->lone[out->n_lone++] = id;
        ids[classes++] = (uint32_t)(next - i);
    }
    qsort(ids, classes, sizeof *ids, compare);
    out->classes = classes;
    out->least = ids[0];
    out->most = ids[classes - 1];
    const size_t low = (classes - 1) / 2, high = classes / 2;
    out->median = ((double)ids[low] + (double)ids[high]) / 2;
}

kd_status check_count(kd_check_split *out, const kd_item *items, size_t n, kd_error *err)
{
    uint32_t *const ids = room_for(n);
    out->lone = room_for(n);
    if (!ids || !out->lone) {
        free(ids);
        return kd_error_memory(err, "the classes of a dataset");
    }
    out->images = n;
    if (n > 0) {
        for (size_t i = 0; i < n; i++)
            ids[i] = items[i].super_class_id;
        qsort(ids, n, sizeof *ids, compare);
        out->super_classes = count_distinct(ids, n);
        for (size_t i = 0; i < n; i++)
            ids[i] = items[i].class_id;
        qsort(ids, n, sizeof *ids, compare);
        count_classes(out, ids, n);
    }
    free(ids);
    return KD_OK;
}
