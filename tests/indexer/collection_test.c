#include <pthread.h>

#include "tests/indexer/room.h"

static collection *made(void)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("shoes"), "shoes", MODEL, DIM, NULL, &err), err);
    return c;
}

static collection *reopened(collection *c)
{
    kd_error err = KD_ERROR_INIT;
    collection_release(c);
    CHECK_OK(collection_open(&c, room_path("shoes"), "shoes", NULL, &err), err);
    return c;
}

static void test_collection__is_the_same_after_closing_and_opening(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    CHECK_OK(put_images(c, 0, 700, 1, &err), err); /* more than one portion of loading */
    CHECK_OK(put_images(c, 100, 50, 2, &err), err);
    const uint64_t ids[] = {5, 699, 5, 100000};
    size_t removed = 0;
    CHECK_OK(collection_remove(c, ids, 4, &removed, &err), err);
    CHECK_INT(2, removed);
    collection_info before, after;
    collection_describe(c, &before);
    c = reopened(c);
    collection_describe(c, &after);
    CHECK_INT(698, after.count);
    CHECK_INT(10, after.classes);
    CHECK_INT(3, after.super_classes);
    CHECK_INT(before.created_ms, after.created_ms);
    CHECK_STR(MODEL, after.model_id);
    CHECK_INT(DIM, after.dim);
    CHECK(after.disk_bytes > 698 * DIM * 4 && after.memory_bytes > 698 * DIM * 4);
    for (uint64_t id = 0; id < 699; id++)
        if (id != 5)
            check_image(c, id, id >= 100 && id < 150 ? 2 : 1);
    collection_found found;
    CHECK_FAILS(KD_NOT_FOUND, collection_get(c, 5, &found, NULL, &err), err);
    CHECK_HAS("collection 'shoes' has no image 5", err.message);
    collection_release(c);
}

static void test_collection_upsert__twice_leaves_each_image_once(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    for (unsigned round = 0; round < 3; round++)
        CHECK_OK(put_images(c, 0, 40, 1, &err), err);
    CHECK_INT(40, count_of(c));
    image images[2];
    image_make(&images[0], 7, 3);
    image_make(&images[1], 7, 4);
    const collection_row rows[] = {images[0].row, images[1].row}; /* the last counts */
    uint64_t count = 0;
    CHECK_OK(collection_upsert(c, MODEL, rows, 2, &count, &err), err);
    CHECK_INT(40, count);
    check_image(c, 7, 4);
    c = reopened(c);
    CHECK_INT(40, count_of(c));
    check_image(c, 7, 4);
    collection_release(c);
}

static void test_collection_upsert__refuses_a_bad_row_and_keeps_nothing(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    char long_uri[COLLECTION_MAX_URI + 2];
    memset(long_uri, 'x', sizeof long_uri - 1);
    long_uri[sizeof long_uri - 1] = '\0';
    image images[2];
    collection_row rows[2];
    for (size_t fault = 0; fault < 7; fault++) {
        image_make(&images[0], 1, 1);
        image_make(&images[1], 2, 1);
        rows[0] = images[0].row;
        rows[1] = images[1].row;
        const char *model = MODEL;
        kd_status expected = KD_INVALID_ARGUMENT;
        const char *sentence = "image 2";
        switch (fault) {
        case 0:
            images[1].values[3] = NAN;
            break;
        case 1:
            rows[1].n_values = DIM - 1;
            break;
        case 2:
            rows[1].item.uri = long_uri;
            break;
        case 3:
            rows[1].item.class_name = "\xff\xfe";
            break;
        case 4:
            rows[1].item.image_id = UINT64_MAX;
            sentence = "image id 18446744073709551615";
            break;
        case 5:
            model = "0123";
            expected = KD_FAILED_PRECONDITION;
            sentence = "collection 'shoes' holds vectors of model " MODEL ", not 0123";
            break;
        default:
            memset(images[1].values, 0, sizeof images[1].values);
            break;
        }
        CHECK_FAILS(expected, collection_upsert(c, model, rows, 2, NULL, &err), err);
        CHECK_HAS(sentence, err.message);
        CHECK_INT(0, count_of(c));
    }
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_upsert(c, MODEL, rows, 0, NULL, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        collection_upsert(c, MODEL, rows, COLLECTION_MAX_BATCH + 1, NULL, &err), err);
    c = reopened(c);
    CHECK_INT(0, count_of(c));
    collection_release(c);
}

static void search(
    collection *c, uint64_t like, const collection_search *how, collection_found *found)
{
    kd_error err = KD_ERROR_INIT;
    image query;
    image_make(&query, like, 1);
    collection_search all = *how;
    all.model_id = MODEL;
    all.queries = &query.row;
    all.n_queries = 1;
    CHECK_OK(collection_search_run(c, &all, found, &err), err);
}

static void test_collection_search__filters_and_gives_attributes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    collection_found found;
    CHECK_OK(put_images(c, 0, 300, 1, &err), err);

    search(c, 31, &(collection_search){.k = 5}, &found);
    CHECK_INT(5, found.counts[0]);
    CHECK_INT(31, found.hits[0].item.image_id);
    CHECK_NEAR(1.0, found.hits[0].score, 1e-5);
    CHECK_STR("/photographs/1/31.jpg", found.hits[0].item.uri);
    CHECK_STR("product 1", found.hits[0].item.class_name);
    collection_found_free(&found);

    static const char *const kinds[][2] = {{"kind 2", "0"}, {"2", "kind 0"}};
    for (size_t i = 0; i < 2; i++) {
        search(c, 31,
            &(collection_search){
                .k = 300, .filter = {.super_classes = kinds[i], .n_super_classes = 2}},
            &found);
        CHECK_INT(200, found.counts[0]);
        for (size_t h = 0; h < found.counts[0]; h++)
            CHECK(found.hits[h].item.super_class_id != 1);
        collection_found_free(&found);
    }
    const uint64_t exclude[] = {31, 4000};
    search(c, 31, &(collection_search){.k = 300, .exclude = exclude, .n_exclude = 2}, &found);
    CHECK_INT(299, found.counts[0]);
    for (size_t h = 0; h < found.counts[0]; h++)
        CHECK(found.hits[h].item.image_id != 31);
    collection_found_free(&found);
    collection_release(c);
}

static void test_collection_search__runs_many_queries_on_a_pool(void **state)
{
    (void)state;
    enum { N = 64 };
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    kd_pool *pool = NULL;
    CHECK_OK(put_images(c, 0, 200, 1, &err), err);
    CHECK_OK(kd_pool_new(&pool, "search", 3, 8, &err), err);
    static image images[N];
    collection_row queries[N];
    for (size_t i = 0; i < N; i++) {
        image_make(&images[i], i * 3, 1);
        queries[i] = images[i].row;
    }
    collection_found found;
    CHECK_OK(collection_search_run(c,
                 &(collection_search){
                     .model_id = MODEL, .queries = queries, .n_queries = N, .k = 3, .pool = pool},
                 &found, &err),
        err);
    CHECK_INT(N, found.n_rows);
    for (size_t i = 0; i < N; i++) {
        CHECK_INT(3, found.counts[i]);
        CHECK_INT(i * 3, found.hits[i * found.width].item.image_id);
    }
    collection_found_free(&found);
    kd_pool_free(pool);
    collection_release(c);
}

static void test_collection_search__refuses_bad_questions(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    collection_found found;
    image query;
    image_make(&query, 1, 1);
    const char *const nowhere = "hat";
    const collection_search good = {
        .model_id = MODEL, .queries = &query.row, .n_queries = 1, .k = 1};
    collection_search bad = good;
    bad.k = 0;
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_search_run(c, &bad, &found, &err), err);
    bad.k = KD_VECTOR_MAX_K + 1;
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_search_run(c, &bad, &found, &err), err);
    bad = good;
    bad.n_queries = 0;
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_search_run(c, &bad, &found, &err), err);
    bad = good;
    bad.model_id = "other";
    CHECK_FAILS(KD_FAILED_PRECONDITION, collection_search_run(c, &bad, &found, &err), err);
    bad = good;
    bad.filter.super_classes = &nowhere;
    bad.filter.n_super_classes = 1;
    CHECK_FAILS(KD_NOT_FOUND, collection_search_run(c, &bad, &found, &err), err);
    CHECK_HAS("collection 'shoes' has no super-class 'hat'", err.message);
    query.row.n_values = 3;
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_search_run(c, &good, &found, &err), err);
    CHECK_HAS("query 1 has 3 values", err.message);
    query.row.n_values = DIM;
    query.values[0] = NAN;
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_search_run(c, &good, &found, &err), err);
    assert_null(found.hits);
    collection_release(c);
}

static void test_collection_list__pages_through_all_ids_in_order(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    CHECK_OK(put_images(c, 500, 25, 1, &err), err);
    CHECK_OK(put_images(c, 0, 25, 1, &err), err);
    uint64_t from = 0, seen = 0;
    collection_found found;
    do {
        CHECK_OK(collection_list(c, from, 7, &found, &err), err);
        for (size_t i = 0; i < found.counts[0]; i++, seen++) {
            const collection_item *const item = &found.hits[i].item;
            CHECK_INT(seen < 25 ? seen : 475 + seen, item->image_id);
            CHECK_HAS("/photographs/", item->uri);
            from = item->image_id + 1;
        }
        const bool last = found.counts[0] < 7;
        collection_found_free(&found);
        if (last)
            break;
    } while (seen < 1000);
    CHECK_INT(50, seen);
    CHECK_OK(collection_list(c, UINT64_MAX, 7, &found, &err), err);
    CHECK_INT(0, found.counts[0]);
    collection_found_free(&found);
    CHECK_FAILS(KD_INVALID_ARGUMENT, collection_list(c, 0, 0, &found, &err), err);
    collection_release(c);
}

/* Searches go on while another thread changes what they search. */
static void *keep_searching(void *arg)
{
    collection *c = arg;
    kd_error err = KD_ERROR_INIT;
    image query;
    image_make(&query, 3, 1);
    size_t wrong = 0;
    for (size_t i = 0; i < 300; i++) {
        collection_found found;
        const collection_search how = {
            .model_id = MODEL, .queries = &query.row, .n_queries = 1, .k = 20};
        if (collection_search_run(c, &how, &found, &err) != KD_OK)
            return (void *)1;
        wrong += found.counts[0] != 20 || found.hits[0].item.image_id != 3;
        collection_found_free(&found);
    }
    return wrong ? (void *)1 : NULL;
}

static void test_collection_search__runs_beside_changes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    CHECK_OK(put_images(c, 0, 100, 1, &err), err);
    pthread_t threads[2];
    for (size_t i = 0; i < 2; i++)
        CHECK_INT(0, pthread_create(&threads[i], NULL, keep_searching, c));
    uint64_t ids[50];
    for (uint64_t i = 0; i < 50; i++)
        ids[i] = 100 + i;
    for (unsigned round = 0; round < 10; round++) {
        size_t removed = 0;
        CHECK_OK(put_images(c, 100, 50, round, &err), err);
        CHECK_OK(collection_remove(c, ids, 50, &removed, &err), err);
        CHECK_INT(50, removed);
    }
    for (size_t i = 0; i < 2; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        assert_null(wrong);
    }
    collection_release(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_collection__is_the_same_after_closing_and_opening),
        ROOM_TEST(test_collection_upsert__twice_leaves_each_image_once),
        ROOM_TEST(test_collection_upsert__refuses_a_bad_row_and_keeps_nothing),
        ROOM_TEST(test_collection_search__filters_and_gives_attributes),
        ROOM_TEST(test_collection_search__runs_many_queries_on_a_pool),
        ROOM_TEST(test_collection_search__refuses_bad_questions),
        ROOM_TEST(test_collection_list__pages_through_all_ids_in_order),
        ROOM_TEST(test_collection_search__runs_beside_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
