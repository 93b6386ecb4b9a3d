#include "services/trainer/split.h"

#include <assert.h>
#include <stdlib.h>

#include "lib/base/hash.h"

typedef struct card {
    uint64_t order; /* from seed and image: shuffles */
    uint32_t label, image;
    uint32_t rank; /* among its label's cards of the same role */
    enum { TRAIN, CANDIDATE, VALIDATION } role;
} card;

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_label(const void *left, const void *right)
{
    const card *const a = left, *const b = right;
    if (a->label != b->label)
        return compare(a->label, b->label);
    return a->order != b->order ? compare(a->order, b->order) : compare(a->image, b->image);
}

static int by_rank(const void *left, const void *right)
{
    const card *const a = left, *const b = right;
    if (a->rank != b->rank)
        return compare(a->rank, b->rank);
    return a->order != b->order ? compare(a->order, b->order) : compare(a->image, b->image);
}

static int by_number(const void *left, const void *right)
{
    return compare(*(const uint32_t *)left, *(const uint32_t *)right);
}

static size_t label_end(const card *cards, size_t n, size_t start)
{
    size_t end = start + 1;
    while (end < n && cards[end].label == cards[start].label)
        end++;
    return end;
}

/* The first cards of each label offer themselves; ranks count within the role. */
static void choose_candidates(card *cards, size_t n)
{
    for (size_t start = 0, end; start < n; start = end) {
        end = label_end(cards, n, start);
        const size_t images = end - start;
        size_t give = images / SPLIT_ONE_IN;
        if (images < SPLIT_LEAST_IMAGES)
            give = 0;
        else if (give == 0)
            give = 1;
        for (size_t i = start; i < end; i++) {
            const size_t rank = i - start;
            cards[i].role = rank < give ? CANDIDATE : TRAIN;
            cards[i].rank = (uint32_t)(rank < give ? rank : rank - give);
        }
    }
}

/* Sorted by rank: every label gives one before any gives two. What is over the limit trains. */
static void accept_candidates(card *cards, size_t n, train_split *out)
{
    for (size_t i = 0; i < n; i++) {
        if (cards[i].role == CANDIDATE && out->n_validation < SPLIT_MAX_VALIDATION) {
            cards[i].role = VALIDATION;
            out->validation[out->n_validation++] = cards[i].image;
        } else if (cards[i].role == CANDIDATE) {
            cards[i].role = TRAIN;
            cards[i].rank = UINT32_MAX; /* never in the gallery: the label may not validate */
            out->train[out->n_train++] = cards[i].image;
        } else {
            out->train[out->n_train++] = cards[i].image;
        }
    }
}

/* Marks with rank UINT32_MAX the train cards of labels that don't validate. */
static void mark_strangers(card *cards, size_t n)
{
    for (size_t start = 0, end; start < n; start = end) {
        bool validates = false;
        end = label_end(cards, n, start);
        for (size_t i = start; i < end; i++)
            validates = validates || cards[i].role == VALIDATION;
        for (size_t i = start; i < end && !validates; i++)
            cards[i].rank = UINT32_MAX;
    }
}

static void choose_gallery(const card *cards, size_t n, train_split *out)
{
    for (size_t i = 0; i < n && out->n_gallery < SPLIT_MAX_GALLERY; i++)
        if (cards[i].role == TRAIN && cards[i].rank != UINT32_MAX)
            out->gallery[out->n_gallery++] = cards[i].image;
}

kd_status train_split_make(train_split *out, const uint32_t *labels, const bool *usable, size_t n,
    uint64_t seed, kd_error *err)
{
    assert(n < UINT32_MAX);
    size_t n_cards = 0;
    card *const cards = calloc(n + 1, sizeof *cards);
    *out = (train_split){.train = calloc(n + 1, sizeof *out->train),
        .validation = calloc(SPLIT_MAX_VALIDATION, sizeof *out->validation),
        .gallery = calloc(SPLIT_MAX_GALLERY, sizeof *out->gallery)};
    if (!cards || !out->train || !out->validation || !out->gallery) {
        free(cards);
        train_split_free(out);
        return kd_error_memory(err, "the lists of images");
    }
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t key[] = {seed, i};
        if (usable[i])
            cards[n_cards++] =
                (card){.order = kd_xxh3(key, sizeof key), .label = labels[i], .image = i};
    }
    qsort(cards, n_cards, sizeof *cards, by_label);
    choose_candidates(cards, n_cards);
    qsort(cards, n_cards, sizeof *cards, by_rank);
    accept_candidates(cards, n_cards, out);
    qsort(cards, n_cards, sizeof *cards, by_label);
    mark_strangers(cards, n_cards);
    qsort(cards, n_cards, sizeof *cards, by_rank);
    choose_gallery(cards, n_cards, out);
    free(cards);
    qsort(out->train, out->n_train, sizeof *out->train, by_number);
    qsort(out->validation, out->n_validation, sizeof *out->validation, by_number);
    return KD_OK;
}

void train_split_free(train_split *split)
{
    free(split->train);
    free(split->validation);
    free(split->gallery);
    *split = (train_split){0};
}
