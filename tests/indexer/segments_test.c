/* Segments: what is searched is what was stored, whatever was sealed, merged or indexed. */
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "services/indexer/collection_internal.h"
#include "services/indexer/sampler.h"
#include "tests/indexer/boots.h"

static void take(collection *c, uint64_t from, size_t n)
{
    remove_images(c, from, n);
    model_put(&boots, from, n, 0);
}

/* ---- Exact ---- */

static void test_segments__equal_brute_force_after_changes_merges_and_restarts(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 64};
    collection *c = make_boots(&options);
    uint64_t seed = 3;
    size_t most = 0;
    for (unsigned round = 1; round <= 40; round++) {
        const uint64_t from = kd_random_next(&seed) % 1000;
        const size_t n = 1 + kd_random_next(&seed) % 120;
        if (round % 4 == 3)
            take(c, from, n);
        else
            put(c, from, n, round);
        for (uint64_t steps = kd_random_next(&seed) % 6; steps > 0; steps--)
            (void)collection_tidy(c);
        if (round % 5 == 0)
            settle(c);
        if (round % 8 == 0) {
            collection_release(c);
            c = open_boots(&options);
        }
        if (round % 3 == 0)
            model_check_all(&boots, c);
        most = describe(c).segments > most ? describe(c).segments : most;
    }
    CHECK(most >= 3);
    settle(c);
    model_check_all(&boots, c);
    const collection_info info = describe(c);
    CHECK(!info.building);
    CHECK_STR("", info.problem);
    CHECK(info.growing < 64);
    CHECK(info.dead * 4 <= info.sealed + info.dead);
    CHECK(info.mapped_bytes >= info.sealed * DIM * sizeof(float));
    take(c, 0, 2000); /* all */
    settle(c);
    CHECK_INT(0, describe(c).segments);
    model_check_all(&boots, c);
    collection_release(c);
}

static void test_segments__leave_sealed_vectors_out_of_memory(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 1000};
    collection *c = make_boots(&options);
    for (uint64_t from = 0; from < 4000; from += 1000)
        put(c, from, 1000, 1);
    const uint64_t before = describe(c).memory_bytes;
    settle(c);
    const collection_info info = describe(c);
    CHECK_INT(0, info.growing);
    CHECK_INT(4000, info.sealed);
    CHECK_INT(1, info.segments);
    CHECK(before - info.memory_bytes >= 4000 * (DIM * sizeof(float) + 4));
    collection_release(c);
}

/* ---- Approximate ---- */

/* Without a filter and with ones that 1 %, 10 % and 50 % of some 6000 images pass. */
static void check_recall(collection *c)
{
    static const double shares[] = {0.01, 0.1, 0.5};
    CHECK(recall(c, (collection_filter){0}) >= 0.93);
    for (size_t i = 0; i < 3; i++) {
        const collection_condition price = {
            .name = "price", .min = 0, .max = 6000 * shares[i] * 1.5};
        CHECK(recall(c, (collection_filter){.conditions = &price, .n_conditions = 1}) >= 0.93);
    }
}

static void check_index(collection_index index, kd_ann_storage storage)
{
    const collection_options options = {.seal_rows = 1500};
    collection *c = make_boots(&options);
    set_index(c, index, storage, 0.95f);
    for (uint64_t from = 0; from < 6000; from += 1500) {
        put(c, from, 1500, 1);
        (void)collection_tidy(c);
    }
    CHECK(describe(c).building);
    settle(c);
    collection_info info = describe(c);
    CHECK_INT(index, info.in_use);
    CHECK(info.segments > 0 && info.approximate_segments == info.segments);
    CHECK(info.recall >= 0.95f);
    CHECK(!info.building);
    check_recall(c);
    put(c, 6000, 800, 1); /* into the growing part */
    put(c, 100, 400, 2);
    check_recall(c);
    take(c, 1000, 900);
    check_recall(c);
    settle(c);
    check_recall(c);
    model_check_all(&boots, c);
    info = describe(c);
    collection_release(c);
    c = open_boots(&options);
    CHECK_INT(index, describe(c).settings.index);
    CHECK_INT(0, describe(c).approximate_segments); /* searched exactly until they are loaded */
    CHECK(describe(c).building);
    CHECK(recall(c, (collection_filter){0}) == 1);
    const int64_t begun = kd_mono_ms();
    CHECK(collection_build(c));
    CHECK(kd_mono_ms() - begun < 300); /* loaded, not built */
    settle(c);
    CHECK_INT(info.approximate_segments, describe(c).approximate_segments);
    CHECK(info.recall == describe(c).recall);
    check_recall(c);
    model_check_all(&boots, c);
    collection_release(c);
}

static void test_index_hnsw__keeps_its_recall(void **state)
{
    (void)state;
    check_index(COLLECTION_HNSW, KD_ANN_INT8);
}

static void test_index_ivf__keeps_its_recall(void **state)
{
    (void)state;
    check_index(COLLECTION_IVF, KD_ANN_FLOAT16);
}

static void test_merge__leaves_the_indexes_until_it_has_its_own(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 1200};
    collection *c = make_boots(&options);
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    for (uint64_t from = 0; from < 3600; from += 1200) {
        put(c, from, 1200, 1);
        settle(c);
    }
    CHECK_INT(3, describe(c).approximate_segments);
    put(c, 3600, 1200, 1);
    while (collection_tidy(c))
        continue;
    CHECK_INT(4, describe(c).segments);
    CHECK_INT(3, describe(c).approximate_segments);
    CHECK_INT(4, count_files(".vec"));
    CHECK_INT(1, count_files(".waiting"));
    CHECK(describe(c).building);
    put(c, 1100, 300, 2);
    take(c, 3500, 200);
    model_check_all(&boots, c);
    check_recall(c);
    CHECK(collection_build(c));
    CHECK_INT(1, describe(c).segments);
    CHECK_INT(1, describe(c).approximate_segments);
    CHECK_INT(1, count_files(".vec"));
    CHECK_INT(0, count_files(".waiting"));
    CHECK_INT(500, describe(c).dead);
    model_check_all(&boots, c);
    check_recall(c);
    settle(c);
    collection_release(c);
    c = open_boots(&options); /* it is as good when the merge does not come to its end */
    put(c, 0, 1200, 3);
    while (collection_tidy(c))
        continue;
    collection_release(c);
    c = open_boots(&options);
    model_check_all(&boots, c);
    collection_release(c);
}

/* After kill -9: the sources and their indexes are there, what they were to become is not. */
static void test_merge__that_is_cut_off_leaves_the_indexes(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 500};
    collection *c = make_boots(&options);
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    for (uint64_t from = 0; from < 2000; from += 500) {
        put(c, from, 500, 1);
        while (collection_tidy(c) || (from < 1500 && collection_build(c)))
            continue;
    }
    CHECK_INT(1, count_files(".waiting"));
    collection *const killed = c; /* its files are left as they are for now */
    c = open_boots(&options);
    CHECK_INT(0, count_files(".waiting"));
    CHECK_INT(4, describe(c).segments);
    for (int i = 0; i < 3; i++)
        CHECK(collection_build(c));
    CHECK_INT(3, describe(c).approximate_segments);
    model_check_all(&boots, c);
    settle(c);
    CHECK_INT(1, describe(c).segments);
    model_check_all(&boots, c);
    collection_release(c);
    collection_release(killed);
}

static void test_index_auto__is_approximate_from_a_size_on(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 500, .approximate_rows = 3000};
    collection *c = make_boots(&options);
    put(c, 0, 2900, 1);
    settle(c);
    CHECK_INT(COLLECTION_EXACT, describe(c).in_use);
    CHECK_INT(0, describe(c).approximate_segments);
    put(c, 2900, 200, 1);
    CHECK_INT(COLLECTION_HNSW, describe(c).in_use);
    settle(c);
    CHECK(describe(c).approximate_segments > 0);
    take(c, 0, 500); /* exact again, but the index stays for a while */
    settle(c);
    CHECK_INT(COLLECTION_EXACT, describe(c).in_use);
    take(c, 500, 1500);
    settle(c);
    CHECK_INT(0, describe(c).approximate_segments);
    model_check_all(&boots, c);
    collection_release(c);
}

/* Fewer images than a segment has become one where an index is worth it and no more come. */
static void test_segments__take_what_has_grown_when_it_is_quiet(void **state)
{
    (void)state;
    const collection_options options = {.quiet_ms = 1};
    collection *c = make_boots(&options);
    put(c, 0, 1500, 1);
    settle(c);
    CHECK_INT(1500, describe(c).growing); /* searched exactly anyway */
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    while (describe(c).growing > 0) {
        (void)collection_tidy(c);
        kd_sleep_ms(1);
    }
    settle(c);
    CHECK_INT(1, describe(c).approximate_segments);
    put(c, 1500, 100, 1);
    for (int i = 0; i < 5; i++, kd_sleep_ms(2))
        CHECK(!collection_tidy(c));
    CHECK_INT(100, describe(c).growing);
    model_check_all(&boots, c);
    check_recall(c);
    collection_release(c);
}

/* As after so long without new images; all work that is due then is done. */
static void rest(collection *c)
{
    settle(c);
    c->grown_ms -= c->options.quiet_ms;
    settle(c);
}

/* Several indexes become one where it is worth it and no more come. */
static void test_segments__become_one_when_it_is_quiet(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 1500, .quiet_ms = 3600000};
    collection *c = make_boots(&options);
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    for (uint64_t from = 0; from < 4500; from += 1500) {
        put(c, from, 1500, 1);
        settle(c);
    }
    CHECK_INT(3, describe(c).segments);
    CHECK_INT(3, describe(c).approximate_segments);
    c->grown_ms -= options.quiet_ms;
    while (describe(c).segments > 1) {
        (void)collection_tidy(c);
        (void)collection_build(c);
        CHECK(describe(c).approximate_segments == describe(c).segments);
    }
    CHECK_INT(4500, describe(c).sealed);
    put(c, 4500, 1100, 1); /* less than a quarter of these: not worth an index of all */
    rest(c);
    CHECK_INT(0, describe(c).growing);
    rest(c);
    CHECK_INT(2, describe(c).approximate_segments);
    put(c, 5600, 1100, 1);
    rest(c);
    rest(c);
    CHECK_INT(1, describe(c).approximate_segments);
    model_check_all(&boots, c);
    check_recall(c);
    collection_release(c);
}

static void test_settings__last_and_are_checked(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    const collection_options options = {.seal_rows = 1200};
    collection *c = make_boots(&options);
    const collection_settings bad[] = {{COLLECTION_HNSW, KD_ANN_INT8, 1.5f, 0},
        {COLLECTION_HNSW, KD_ANN_INT8, 0.3f, 0}, {(collection_index)9, KD_ANN_INT8, 0.9f, 0},
        {COLLECTION_IVF, KD_ANN_INT8, 0.9f, COLLECTION_MAX_WINDOW_MS + 1}};
    for (size_t i = 0; i < 4; i++)
        CHECK_FAILS(KD_INVALID_ARGUMENT, collection_configure(c, &bad[i], &err), err);
    CHECK_HAS("60001 ms, allowed are 0 and 10 to 60000", err.message);
    put(c, 0, 1200, 1);
    set_index(c, COLLECTION_HNSW, KD_ANN_FLOAT32, 0.9f);
    settle(c);
    CHECK_INT(1, count_files(".ann"));
    set_index(c, COLLECTION_IVF, KD_ANN_FLOAT16, 0.99f);
    CHECK(describe(c).building);
    settle(c);
    CHECK(describe(c).recall >= 0.99f);
    collection_release(c);
    c = open_boots(&options);
    CHECK_INT(COLLECTION_IVF, describe(c).settings.index);
    CHECK_INT(KD_ANN_FLOAT16, describe(c).settings.storage);
    CHECK(describe(c).settings.target_recall == 0.99f);
    set_index(c, COLLECTION_EXACT, KD_ANN_INT8, 0.95f);
    CHECK_INT(COLLECTION_EXACT, describe(c).in_use);
    settle(c);
    set_index(c, COLLECTION_EXACT, KD_ANN_INT8, 0.95f);
    settle(c);
    CHECK_INT(0, describe(c).approximate_segments);
    model_check_all(&boots, c);
    collection_release(c);
}

/* A full disk may let no segment be written before. */
static void test_settings__indexes_go_before_what_takes_room(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 500};
    collection *c = make_boots(&options);
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.9f);
    put(c, 0, 500, 1);
    settle(c);
    put(c, 500, 500, 1);
    CHECK(collection_tidy(c)); /* frozen */
    set_index(c, COLLECTION_EXACT, KD_ANN_INT8, 0.9f);
    CHECK(collection_tidy(c));
    CHECK_INT(0, count_files(".ann"));
    CHECK_INT(1, count_files(".vec"));
    settle(c);
    CHECK_INT(2, count_files(".vec"));
    model_check_all(&boots, c);
    collection_release(c);
}

static kd_status widen(void *arg, collection_settings *settings, kd_error *err)
{
    (void)err;
    settings->durability_window_ms = *(const uint32_t *)arg;
    return KD_OK;
}

static void test_settings__change_in_parts(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    uint32_t window = 50;
    collection *c = make_boots(NULL);
    set_index(c, COLLECTION_IVF, KD_ANN_FLOAT16, 0.9f);
    CHECK_OK(collection_reconfigure(c, widen, &window, &err), err);
    CHECK_INT(50, describe(c).settings.durability_window_ms);
    CHECK_INT(COLLECTION_IVF, describe(c).settings.index);
    window = 5;
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_reconfigure(c, widen, &window, &err), err);
    CHECK_INT(50, describe(c).settings.durability_window_ms);
    collection_release(c);
}

/* As a commit does that waits for its disk. */
static void test_describe__does_not_wait_for_changes(void **state)
{
    (void)state;
    collection *c = make_boots(NULL);
    put(c, 0, 10, 1);
    pthread_mutex_lock(&c->changes);
    CHECK_INT(10, describe(c).count);
    CHECK(describe(c).disk_bytes > 0);
    check_image(c, 3, 1);
    pthread_mutex_unlock(&c->changes);
    collection_release(c);
}

static void test_live_recall__is_measured_on_live_queries(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    sampler *s = NULL;
    CHECK_OK(sampler_new(&s, 1, &err), err);
    const collection_options options = {.seal_rows = 1500, .sampler = s};
    collection *c = make_boots(&options);
    put(c, 0, 3000, 1);
    (void)recall(c, (collection_filter){0});
    sampler_drain(s);
    CHECK_INT(0, describe(c).live_queries); /* exact: there is nothing to know */
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    settle(c);
    const collection_condition price = {.name = "price", .min = 0, .max = 2000};
    while (describe(c).live_queries < 8) { /* most are dropped while it is busy or rests */
        (void)recall(c, (collection_filter){0});
        sampler_drain(s);
        (void)recall(c, (collection_filter){.conditions = &price, .n_conditions = 1});
        sampler_drain(s);
    }
    const collection_info info = describe(c);
    CHECK(info.live_recall >= 0.9f && info.live_recall <= 1);
    sampler_free(s);
    collection_release(c);
}

/* As when live recall is measured, part by part, and an image is removed between two. */
static void test_parts__a_hit_may_have_left_the_collection(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *const c = make_boots(NULL);
    put(c, 0, 5, 1);
    const parts_search how = {
        .engine = {.k = 3, .groups = items_class_of(c->items), .n_tags = items_places(c->items)},
        .items = c->items};
    kd_hit hits[3] = {{.id = 77777, .score = 2}};
    uint32_t count = 1;
    float query[DIM];
    CHECK(collection_vector(c, 1, query));
    CHECK_OK(parts_search_rows(&c->parts, NULL, 0, SIZE_MAX, query, &how, hits, &count, &err), err);
    CHECK(count > 0);
    CHECK_INT(1, hits[0].id);
    collection_release(c);
}

#define SEGMENTS_TEST(name) cmocka_unit_test_setup_teardown(name, enter, room_leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SEGMENTS_TEST(test_segments__equal_brute_force_after_changes_merges_and_restarts),
        SEGMENTS_TEST(test_segments__leave_sealed_vectors_out_of_memory),
        SEGMENTS_TEST(test_index_hnsw__keeps_its_recall),
        SEGMENTS_TEST(test_index_ivf__keeps_its_recall),
        SEGMENTS_TEST(test_merge__leaves_the_indexes_until_it_has_its_own),
        SEGMENTS_TEST(test_merge__that_is_cut_off_leaves_the_indexes),
        SEGMENTS_TEST(test_index_auto__is_approximate_from_a_size_on),
        SEGMENTS_TEST(test_segments__take_what_has_grown_when_it_is_quiet),
        SEGMENTS_TEST(test_segments__become_one_when_it_is_quiet),
        SEGMENTS_TEST(test_settings__last_and_are_checked),
        SEGMENTS_TEST(test_settings__indexes_go_before_what_takes_room),
        SEGMENTS_TEST(test_settings__change_in_parts),
        SEGMENTS_TEST(test_describe__does_not_wait_for_changes),
        SEGMENTS_TEST(test_live_recall__is_measured_on_live_queries),
        SEGMENTS_TEST(test_parts__a_hit_may_have_left_the_collection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
