/* The half of collection.h that changes nothing. */
#include "services/indexer/collection_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "services/indexer/sampler.h"

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
                    strlen(item->attributes) + (item->key ? strlen(item->key) : 0) + 5;
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
            if (item->key)
                item->key = append_text(&at, item->key);
        }
    }
    return KD_OK;
}

/* The queries side by side, as the engine takes them; with examples one that is made of them. */
typedef struct searching {
    collection *c;
    const collection_search *search;
    kd_search engine;
    size_t n;
    float *queries;    /* n × dim; owned, as the rest */
    uint64_t *exclude; /* the caller's and the examples */
    kd_hit *hits;      /* n × k */
    uint32_t *counts;
} searching;

static bool searching_new(searching *s)
{
    const collection_search *const asked = s->search;
    const size_t dim = s->c->meta.dim;
    s->n = asked->like ? 1 : asked->n_queries;
    s->queries = malloc(s->n * dim * sizeof *s->queries);
    s->exclude = malloc((asked->n_exclude + 2 * COLLECTION_MAX_EXAMPLES) * sizeof *s->exclude);
    s->hits = malloc(s->n * asked->k * sizeof *s->hits);
    s->counts = malloc(s->n * sizeof *s->counts);
    if (!s->queries || !s->exclude || !s->hits || !s->counts)
        return false;
    for (size_t i = 0; i < asked->n_queries; i++)
        memcpy(s->queries + i * dim, asked->queries[i].values, dim * sizeof *s->queries);
    s->engine = (kd_search){.k = asked->k, .min_score = asked->min_score, .exclude = s->exclude};
    return true;
}

static void searching_clear(searching *s)
{
    free(s->queries);
    free(s->exclude);
    free(s->hits);
    free(s->counts);
}

static void exclude_all(searching *s, const uint64_t *ids, size_t n)
{
    if (n)
        memcpy(s->exclude + s->engine.n_exclude, ids, n * sizeof *ids);
    s->engine.n_exclude += n;
}

/* With memory locked for reading, from which the strings are borrowed. */
static bool get_item(const collection *c, uint64_t image_id, collection_item *item)
{
    if (!items_get(c->items, image_id, item))
        return false;
    item->key = keys_of(c->keys, image_id);
    return true;
}

/* Looks up what the engine found; strings are borrowed from memory. */
static void take_hits(const searching *s, collection_found *found)
{
    for (size_t q = 0; q < s->n; q++) {
        for (size_t h = 0; h < s->counts[q]; h++) {
            const kd_hit *const from = &s->hits[q * s->engine.k + h];
            collection_hit *const hit = &found->hits[q * found->width + found->counts[q]];
            hit->score = from->score;
            if (get_item(s->c, from->id, &hit->item))
                found->counts[q]++;
        }
    }
}

/* With memory locked for reading. */
static kd_status search_locked(searching *s, collection_found *found, kd_error *err)
{
    const items *const all = s->c->items;
    const collection_examples *const like = s->search->like;
    uint8_t *mask = NULL;
    kd_status status = like ? search_examples(s->c, like, s->queries, err) : KD_OK;
    if (status != KD_OK)
        return status;
    status = items_mask(all, &s->search->filter, &mask, err);
    if (status == KD_NOT_FOUND) {
        kd_error why = *err;
        return kd_error_set(err, status, "collection '%s' has %s", s->c->name, why.message);
    }
    if (status == KD_OK) {
        s->engine.mask = mask;
        s->engine.groups = s->search->by_class ? items_class_of(all) : NULL;
        s->engine.n_tags = items_places(all);
        const parts_search how = {.engine = s->engine,
            .approximate = !s->search->exact && collection_in_use(s->c) != COLLECTION_EXACT,
            .items = all,
            .pool = s->search->pool};
        status = parts_search_many(&s->c->parts, s->queries, s->n, &how, s->hits, s->counts, err);
        if (status == KD_OK && how.approximate && s->c->options.sampler)
            sampler_offer(s->c->options.sampler, s->c, &how.engine, s->queries, s->n);
    }
    free(mask);
    if (status != KD_OK)
        return status;
    take_hits(s, found);
    return own_text(found, err);
}

kd_status collection_search_run(
    collection *c, const collection_search *search, collection_found *found, kd_error *err)
{
    *found = (collection_found){0};
    searching s = {.c = c, .search = search};
    kd_status status = collection_search_check(c, search, err);
    if (status != KD_OK)
        return status;
    if (searching_new(&s) && found_new(found, s.n, search->k)) {
        exclude_all(&s, search->exclude, search->n_exclude);
        if (search->like) {
            exclude_all(&s, search->like->positive, search->like->n_positive);
            exclude_all(&s, search->like->negative, search->like->n_negative);
        }
        pthread_rwlock_rdlock(&c->memory);
        status = search_locked(&s, found, err);
        pthread_rwlock_unlock(&c->memory);
    } else {
        status = no_memory(err);
    }
    searching_clear(&s);
    if (status != KD_OK)
        collection_found_free(found);
    return status;
}

bool collection_vector(const collection *c, uint64_t image_id, float *vector)
{
    uint32_t place;
    return items_find_place(c->items, image_id, &place) &&
           parts_get(&c->parts, image_id, place, vector);
}

kd_status collection_get(
    collection *c, uint64_t image_id, collection_found *found, float *values, kd_error *err)
{
    kd_status status = KD_OK;
    if (!found_new(found, 1, 1))
        return no_memory(err);
    pthread_rwlock_rdlock(&c->memory);
    if (get_item(c, image_id, &found->hits[0].item) &&
        (!values || collection_vector(c, image_id, values))) {
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
    kd_status status = collection_check_open(c, err);
    if (status == KD_OK)
        status = db_page(c->db, from, limit, ids, &n, err);
    if (status == KD_OK) {
        pthread_rwlock_rdlock(&c->memory);
        for (size_t i = 0; i < n; i++)
            if (get_item(c, ids[i], &found->hits[found->counts[0]].item))
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
