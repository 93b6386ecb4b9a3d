/* The half of collection.h that changes nothing. */
#include "services/indexer/collection_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void collection_found_free(collection_found *found)
{
    free(found->hits);
    free(found->counts);
    free(found->text);
    *found = (collection_found){0};
}

static bool found_new(collection_found *found, size_t n_rows, size_t width)
{
    *found = (collection_found){.n_rows = n_rows, .width = width};
    found->hits = calloc(n_rows * width, sizeof *found->hits);
    found->counts = calloc(n_rows, sizeof *found->counts);
    if (found->hits && found->counts)
        return true;
    collection_found_free(found);
    return false;
}

static kd_status no_memory(kd_error *err)
{
    return kd_error_memory(err, "the answer to a search");
}

static const char *append_text(char **at, const char *text)
{
    const char *const start = *at;
    *at = stpcpy(*at, text) + 1;
    return start;
}

/* Replaces the strings of all hits, borrowed from memory, by copies of the answer's own. */
static kd_status own_text(collection_found *found, kd_error *err)
{
    size_t size = 1;
    for (size_t r = 0; r < found->n_rows; r++) {
        for (size_t i = 0; i < found->counts[r]; i++) {
            const collection_item *const item = &found->hits[r * found->width + i].item;
            size += strlen(item->class_name) + strlen(item->super_class_name) + strlen(item->uri) +
                    strlen(item->attributes) + 4;
        }
    }
    if (size > COLLECTION_MAX_TEXT)
        return kd_error_set(err, KD_RESOURCE_EXHAUSTED,
            "the answer would have %zu bytes of text, allowed are %u: ask fewer "
            "queries at a time, or for fewer neighbours",
            size, COLLECTION_MAX_TEXT);
    char *at = found->text = malloc(size);
    if (!at)
        return no_memory(err);
    for (size_t r = 0; r < found->n_rows; r++) {
        for (size_t i = 0; i < found->counts[r]; i++) {
            collection_item *const item = &found->hits[r * found->width + i].item;
            item->class_name = append_text(&at, item->class_name);
            item->super_class_name = append_text(&at, item->super_class_name);
            item->uri = append_text(&at, item->uri);
            item->attributes = append_text(&at, item->attributes);
        }
    }
    return KD_OK;
}

/* One search_run, with memory locked for reading: what its queries share. */
typedef struct searching {
    collection *c;
    const collection_search *search;
    const collection_row *queries;
    size_t n_queries;
    kd_search engine;
    kd_hit *hits; /* n_queries × k */
    collection_found *found;
    kd_error *errors; /* of each query */
} searching;

static void search_one(void *arg, size_t i)
{
    const searching *const s = arg;
    const size_t k = s->engine.k;
    kd_hit *const hits = s->hits + i * k;
    size_t n = 0;
    if (kd_index_search(s->c->index, s->queries[i].values, &s->engine, hits, &n, &s->errors[i]) !=
        KD_OK)
        return;
    size_t kept = 0;
    for (size_t h = 0; h < n; h++) {
        collection_hit *const hit = &s->found->hits[i * k + kept];
        hit->score = hits[h].score;
        if (items_get(s->c->items, hits[h].id, &hit->item))
            kept++;
    }
    s->found->counts[i] = kept;
}

/* With memory locked for reading. */
static kd_status search_locked(searching *s, kd_error *err)
{
    const items *const all = s->c->items;
    uint8_t *mask = NULL;
    kd_status status = items_mask(all, &s->search->filter, &mask, err);
    if (status == KD_OK) {
        s->engine.mask = mask;
        s->engine.groups = s->search->by_class ? items_class_of(all) : NULL;
        s->engine.n_tags = items_places(all);
        kd_pool_for(s->search->pool, s->n_queries, search_one, s);
        for (size_t i = 0; i < s->n_queries && status == KD_OK; i++) {
            status = s->errors[i].status;
            if (status != KD_OK && err)
                *err = s->errors[i];
        }
    } else if (status == KD_NOT_FOUND) {
        kd_error why = *err;
        (void)kd_error_set(err, status, "collection '%s' has %s", s->c->name, why.message);
    }
    if (status == KD_OK)
        status = own_text(s->found, err);
    free(mask);
    return status;
}

/* Locks, and makes the query that examples stand for. query: dim floats; exclude: room for theirs
 * behind the caller's own. */
static kd_status search_run(searching *s, float *query, uint64_t *exclude, kd_error *err)
{
    const collection_examples *const like = s->search->like;
    kd_status status = KD_OK;
    pthread_rwlock_rdlock(&s->c->memory);
    if (like) {
        status = search_examples(s->c, like, query, err);
        memcpy(exclude, like->positive, like->n_positive * sizeof *exclude);
        if (like->n_negative)
            memcpy(exclude + like->n_positive, like->negative, like->n_negative * sizeof *exclude);
        if (s->search->n_exclude)
            memcpy(exclude + like->n_positive + like->n_negative, s->search->exclude,
                s->search->n_exclude * sizeof *exclude);
        s->engine.exclude = exclude;
        s->engine.n_exclude += like->n_positive + like->n_negative;
    }
    if (status == KD_OK)
        status = search_locked(s, err);
    pthread_rwlock_unlock(&s->c->memory);
    return status;
}

kd_status collection_search_run(
    collection *c, const collection_search *search, collection_found *found, kd_error *err)
{
    *found = (collection_found){0};
    kd_status status = search_check(c, search, err);
    if (status != KD_OK)
        return status;
    const size_t n_queries = search->like ? 1 : search->n_queries;
    if (!found_new(found, n_queries, search->k))
        return no_memory(err);
    float *const query = malloc(c->meta.dim * sizeof *query);
    const collection_row row = {.values = query, .n_values = c->meta.dim};
    searching s = {.c = c,
        .search = search,
        .queries = search->like ? &row : search->queries,
        .n_queries = n_queries,
        .engine = {.k = search->k,
            .min_score = search->min_score,
            .exclude = search->exclude,
            .n_exclude = search->n_exclude},
        .hits = malloc(n_queries * search->k * sizeof *s.hits),
        .found = found,
        .errors = calloc(n_queries, sizeof *s.errors)};
    uint64_t *const exclude =
        malloc((search->n_exclude + 2 * COLLECTION_MAX_EXAMPLES) * sizeof *exclude);
    if (s.hits && s.errors && query && exclude)
        status = search_run(&s, query, exclude, err);
    else
        status = kd_error_memory(err, "a search");
    free(query);
    free(exclude);
    free(s.hits);
    free(s.errors);
    if (status != KD_OK)
        collection_found_free(found);
    return status;
}

kd_status collection_get(
    collection *c, uint64_t image_id, collection_found *found, float *values, kd_error *err)
{
    kd_status status = KD_OK;
    if (!found_new(found, 1, 1))
        return no_memory(err);
    pthread_rwlock_rdlock(&c->memory);
    if (items_get(c->items, image_id, &found->hits[0].item) &&
        (!values || kd_index_get(c->index, image_id, values))) {
        found->counts[0] = 1;
        status = own_text(found, err);
    } else {
        status = kd_error_set(
            err, KD_NOT_FOUND, "collection '%s' has no image %" PRIu64, c->name, image_id);
    }
    pthread_rwlock_unlock(&c->memory);
    if (status != KD_OK)
        collection_found_free(found);
    return status;
}

kd_status collection_list(
    collection *c, uint64_t from, size_t limit, collection_found *found, kd_error *err)
{
    uint64_t ids[COLLECTION_MAX_PAGE];
    size_t n = 0;
    *found = (collection_found){0};
    if (limit == 0 || limit > COLLECTION_MAX_PAGE)
        return kd_error_set(err, KD_INVALID_ARGUMENT, "a page of %zu images, allowed are 1 to %u",
            limit, COLLECTION_MAX_PAGE);
    if (!found_new(found, 1, limit))
        return no_memory(err);
    /* Between the look at the disk and the look at memory nothing may change. */
    pthread_mutex_lock(&c->changes);
    kd_status status = collection_check_usable(c, err);
    if (status == KD_OK)
        status = db_page(c->db, from, limit, ids, &n, err);
    if (status == KD_OK) {
        pthread_rwlock_rdlock(&c->memory);
        for (size_t i = 0; i < n; i++)
            if (items_get(c->items, ids[i], &found->hits[found->counts[0]].item))
                found->counts[0]++;
        status = own_text(found, err);
        pthread_rwlock_unlock(&c->memory);
    }
    pthread_mutex_unlock(&c->changes);
    if (status != KD_OK)
        collection_found_free(found);
    return status;
}

kd_status collection_snapshot(collection *c, const char *file, uint64_t *bytes, kd_error *err)
{
    pthread_mutex_lock(&c->changes);
    char *const path = strdup(c->path);
    pthread_mutex_unlock(&c->changes);
    if (!path)
        return kd_error_memory(err, "a path");
    const kd_status status = db_snapshot(path, c->name, file, bytes, err);
    free(path);
    return status;
}
