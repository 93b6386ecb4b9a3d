/* lib/dataset/deck.h: shuffled decks of numbers, which the sampler deals from. Nobody else includes
 * it. */
#ifndef KD_DATASET_DECK_H
#define KD_DATASET_DECK_H

#include <stdint.h>

#include "lib/base/random.h"

typedef struct kd_deck {
    uint32_t *cards; /* borrowed */
    uint32_t n;
    uint32_t next; /* n: shuffle before the next deal */
} kd_deck;

void kd_random_shuffle(uint32_t *cards, uint32_t n, uint64_t *random);

/* Deals n cards of a deck that has some into out. A deck deals every card once before it is
 * shuffled again. The n differ when the deck has so many; else a new pass begins, and each comes up
 * about equally often in this deal. */
void kd_deck_deal(kd_deck *deck, uint32_t n, uint32_t *out, uint64_t *random);

#endif
