/* Retrieval measured by what searches of a collection find is, to the last digit, what is measured
 * on the vectors themselves. KINDRED_EVALUATE_N takes another number of images than 3,000. */
#include "lib/base/random.h"
#include "lib/eval/eval.h"
#include "tests/indexer/room.h"

enum { WIDTH = 64, PER_CLASS = 5, KINDS = 12, BATCH = 256, NEAREST = KD_EVAL_HITS + 1 };

typedef struct set {
    size_t n;
    float *vectors; /* n × WIDTH: images of a class lie near each other */
    uint64_t *ids;
    uint32_t *classes, *kinds;
} set;

static float noise(uint64_t *state)
{
    float sum = 0;
    for (int i = 0; i < 4; i++)
        sum += (float)(kd_random_next(state) >> 40) * 0x1p-24f - 0.5f;
    return sum;
}

static void scale(float *vector)
{
    double squares = 0;
    for (size_t d = 0; d < WIDTH; d++)
        squares += (double)vector[d] * (double)vector[d];
    for (size_t d = 0; d < WIDTH; d++)
        vector[d] = (float)((double)vector[d] / sqrt(squares));
}

static set drawn(void)
{
    const char *const asked = getenv("KINDRED_EVALUATE_N");
    set s = {.n = asked ? strtoul(asked, NULL, 10) : 3000};
    uint64_t state = 7;
    float centre[WIDTH] = {0};
    s.vectors = malloc(s.n * WIDTH * sizeof *s.vectors);
    s.ids = malloc(s.n * sizeof *s.ids);
    s.classes = malloc(s.n * sizeof *s.classes);
    s.kinds = malloc(s.n * sizeof *s.kinds);
    assert_true(s.vectors && s.ids && s.classes && s.kinds);
    for (size_t i = 0; i < s.n; i++) {
        for (size_t d = 0; d < WIDTH && i % PER_CLASS == 0; d++)
            centre[d] = noise(&state);
        for (size_t d = 0; d < WIDTH; d++)
            s.vectors[i * WIDTH + d] = centre[d] + 0.9f * noise(&state);
        if (i % 50 == 7) /* ties */
            memcpy(s.vectors + i * WIDTH, s.vectors + (i - 3) * WIDTH, WIDTH * sizeof(float));
        else
            scale(s.vectors + i * WIDTH);
        s.ids[i] = (i * 7919) % s.n + 1; /* in no order */
        s.classes[i] = (uint32_t)(i / PER_CLASS);
        s.kinds[i] = s.classes[i] % KINDS;
    }
    CHECK(s.n % 7919 != 0); /* a prime: each id once */
    return s;
}

static void set_free(set *s)
{
    free(s->vectors);
    free(s->ids);
    free(s->classes);
    free(s->kinds);
}

static collection *stored(const set *s)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    static collection_row rows[BATCH];
    CHECK_OK(collection_create(&c, room_path("all"), "all", MODEL, WIDTH, NULL, &err), err);
    for (size_t first = 0; first < s->n; first += BATCH) {
        const size_t n = s->n - first < BATCH ? s->n - first : BATCH;
        for (size_t i = 0; i < n; i++)
            rows[i] = (collection_row){.item = {.image_id = s->ids[first + i],
                                           .class_id = s->classes[first + i],
                                           .super_class_id = s->kinds[first + i],
                                           .class_name = "",
                                           .super_class_name = "",
                                           .uri = "",
                                           .attributes = ""},
                .values = s->vectors + (first + i) * WIDTH,
                .n_values = WIDTH};
        CHECK_OK(collection_upsert(c, MODEL, rows, n, NULL, &err), err);
    }
    return c;
}

/* The nearest of each image, but for itself. */
static void ask(collection *c, const set *s, kd_hit *hits, uint32_t *counts)
{
    kd_error err = KD_ERROR_INIT;
    static collection_row queries[BATCH];
    for (size_t first = 0; first < s->n; first += BATCH) {
        const size_t n = s->n - first < BATCH ? s->n - first : BATCH;
        collection_found found;
        for (size_t i = 0; i < n; i++)
            queries[i] =
                (collection_row){.values = s->vectors + (first + i) * WIDTH, .n_values = WIDTH};
        const collection_search how = {
            .model_id = MODEL, .queries = queries, .n_queries = n, .k = NEAREST};
        CHECK_OK(collection_search_run(c, &how, &found, &err), err);
        for (size_t i = 0; i < n; i++) {
            const size_t q = first + i;
            counts[q] = 0;
            for (size_t h = 0; h < found.counts[i] && counts[q] < KD_EVAL_HITS; h++) {
                const collection_hit *const hit = &found.hits[i * found.width + h];
                if (hit->item.image_id != s->ids[q])
                    hits[q * KD_EVAL_HITS + counts[q]++] =
                        (kd_hit){.id = hit->item.image_id, .score = hit->score};
            }
        }
        collection_found_free(&found);
    }
}

static void check_equal(const kd_eval *a, const kd_eval *b)
{
    kd_error err = KD_ERROR_INIT;
    kd_metrics_set x, y;
    for (unsigned kind = 0; kind < KD_EVAL_KINDS; kind++) {
        CHECK_OK(kd_eval_metrics(a, kind, NULL, &x, &err), err);
        CHECK_OK(kd_eval_metrics(b, kind, NULL, &y, &err), err);
        for (unsigned m = 0; m < KD_METRICS; m++)
            if (memcmp(&x.values[m], &y.values[m], sizeof x.values[m]) != 0)
                fail_msg("%s: %.17g and %.17g", kd_metric_name(m), x.values[m], y.values[m]);
        CHECK_INT(x.queries, y.queries);
        CHECK(x.values[KD_RECALL_AT_1] > 0.3 && x.values[KD_RECALL_AT_1] < 0.99);
    }
    for (size_t q = 0; q < a->n; q++) {
        CHECK_INT(a->counts[q], b->counts[q]);
        for (size_t h = 0; h < a->counts[q]; h++) {
            const kd_hit *const l = &a->hits[q * KD_EVAL_HITS + h];
            const kd_hit *const r = &b->hits[q * KD_EVAL_HITS + h];
            CHECK(l->id == r->id && memcmp(&l->score, &r->score, sizeof l->score) == 0);
        }
    }
}

static void test_evaluate__through_a_collection_is_as_from_the_vectors(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    set s = drawn();
    kd_eval direct, through;
    double recall = 0;
    kd_hit *const hits = calloc(s.n, KD_EVAL_HITS * sizeof *hits);
    uint32_t *const counts = calloc(s.n, sizeof *counts);
    const kd_eval_input input = {.queries = s.vectors,
        .n_queries = s.n,
        .gallery = s.vectors,
        .n_gallery = s.n,
        .dim = WIDTH,
        .gallery_ids = s.ids,
        .selves = s.ids,
        .query_labels = {s.classes, s.kinds},
        .gallery_labels = {s.classes, s.kinds}};
    CHECK_OK(kd_eval_run(&input, &direct, &err), err);
    CHECK_OK(kd_eval_run(&input, &through, &err), err);
    collection *const c = stored(&s);
    ask(c, &s, hits, counts);
    CHECK_OK(kd_eval_take_hits(&input, hits, counts, &through, &recall, &err), err);
    CHECK_NEAR(1, recall, 0);
    check_equal(&direct, &through);

    /* And it does look at them: without the nearest, what is measured is another thing. */
    size_t wrong = 0;
    for (size_t q = 0; q < s.n; q++) {
        memmove(hits + q * KD_EVAL_HITS, hits + q * KD_EVAL_HITS + 1, 9 * sizeof *hits);
        counts[q] = 9;
    }
    CHECK_OK(kd_eval_take_hits(&input, hits, counts, &through, &recall, &err), err);
    CHECK_NEAR(0.9, recall, 1e-9);
    for (size_t q = 0; q < s.n; q++) {
        const kd_answer *const a = &through.answers[KD_EVAL_CLASS][q];
        wrong += a->first != 1 && direct.answers[KD_EVAL_CLASS][q].first == 1;
        CHECK_INT(a->right_at_10 > 0, a->first > 0 && a->first <= 9);
    }
    CHECK(wrong > s.n / 100);
    const kd_hit foreign = {.id = s.n + 5};
    hits[0] = foreign;
    CHECK_FAILS(
        KD_INVALID_ARGUMENT, kd_eval_take_hits(&input, hits, counts, &through, &recall, &err), err);
    CHECK_HAS("which is not in the gallery", err.message);
    kd_eval_free(&direct);
    kd_eval_free(&through);
    collection_release(c);
    free(hits);
    free(counts);
    set_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_evaluate__through_a_collection_is_as_from_the_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
