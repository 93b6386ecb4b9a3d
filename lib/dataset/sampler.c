/* Batches of P classes × K images, or of shuffled images. Classes are dealt from one deck
 * (balanced: one for each super-class), the images of a class from a deck of its own, so that
 * classes and images come up evenly whatever P and K are. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/dataset/deck.h"
#include "lib/dataset/internal.h"

#define MAX_BATCH_IMAGES (1u << 20)

/* A super-class; of CLASSES there is one, which has every class. */
typedef struct group {
    const uint32_t *ring; /* its classes in an order that the seed gives for all epochs */
    kd_deck classes;
    uint32_t quota;   /* classes that each batch takes */
    uint32_t certain; /* classes that an epoch takes at the least */
} group;

struct kd_sampler {
    kd_sampler_kind kind;
    uint32_t p, k;
    uint64_t seed;
    uint32_t *members; /* image numbers, a class behind the other, in their first order */
    uint32_t *cards;   /* the same, as shuffled: the decks of images lie in here */
    kd_deck *images;   /* one for each class */
    uint32_t *ring;    /* class numbers, a group behind the other */
    uint32_t *shuffled;
    group *groups;
    kd_deck spare;    /* groups with more classes than their quota, for the places left */
    uint32_t *chosen; /* room for a batch's classes */
    uint32_t *takers; /* … for the groups that fill the places left */
    size_t n_members;
    uint32_t n_classes, n_groups;
    uint32_t places;            /* of a batch that the quotas leave */
    size_t n_batches, in_batch; /* the last batch has what is left of the epoch */
    uint32_t *epoch;            /* image numbers, batch behind batch */
    size_t n_epoch;
};

/* ---- Decks ---- */

/* Fills members and the decks of images from the sorted pairs; counts the lone classes. */
static void fill_decks(kd_sampler *sampler, const kd_pair *pairs, size_t n, size_t *lone)
{
    const size_t least = sampler->kind == KD_SAMPLER_SHUFFLED ? 1 : 2;
    for (size_t start = 0, stop; start < n; start = stop) {
        stop = start + 1;
        while (stop < n && pairs[stop].key == pairs[start].key)
            stop++;
        *lone += stop - start == 1;
        if (stop - start < least)
            continue;
        sampler->images[sampler->n_classes++] =
            (kd_deck){.cards = sampler->cards + sampler->n_members, .n = (uint32_t)(stop - start)};
        for (size_t i = start; i < stop; i++)
            sampler->members[sampler->n_members++] = pairs[i].index;
    }
}

/* Sorts the classes into groups. pairs: room for one of each class; groups: of each image, NULL for
 * one group. */
static void fill_groups(kd_sampler *sampler, kd_pair *pairs, const uint32_t *groups)
{
    const uint32_t *first = sampler->members;
    uint64_t random = sampler->seed;
    for (uint32_t i = 0; i < sampler->n_classes; i++) {
        pairs[i] = (kd_pair){groups ? groups[*first] : 0, i};
        first += sampler->images[i].n;
    }
    kd_pairs_sort(pairs, sampler->n_classes);
    for (uint32_t start = 0, stop; start < sampler->n_classes; start = stop) {
        group *const g = &sampler->groups[sampler->n_groups++];
        for (stop = start; stop < sampler->n_classes && pairs[stop].key == pairs[start].key; stop++)
            sampler->ring[stop] = pairs[stop].index;
        *g = (group){.ring = sampler->ring + start,
            .classes = {.cards = sampler->shuffled + start, .n = stop - start}};
        if (groups)
            kd_random_shuffle(sampler->ring + start, stop - start, &random);
    }
}

/* ---- Sizes ---- */

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* How many classes a batch gets when no group gives more than `level`. */
static uint64_t given(const kd_sampler *sampler, uint32_t level)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < sampler->n_groups; i++)
        sum += least(sampler->groups[i].classes.n, level);
    return sum;
}

/* Fills a batch's P places as evenly as the groups allow: each gives up to the same level, and
 * those that have more fill in turn the places that are left. */
static void set_quotas(kd_sampler *sampler)
{
    uint32_t level = 0, over = sampler->p + 1; /* given(level) <= p < given(over), or all are in */
    while (over - level > 1) {
        const uint32_t middle = level + (over - level) / 2;
        if (given(sampler, middle) <= sampler->p)
            level = middle;
        else
            over = middle;
    }
    sampler->places = sampler->p - (uint32_t)given(sampler, level);
    for (uint32_t i = 0; i < sampler->n_groups; i++) {
        group *const g = &sampler->groups[i];
        g->quota = least(g->classes.n, level);
        sampler->spare.n += g->classes.n > level;
    }
    for (uint32_t i = 0; i < sampler->n_groups; i++) {
        group *const g = &sampler->groups[i];
        uint64_t certain = (uint64_t)g->quota * sampler->n_batches;
        if (g->classes.n > level)
            certain += (uint64_t)sampler->places * sampler->n_batches / sampler->spare.n;
        g->certain = certain < g->classes.n ? (uint32_t)certain : g->classes.n;
    }
}

/* How many batches an epoch has: each class at least once, about n_members images in all. */
static void size_class_epoch(kd_sampler *sampler)
{
    sampler->p = least(sampler->p, sampler->n_classes);
    sampler->in_batch = (size_t)sampler->p * sampler->k;
    const size_t for_classes = (sampler->n_classes + sampler->p - 1) / sampler->p;
    const size_t for_images = (sampler->n_members + sampler->in_batch / 2) / sampler->in_batch;
    sampler->n_batches = for_images > for_classes ? for_images : for_classes;
    sampler->n_epoch = sampler->n_batches * sampler->in_batch;
}

static void size_shuffled_epoch(kd_sampler *sampler, uint32_t batch)
{
    sampler->in_batch = batch;
    sampler->n_epoch = sampler->n_members;
    sampler->n_batches = sampler->n_epoch / batch;
    if (sampler->n_epoch % batch > 1 || sampler->n_batches == 0)
        sampler->n_batches++;
}

/* ---- Making ---- */

static kd_status check_options(const kd_sampler_options *o, kd_error *err)
{
    if (o->kind == KD_SAMPLER_SHUFFLED && (o->batch < 2 || o->batch > MAX_BATCH_IMAGES))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "a batch can't be %u images: at least 2, at most %u", o->batch, MAX_BATCH_IMAGES);
    if (o->kind != KD_SAMPLER_SHUFFLED &&
        (o->p < 2 || o->k < 2 || (uint64_t)o->p * o->k > MAX_BATCH_IMAGES))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "a batch can't be %u classes × %u images: at least 2 × 2, at most %u images", o->p,
            o->k, MAX_BATCH_IMAGES);
    return KD_OK;
}

static kd_sampler *allocate(const kd_sampler_options *o)
{
    kd_sampler *const s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    *s = (kd_sampler){.kind = o->kind, .p = o->p, .k = o->k, .seed = o->seed};
    s->members = calloc(o->n + 1, sizeof *s->members);
    s->images = calloc(o->n + 1, sizeof *s->images);
    s->cards = calloc(o->n + 1, sizeof *s->cards);
    bool good = s->members && s->images && s->cards;
    if (good && o->kind != KD_SAMPLER_SHUFFLED) {
        s->ring = calloc(o->n + 1, sizeof *s->ring);
        s->shuffled = calloc(o->n + 1, sizeof *s->shuffled);
        s->groups = calloc(o->kind == KD_SAMPLER_BALANCED ? o->n + 1 : 1, sizeof *s->groups);
        s->spare.cards = calloc(o->n + 1, sizeof *s->spare.cards);
        s->chosen = calloc(o->p, sizeof *s->chosen);
        s->takers = calloc(o->p, sizeof *s->takers);
        good = s->ring && s->shuffled && s->groups && s->spare.cards && s->chosen && s->takers;
    }
    if (good)
        return s;
    kd_sampler_free(s);
    return NULL;
}

static kd_status fill(
    kd_sampler *sampler, const kd_sampler_options *o, kd_pair *pairs, size_t *lone, kd_error *err)
{
    const bool shuffled = o->kind == KD_SAMPLER_SHUFFLED;
    for (size_t i = 0; i < o->n; i++)
        pairs[i] = (kd_pair){o->labels[i], (uint32_t)i};
    kd_pairs_sort(pairs, o->n);
    fill_decks(sampler, pairs, o->n, lone);
    if (sampler->n_classes < 2)
        return kd_error_set(err, KD_FAILED_PRECONDITION,
            "training needs 2 classes%s, and there %s %u", shuffled ? "" : " with 2 images each",
            sampler->n_classes == 1 ? "is" : "are", sampler->n_classes);
    if (shuffled) {
        size_shuffled_epoch(sampler, o->batch);
    } else {
        fill_groups(sampler, pairs, o->kind == KD_SAMPLER_BALANCED ? o->groups : NULL);
        size_class_epoch(sampler);
        set_quotas(sampler);
    }
    sampler->epoch = calloc(sampler->n_epoch, sizeof *sampler->epoch);
    if (!sampler->epoch)
        return kd_error_memory(err, "the sampler");
    (void)kd_sampler_epoch(sampler, 0);
    return KD_OK;
}

kd_status kd_sampler_new(
    kd_sampler **out, const kd_sampler_options *options, size_t *lone, kd_error *err)
{
    const size_t n = options->n;
    assert(out && lone && n < UINT32_MAX && (options->labels || n == 0) &&
           (options->groups || n == 0 || options->kind != KD_SAMPLER_BALANCED));
    *out = NULL;
    *lone = 0;
    kd_status status = check_options(options, err);
    if (status != KD_OK)
        return status;
    kd_sampler *const sampler = allocate(options);
    kd_pair *const pairs = calloc(n + 1, sizeof *pairs);
    if (sampler && pairs)
        status = fill(sampler, options, pairs, lone, err);
    else
        status = kd_error_memory(err, "the sampler");
    free(pairs);
    if (status == KD_OK)
        *out = sampler;
    else
        kd_sampler_free(sampler);
    return status;
}

void kd_sampler_free(kd_sampler *sampler)
{
    if (!sampler)
        return;
    free(sampler->members);
    free(sampler->cards);
    free(sampler->images);
    free(sampler->ring);
    free(sampler->shuffled);
    free(sampler->groups);
    free(sampler->spare.cards);
    free(sampler->chosen);
    free(sampler->takers);
    free(sampler->epoch);
    free(sampler);
}

/* ---- Epochs ---- */

/* Lays out a group's classes: an epoch that can't take them all begins where the one before it
 * ended on the ring, with those in a new order, and has the others behind them. */
static void begin_group(group *g, uint32_t epoch, uint64_t *random)
{
    const uint32_t n = g->classes.n;
    uint32_t *const cards = g->classes.cards;
    g->classes.next = n;
    if (g->certain == n) {
        memcpy(cards, g->ring, n * sizeof *cards);
        return;
    }
    const uint32_t from = (uint32_t)((uint64_t)epoch * g->certain % n);
    memcpy(cards, g->ring + from, (n - from) * sizeof *cards);
    memcpy(cards + (n - from), g->ring, from * sizeof *cards);
    kd_random_shuffle(cards, g->certain, random);
    kd_random_shuffle(cards + g->certain, n - g->certain, random);
    g->classes.next = 0;
}

static void begin_decks(kd_sampler *sampler, uint32_t epoch, uint64_t *random)
{
    uint32_t n_spare = 0;
    memcpy(sampler->cards, sampler->members, sampler->n_members * sizeof *sampler->cards);
    for (uint32_t i = 0; i < sampler->n_classes; i++)
        sampler->images[i].next = sampler->images[i].n;
    for (uint32_t i = 0; i < sampler->n_groups; i++) {
        begin_group(&sampler->groups[i], epoch, random);
        if (sampler->groups[i].classes.n > sampler->groups[i].quota)
            sampler->spare.cards[n_spare++] = i;
    }
    sampler->spare.next = sampler->spare.n;
}

/* Fills chosen with a batch's classes. */
static void choose_classes(kd_sampler *sampler, uint64_t *random)
{
    group *const groups = sampler->groups;
    uint32_t *to = sampler->chosen;
    kd_deck_deal(&sampler->spare, sampler->places, sampler->takers, random);
    for (uint32_t i = 0; i < sampler->places; i++)
        groups[sampler->takers[i]].quota++; /* for this batch */
    for (uint32_t i = 0; i < sampler->n_groups; i++) {
        kd_deck_deal(&groups[i].classes, groups[i].quota, to, random);
        to += groups[i].quota;
    }
    for (uint32_t i = 0; i < sampler->places; i++)
        groups[sampler->takers[i]].quota--;
}

size_t kd_sampler_epoch(kd_sampler *sampler, uint32_t epoch)
{
    /* Two rounds, so that (seed 1, epoch 2) and (seed 2, epoch 1) share nothing. */
    uint64_t random = sampler->seed;
    random = kd_random_next(&random) + epoch;
    (void)kd_random_next(&random);

    uint32_t *to = sampler->epoch;
    if (sampler->kind == KD_SAMPLER_SHUFFLED) {
        memcpy(to, sampler->members, sampler->n_epoch * sizeof *to);
        kd_random_shuffle(to, (uint32_t)sampler->n_epoch, &random);
        return sampler->n_batches;
    }
    begin_decks(sampler, epoch, &random);
    for (size_t b = 0; b < sampler->n_batches; b++) {
        choose_classes(sampler, &random);
        for (uint32_t i = 0; i < sampler->p; i++, to += sampler->k)
            kd_deck_deal(&sampler->images[sampler->chosen[i]], sampler->k, to, &random);
    }
    return sampler->n_batches;
}

static size_t batch_size(const kd_sampler *sampler, size_t b)
{
    return b + 1 < sampler->n_batches ? sampler->in_batch
                                      : sampler->n_epoch - b * sampler->in_batch;
}

size_t kd_sampler_max_batch(const kd_sampler *sampler)
{
    const size_t last = batch_size(sampler, sampler->n_batches - 1);
    return sampler->n_batches == 1 || last > sampler->in_batch ? last : sampler->in_batch;
}

size_t kd_sampler_batch(const kd_sampler *sampler, size_t b, uint32_t *images)
{
    assert(b < sampler->n_batches && images);
    const size_t n = batch_size(sampler, b);
    memcpy(images, sampler->epoch + b * sampler->in_batch, n * sizeof *images);
    return n;
}
