/* Which queries an evaluation shows. */
#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"
#include "services/gateway/rows.h"

void shown_free(shown *s)
{
    free(s->items);
    *s = (shown){.items = NULL};
}

/* ---- What a word means ---- */

typedef enum meaning { NOTHING, NAME, ID } meaning;

static bool means(
    const kd_dataset *dataset, const kd_item *item, bool super, const char *word, meaning by)
{
    const uint32_t label = super ? item->super_class_id : item->class_id;
    uint64_t id;
    if (by == ID)
        return kd_parse_u64(word, 0, UINT32_MAX, &id) && label == id;
    return strcmp(super ? kd_dataset_super_class_name(dataset, label)
                        : kd_dataset_class_name(dataset, label),
               word) == 0;
}

static meaning meaning_of(const kd_dataset *dataset, const char *word)
{
    size_t n;
    const kd_item *const items = kd_dataset_items(dataset, &n);
    for (meaning by = NAME; by <= ID; by++)
        for (size_t i = 0; i < n; i++)
            if ((i == 0 || items[i].class_id != items[i - 1].class_id) && /* listed together */
                (means(dataset, &items[i], false, word, by) ||
                    means(dataset, &items[i], true, word, by)))
                return by;
    return NOTHING;
}

static kd_status find_meaning(
    const kd_dataset *dataset, const char *word, meaning *out, kd_error *err)
{
    *out = meaning_of(dataset, word);
    return *out != NOTHING
               ? KD_OK
               : kd_error_set(err, KD_NOT_FOUND,
                     "no query of %s is of a class or super-class '%.100s', to be shown",
                     kd_dataset_dir(dataset), word);
}

static kd_status check_count(size_t n_show, kd_error *err)
{
    return n_show <= SHOW_MAX ? KD_OK
                              : kd_error_set(err, KD_INVALID_ARGUMENT,
                                    "%zu classes or super-classes are to be shown, allowed are %u",
                                    n_show, SHOW_MAX);
}

kd_status show_check(
    const kd_dataset *dataset, const char *const *show, size_t n_show, kd_error *err)
{
    kd_status status = check_count(n_show, err);
    for (size_t i = 0; status == KD_OK && i < n_show; i++) {
        meaning ignored;
        status = find_meaning(dataset, show[i], &ignored, err);
    }
    return status;
}

/* ---- Choosing ---- */

typedef struct choice {
    const kd_dataset *dataset;
    const kd_item *items;
    const size_t *rows; /* items of the queries */
    size_t n;           /* queries */
    bool by_class;      /* how they are ordered */
    size_t *order;      /* of all queries, owned like what follows */
    size_t *firsts;     /* room */
    size_t *picked;     /* queries */
    size_t n_picked;
    bool *is_asked, *is_picked; /* each query */
} choice;

static const kd_item *item_of(const choice *c, size_t query)
{
    return &c->items[c->rows[query]];
}

static int compare_queries(const void *a, const void *b, void *arg)
{
    const choice *const c = arg;
    const size_t i = *(const size_t *)a, j = *(const size_t *)b;
    const kd_item *const x = item_of(c, i), *const y = item_of(c, j);
    if (x->super_class_id != y->super_class_id)
        return x->super_class_id < y->super_class_id ? -1 : 1;
    if (c->by_class && x->class_id != y->class_id)
        return x->class_id < y->class_id ? -1 : 1;
    return i < j ? -1 : i > j;
}

/* How many from `from` on in the order are of its label. */
static size_t run_of(const choice *c, size_t from, bool super)
{
    const kd_item *const first = item_of(c, c->order[from]);
    size_t to = from + 1;
    for (; to < c->n; to++) {
        const kd_item *const item = item_of(c, c->order[to]);
        if (super ? item->super_class_id != first->super_class_id
                  : item->class_id != first->class_id)
            break;
    }
    return to - from;
}

static void pick(choice *c, const size_t *queries, size_t n, size_t most)
{
    const size_t kept = n < most ? n : most;
    for (size_t i = 0; i < n; i++)
        c->is_asked[queries[i]] = true;
    for (size_t i = 0; i < kept; i++) {
        const size_t query = queries[i * n / kept];
        if (!c->is_picked[query])
            c->picked[c->n_picked++] = query;
        c->is_picked[query] = true;
    }
}

static void pick_word(choice *c, const char *word, meaning by)
{
    size_t n_firsts = 0;
    for (size_t from = 0, n; from < c->n; from += n) {
        const kd_item *const first = item_of(c, c->order[from]);
        n = run_of(c, from, false);
        if (means(c->dataset, first, false, word, by))
            pick(c, c->order + from, n, SHOW_QUERIES);
        if (means(c->dataset, first, true, word, by))
            c->firsts[n_firsts++] = c->order[from];
    }
    pick(c, c->firsts, n_firsts, SHOW_CLASSES);
}

static void pick_supers(choice *c)
{
    size_t n_firsts = 0;
    for (size_t from = 0; from < c->n; from += run_of(c, from, true))
        c->firsts[n_firsts++] = c->order[from];
    pick(c, c->firsts, n_firsts, n_firsts);
}

static kd_status choose(choice *c, const char *const *show, size_t n_show, kd_error *err)
{
    kd_status status = check_count(n_show, err);
    for (size_t i = 0; i < c->n; i++)
        c->order[i] = i;
    qsort_r(c->order, c->n, sizeof *c->order, compare_queries, c);
    if (n_show == 0)
        pick_supers(c);
    for (size_t i = 0; status == KD_OK && i < n_show; i++) {
        meaning by;
        status = find_meaning(c->dataset, show[i], &by, err);
        if (status == KD_OK)
            pick_word(c, show[i], by);
    }
    return status;
}

kd_status rows_choose(shown *out, const kd_dataset *dataset, const size_t *rows, size_t n,
    const char *const *show, size_t n_show, size_t most, kd_error *err)
{
    const size_t room = n ? n : 1;
    size_t n_items, asked = 0;
    choice c = {.dataset = dataset,
        .items = kd_dataset_items(dataset, &n_items),
        .rows = rows,
        .n = n,
        .by_class = n_show > 0,
        .order = malloc(room * sizeof *c.order),
        .firsts = malloc(room * sizeof *c.firsts),
        .picked = malloc(room * sizeof *c.picked),
        .is_asked = calloc(room, sizeof *c.is_asked),
        .is_picked = calloc(room, sizeof *c.is_picked)};
    *out = (shown){.items = NULL};
    kd_status status = c.order && c.firsts && c.picked && c.is_asked && c.is_picked
                           ? choose(&c, show, n_show, err)
                           : kd_error_memory(err, "the picture rows");
    if (status == KD_OK) {
        for (size_t i = 0; i < n; i++)
            asked += c.is_asked[i];
        out->n = c.n_picked < most ? c.n_picked : most;
        out->left_out = asked - out->n;
        for (size_t i = 0; i < out->n; i++) /* i * n / kept is never below i */
            c.picked[i] = rows[c.picked[i * c.n_picked / out->n]];
        out->items = c.picked;
        c.picked = NULL;
    }
    free(c.is_picked);
    free(c.is_asked);
    free(c.picked);
    free(c.firsts);
    free(c.order);
    return status;
}
