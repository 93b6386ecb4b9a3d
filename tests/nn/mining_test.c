/* What the miners choose, read off the loss: with a margin above any distance and summed, a triplet
 * loss is the sum of dp - dn + margin, and from distances that are all different it can be told
 * which negatives it was made of. */
#include <stdlib.h>

#include "tests/nn/loss_support.h"
#include "tests/nn/nn_support.h"
#include "tests/support/check.h"

#define MARGIN 8.0f
#define MOST 10u

static kd_error g_err;

/* A batch and its distances. */
typedef struct mining_scene {
    size_t n, dim;
    const uint32_t *labels;
    float embeddings[MOST * LOSS_DIM];
    double distances[MOST][MOST];
} mining_scene;

static double length(const float *row, size_t dim)
{
    double sum = 0;
    for (size_t k = 0; k < dim; k++)
        sum += (double)row[k] * (double)row[k];
    return sqrt(sum);
}

static void measure(mining_scene *scene, bool raw)
{
    for (size_t i = 0; i < scene->n; i++)
        for (size_t j = 0; j < scene->n; j++) {
            const float *const a = &scene->embeddings[i * scene->dim];
            const float *const b = &scene->embeddings[j * scene->dim];
            const double by_a = raw ? 1 : length(a, scene->dim);
            const double by_b = raw ? 1 : length(b, scene->dim);
            double sum = 0;
            for (size_t k = 0; k < scene->dim; k++) {
                const double difference = (double)a[k] / by_a - (double)b[k] / by_b;
                sum += difference * difference;
            }
            scene->distances[i][j] = sqrt(sum);
        }
}

static kd_loss_options options_of(kd_loss loss, kd_miner miner, float margin)
{
    kd_loss_options options;
    kd_loss_defaults(loss, &options);
    options.miner = miner;
    options.margin = margin;
    options.reduction = KD_REDUCTION_SUM;
    return options;
}

static double evaluate(const mining_scene *scene, const kd_loss_options *options, uint64_t seed)
{
    const kd_loss_inputs inputs = {.embeddings = scene->embeddings,
        .labels = scene->labels,
        .n = scene->n,
        .dim = scene->dim,
        .seed = seed};
    double loss = 0;
    CHECK_OK(kd_loss_evaluate(options, &inputs, &loss, NULL, NULL, &g_err), g_err);
    return loss;
}

static size_t negatives_of(const mining_scene *scene, size_t anchor, size_t negatives[MOST])
{
    size_t count = 0;
    for (size_t j = 0; j < scene->n; j++)
        if (scene->labels[j] != scene->labels[anchor])
            negatives[count++] = j;
    return count;
}

/* The one choice of a negative for each of the anchors 0..anchors-1, each of which has one
 * positive, that gives the loss. Fails the test where there is none, or more than one. */
static void decode(const mining_scene *scene, size_t anchors, double loss, size_t chosen[MOST])
{
    size_t negatives[MOST][MOST];
    size_t counts[MOST];
    size_t combinations = 1;
    size_t found = 0;
    double base = 0;
    for (size_t i = 0; i < anchors; i++) {
        counts[i] = negatives_of(scene, i, negatives[i]);
        combinations *= counts[i];
        base += (double)MARGIN + scene->distances[i][i ^ 1u]; /* pairs stand side by side */
    }
    for (size_t c = 0; c < combinations; c++) {
        double sum = base;
        size_t rest = c;
        for (size_t i = 0; i < anchors; i++) {
            sum -= scene->distances[i][negatives[i][rest % counts[i]]];
            rest /= counts[i];
        }
        if (fabs(sum - loss) > 5e-5)
            continue;
        found++;
        rest = c;
        for (size_t i = 0; i < anchors; i++) {
            chosen[i] = negatives[i][rest % counts[i]];
            rest /= counts[i];
        }
    }
    CHECK_INT(1, found);
}

/* A pair, and labels that stand alone: negatives of both, anchors of nothing. */
static const uint32_t g_lone[] = {0, 0, 1, 2, 3, 4, 5};

static mining_scene make_noise(void)
{
    mining_scene scene = {.n = 7, .dim = 3, .labels = g_lone};
    for (uint32_t i = 0; i < scene.n * scene.dim; i++)
        scene.embeddings[i] = (float)nn_noise(31, i);
    measure(&scene, true);
    return scene;
}

/* count draws of the probability p lie within five standard deviations of what is expected. */
static void check_share(double p, size_t got, size_t count)
{
    const double n = (double)count;
    CHECK_NEAR(n * p, (double)got, 5 * sqrt(n * p * (1 - p)) + 1e-9);
}

static void check_random(kd_loss loss)
{
    const size_t seeds = 600;
    const mining_scene scene = make_noise();
    size_t counts[2][MOST] = {{0}};
    kd_loss_options options = options_of(loss, KD_MINER_RANDOM, MARGIN);
    options.raw = true;
    for (uint64_t seed = 0; seed < seeds; seed++) {
        size_t chosen[MOST] = {0};
        decode(&scene, 2, evaluate(&scene, &options, seed), chosen);
        for (size_t i = 0; i < 2; i++)
            counts[i][chosen[i]]++;
    }
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < scene.n; j++)
            check_share(j < 2 ? 0 : 1.0 / 5, counts[i][j], seeds);
}

static void test_nn_mining__random_takes_one_negative_for_each_pair(void **state)
{
    (void)state;
    check_random(KD_LOSS_TRIPLET);
}

static void test_nn_mining__contrastive_takes_the_same_pairs(void **state)
{
    (void)state;
    check_random(KD_LOSS_CONTRASTIVE);
}

/* A pair, and negatives at the given distances from its first on the sphere. */
static mining_scene make_sphere(const double *distances)
{
    mining_scene scene = {.n = 7, .dim = LOSS_DIM, .labels = g_lone};
    scene.embeddings[0] = 1;
    scene.embeddings[LOSS_DIM] = 1;
    scene.embeddings[LOSS_DIM + 1] = 0.05f;
    for (size_t i = 0; i < 5; i++) {
        const double angle = 2 * asin(distances[i] / 2);
        float *const row = &scene.embeddings[(i + 2) * LOSS_DIM];
        row[0] = (float)(3 * cos(angle)); /* length has no part in it */
        row[i % 2 + 1] = (float)(3 * sin(angle));
    }
    measure(&scene, false);
    return scene;
}

/* By the density on the sphere of distances between random points, Wu et al. 2017, section 4. */
static double weight(double distance)
{
    const double d = LOSS_DIM;
    if (distance >= 1.4)
        return 0;
    distance = fmax(distance, 0.5);
    return 1 / (pow(distance, d - 2) * pow(1 - distance * distance / 4, (d - 3) / 2));
}

static void test_nn_mining__distance_weighted_draws_by_the_formula(void **state)
{
    (void)state;
    const size_t seeds = 2000;
    const mining_scene scene = make_sphere((const double[]){0.3, 0.62, 0.9, 1.2, 1.5});
    const kd_loss_options options = options_of(KD_LOSS_TRIPLET, KD_MINER_DISTANCE_WEIGHTED, MARGIN);
    size_t counts[2][MOST] = {{0}};
    for (uint64_t seed = 0; seed < seeds; seed++) {
        size_t chosen[MOST] = {0};
        decode(&scene, 2, evaluate(&scene, &options, seed), chosen);
        for (size_t i = 0; i < 2; i++)
            counts[i][chosen[i]]++;
    }
    for (size_t i = 0; i < 2; i++) {
        double sum = 0;
        for (size_t j = 2; j < scene.n; j++)
            sum += weight(scene.distances[i][j]);
        for (size_t j = 2; j < scene.n; j++)
            check_share(weight(scene.distances[i][j]) / sum, counts[i][j], seeds);
        CHECK_INT(0, counts[i][6]);
    }
}

static void test_nn_mining__distance_weighted_leaves_far_negatives(void **state)
{
    (void)state;
    const mining_scene scene = make_sphere((const double[]){1.5, 1.6, 1.7, 1.8, 1.9});
    const kd_loss_options options = options_of(KD_LOSS_TRIPLET, KD_MINER_DISTANCE_WEIGHTED, MARGIN);
    CHECK_NEAR(0, evaluate(&scene, &options, 1), 0);
}

static void test_nn_mining__the_same_seed_chooses_the_same(void **state)
{
    (void)state;
    static const kd_miner miners[] = {KD_MINER_RANDOM, KD_MINER_DISTANCE_WEIGHTED};
    const mining_scene scene = make_sphere((const double[]){0.3, 0.62, 0.9, 1.0, 1.2});
    for (size_t m = 0; m < 2; m++) {
        const kd_loss_options options = options_of(KD_LOSS_TRIPLET, miners[m], MARGIN);
        bool differs = false;
        for (uint64_t seed = 0; seed < 20; seed++) {
            const double loss = evaluate(&scene, &options, seed);
            CHECK_NEAR(loss, evaluate(&scene, &options, seed), 0);
            differs = differs || fabs(loss - evaluate(&scene, &options, seed + 1)) > 0;
        }
        CHECK(differs);
    }
}

/* ---- Miners that draw nothing, against their definitions ---- */

static mining_scene make_plain(void)
{
    static const uint32_t labels[] = {0, 0, 0, 1, 1, 2, 2, 1, 3, 2};
    mining_scene scene = {.n = LOSS_N, .dim = LOSS_DIM, .labels = labels};
    loss_data data;
    loss_fill(&data, LOSS_PLAIN);
    memcpy(scene.embeddings, data.embeddings, sizeof data.embeddings);
    measure(&scene, false);
    return scene;
}

static bool is_positive(const mining_scene *scene, size_t a, size_t p)
{
    return a != p && scene->labels[a] == scene->labels[p];
}

static double semi_hard(const mining_scene *scene, double margin, size_t *count)
{
    double sum = 0;
    *count = 0;
    for (size_t a = 0; a < scene->n; a++)
        for (size_t p = 0; p < scene->n; p++)
            for (size_t n = 0; n < scene->n; n++) {
                const double gap = scene->distances[a][n] - scene->distances[a][p];
                if (!is_positive(scene, a, p) || scene->labels[n] == scene->labels[a] || gap <= 0 ||
                    gap > margin)
                    continue;
                sum += margin - gap;
                (*count)++;
            }
    return sum;
}

static void test_nn_mining__semi_hard_negatives_lie_within_the_margin(void **state)
{
    (void)state;
    static const float margins[] = {0.05f, 0.2f, 0.5f};
    const mining_scene scene = make_plain();
    size_t before = 0;
    for (size_t i = 0; i < 3; i++) {
        size_t count = 0;
        const double expected = semi_hard(&scene, (double)margins[i], &count);
        kd_loss_options options = options_of(KD_LOSS_TRIPLET, KD_MINER_SEMI_HARD, margins[i]);
        CHECK(count > before);
        CHECK_NEAR(expected, evaluate(&scene, &options, 0), 1e-5 * (double)count);
        options.reduction = KD_REDUCTION_MEAN;
        CHECK_NEAR(expected / (double)count, evaluate(&scene, &options, 0), 1e-5);
        before = count;
    }
}

static void test_nn_mining__batch_hard_takes_farthest_and_nearest(void **state)
{
    (void)state;
    const mining_scene scene = make_plain();
    double expected = 0;
    for (size_t a = 0; a < scene.n; a++) {
        double farthest = -1, nearest = 3;
        for (size_t j = 0; j < scene.n; j++) {
            if (is_positive(&scene, a, j))
                farthest = fmax(farthest, scene.distances[a][j]);
            else if (a != j)
                nearest = fmin(nearest, scene.distances[a][j]);
        }
        if (farthest >= 0) /* the lone label is no anchor */
            expected += farthest - nearest + (double)MARGIN;
    }
    const kd_loss_options options = options_of(KD_LOSS_TRIPLET, KD_MINER_BATCH_HARD, MARGIN);
    CHECK_NEAR(expected, evaluate(&scene, &options, 0), 1e-4);
}

static int setup(void **state)
{
    (void)state;
    kd_nn_set_threads(1);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nn_mining__random_takes_one_negative_for_each_pair),
        cmocka_unit_test(test_nn_mining__contrastive_takes_the_same_pairs),
        cmocka_unit_test(test_nn_mining__distance_weighted_draws_by_the_formula),
        cmocka_unit_test(test_nn_mining__distance_weighted_leaves_far_negatives),
        cmocka_unit_test(test_nn_mining__the_same_seed_chooses_the_same),
        cmocka_unit_test(test_nn_mining__semi_hard_negatives_lie_within_the_margin),
        cmocka_unit_test(test_nn_mining__batch_hard_takes_farthest_and_nearest),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
