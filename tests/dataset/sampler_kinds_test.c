/* What balanced and shuffled batches promise, over sets of many shapes. */
#include <stdbool.h>

#include "lib/dataset/dataset.h"
#include "tests/support/check.h"

enum { MOST = 8192, MOST_CLASSES = 512, MOST_GROUPS = 64 };

static kd_error g_err = KD_ERROR_INIT;

/* A set: super-class g has the classes g × 1000, g × 1000 + 1, … */
static uint32_t g_labels[MOST], g_groups[MOST];
static size_t g_n;
static uint32_t g_class_of[MOST]; /* of each image: counts from 0 */
static uint32_t g_group_of[MOST_CLASSES];
static uint32_t g_classes[MOST_GROUPS]; /* of each group: with 2 images or more */
static uint32_t g_n_groups, g_n_classes;

static void clear(void)
{
    g_n = g_n_groups = g_n_classes = 0;
    memset(g_classes, 0, sizeof g_classes);
}

/* The next super-class: so many classes of so many images. */
static void add_group(uint32_t classes, uint32_t images)
{
    for (uint32_t c = 0; c < classes; c++) {
        CHECK(g_n + images <= MOST && g_n_classes < MOST_CLASSES && g_n_groups < MOST_GROUPS);
        for (uint32_t i = 0; i < images; i++) {
            g_labels[g_n] = g_n_groups * 1000 + c;
            g_groups[g_n] = 70 - g_n_groups;
            g_class_of[g_n++] = g_n_classes;
        }
        g_group_of[g_n_classes++] = g_n_groups;
        g_classes[g_n_groups] += images > 1;
    }
    g_n_groups++;
}

static kd_sampler *make(kd_sampler_kind kind, uint32_t p, uint32_t k, uint32_t batch, uint64_t seed)
{
    const kd_sampler_options options = {.kind = kind,
        .labels = g_labels,
        .groups = g_groups,
        .n = g_n,
        .p = p,
        .k = k,
        .batch = batch,
        .seed = seed};
    kd_sampler *sampler;
    size_t lone;
    CHECK_OK(kd_sampler_new(&sampler, &options, &lone, &g_err), g_err);
    return sampler;
}

/* ---- Balanced ---- */

typedef struct tally {
    uint32_t classes[MOST_CLASSES]; /* how often each class was taken */
    uint32_t groups[MOST_GROUPS];
} tally;

/* Any two super-classes' counts differ by 1 at most where the smaller has classes to spare. */
static void check_even(const uint32_t *counts, uint32_t batches)
{
    for (uint32_t a = 0; a < g_n_groups; a++)
        for (uint32_t b = 0; b < g_n_groups; b++)
            CHECK(counts[a] <= counts[b] + 1 || counts[b] == batches * g_classes[b]);
}

/* Looks at one batch of n images and counts its classes. */
static void check_batch(const uint32_t *images, size_t n, uint32_t k, tally *all)
{
    tally of = {0};
    for (size_t i = 0; i < n; i += k) {
        const uint32_t class = g_class_of[images[i]];
        for (uint32_t j = 1; j < k; j++)
            CHECK_INT(class, g_class_of[images[i + j]]);
        CHECK_INT(1, ++of.classes[class]); /* a batch's classes differ */
        of.groups[g_group_of[class]]++;
        all->classes[class]++;
        all->groups[g_group_of[class]]++;
    }
    check_even(of.groups, 1);
}

/* Within an epoch the classes of a super-class that have 2 images come up equally often, by 1. */
static void check_classes(const tally *t, const bool *trains)
{
    uint32_t low[MOST_GROUPS], high[MOST_GROUPS] = {0};
    memset(low, 0xff, sizeof low);
    for (uint32_t c = 0; c < g_n_classes; c++) {
        const uint32_t g = g_group_of[c], times = t->classes[c];
        if (!trains[c]) {
            CHECK_INT(0, times);
            continue;
        }
        low[g] = times < low[g] ? times : low[g];
        high[g] = times > high[g] ? times : high[g];
    }
    for (uint32_t g = 0; g < g_n_groups; g++)
        CHECK(g_classes[g] == 0 || high[g] <= low[g] + 1);
}

/* All that the header says of balanced batches, from an epoch in the middle of a run on. */
static void check_balanced(uint32_t p, uint32_t k)
{
    static uint32_t images[MOST];
    bool trains[MOST_CLASSES] = {false}, come[MOST_CLASSES] = {false};
    uint32_t n_trains = 0, left = 0, epochs = 1;
    for (size_t i = 1; i < g_n; i++)
        trains[g_class_of[i]] = trains[g_class_of[i]] || g_class_of[i] == g_class_of[i - 1];
    for (uint32_t c = 0; c < g_n_classes; c++)
        n_trains += trains[c];
    left = n_trains;
    const uint32_t in_batch = (p < n_trains ? p : n_trains) * k;
    kd_sampler *const sampler = make(KD_SAMPLER_BALANCED, p, k, 0, p + k);
    CHECK_INT(in_batch, kd_sampler_max_batch(sampler));
    for (uint32_t e = 0; e < epochs; e++) {
        tally t = {0};
        const size_t n_batches = kd_sampler_epoch(sampler, 17 + e);
        CHECK(n_batches * in_batch + in_batch > g_n / 2); /* about the set, lone images apart */
        CHECK(n_batches * (in_batch / k) >= n_trains);
        for (size_t b = 0; b < n_batches; b++) {
            CHECK_INT(in_batch, kd_sampler_batch(sampler, b, images));
            check_batch(images, in_batch, k, &t);
        }
        check_even(t.groups, (uint32_t)n_batches);
        check_classes(&t, trains);
        for (uint32_t c = 0; c < g_n_classes; c++) {
            left -= t.classes[c] > 0 && !come[c];
            come[c] = come[c] || t.classes[c] > 0;
        }
        for (uint32_t g = 0; g < g_n_groups && e == 0; g++) { /* in so many epochs all come up */
            if (g_classes[g] == 0)
                continue;
            CHECK(t.groups[g] > 0);
            const uint32_t least = t.groups[g] > 1 ? t.groups[g] - 1 : 1; /* one may be luck */
            const uint32_t need = (g_classes[g] + least - 1) / least;
            epochs = need > epochs ? need : epochs;
        }
    }
    CHECK_INT(0, left);
    kd_sampler_free(sampler);
}

static void check_balanced_for_all_sizes(void)
{
    static const uint32_t sizes[] = {2, 3, 4, 5, 7, 12, 16, 40, 300};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (uint32_t k = 2; k <= 4; k += 2)
            check_balanced(sizes[i], k);
}

static void test_dataset_sampler_kinds__balanced_spreads_equal_super_classes(void **state)
{
    (void)state;
    clear();
    for (int i = 0; i < 6; i++)
        add_group(10, 5);
    check_balanced_for_all_sizes();
}

static void test_dataset_sampler_kinds__balanced_spreads_unequal_super_classes(void **state)
{
    (void)state;
    clear();
    add_group(1, 9);
    add_group(2, 4);
    add_group(3, 2);
    add_group(40, 6);
    add_group(17, 3);
    add_group(5, 1); /* trains nothing */
    check_balanced_for_all_sizes();
}

/* One super-class has 200 classes, 30 have one each: the large one doesn't starve. */
static void test_dataset_sampler_kinds__balanced_comes_to_all_of_a_large_super_class(void **state)
{
    (void)state;
    clear();
    add_group(200, 2);
    for (int i = 0; i < 30; i++)
        add_group(1, 20);
    check_balanced_for_all_sizes();
}

static void test_dataset_sampler_kinds__balanced_takes_one_super_class(void **state)
{
    (void)state;
    clear();
    add_group(23, 4);
    check_balanced_for_all_sizes();
}

static void test_dataset_sampler_kinds__balanced_takes_two_classes(void **state)
{
    (void)state;
    clear();
    add_group(1, 2);
    add_group(1, 1000);
    check_balanced_for_all_sizes();
    clear();
    add_group(2, 2);
    add_group(3, 1);
    check_balanced_for_all_sizes();
}

/* ---- Shuffled ---- */

/* Every image once in each epoch; no batch of one; all but the last of the size asked for. */
static void check_shuffled(uint32_t batch)
{
    static uint32_t images[MOST];
    kd_sampler *const sampler = make(KD_SAMPLER_SHUFFLED, 0, 0, batch, batch);
    const size_t most = kd_sampler_max_batch(sampler);
    CHECK(most <= batch + 1u);
    for (uint32_t epoch = 0; epoch < 3; epoch++) {
        bool seen[MOST] = {false};
        size_t drawn = 0, largest = 0;
        const size_t n_batches = kd_sampler_epoch(sampler, epoch);
        for (size_t b = 0; b < n_batches; b++) {
            const size_t n = kd_sampler_batch(sampler, b, images);
            CHECK(n >= 2 && (b + 1 == n_batches || n == batch));
            for (size_t i = 0; i < n; i++) {
                CHECK(images[i] < g_n && !seen[images[i]]);
                seen[images[i]] = true;
            }
            drawn += n;
            largest = n > largest ? n : largest;
        }
        CHECK_INT(g_n, drawn);
        CHECK_INT(most, largest);
    }
    kd_sampler_free(sampler);
}

static void test_dataset_sampler_kinds__shuffled_has_every_image_once(void **state)
{
    (void)state;
    for (uint32_t n = 2; n < 40; n++) {
        clear();
        add_group(1, n - 1);
        add_group(1, 1);
        for (uint32_t batch = 2; batch < 45; batch++)
            check_shuffled(batch);
    }
}

static void test_dataset_sampler_kinds__shuffled_keeps_lone_classes(void **state)
{
    kd_sampler *sampler;
    size_t lone = 0;
    (void)state;
    clear();
    add_group(3, 1);
    add_group(1, 4);
    const kd_sampler_options options = {
        .kind = KD_SAMPLER_SHUFFLED, .labels = g_labels, .n = g_n, .batch = 16};
    CHECK_OK(kd_sampler_new(&sampler, &options, &lone, &g_err), g_err);
    CHECK_INT(3, lone);
    CHECK_INT(7, kd_sampler_max_batch(sampler));
    kd_sampler_free(sampler);
}

/* Each of 5 images comes first equally often: 20,000 epochs, 5 standard deviations. */
static void test_dataset_sampler_kinds__shuffled_is_even(void **state)
{
    uint32_t images[5];
    size_t leads[5] = {0};
    (void)state;
    clear();
    add_group(5, 1);
    kd_sampler *const sampler = make(KD_SAMPLER_SHUFFLED, 0, 0, 5, 3);
    for (uint32_t epoch = 0; epoch < 20000; epoch++) {
        (void)kd_sampler_epoch(sampler, epoch);
        (void)kd_sampler_batch(sampler, 0, images);
        leads[images[0]]++;
    }
    for (size_t i = 0; i < 5; i++)
        CHECK_NEAR(4000, (double)leads[i], 5 * 56.6);
    kd_sampler_free(sampler);
}

/* ---- Both ---- */

static size_t draw(kd_sampler *sampler, uint32_t epoch, uint32_t *images)
{
    const size_t n_batches = kd_sampler_epoch(sampler, epoch);
    size_t n = 0;
    for (size_t b = 0; b < n_batches; b++) {
        CHECK(n + kd_sampler_max_batch(sampler) <= MOST);
        n += kd_sampler_batch(sampler, b, images + n);
    }
    return n;
}

static void test_dataset_sampler_kinds__depend_on_seed_and_epoch_alone(void **state)
{
    static uint32_t first[MOST], other[MOST];
    (void)state;
    clear();
    add_group(12, 3); /* more classes than an epoch takes */
    for (int i = 0; i < 6; i++)
        add_group(1, 3);
    for (kd_sampler_kind kind = KD_SAMPLER_BALANCED; kind <= KD_SAMPLER_SHUFFLED; kind++) {
        kd_sampler *const a = make(kind, 4, 2, 8, 5), *const b = make(kind, 4, 2, 8, 5),
                          *const c = make(kind, 4, 2, 8, 6);
        const size_t bytes = draw(a, 3, first) * sizeof *first;
        (void)draw(b, 0, other);
        CHECK(memcmp(first, other, bytes) != 0);
        (void)draw(b, 3, other);
        CHECK(memcmp(first, other, bytes) == 0);
        (void)draw(c, 3, other);
        CHECK(memcmp(first, other, bytes) != 0);
        kd_sampler_free(a);
        kd_sampler_free(b);
        kd_sampler_free(c);
    }
}

static void check_refused(
    kd_sampler_options options, size_t n, kd_status expected, const char *sentence)
{
    size_t lone = 99;
    kd_sampler *sampler = (kd_sampler *)&lone;
    options.labels = g_labels;
    options.groups = g_groups;
    options.n = n;
    CHECK_FAILS(expected, kd_sampler_new(&sampler, &options, &lone, &g_err), g_err);
    CHECK_STR(sentence, g_err.message);
    CHECK(sampler == NULL);
}

static void test_dataset_sampler_kinds__refuse_what_cannot_be_sampled(void **state)
{
    kd_sampler_options options = {.kind = KD_SAMPLER_BALANCED, .p = 2, .k = 2, .batch = 2};
    (void)state;
    clear();
    add_group(1, 4);
    add_group(1, 1);
    check_refused(options, 5, KD_FAILED_PRECONDITION,
        "training needs 2 classes with 2 images each, and there is 1");
    options.k = 1;
    check_refused(options, 5, KD_INVALID_ARGUMENT,
        "a batch can't be 2 classes × 1 images: at least 2 × 2, at most 1048576 images");
    options.kind = KD_SAMPLER_SHUFFLED; /* which has no K */
    check_refused(options, 4, KD_FAILED_PRECONDITION, "training needs 2 classes, and there is 1");
    check_refused(options, 0, KD_FAILED_PRECONDITION, "training needs 2 classes, and there are 0");
    options.batch = 1;
    check_refused(
        options, 5, KD_INVALID_ARGUMENT, "a batch can't be 1 images: at least 2, at most 1048576");
    options.batch = (1u << 20) + 1;
    check_refused(options, 5, KD_INVALID_ARGUMENT,
        "a batch can't be 1048577 images: at least 2, at most 1048576");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dataset_sampler_kinds__balanced_spreads_equal_super_classes),
        cmocka_unit_test(test_dataset_sampler_kinds__balanced_spreads_unequal_super_classes),
        cmocka_unit_test(test_dataset_sampler_kinds__balanced_comes_to_all_of_a_large_super_class),
        cmocka_unit_test(test_dataset_sampler_kinds__balanced_takes_one_super_class),
        cmocka_unit_test(test_dataset_sampler_kinds__balanced_takes_two_classes),
        cmocka_unit_test(test_dataset_sampler_kinds__shuffled_has_every_image_once),
        cmocka_unit_test(test_dataset_sampler_kinds__shuffled_keeps_lone_classes),
        cmocka_unit_test(test_dataset_sampler_kinds__shuffled_is_even),
        cmocka_unit_test(test_dataset_sampler_kinds__depend_on_seed_and_epoch_alone),
        cmocka_unit_test(test_dataset_sampler_kinds__refuse_what_cannot_be_sampled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
