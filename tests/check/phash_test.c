/* The perceptual hash, and that the search by bands finds what comparing each with each does. */
#include <stdlib.h>

#include "lib/check/internal.h"
#include "tests/check/scene.h"

static uint64_t look_of(kd_image image, double *deviation)
{
    uint64_t look = 0;
    CHECK_OK(check_look(&image, &look, deviation, &g_err), g_err);
    kd_image_free(&image);
    return look;
}

static void test_check_phash__does_not_depend_on_the_size(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        double deviation = 0;
        const uint64_t look = look_of(scene(seed * 1000, 160, 120), &deviation);
        CHECK_INT(32, __builtin_popcountll(look)); /* the median parts them */
        CHECK(deviation > KD_CHECK_FLAT);
        const uint64_t small = look_of(scene(seed * 1000, 70, 90), &deviation);
        CHECK(__builtin_popcountll(look ^ small) <= (int)KD_CHECK_NEAR_BITS);
    }
}

/* One wave, whose place in the hash is known: the highest of all values is its own. */
static void test_check_phash__finds_a_wave(void **state)
{
    kd_image image;
    double deviation = 0;
    (void)state;
    CHECK_OK(kd_image_new(&image, 64, 64, &g_err), g_err);
    for (int y = 0; y < 64; y++)
        for (int x = 0; x < 64; x++)
            memset(image.pixels + 3 * (y * 64 + x),
                (int)lround(
                    128 + 100 * cos(M_PI * 3 * (y + 0.5) / 64) * cos(M_PI * 5 * (x + 0.5) / 64)),
                3);
    kd_image inverse;
    CHECK_OK(kd_image_new(&inverse, 64, 64, &g_err), g_err);
    for (size_t i = 0; i < (size_t)64 * 64 * 3; i++)
        inverse.pixels[i] = (uint8_t)(255 - image.pixels[i]);
    const uint64_t bit = UINT64_C(1) << ((3 - 1) * 8 + (5 - 1));
    CHECK(look_of(image, &deviation) & bit);
    CHECK_NEAR(50, deviation, 3); /* 100 / sqrt(2) each way, and a little less when shrunk */
    CHECK(!(look_of(inverse, &deviation) & bit));
}

static void test_check_phash__a_blank_picture_is_flat(void **state)
{
    kd_image image;
    double deviation = 9;
    (void)state;
    CHECK_OK(kd_image_new(&image, 40, 30, &g_err), g_err);
    (void)look_of(image, &deviation);
    CHECK_NEAR(0, deviation, 1e-6);
}

/* ---- The search ---- */

#define N 3000u

/* Random hashes, every other one a few bits beside an earlier one, so that every number of bits up
 * to twice the threshold is there, in one band and spread over all. */
static void make_looks(check_trait *traits)
{
    uint64_t random = 17;
    for (size_t i = 0; i < N; i++) {
        traits[i].look = kd_random_next(&random);
        if (i % 2 == 1) {
            traits[i].look = traits[kd_random_next(&random) % i].look;
            for (uint64_t bits = i % 9; bits > 0; bits--)
                traits[i].look ^= UINT64_C(1) << kd_random_next(&random) % (i % 4 == 1 ? 64 : 13);
        }
        memcpy(traits[i].digest, &i, sizeof i); /* no two the same */
    }
}

static uint32_t lead(uint32_t *parent, uint32_t i)
{
    while (parent[i] != i)
        i = parent[i];
    return i;
}

static void test_check_phash__the_search_finds_every_near_pair(void **state)
{
    kd_buf lines = KD_BUF_INIT;
    kd_dataset *dataset = NULL;
    check_trait *const traits = calloc(N, sizeof *traits);
    uint32_t *const parent = calloc(N, sizeof *parent), *const found = calloc(N, sizeof *found);
    const kd_check_options options = KD_CHECK_OPTIONS_INIT;
    kd_check check = {.n = N, .images = calloc(N, sizeof *check.images)};
    check_work work = {.check = &check, .options = &options, .traits = traits};
    size_t n;
    (void)state;
    for (unsigned i = 1; i <= N; i++)
        kd_buf_printf(&lines, "%u 1 1 %u.jpg\n", i, i);
    put_listing("Ebay_train.txt", (const char *)lines.data);
    CHECK_OK(kd_dataset_open(&dataset, g_dir, KD_SPLIT_ALL, &g_err), g_err);
    work.dataset = dataset;
    work.items = kd_dataset_items(dataset, &n);
    make_looks(traits);
    CHECK_OK(check_find_groups(&work, &g_err), g_err);

    size_t pairs = 0;
    for (uint32_t i = 0; i < N; i++) {
        parent[i] = found[i] = i;
        for (uint32_t j = 0; j < i; j++) {
            if (__builtin_popcountll(traits[i].look ^ traits[j].look) > 4)
                continue;
            pairs++;
            const uint32_t a = lead(parent, i), b = lead(parent, j);
            parent[a > b ? a : b] = a < b ? a : b;
        }
    }
    CHECK(pairs > N / 5);
    for (size_t g = 0; g < check.near.n; g++) {
        const kd_check_group *const group = &check.near.at[g];
        for (size_t i = 0; i < group->n; i++)
            found[check.near.members[group->first + i]] = check.near.members[group->first];
    }
    for (uint32_t i = 0; i < N; i++)
        CHECK_INT(lead(parent, i), found[i]);
    CHECK_INT(0, check.duplicates.n);
    free(check.near.at);
    free(check.near.members);
    free(check.images);
    free(traits);
    free(parent);
    free(found);
    kd_dataset_free(dataset);
    kd_buf_free(&lines);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_check_phash__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(does_not_depend_on_the_size),
        TEST(finds_a_wave),
        TEST(a_blank_picture_is_flat),
        TEST(the_search_finds_every_near_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
