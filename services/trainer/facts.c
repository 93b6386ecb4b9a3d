/* What a run is: what its weights depend on, and which images it does without. */
#include <stdio.h>

#include "lib/base/hash.h"
#include "services/trainer/run.h"

static json_t *names_json(const loader *l)
{
    const char *const *names;
    size_t n;
    (void)loader_skipped(l, &names, &n);
    json_t *const all = json_array();
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(all, json_string(names[i]));
    return all;
}

static void append_ids(json_t *ids, const kd_item *items, const uint32_t *images, size_t n)
{
    for (size_t i = 0; i < n; i++)
        (void)json_array_append_new(ids, json_integer((json_int_t)items[images[i]].image_id));
}

json_t *train_held_ids(const train_run *run)
{
    json_t *const ids = json_array();
    append_ids(ids, run->items, run->split.validation, run->split.n_validation);
    append_ids(ids, run->items, run->split.held, run->split.n_held);
    return ids;
}

json_t *train_facts(const train_run *run)
{
    const char *const *names;
    size_t n_names;
    const size_t n_back = run->split.n_validation + run->split.n_held;
    char held[2 * sizeof(uint64_t) + 1]; /* which they are; the list itself is the model's alone */
    const train_split *const split = &run->split;
    (void)snprintf(held, sizeof held, "%016llx",
        (unsigned long long)(kd_xxh3(split->validation, split->n_validation * sizeof(uint32_t)) ^
                             kd_xxh3(split->held, split->n_held * sizeof(uint32_t))));
    json_t *const data = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:s, s:s}",
        "parent", run->parent.id, "data_hash", run->data_hash, "images",
        (json_int_t)run->split.n_train + (json_int_t)n_back, "train_images",
        (json_int_t)run->split.n_train, "validation_images", (json_int_t)n_back, "train_labels",
        (json_int_t)run->n_labels, "lone_labels", (json_int_t)run->lone, "skipped",
        (json_int_t)loader_skipped(run->loader, &names, &n_names), "skipped_names",
        names_json(run->loader), "validation", train_cut_name(split->cut), "validation_hash", held);
    json_t *const facts = train_config_json(&run->asked);
    const bool good = facts && data && json_object_update(facts, data) == 0;
    json_decref(data);
    if (good)
        return facts;
    json_decref(facts);
    return NULL;
}
