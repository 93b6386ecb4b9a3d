/* What a collection says of itself, without a wait for its disk. */
#include "services/indexer/collection_internal.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/buf.h"

const char *collection_name(const collection *c)
{
    return c->name;
}

const char *collection_model(const collection *c)
{
    return c->meta.model_id;
}

size_t collection_dim(const collection *c)
{
    return c->meta.dim;
}

/* With memory locked. */
static void describe_parts(const collection *c, collection_info *info)
{
    const parts *const p = &c->parts;
    info->growing = kd_index_count(p->growing);
    info->memory_bytes = kd_index_bytes(p->growing) + items_bytes(c->items) + keys_bytes(c->keys) +
                         p->room * sizeof *p->where + p->room / 8;
    for (size_t i = 0; i < PARTS_MOST; i++) {
        const segment *const s = p->segments[i];
        if (!s)
            continue;
        info->segments++;
        info->sealed += s->rows.n - s->dead;
        info->dead += s->dead;
        info->mapped_bytes += s->map_bytes;
        info->memory_bytes += s->rows.n * sizeof *s->tags;
        info->disk_bytes += s->map_bytes;
        if (s->frozen)
            info->memory_bytes += kd_index_bytes(s->frozen);
        if (!s->ann)
            continue;
        const size_t bytes = kd_ann_bytes(s->ann);
        info->memory_bytes += bytes;
        info->disk_bytes += bytes;
        if (info->approximate_segments++ == 0 || kd_ann_recall(s->ann) < info->recall)
            info->recall = kd_ann_recall(s->ann);
    }
}

void collection_describe(collection *c, collection_info *info)
{
    *info = (collection_info){.dim = c->meta.dim, .created_ms = c->meta.created_ms};
    (void)kd_copy(info->name, sizeof info->name, c->name);
    (void)kd_copy(info->model_id, sizeof info->model_id, c->meta.model_id);
    pthread_rwlock_rdlock(&c->memory);
    char *const path = strdup(c->path);
    info->count = items_count(c->items);
    info->classes = items_classes(c->items);
    info->super_classes = items_super_classes(c->items);
    info->settings = c->settings;
    info->in_use = collection_in_use(c);
    info->building = collection_has_work(c);
    for (size_t i = 3; i-- > 0;)
        if (c->problems[i].status != KD_OK)
            (void)kd_copy(info->problem, sizeof info->problem, c->problems[i].message);
    describe_parts(c, info);
    pthread_rwlock_unlock(&c->memory);
    info->disk_bytes += path ? db_bytes(path) : 0;
    free(path);
    pthread_mutex_lock(&c->live.lock);
    info->live_queries = c->live.queries;
    info->live_recall = c->live.expected > 0 ? (float)(c->live.found / c->live.expected) : 0;
    pthread_mutex_unlock(&c->live.lock);
}

kd_status collection_check_model(const collection *c, const char *model_id, kd_error *err)
{
    if (strcmp(c->meta.model_id, model_id) == 0)
        return KD_OK;
    return kd_error_set(err, KD_FAILED_PRECONDITION,
        "collection '%s' holds vectors of model %s, not %.64s", c->name, c->meta.model_id,
        model_id);
}
