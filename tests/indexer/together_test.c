/* Searches, changes and work on segments side by side. */
#include <pthread.h>
#include <stdatomic.h>

#include "lib/base/clock.h"
#include "services/indexer/keeper.h"
#include "services/indexer/sampler.h"
#include "tests/indexer/model.h"

enum { STEADY = 1500, ROUNDS = 40, BATCH = 50 };

static collection *shoes;
static atomic_bool over;

/* Images of two sets: some stay as they are, and must be found by every search, as must what this
 * thread wrote itself. */
static void *search(void *arg)
{
    const uint64_t seed = (uint64_t)(uintptr_t)arg;
    for (uint64_t i = seed; !atomic_load(&over); i += 7) {
        kd_error err = KD_ERROR_INIT;
        collection_found found;
        image query;
        image_make(&query, i % STEADY, 1);
        const collection_search how = {
            .model_id = MODEL, .queries = &query.row, .n_queries = 1, .k = 10, .exact = i % 2 == 0};
        CHECK_OK(collection_search_run(shoes, &how, &found, &err), err);
        CHECK_INT(10, found.counts[0]);
        for (size_t h = 0; h < 10; h++) {
            const collection_hit *const hit = &found.hits[h];
            CHECK(h == 0 || found.hits[h - 1].score >= hit->score);
            for (size_t other = 0; other < h; other++)
                CHECK(hit->item.image_id != found.hits[other].item.image_id);
        }
        if (how.exact)
            CHECK_INT(i % STEADY, found.hits[0].item.image_id);
        collection_found_free(&found);
    }
    return NULL;
}

static bool is_first(uint64_t id, unsigned version)
{
    kd_error err = KD_ERROR_INIT;
    collection_found found;
    image query;
    image_make(&query, id, version);
    const collection_search how = {
        .model_id = MODEL, .queries = &query.row, .n_queries = 1, .k = 1, .exact = true};
    CHECK_OK(collection_search_run(shoes, &how, &found, &err), err);
    const bool first = found.counts[0] == 1 && found.hits[0].item.image_id == id;
    collection_found_free(&found);
    return first;
}

static void test_together__each_search_is_right_and_sees_what_was_written(void **state)
{
    (void)state;
    static model m;
    kd_error err = KD_ERROR_INIT;
    registry *r = NULL;
    keeper *k = NULL;
    sampler *s = NULL;
    bool created;
    CHECK_OK(sampler_new(&s, 0.3, &err), err);
    const collection_options options = {.seal_rows = 300, .sampler = s};
    const collection_settings settings = {
        COLLECTION_HNSW, KD_ANN_INT8, 0.9f, .durability_window_ms = 20};
    CHECK_OK(registry_open(&r, room_path("data/collections"), &options, &err), err);
    CHECK_OK(
        registry_create(r, "shoes", MODEL, DIM, &settings, false, &shoes, &created, &err), err);
    CHECK_OK(keeper_start(&k, r, &err), err);
    CHECK_OK(put_images(shoes, 0, STEADY, 1, &err), err);
    model_put(&m, 0, STEADY, 1);
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++)
        CHECK_INT(0, pthread_create(&threads[i], NULL, search, (void *)i));
    for (unsigned round = 2; round < ROUNDS + 2; round++) {
        const uint64_t from = STEADY + round * 37 % 700;
        CHECK_OK(put_images(shoes, from, BATCH, round, &err), err);
        model_put(&m, from, BATCH, round);
        CHECK(is_first(from + 3, round));
        if (round % 4 == 0) {
            remove_images(shoes, from, BATCH / 2);
            model_put(&m, from, BATCH / 2, 0);
            CHECK(!is_first(from + 3, round));
        }
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < 2; i++)
        CHECK_INT(0, pthread_join(threads[i], NULL));
    collection_info info = {.building = true};
    const int64_t end = kd_mono_ms() + 40000;
    for (; info.building && kd_mono_ms() < end; kd_sleep_ms(5))
        collection_describe(shoes, &info);
    CHECK(!info.building);
    CHECK_STR("", info.problem);
    CHECK(info.segments > 0 && info.approximate_segments == info.segments);
    model_check_all(&m, shoes);
    keeper_stop(k);
    sampler_free(s);
    collection_release(shoes);
    registry_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_together__each_search_is_right_and_sees_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
