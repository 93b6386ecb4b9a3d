/* Batches of P classes × K images. Classes are dealt from one deck, the images of a class from a
 * deck of its own: a deck deals every card once before it is shuffled again, so that classes and
 * images come up evenly whatever P and K are. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/dataset/internal.h"

#define MAX_BATCH_IMAGES (1u << 20)

typedef struct card_deck {
    uint32_t *cards;
    uint32_t n;
    uint32_t next; /* n: shuffle before the next deal */
} card_deck;

struct kd_sampler {
    uint32_t p, k;
    uint64_t seed;
    uint32_t *members; /* image numbers, a class behind the other, in their first order */
    uint32_t *cards;   /* the same, as shuffled: the decks of images lie in here */
    card_deck *images; /* one for each class */
    card_deck classes;
    uint32_t *chosen; /* room for a batch's classes */
    size_t n_members;
    size_t n_batches;
    uint32_t *epoch; /* n_batches × p × k image numbers */
};

/* SplitMix64 (Steele, Lea, Flood 2014). */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Uniform in 0..n-1 (Lemire 2019). */
static uint32_t random_below(uint64_t *state, uint32_t n)
{
    uint64_t product = (next_random(state) >> 32) * n;
    if ((uint32_t)product < n) {
        const uint32_t least = (0u - n) % n;
        while ((uint32_t)product < least)
            product = (next_random(state) >> 32) * n;
    }
    return (uint32_t)(product >> 32);
}

static void swap(uint32_t *a, uint32_t *b)
{
    const uint32_t was = *a;
    *a = *b;
    *b = was;
}

static bool holds(const uint32_t *cards, uint32_t n, uint32_t card)
{
    for (uint32_t i = 0; i < n; i++)
        if (cards[i] == card)
            return true;
    return false;
}

/* Shuffles so that none of the first `fresh` cards is among the n_dealt. There are enough others:
 * fresh + n_dealt is at most the deck. */
static void shuffle(
    card_deck *deck, uint32_t fresh, const uint32_t *dealt, uint32_t n_dealt, uint64_t *random)
{
    for (uint32_t i = deck->n; i > 1; i--)
        swap(&deck->cards[i - 1], &deck->cards[random_below(random, i)]);
    for (uint32_t i = 0, from = fresh; i < fresh && n_dealt > 0; i++) {
        while (holds(dealt, n_dealt, deck->cards[i]))
            swap(&deck->cards[i], &deck->cards[from++]);
    }
    deck->next = 0;
}

/* Deals n cards into out. They differ when the deck has n; else each comes up about equally often
 * in this deal. */
static void deal(card_deck *deck, uint32_t n, uint32_t *out, uint64_t *random)
{
    if (n >= deck->n)
        deck->next = deck->n; /* a new pass for each deal, so that no card is left out */
    for (uint32_t done = 0; done < n;) {
        if (deck->next == deck->n)
            shuffle(deck, n < deck->n ? n - done : 0, out, n < deck->n ? done : 0, random);
        const uint32_t left = deck->n - deck->next, want = n - done;
        const uint32_t take = want < left ? want : left;
        memcpy(out + done, deck->cards + deck->next, take * sizeof *out);
        deck->next += take;
        done += take;
    }
}

/* Fills members and the decks from the sorted pairs; counts the lone classes. */
static void fill_decks(kd_sampler *sampler, const kd_pair *pairs, size_t n, size_t *lone)
{
    for (size_t start = 0, stop; start < n; start = stop) {
        stop = start + 1;
        while (stop < n && pairs[stop].key == pairs[start].key)
            stop++;
        if (stop - start < 2) {
            (*lone)++;
            continue;
        }
        sampler->images[sampler->classes.n++] = (card_deck){
            .cards = sampler->cards + sampler->n_members, .n = (uint32_t)(stop - start)};
        for (size_t i = start; i < stop; i++)
            sampler->members[sampler->n_members++] = pairs[i].index;
    }
}

/* How many batches an epoch has: each class at least once, about n_members images in all. */
static void size_epoch(kd_sampler *sampler)
{
    const uint32_t n_classes = sampler->classes.n;
    if (sampler->p > n_classes)
        sampler->p = n_classes;
    const size_t in_batch = (size_t)sampler->p * sampler->k;
    const size_t for_classes = (n_classes + sampler->p - 1) / sampler->p;
    const size_t for_images = (sampler->n_members + in_batch / 2) / in_batch;
    sampler->n_batches = for_images > for_classes ? for_images : for_classes;
}

kd_status kd_sampler_new(kd_sampler **out, const uint32_t *labels, size_t n, uint32_t p, uint32_t k,
    uint64_t seed, size_t *lone, kd_error *err)
{
    assert(out && (labels || n == 0) && lone && n < UINT32_MAX);
    *out = NULL;
    *lone = 0;
    if (p < 2 || k < 2 || (uint64_t)p * k > MAX_BATCH_IMAGES)
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "a batch can't be %u classes × %u images: at least 2 × 2, at most %u images", p, k,
            MAX_BATCH_IMAGES);

    kd_status status = KD_OK;
    kd_sampler *sampler = calloc(1, sizeof *sampler);
    kd_pair *const pairs = calloc(n + 1, sizeof *pairs);
    if (sampler) {
        *sampler = (kd_sampler){.p = p, .k = k, .seed = seed};
        sampler->members = calloc(n + 1, sizeof *sampler->members);
        sampler->cards = calloc(n + 1, sizeof *sampler->cards);
        sampler->images = calloc(n / 2 + 1, sizeof *sampler->images);
        sampler->classes.cards = calloc(n / 2 + 1, sizeof *sampler->classes.cards);
        sampler->chosen = calloc(p, sizeof *sampler->chosen);
    }
    if (!sampler || !pairs || !sampler->members || !sampler->cards || !sampler->images ||
        !sampler->classes.cards || !sampler->chosen) {
        status = kd_error_memory(err, "the sampler");
        goto out;
    }
    for (size_t i = 0; i < n; i++)
        pairs[i] = (kd_pair){labels[i], (uint32_t)i};
    kd_pairs_sort(pairs, n);
    fill_decks(sampler, pairs, n, lone);
    if (sampler->classes.n < 2) {
        status = kd_error_set(err, KD_FAILED_PRECONDITION,
            "training needs 2 classes with 2 images each, and there %s %u", //
            sampler->classes.n == 1 ? "is" : "are", sampler->classes.n);
        goto out;
    }
    size_epoch(sampler);
    sampler->epoch =
        calloc(sampler->n_batches, (size_t)sampler->p * sampler->k * sizeof *sampler->epoch);
    if (!sampler->epoch)
        status = kd_error_memory(err, "the sampler");
    else
        (void)kd_sampler_epoch(sampler, 0);
out:
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
    free(sampler->classes.cards);
    free(sampler->chosen);
    free(sampler->epoch);
    free(sampler);
}

size_t kd_sampler_epoch(kd_sampler *sampler, uint32_t epoch)
{
    /* Two rounds, so that (seed 1, epoch 2) and (seed 2, epoch 1) share nothing. */
    uint64_t random = sampler->seed;
    random = next_random(&random) + epoch;
    (void)next_random(&random);

    memcpy(sampler->cards, sampler->members, sampler->n_members * sizeof *sampler->cards);
    for (uint32_t i = 0; i < sampler->classes.n; i++) {
        sampler->images[i].next = sampler->images[i].n;
        sampler->classes.cards[i] = i;
    }
    sampler->classes.next = sampler->classes.n;

    uint32_t *to = sampler->epoch;
    for (size_t b = 0; b < sampler->n_batches; b++) {
        deal(&sampler->classes, sampler->p, sampler->chosen, &random);
        for (uint32_t i = 0; i < sampler->p; i++, to += sampler->k)
            deal(&sampler->images[sampler->chosen[i]], sampler->k, to, &random);
    }
    return sampler->n_batches;
}

size_t kd_sampler_batch(const kd_sampler *sampler, size_t b, uint32_t *images)
{
    const size_t n = (size_t)sampler->p * sampler->k;
    assert(b < sampler->n_batches && images);
    memcpy(images, sampler->epoch + b * n, n * sizeof *images);
    return n;
}
