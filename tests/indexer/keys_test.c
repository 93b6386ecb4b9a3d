/* Images that are named by keys. */
#include <sqlite3.h>

#include "tests/indexer/room.h"

static collection *made(void)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("hats"), "hats", MODEL, DIM, NULL, &err), err);
    return c;
}

static collection *reopened(collection *c)
{
    kd_error err = KD_ERROR_INIT;
    collection_release(c);
    CHECK_OK(collection_open(&c, room_path("hats"), "hats", NULL, &err), err);
    return c;
}

/* Fields of image `like` in that version, under a key. */
static kd_status put(collection *c, const char *key, uint64_t like, unsigned version, kd_error *err)
{
    image one;
    image_make(&one, like, version);
    one.row.item.key = key;
    return collection_upsert(c, MODEL, &one.row, 1, NULL, err);
}

static uint64_t id_of(collection *c, const char *key)
{
    kd_error err = KD_ERROR_INIT;
    uint64_t id = 0;
    CHECK_OK(collection_find_keys(c, &key, 1, &id, &err), err);
    return id;
}

static void check_keyed(collection *c, const char *key, uint64_t like, unsigned version)
{
    kd_error err = KD_ERROR_INIT;
    image expected;
    collection_found found;
    float values[DIM];
    image_make(&expected, like, version);
    const uint64_t id = id_of(c, key);
    CHECK_OK(collection_get(c, id, &found, values, &err), err);
    CHECK_INT(id, found.hits[0].item.image_id);
    CHECK_STR(key, found.hits[0].item.key);
    CHECK_STR(expected.uri, found.hits[0].item.uri);
    CHECK_STR(expected.attributes, found.hits[0].item.attributes);
    assert_memory_equal(expected.values, values, sizeof values);
    collection_found_free(&found);
}

static void test_keys__name_images_for_good(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    CHECK_OK(put_images(c, 0, 5, 1, &err), err);
    CHECK_OK(put(c, "chair-7", 7, 1, &err), err);
    CHECK_OK(put(c, "Stühle/8 🪑", 8, 1, &err), err);
    const uint64_t chair = id_of(c, "chair-7");
    CHECK_OK(put(c, "chair-7", 7, 2, &err), err); /* replaces it */
    CHECK_INT(chair, id_of(c, "chair-7"));
    CHECK_INT(7, count_of(c));
    for (int round = 0; round < 2; round++) {
        check_keyed(c, "chair-7", 7, 2);
        check_keyed(c, "Stühle/8 🪑", 8, 1);
        CHECK_INT(chair, id_of(c, "chair-7"));
        check_image(c, 3, 1);
        c = reopened(c);
    }
    collection_found found;
    image query;
    image_make(&query, 7, 2);
    const collection_search how = {
        .model_id = MODEL, .queries = &query.row, .n_queries = 1, .k = 7};
    CHECK_OK(collection_search_run(c, &how, &found, &err), err);
    CHECK_INT(7, found.counts[0]);
    CHECK_STR("chair-7", found.hits[0].item.key);
    size_t keyed = 0;
    for (size_t i = 0; i < 7; i++)
        keyed += found.hits[i].item.key != NULL;
    CHECK_INT(2, keyed);
    collection_found_free(&found);
    CHECK_OK(collection_list(c, 5, 10, &found, &err), err);
    CHECK_INT(2, found.counts[0]);
    CHECK_STR("chair-7", found.hits[0].item.key); /* the older first */
    collection_found_free(&found);
    collection_release(c);
}

static void test_keys__a_removed_one_is_another_image_when_it_comes_again(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    size_t removed;
    CHECK_OK(put(c, "a", 1, 1, &err), err);
    const uint64_t before = id_of(c, "a");
    CHECK_OK(collection_remove(c, &before, 1, &removed, &err), err);
    CHECK_INT(1, removed);
    const char *const keys[] = {"b", "a"};
    uint64_t ids[2];
    CHECK_FAILS(KD_NOT_FOUND, collection_find_keys(c, keys, 2, ids, &err), err);
    CHECK_HAS("collection 'hats' has no image 'b'", err.message);
    CHECK(ids[0] == COLLECTION_NO_ID && ids[1] == COLLECTION_NO_ID);
    CHECK_OK(put(c, "b", 2, 1, &err), err);
    CHECK_OK(put(c, "a", 3, 1, &err), err);
    CHECK(id_of(c, "a") != before && id_of(c, "b") != before);
    check_keyed(c, "a", 3, 1);
    check_keyed(c, "b", 2, 1);
    collection_release(c);
}

static void test_keys__of_one_change_may_repeat(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    image images[3];
    collection_row rows[3];
    for (size_t i = 0; i < 3; i++) {
        image_make(&images[i], i, 1);
        rows[i] = images[i].row;
        rows[i].item.key = i == 1 ? "other" : "twice";
    }
    uint64_t count = 0;
    CHECK_OK(collection_upsert(c, MODEL, rows, 3, &count, &err), err);
    CHECK_INT(2, count);
    check_keyed(c, "twice", 2, 1);
    check_keyed(c, "other", 1, 1);
    collection_release(reopened(c));
}

static void test_keys__numbers_and_keys_do_not_meet(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    CHECK_OK(put(c, "a", 1, 1, &err), err);
    const uint64_t id = id_of(c, "a");
    CHECK_FAILS(KD_FAILED_PRECONDITION, put_images(c, id, 1, 1, &err), err);
    CHECK_HAS("is the number of image 'a', which goes by that key", err.message);
    CHECK_OK(put_images(c, id + 1, 2, 1, &err), err); /* numbers of somebody's own… */
    CHECK_OK(put(c, "b", 2, 1, &err), err);           /* …which a key passes over */
    CHECK_INT(id + 3, id_of(c, "b"));
    check_image(c, id + 1, 1);
    CHECK_INT(4, count_of(c));
    collection_release(c);
}

static void test_keys__and_numbers_do_not_meet_within_a_change(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    CHECK_OK(put(c, "a", 1, 1, &err), err);
    uint64_t last = id_of(c, "a");
    for (size_t keyed = 0; keyed < 2; keyed++) { /* the new key before the number, and behind it */
        image images[2];
        collection_row rows[2];
        for (size_t i = 0; i < 2; i++) {
            image_make(&images[i], last + 1, 1);
            rows[i] = images[i].row;
        }
        const char *const name = keyed == 0 ? "b" : "c";
        rows[keyed].item.key = name;
        CHECK_OK(collection_upsert(c, MODEL, rows, 2, NULL, &err), err);
        check_image(c, last + 1, 1);
        CHECK_INT(last + 2, id_of(c, name));
        last += 2;
    }
    CHECK_INT(5, count_of(c));
    c = reopened(c);
    CHECK_INT(5, count_of(c));
    collection_release(c);
}

static void test_keys__bad_ones_are_refused(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    char key[COLLECTION_MAX_KEY + 2];
    memset(key, 'k', sizeof key);
    key[COLLECTION_MAX_KEY + 1] = '\0';
    CHECK_FAILS(KD_INVALID_ARGUMENT, put(c, key, 1, 1, &err), err);
    CHECK_HAS("has 257 bytes, allowed are 256", err.message);
    key[COLLECTION_MAX_KEY] = '\0';
    CHECK_OK(put(c, key, 1, 1, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, put(c, "", 1, 1, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, put(c, "\xc3(", 1, 1, &err), err);
    CHECK_HAS("not valid UTF-8", err.message);
    CHECK_INT(1, count_of(c));
    check_keyed(c, key, 1, 1);
    collection_release(c);
}

static void execute(const char *sql)
{
    sqlite3 *sqlite = NULL;
    CHECK_INT(SQLITE_OK, sqlite3_open(room_path("hats/collection.db"), &sqlite));
    CHECK_INT(SQLITE_OK, sqlite3_exec(sqlite, sql, NULL, NULL, NULL));
    sqlite3_close(sqlite);
}

static void test_keys__a_changed_one_is_damage(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = made();
    CHECK_OK(put(c, "a", 1, 1, &err), err);
    CHECK_OK(put_images(c, 4, 1, 1, &err), err);
    collection_release(c);
    static const char *const changes[] = {"UPDATE items SET key = 'b' WHERE key = 'a'",
        "UPDATE items SET key = NULL WHERE key = 'b'",
        "UPDATE items SET key = 'c' WHERE image_id = 4"};
    for (size_t i = 0; i < 3; i++) {
        execute(changes[i]);
        CHECK_FAILS(KD_DATA_LOSS, collection_open(&c, room_path("hats"), "hats", NULL, &err), err);
        CHECK_HAS("fails its checksum", err.message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_keys__name_images_for_good),
        ROOM_TEST(test_keys__a_removed_one_is_another_image_when_it_comes_again),
        ROOM_TEST(test_keys__of_one_change_may_repeat),
        ROOM_TEST(test_keys__numbers_and_keys_do_not_meet),
        ROOM_TEST(test_keys__and_numbers_do_not_meet_within_a_change),
        ROOM_TEST(test_keys__bad_ones_are_refused),
        ROOM_TEST(test_keys__a_changed_one_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
