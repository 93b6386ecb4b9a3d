#include "services/trainer/split.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/hash.h"

#define NEVER UINT32_MAX /* a rank: not in the gallery */

typedef enum role { TRAIN, VALIDATION, HELD } role;

typedef struct card {
    uint64_t order;  /* from seed and image: shuffles */
    uint32_t family; /* what gives a share, or stays together: its class, or its super-class */
    uint32_t image;
    uint32_t rank; /* among its family's cards of the same role */
    role role;
} card;

/* A family in a cut by classes. */
typedef struct kin {
    uint64_t order; /* from seed and class */
    uint32_t group;
    uint32_t first, n; /* its cards */
    uint32_t tier;     /* how much its super-class has given up when it gives this one */
    uint32_t rank;     /* among its super-class's */
} kin;

static const char *const names[] = {
    [TRAIN_CUT_CLASSES] = "classes", [TRAIN_CUT_IMAGES] = "images", [TRAIN_CUT_NONE] = "none"};

bool train_cut_parse(const char *word, train_cut *out)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(word, names[i]) == 0) {
            *out = (train_cut)i;
            return true;
        }
    }
    return false;
}

const char *train_cut_name(train_cut cut)
{
    return names[cut];
}

/* ---- Orders ---- */

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int by_family(const void *left, const void *right)
{
    const card *const a = left, *const b = right;
    if (a->family != b->family)
        return compare(a->family, b->family);
    return a->order != b->order ? compare(a->order, b->order) : compare(a->image, b->image);
}

static int by_rank(const void *left, const void *right)
{
    const card *const a = left, *const b = right;
    if (a->rank != b->rank)
        return compare(a->rank, b->rank);
    return a->order != b->order ? compare(a->order, b->order) : compare(a->image, b->image);
}

static int by_group(const void *left, const void *right)
{
    const kin *const a = left, *const b = right;
    if (a->group != b->group)
        return compare(a->group, b->group);
    return a->order != b->order ? compare(a->order, b->order) : compare(a->first, b->first);
}

static int by_tier(const void *left, const void *right)
{
    const kin *const a = left, *const b = right;
    if (a->tier != b->tier)
        return compare(a->tier, b->tier);
    if (a->rank != b->rank)
        return compare(a->rank, b->rank);
    return a->order != b->order ? compare(a->order, b->order) : compare(a->first, b->first);
}

static int by_number(const void *left, const void *right)
{
    return compare(*(const uint32_t *)left, *(const uint32_t *)right);
}

static size_t family_end(const card *cards, size_t n, size_t start)
{
    size_t end = start + 1;
    while (end < n && cards[end].family == cards[start].family)
        end++;
    return end;
}

/* The usable images, family by family. Returns how many. */
static size_t deal_cards(card *cards, const train_split_input *input, const uint32_t *families)
{
    size_t n = 0;
    for (uint32_t i = 0; i < input->n; i++) {
        const uint64_t key[] = {input->seed, i};
        if (input->usable[i])
            cards[n++] =
                (card){.order = kd_xxh3(key, sizeof key), .family = families[i], .image = i};
    }
    qsort(cards, n, sizeof *cards, by_family);
    return n;
}

/* The first `give` cards of a family get a role, the others train; ranks count within. */
static void give_up(card *cards, size_t n, size_t give, role as)
{
    for (size_t i = 0; i < n; i++) {
        cards[i].role = i < give ? as : TRAIN;
        cards[i].rank = (uint32_t)(i < give ? i : i - give);
    }
}

/* ---- A cut by images ---- */

/* False when no family has images to give. */
static bool give_shares(card *cards, size_t n, double share)
{
    bool any = false;
    for (size_t start = 0, end; start < n; start = end) {
        end = family_end(cards, n, start);
        const size_t images = end - start;
        size_t give = (size_t)((double)images * share + 1e-9); /* 0.29 × 100 is 29 */
        if (images < SPLIT_LEAST_IMAGES)
            give = 0;
        else if (give == 0)
            give = 1;
        any = any || give > 0;
        give_up(cards + start, images, give, VALIDATION);
    }
    return any;
}

/* Sorted by rank: each family has one measured before any has two. */
static void limit_measured(card *cards, size_t n)
{
    size_t n_validation = 0;
    for (size_t i = 0; i < n; i++)
        if (cards[i].role == VALIDATION && n_validation++ >= SPLIT_MAX_VALIDATION)
            cards[i].role = HELD;
}

static void mark_strangers(card *cards, size_t n)
{
    for (size_t start = 0, end; start < n; start = end) {
        bool validates = false;
        end = family_end(cards, n, start);
        for (size_t i = start; i < end; i++)
            validates = validates || cards[i].role == VALIDATION;
        for (size_t i = start; i < end && !validates; i++)
            cards[i].rank = NEVER;
    }
}

static size_t cut_images(card *cards, const train_split_input *input)
{
    size_t n = deal_cards(cards, input, input->classes);
    if (!give_shares(cards, n, input->share)) {
        n = deal_cards(cards, input, input->groups);
        (void)give_shares(cards, n, input->share);
    }
    qsort(cards, n, sizeof *cards, by_rank);
    limit_measured(cards, n);
    qsort(cards, n, sizeof *cards, by_family);
    mark_strangers(cards, n);
    return n;
}

/* ---- A cut by classes ---- */

/* The classes with 2 images or more. */
static size_t find_kin(kin *all, const card *cards, size_t n, const train_split_input *input)
{
    size_t n_all = 0;
    for (size_t start = 0, end; start < n; start = end) {
        end = family_end(cards, n, start);
        const uint64_t key[] = {input->seed, cards[start].family, 1};
        if (end - start >= 2)
            all[n_all++] = (kin){.order = kd_xxh3(key, sizeof key),
                .group = input->groups[cards[start].image],
                .first = (uint32_t)start,
                .n = (uint32_t)(end - start)};
    }
    return n_all;
}

/* Numbers the classes of each super-class in the order in which it would give them, and keeps those
 * that are not too large. Returns how many. */
static size_t rank_kin(kin *all, size_t n)
{
    size_t kept = 0;
    qsort(all, n, sizeof *all, by_group);
    for (size_t start = 0, end; start < n; start = end) {
        uint32_t rank = 0;
        for (end = start; end < n && all[end].group == all[start].group;)
            end++;
        const size_t have = end - start;
        for (size_t i = start; i < end; i++) {
            if (all[i].n > SPLIT_MAX_CLASS)
                continue;
            all[i].rank = rank++;
            all[i].tier = rank <= have / 2 ? 0 : rank < have ? 1 : 2;
            all[kept++] = all[i];
        }
    }
    return kept;
}

/* cards: family by family. False when there are too few classes: nothing is cut. */
static bool cut_classes(card *cards, size_t n, kin *all, const train_split_input *input)
{
    const size_t n_all = rank_kin(all, find_kin(all, cards, n, input));
    if (n_all < SPLIT_LEAST_CLASSES)
        return false;
    size_t want = (size_t)((double)n_all * input->share + 0.5), room = SPLIT_MAX_VALIDATION;
    if (want < 2)
        want = 2;
    if (want > n_all / 2)
        want = n_all / 2;
    qsort(all, n_all, sizeof *all, by_tier);
    for (size_t start = 0, end; start < n; start = end) {
        end = family_end(cards, n, start);
        give_up(cards + start, end - start, 0, TRAIN);
    }
    for (size_t i = 0; i < want; i++) {
        const bool fits = all[i].n <= room;
        give_up(cards + all[i].first, all[i].n, all[i].n, fits ? VALIDATION : HELD);
        room -= fits ? all[i].n : 0;
    }
    return true;
}

/* ---- Making ---- */

static void fill(train_split *out, card *cards, size_t n)
{
    qsort(cards, n, sizeof *cards, by_rank);
    for (size_t i = 0; i < n; i++) {
        if (cards[i].role == VALIDATION) {
            out->validation[out->n_validation++] = cards[i].image;
            continue;
        }
        if (cards[i].role == HELD) {
            out->held[out->n_held++] = cards[i].image;
            continue;
        }
        out->train[out->n_train++] = cards[i].image;
        if (cards[i].rank != NEVER && out->n_gallery < SPLIT_MAX_GALLERY)
            out->gallery[out->n_gallery++] = cards[i].image;
    }
    /* Distractors: more would cost more time than they tell. */
    if (out->n_validation == 0 || (out->by_class && out->n_gallery > out->n_validation))
        out->n_gallery = out->n_validation;
    qsort(out->train, out->n_train, sizeof *out->train, by_number);
    qsort(out->validation, out->n_validation, sizeof *out->validation, by_number);
    qsort(out->held, out->n_held, sizeof *out->held, by_number);
}

kd_status train_split_make(train_split *out, const train_split_input *input, kd_error *err)
{
    const bool by_class = input->cut == TRAIN_CUT_CLASSES;
    assert(input->n < UINT32_MAX && input->classes && input->groups);
    *out = (train_split){.cut = input->cut};
    if (input->cut != TRAIN_CUT_NONE && !(input->share > 0 && input->share <= SPLIT_MAX_SHARE))
        return kd_error_set(err, KD_INVALID_ARGUMENT,
            "the share that validates is %g, allowed is more than 0 up to %g", input->share,
            SPLIT_MAX_SHARE);
    card *const cards = calloc(input->n + 1, sizeof *cards);
    kin *const all = calloc(by_class ? input->n / 2 + 1 : 1, sizeof *all);
    out->train = calloc(input->n + 1, sizeof *out->train);
    out->validation = calloc(SPLIT_MAX_VALIDATION, sizeof *out->validation);
    out->held = calloc(input->n + 1, sizeof *out->held);
    out->gallery = calloc(SPLIT_MAX_GALLERY, sizeof *out->gallery);
    if (!cards || !all || !out->train || !out->validation || !out->held || !out->gallery) {
        free(cards);
        free(all);
        train_split_free(out);
        return kd_error_memory(err, "the lists of images");
    }
    size_t n = 0;
    if (input->cut != TRAIN_CUT_IMAGES)
        n = deal_cards(cards, input, input->classes);
    out->by_class = by_class && cut_classes(cards, n, all, input);
    if (by_class && !out->by_class)
        out->cut = TRAIN_CUT_IMAGES;
    if (out->cut == TRAIN_CUT_IMAGES)
        n = cut_images(cards, input);
    fill(out, cards, n);
    free(cards);
    free(all);
    return KD_OK;
}

void train_split_free(train_split *split)
{
    free(split->train);
    free(split->validation);
    free(split->held);
    free(split->gallery);
    *split = (train_split){0};
}
