/* Minimal filtering beside the plain sums that it stands for. */
#include <math.h>
#include <stdlib.h>

#include "lib/base/random.h"
#include "lib/nn/winograd.h"
#include "tests/support/check.h"

#define BEYOND 64 /* floats around the output that must stay */

static float *draw(size_t n, uint64_t *state)
{
    float *const values = malloc(n * sizeof *values);
    CHECK(values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)(kd_random_next(state) >> 40) * 0x1p-23f - 1;
    return values;
}

typedef struct scene {
    kd_winograd conv;
    float *source, *target, *weights, *before;
    size_t n_target;
} scene;

static kd_winograd_layout layout_of(int64_t channels, int64_t size, int64_t runs)
{
    const int64_t pixel = runs * KD_WINOGRAD_LANES;
    return (kd_winograd_layout){
        channels * size * size, size * pixel, pixel, size * size * pixel, runs};
}

static int64_t place(
    const kd_winograd_layout *layout, int64_t image, int64_t c, int64_t y, int64_t x)
{
    const int64_t run = c / KD_WINOGRAD_LANES;
    return image * layout->image + run / layout->runs * layout->block +
           run % layout->runs * KD_WINOGRAD_LANES + c % KD_WINOGRAD_LANES + y * layout->row +
           x * layout->pixel;
}

static double plain(const scene *s, int64_t image, int64_t k, int64_t y, int64_t x)
{
    const kd_winograd *const conv = &s->conv;
    double sum = (double)conv->bias[k];
    for (int64_t c = 0; c < conv->in; c++)
        for (int64_t i = 0; i < 9; i++) {
            const int64_t down = y + i / 3 - 1, along = x + i % 3 - 1;
            if (down >= 0 && down < conv->size && along >= 0 && along < conv->size)
                sum += (double)s->source[place(&conv->source, image, c, down, along)] *
                       (double)s->weights[(k * conv->in + c) * 9 + i];
        }
    return sum;
}

/* A sum of 9 × in terms of size 1 is rounded. */
static void check_all(const scene *s)
{
    const kd_winograd *const conv = &s->conv;
    const double bound = 3e-5 * sqrt(9 * (double)conv->in);
    for (int64_t image = 0; image < conv->batch; image++)
        for (int64_t k = 0; k < conv->out; k++)
            for (int64_t y = 0; y < conv->size; y++)
                for (int64_t x = 0; x < conv->size; x++) {
                    const int64_t at = BEYOND + place(&conv->target, image, k, y, x);
                    double expected = plain(s, image, k, y, x);
                    if (conv->add)
                        expected += (double)s->before[at];
                    if (conv->relu && expected < 0)
                        expected = 0;
                    CHECK_NEAR(expected, (double)s->target[at], bound);
                }
    for (size_t i = 0; i < BEYOND; i++) {
        CHECK(s->target[i] == s->before[i]);
        CHECK(s->target[s->n_target - 1 - i] == s->before[s->n_target - 1 - i]);
    }
}

static void compare(kd_winograd conv, int64_t source_runs, int64_t target_runs, int64_t shares)
{
    uint64_t state = (uint64_t)(conv.in * 1000 + conv.size);
    const size_t area = (size_t)(conv.size * conv.size * conv.batch);
    scene s = {.conv = conv, .n_target = area * (size_t)conv.out + (size_t)2 * BEYOND};
    s.conv.source = layout_of(conv.in, conv.size, source_runs);
    s.conv.target = layout_of(conv.out, conv.size, target_runs);
    s.source = draw(area * (size_t)conv.in, &state);
    s.target = draw(s.n_target, &state);
    s.before = malloc(s.n_target * sizeof *s.before);
    CHECK(s.before);
    for (size_t i = 0; i < s.n_target; i++)
        s.before[i] = s.target[i];
    s.weights = draw((size_t)(9 * conv.in * conv.out), &state);
    float *const bias = draw((size_t)conv.out, &state);
    float *const prepared = malloc(kd_winograd_weight_floats(conv.in, conv.out) * sizeof *prepared);
    CHECK(prepared);
    kd_winograd_prepare(prepared, s.weights, conv.in, conv.out);
    s.conv.weights = prepared;
    s.conv.bias = bias;
    /* Of its own size for each share, so that a sanitizer sees one that takes more. */
    for (int64_t share = shares - 1; share >= 0; share--) {
        float *const scratch = malloc(kd_winograd_scratch_floats(&s.conv) * sizeof *scratch);
        CHECK(scratch);
        kd_winograd_run(&s.conv, s.source, s.target + BEYOND, share, shares, scratch);
        free(scratch);
    }
    check_all(&s);
    free(prepared);
    free(bias);
    free(s.weights);
    free(s.before);
    free(s.target);
    free(s.source);
}

static bool here(void)
{
    return kd_winograd_pays(64, 64, 1, 56);
}

static void test_nn_winograd__equals_the_plain_sums(void **state)
{
    (void)state;
    if (!here())
        skip();
    for (int64_t size = 1; size <= 13; size++) /* tiles that end inside and outside of the image */
        compare((kd_winograd){.in = 8, .out = 16, .batch = 3, .size = size}, 1, 2, 1);
    compare((kd_winograd){.in = 64, .out = 64, .batch = 2, .size = 28, .relu = true}, 1, 1, 1);
    compare((kd_winograd){.in = 256, .out = 32, .batch = 5, .size = 10}, 2, 1, 1);
}

static void test_nn_winograd__takes_every_layout(void **state)
{
    (void)state;
    if (!here())
        skip();
    for (int64_t runs = 1; runs <= 4; runs *= 2)
        compare((kd_winograd){.in = 32, .out = 32, .batch = 2, .size = 7}, runs, 4 / runs, 1);
}

static void test_nn_winograd__adds_before_relu(void **state)
{
    (void)state;
    if (!here())
        skip();
    for (int64_t both = 0; both < 4; both++)
        compare(
            (kd_winograd){
                .in = 16, .out = 16, .batch = 1, .size = 9, .add = both & 1, .relu = both & 2},
            1, 1, 1);
}

static void test_nn_winograd__shares_make_the_whole(void **state)
{
    (void)state;
    if (!here())
        skip();
    for (int64_t shares = 2; shares <= 9; shares++) /* also more than there are tiles */
        compare(
            (kd_winograd){.in = 16, .out = 32, .batch = 2, .size = 8, .add = true}, 2, 2, shares);
}

static void test_nn_winograd__pays_for_enough_of_what_fits(void **state)
{
    (void)state;
    if (!here())
        skip();
    CHECK(kd_winograd_pays(512, 512, 2, 7));
    CHECK(!kd_winograd_pays(512, 512, 1, 7)); /* four tiles */
    CHECK(!kd_winograd_pays(12, 64, 1, 56));
    CHECK(!kd_winograd_pays(64, 24, 1, 56));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_winograd__equals_the_plain_sums),
        cmocka_unit_test(test_nn_winograd__takes_every_layout),
        cmocka_unit_test(test_nn_winograd__adds_before_relu),
        cmocka_unit_test(test_nn_winograd__shares_make_the_whole),
        cmocka_unit_test(test_nn_winograd__pays_for_enough_of_what_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
