#include "services/indexer/parts.h"

#include <stdlib.h>
#include <string.h>

kd_status parts_init(parts *p, size_t dim, kd_error *err)
{
    *p = (parts){.dim = dim};
    return kd_index_new(&p->growing, dim, err);
}

void parts_clear(parts *p)
{
    for (size_t i = 0; i < PARTS_MOST; i++)
        segment_free(p->segments[i]);
    kd_index_free(p->growing);
    free(p->where);
    free(p->all);
    *p = (parts){0};
}

/* ---- Rows ---- */

kd_status parts_reserve(parts *p, size_t n, kd_error *err)
{
    if (n <= p->room)
        return KD_OK;
    size_t room = p->room ? p->room : 64;
    while (room < n)
        room *= 2;
    location *const where = realloc(p->where, room * sizeof *where);
    if (where)
        p->where = where;
    uint8_t *const all = realloc(p->all, room / 8 + 1);
    if (all)
        p->all = all;
    if (!where || !all)
        return kd_error_memory(err, "a collection's rows");
    memset(p->where + p->room, 0, (room - p->room) * sizeof *where);
    memset(p->all, 0xff, room / 8 + 1);
    p->room = room;
    return KD_OK;
}

/* The image's row in a segment is dead from now on, if it has one. */
static void leave_segment(parts *p, uint32_t place)
{
    if (place >= p->room) /* there was no memory for it */
        return;
    location *const at = &p->where[place];
    if (at->slot > 0) {
        segment *const s = p->segments[at->slot - 1];
        s->tags[at->row] = SEGMENT_DEAD;
        s->dead++;
    }
    *at = (location){0};
}

kd_status parts_put(parts *p, size_t n, const uint64_t *ids, const uint32_t *places,
    const float *vectors, kd_error *err)
{
    size_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = places[i] >= most ? (size_t)places[i] + 1 : most;
    kd_status status = parts_reserve(p, most, err);
    if (status == KD_OK)
        status = kd_index_upsert(p->growing, n, ids, places, vectors, err);
    for (size_t i = 0; i < n && status == KD_OK; i++)
        leave_segment(p, places[i]);
    return status;
}

kd_status parts_remove(
    parts *p, const uint64_t *ids, const uint32_t *places, size_t n, kd_error *err)
{
    const kd_status status = kd_index_remove(p->growing, n, ids, NULL, err);
    for (size_t i = 0; i < n && status == KD_OK; i++)
        leave_segment(p, places[i]);
    return status;
}

bool parts_get(const parts *p, uint64_t id, uint32_t place, float *vector)
{
    if (place >= p->room || p->where[place].slot == 0)
        return kd_index_get(p->growing, id, vector);
    const location at = p->where[place];
    const kd_rows *const rows = &p->segments[at.slot - 1]->rows;
    memcpy(vector, rows->vectors + at.row * rows->dim, rows->dim * sizeof *vector);
    return true;
}

/* ---- Segments ---- */

bool parts_full(const parts *p)
{
    size_t vacant = 0;
    for (size_t i = 0; i < PARTS_MOST; i++)
        vacant += !p->segments[i];
    return vacant <= PARTS_SPARE;
}

void parts_add(parts *p, segment *s)
{
    size_t slot = 0;
    while (p->segments[slot])
        slot++;
    p->segments[slot] = s;
    s->slot = slot;
    p->shape++;
}

void parts_drop(parts *p, segment *s)
{
    p->segments[s->slot] = NULL;
    p->shape++;
}

void parts_freeze(parts *p, segment *frozen, kd_index *empty)
{
    parts_add(p, frozen);
    p->growing = empty;
    for (size_t row = 0; row < frozen->rows.n; row++)
        p->where[frozen->tags[row]] = (location){(uint32_t)frozen->slot + 1, (uint32_t)row};
}

void parts_revive(parts *p, segment *s, uint32_t row, uint32_t place)
{
    s->tags[row] = place;
    s->dead--;
    p->where[place] = (location){(uint32_t)s->slot + 1, row};
}

void parts_move(parts *p, segment *s, const segment_pick *picks, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const uint32_t place = picks[i].from->tags[picks[i].row];
        if (place == SEGMENT_DEAD)
            continue;
        leave_segment(p, place);
        parts_revive(p, s, (uint32_t)i, place);
    }
    p->shape++;
}

/* ---- Merging hits ---- */

enum { SEEN = 4096 }; /* entries, for at most 2 × KD_VECTOR_MAX_K groups */

/* Groups that have a hit, by open addressing. */
typedef struct seen {
    uint32_t groups[SEEN];
    bool used[SEEN];
} seen;

static bool see(seen *all, uint32_t group)
{
    size_t at = group * 0x9e3779b1u % SEEN;
    while (all->used[at] && all->groups[at] != group)
        at = (at + 1) % SEEN;
    const bool before = all->used[at];
    all->used[at] = true;
    all->groups[at] = group;
    return !before;
}

static bool before(const kd_hit *a, const kd_hit *b)
{
    return a->score != b->score ? a->score > b->score : a->id < b->id;
}

/* Takes some (n_some, best first) in: hits are the k best of both. */
static void merge(
    const parts_search *search, kd_hit *hits, uint32_t *count, const kd_hit *some, size_t n_some)
{
    const size_t k = search->engine.k, n_old = *count;
    kd_hit old[KD_VECTOR_MAX_K];
    seen groups;
    if (n_some == 0)
        return;
    if (search->engine.groups)
        memset(groups.used, 0, sizeof groups.used);
    memcpy(old, hits, n_old * sizeof *old);
    size_t n = 0, a = 0, b = 0;
    while (n < k && (a < n_old || b < n_some)) {
        const bool first = b == n_some || (a < n_old && before(&old[a], &some[b]));
        const kd_hit hit = first ? old[a++] : some[b++];
        uint32_t place = 0;
        /* One of an earlier part may have left the collection since: see sampler.c. */
        if (!search->engine.groups || (items_find_place(search->items, hit.id, &place) &&
                                          see(&groups, search->engine.groups[place])))
            hits[n++] = hit;
    }
    *count = (uint32_t)n;
}

/* ---- Searches ---- */

/* What a segment is asked: dead rows pass no mask. */
static kd_search asked(const parts *p, const segment *s, const parts_search *search)
{
    kd_search engine = search->engine;
    if (s && s->dead > 0 && !engine.mask)
        engine.mask = p->all;
    return engine;
}

static bool approximate(const segment *s, const parts_search *search)
{
    return s && search->approximate && s->ann;
}

kd_status parts_search_rows(const parts *p, const segment *s, size_t from, size_t n,
    const float *query, const parts_search *search, kd_hit *hits, uint32_t *count, kd_error *err)
{
    const kd_search engine = asked(p, s, search);
    kd_rows rows = s ? s->rows : kd_index_rows(p->growing);
    kd_hit some[KD_VECTOR_MAX_K];
    uint32_t n_some = 0;
    if (from >= rows.n)
        return KD_OK;
    rows.vectors += from * rows.dim;
    rows.ids += from;
    rows.tags += from;
    rows.n = rows.n - from < n ? rows.n - from : n;
    const kd_status status =
        kd_rows_search_many(&rows, query, 1, &engine, some, &n_some, search->pool, err);
    if (status == KD_OK)
        merge(search, hits, count, some, n_some);
    return status;
}

kd_status parts_search_part(const parts *p, const segment *s, const float *query,
    const parts_search *search, kd_hit *hits, uint32_t *count, kd_error *err)
{
    if (!approximate(s, search))
        return parts_search_rows(p, s, 0, SIZE_MAX, query, search, hits, count, err);
    const kd_search engine = asked(p, s, search);
    kd_hit some[KD_VECTOR_MAX_K];
    size_t n_some = 0;
    const kd_status status = kd_ann_search(s->ann, query, &engine, 0, some, &n_some, err);
    if (status == KD_OK)
        merge(search, hits, count, some, n_some);
    return status;
}

/* All queries against one part that is searched exactly: many cost far less together. */
static kd_status search_exact(const parts *p, const segment *s, const float *queries, size_t n,
    const parts_search *search, kd_hit *hits, uint32_t *counts, kd_error *err)
{
    const size_t k = search->engine.k;
    const kd_search engine = asked(p, s, search);
    const kd_rows rows = s ? s->rows : kd_index_rows(p->growing);
    if (rows.n == 0)
        return KD_OK;
    kd_hit *const some = malloc(n * k * sizeof *some);
    uint32_t *const n_some = malloc(n * sizeof *n_some);
    kd_status status = some && n_some ? kd_rows_search_many(&rows, queries, n, &engine, some,
                                            n_some, search->pool, err)
                                      : kd_error_memory(err, "a search");
    for (size_t q = 0; q < n && status == KD_OK; q++)
        merge(search, hits + q * k, &counts[q], some + q * k, n_some[q]);
    free(some);
    free(n_some);
    return status;
}

typedef struct each_query {
    const parts *p;
    const float *queries;
    const parts_search *search;
    kd_hit *hits;
    uint32_t *counts;
    kd_error *errors;
} each_query;

/* The segments that are searched approximately. */
static void search_one(void *arg, size_t q)
{
    const each_query *const e = arg;
    const size_t k = e->search->engine.k;
    kd_status status = KD_OK;
    for (size_t i = 0; i < PARTS_MOST && status == KD_OK; i++)
        if (approximate(e->p->segments[i], e->search))
            status = parts_search_part(e->p, e->p->segments[i], e->queries + q * e->p->dim,
                e->search, e->hits + q * k, &e->counts[q], &e->errors[q]);
}

static kd_status search_approximate(const parts *p, const float *queries, size_t n,
    const parts_search *search, kd_hit *hits, uint32_t *counts, kd_error *err)
{
    kd_error *const errors = calloc(n + 1, sizeof *errors);
    if (!errors)
        return kd_error_memory(err, "a search");
    each_query e = {p, queries, search, hits, counts, errors};
    if (search->pool && n > 1) {
        kd_pool_for(search->pool, n, search_one, &e);
    } else {
        for (size_t q = 0; q < n; q++)
            search_one(&e, q);
    }
    kd_status status = KD_OK;
    for (size_t q = 0; q < n && status == KD_OK; q++) {
        status = errors[q].status;
        if (status != KD_OK && err)
            *err = errors[q];
    }
    free(errors);
    return status;
}

kd_status parts_search_many(const parts *p, const float *queries, size_t n,
    const parts_search *search, kd_hit *hits, uint32_t *counts, kd_error *err)
{
    bool any = false;
    memset(counts, 0, n * sizeof *counts);
    kd_status status = search_exact(p, NULL, queries, n, search, hits, counts, err);
    for (size_t i = 0; i < PARTS_MOST && status == KD_OK; i++) {
        const segment *const s = p->segments[i];
        if (approximate(s, search))
            any = true;
        else if (s && s->dead < s->rows.n)
            status = search_exact(p, s, queries, n, search, hits, counts, err);
    }
    return any && status == KD_OK ? search_approximate(p, queries, n, search, hits, counts, err)
                                  : status;
}
