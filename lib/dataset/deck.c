#include "lib/dataset/deck.h"

#include <stdbool.h>
#include <string.h>

/* Uniform in 0..n-1 (Lemire 2019). */
static uint32_t random_below(uint64_t *random, uint32_t n)
{
    uint64_t product = (kd_random_next(random) >> 32) * n;
    if ((uint32_t)product < n) {
        const uint32_t least = (0u - n) % n;
        while ((uint32_t)product < least)
            product = (kd_random_next(random) >> 32) * n;
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

void kd_random_shuffle(uint32_t *cards, uint32_t n, uint64_t *random)
{
    for (uint32_t i = n; i > 1; i--)
        swap(&cards[i - 1], &cards[random_below(random, i)]);
}

/* Shuffles so that none of the first `fresh` cards is among the n_dealt. There are enough others:
 * fresh + n_dealt is at most the deck. */
static void shuffle(
    kd_deck *deck, uint32_t fresh, const uint32_t *dealt, uint32_t n_dealt, uint64_t *random)
{
    kd_random_shuffle(deck->cards, deck->n, random);
    for (uint32_t i = 0, from = fresh; i < fresh && n_dealt > 0; i++) {
        while (holds(dealt, n_dealt, deck->cards[i]))
            swap(&deck->cards[i], &deck->cards[from++]);
    }
    deck->next = 0;
}

void kd_deck_deal(kd_deck *deck, uint32_t n, uint32_t *out, uint64_t *random)
{
    const bool differ = n <= deck->n;
    if (!differ)
        deck->next = deck->n; /* a new pass for each deal, so that no card is left out */
    for (uint32_t done = 0; done < n;) {
        if (deck->next == deck->n)
            shuffle(deck, differ ? n - done : 0, out, differ ? done : 0, random);
        const uint32_t left = deck->n - deck->next, want = n - done;
        const uint32_t take = want < left ? want : left;
        memcpy(out + done, deck->cards + deck->next, take * sizeof *out);
        deck->next += take;
        done += take;
    }
}
