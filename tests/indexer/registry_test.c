#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "services/indexer/registry_internal.h"
#include "tests/indexer/room.h"

static registry *reopened(registry *r)
{
    registry_close(r);
    return opened();
}

static void create_with(registry *r, const char *name, size_t n)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = create(r, name);
    CHECK_OK(put_images(c, 0, n, 1, &err), err);
    collection_release(c);
}

static void set_alias(registry *r, const char *alias_name, const char *name, const char *before)
{
    kd_error err = KD_ERROR_INIT;
    char previous[COLLECTION_NAME_SIZE];
    CHECK_OK(registry_set_alias(r, alias_name, name, previous, &err), err);
    CHECK_STR(before, previous);
}

static void test_registry__opens_what_it_created_and_lists_it_by_name(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    create_with(r, "shoes", 5);
    create_with(r, "bags", 3);
    create_with(r, "hats", 4);
    set_alias(r, "live", "hats", "");
    r = reopened(r);
    registry_entry *entries = NULL;
    size_t n = 0;
    CHECK_OK(registry_list(r, "", 100, &entries, &n, &err), err);
    CHECK_INT(3, n);
    CHECK_STR("bags", entries[0].info.name);
    CHECK_INT(3, entries[0].info.count);
    CHECK_STR("hats", entries[1].info.name);
    CHECK_INT(1, entries[1].n_aliases);
    CHECK_STR("live", entries[1].aliases[0]);
    CHECK_STR("shoes", entries[2].info.name);
    registry_entries_free(entries, n);
    CHECK_OK(registry_list(r, "bags", 1, &entries, &n, &err), err);
    CHECK_INT(1, n);
    CHECK_STR("hats", entries[0].info.name);
    registry_entries_free(entries, n);
    registry_close(r);
}

static void test_registry_create__refuses_taken_and_bad_names(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    collection *c = NULL;
    bool created = true;
    create_with(r, "shoes", 2);
    set_alias(r, "live", "shoes", "");
    CHECK_FAILS(KD_ALREADY_EXISTS,
        registry_create(r, "shoes", MODEL, DIM, NULL, false, &c, &created, &err), err);
    CHECK_OK(registry_create(r, "shoes", MODEL, DIM, NULL, true, &c, &created, &err), err);
    CHECK(!created);
    CHECK_INT(2, count_of(c));
    collection_release(c);
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        registry_create(r, "shoes", "ffff", DIM, NULL, true, &c, &created, &err), err);
    CHECK_HAS("collection 'shoes' holds vectors of model " MODEL ", not ffff", err.message);
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        registry_create(r, "shoes", MODEL, DIM + 1, NULL, true, &c, &created, &err), err);
    CHECK_FAILS(KD_ALREADY_EXISTS,
        registry_create(r, "live", MODEL, DIM, NULL, true, &c, &created, &err), err);
    CHECK_HAS("'live' is an alias of collection 'shoes'", err.message);
    static const char *const bad[] = {"", "../up", ".hidden", "a b", "a/b"};
    for (size_t i = 0; i < 5; i++)
        CHECK_FAILS(KD_INVALID_ARGUMENT,
            registry_create(r, bad[i], MODEL, DIM, NULL, false, &c, &created, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT,
        registry_create(r, "wide", MODEL, 4097, NULL, false, &c, &created, &err), err);
    CHECK_FAILS(KD_NOT_FOUND, registry_find(r, "wide", &c, &err), err);
    CHECK_HAS("there is no collection 'wide'", err.message);
    registry_close(r);
}

static void test_registry_alias__swaps_in_one_step_and_lasts(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    char previous[COLLECTION_NAME_SIZE];
    registry *r = opened();
    create_with(r, "spring", 5);
    create_with(r, "autumn", 7);
    set_alias(r, "live", "spring", "");
    CHECK_INT(5, count_by_name(r, "live"));
    set_alias(r, "live", "autumn", "spring");
    CHECK_INT(7, count_by_name(r, "live"));
    r = reopened(r);
    CHECK_INT(7, count_by_name(r, "live"));
    CHECK_FAILS(KD_ALREADY_EXISTS, registry_set_alias(r, "spring", "autumn", previous, &err), err);
    CHECK_FAILS(KD_NOT_FOUND, registry_set_alias(r, "live", "winter", previous, &err), err);
    CHECK_FAILS(KD_NOT_FOUND, registry_set_alias(r, "gone", "", previous, &err), err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, registry_set_alias(r, "a b", "spring", previous, &err), err);
    CHECK_FAILS(KD_FAILED_PRECONDITION, registry_delete(r, "autumn", &err), err);
    CHECK_HAS("alias 'live' leads to it", err.message);
    CHECK_FAILS(KD_INVALID_ARGUMENT, registry_delete(r, "live", &err), err);
    set_alias(r, "live", "", "autumn");
    CHECK_OK(registry_delete(r, "autumn", &err), err);
    collection *c = NULL;
    CHECK_FAILS(KD_NOT_FOUND, registry_find(r, "live", &c, &err), err);
    registry_close(r);
}

static void roll_back(registry *r, const char *alias_name, const char *to, const char *from)
{
    kd_error err = KD_ERROR_INIT;
    char name[COLLECTION_NAME_SIZE], previous[COLLECTION_NAME_SIZE];
    CHECK_OK(registry_roll_back_alias(r, alias_name, name, previous, &err), err);
    CHECK_STR(to, name);
    CHECK_STR(from, previous);
}

static void test_registry_alias__goes_back_to_where_it_led(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    char name[COLLECTION_NAME_SIZE], previous[COLLECTION_NAME_SIZE];
    registry *r = opened();
    create_with(r, "spring", 5);
    create_with(r, "autumn", 7);
    set_alias(r, "live", "spring", "");
    CHECK_FAILS(
        KD_FAILED_PRECONDITION, registry_roll_back_alias(r, "live", name, previous, &err), err);
    CHECK_HAS("alias 'live' has led to no other collection than 'spring'", err.message);
    CHECK_FAILS(KD_NOT_FOUND, registry_roll_back_alias(r, "dead", name, previous, &err), err);
    set_alias(r, "live", "autumn", "spring");
    set_alias(r, "live", "autumn", "autumn"); /* no change: spring is still the one before */
    r = reopened(r);
    registry_entry *entry = NULL;
    CHECK_OK(registry_describe(r, "spring", &entry, &err), err);
    CHECK_INT(0, entry->n_aliases);
    CHECK_INT(1, entry->n_previously);
    CHECK_STR("live", entry->previously[0]);
    registry_entries_free(entry, 1);
    roll_back(r, "live", "spring", "autumn");
    r = reopened(r);
    CHECK_INT(5, count_by_name(r, "live"));
    roll_back(r, "live", "autumn", "spring");
    CHECK_INT(7, count_by_name(r, "live"));
    CHECK_OK(registry_delete(r, "spring", &err), err);
    CHECK_FAILS(
        KD_FAILED_PRECONDITION, registry_roll_back_alias(r, "live", name, previous, &err), err);
    CHECK_HAS("led to collection 'spring' before, which is gone", err.message);
    CHECK_INT(7, count_by_name(r, "live"));
    registry_close(r);
}

static void test_registry_alias__a_file_without_rollbacks_is_read(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    static const char text[] = "{\"live\": \"spring\"}";
    registry *r = opened();
    create_with(r, "spring", 5);
    registry_close(r);
    CHECK_OK(
        kd_file_write(room_path("data/collections/.aliases.json"), text, strlen(text), &err), err);
    r = opened();
    CHECK_INT(5, count_by_name(r, "live"));
    registry_close(r);
}

/* Folders without a file in them are damaged collections, and count. */
static void test_registry_create__limits_their_number(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    bool created;
    registry_close(opened());
    for (unsigned i = 0; i + 1 < REGISTRY_MAX_COLLECTIONS; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "data/collections/c%u", i);
        CHECK_OK(kd_make_dirs(room_path(name), &err), err);
    }
    registry *r = opened();
    collection_release(create(r, "last"));
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED,
        registry_create(r, "more", MODEL, DIM, NULL, false, &c, &created, &err), err);
    CHECK_HAS("there are 1000 collections, no more fit", err.message);
    CHECK_OK(registry_delete(r, "c7", &err), err);
    collection_release(create(r, "more"));
    registry_close(r);
}

static void test_registry_delete__leaves_a_holder_a_collection_without_changes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    collection *held = create(r, "shoes");
    CHECK_OK(put_images(held, 0, 5, 1, &err), err);
    CHECK_OK(registry_delete(r, "shoes", &err), err);
    CHECK(!kd_is_dir(room_path("data/collections/shoes")));
    check_image(held, 4, 1);
    CHECK_FAILS(KD_NOT_FOUND, put_images(held, 5, 1, 1, &err), err);
    CHECK_HAS("deleted or replaced", err.message);
    CHECK_FAILS(KD_NOT_FOUND, registry_delete(r, "shoes", &err), err);
    create_with(r, "shoes", 2); /* the name is free again */
    collection_release(held);
    CHECK_INT(2, count_by_name(r, "shoes"));
    r = reopened(r);
    CHECK_INT(2, count_by_name(r, "shoes"));
    registry_close(r);
}

static void test_registry_restore__brings_back_a_snapshot(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    collection *c = create(r, "shoes"), *restored = NULL;
    uint64_t bytes = 0;
    const char *const file = room_path("shoes.snapshot");
    CHECK_OK(put_images(c, 0, 20, 1, &err), err);
    CHECK_OK(collection_snapshot(c, file, &bytes, &err), err);
    CHECK(bytes > 20 * DIM * 4);
    CHECK_OK(put_images(c, 0, 30, 2, &err), err);
    CHECK_OK(registry_restore(r, "shoes", file, &restored, &err), err);
    CHECK_INT(20, count_of(restored));
    check_image(restored, 7, 1);
    CHECK_OK(put_images(restored, 20, 1, 1, &err), err);
    CHECK_FAILS(KD_NOT_FOUND, put_images(c, 40, 1, 2, &err), err); /* it was replaced */
    collection_release(restored);
    collection_release(c);
    CHECK_OK(registry_restore(r, "copy", file, &restored, &err), err);
    CHECK_STR("copy", collection_name(restored));
    collection_release(restored);
    r = reopened(r);
    CHECK_INT(21, count_by_name(r, "shoes"));
    CHECK_INT(20, count_by_name(r, "copy"));
    registry_close(r);
}

static void test_registry_restore__refuses_what_is_no_snapshot(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    collection *c = NULL;
    create_with(r, "shoes", 5);
    set_alias(r, "live", "shoes", "");
    CHECK_FAILS(KD_NOT_FOUND, registry_restore(r, "shoes", room_path("none"), &c, &err), err);
    CHECK_OK(kd_file_write(room_path("text"), "text", 4, &err), err);
    CHECK_FAILS(KD_DATA_LOSS, registry_restore(r, "shoes", room_path("text"), &c, &err), err);
    CHECK_HAS("text cannot be restored", err.message);
    CHECK_FAILS(KD_ALREADY_EXISTS, registry_restore(r, "live", room_path("text"), &c, &err), err);
    CHECK_INT(5, count_by_name(r, "shoes"));
    r = reopened(r);
    CHECK_INT(5, count_by_name(r, "shoes"));
    registry_close(r);
}

static void test_registry__names_a_damaged_collection_and_serves_the_others(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    collection *c = NULL;
    create_with(r, "bad", 5);
    create_with(r, "good", 6);
    CHECK_OK(registry_find(r, "bad", &c, &err), err);
    CHECK_OK(collection_snapshot(c, room_path("bad.snapshot"), NULL, &err), err);
    collection_release(c);
    registry_close(r);
    CHECK_INT(0, truncate(room_path("data/collections/bad/collection.db"), 20000));
    CHECK_INT(0, mkdir(room_path("data/collections/empty"), 0755));
    r = opened();
    CHECK_INT(6, count_by_name(r, "good"));
    CHECK_FAILS(KD_DATA_LOSS, registry_find(r, "bad", &c, &err), err);
    CHECK_HAS("collection 'bad' is damaged", err.message);
    registry_entry *entry = NULL;
    CHECK_OK(registry_describe(r, "bad", &entry, &err), err);
    CHECK_INT(KD_DATA_LOSS, entry->damage.status);
    CHECK_STR("bad", entry->info.name);
    registry_entries_free(entry, 1);
    CHECK_OK(registry_delete(r, "empty", &err), err);
    CHECK_OK(registry_restore(r, "bad", room_path("bad.snapshot"), &c, &err), err);
    collection_release(c);
    CHECK_INT(5, count_by_name(r, "bad"));
    r = reopened(r);
    CHECK_INT(5, count_by_name(r, "bad"));
    registry_close(r);
}

static void test_registry_open__clears_up_what_a_crash_left(void **state)
{
    (void)state;
    registry *r = opened();
    create_with(r, "kept", 3);
    create_with(r, "lost", 4);
    registry_close(r);
    /* a restore that was cut off between its two renames, a create and a delete in the middle */
    CHECK_INT(
        0, rename(room_path("data/collections/lost"), room_path("data/collections/.lost.old")));
    CHECK_INT(0, mkdir(room_path("data/collections/.lost.new"), 0755));
    CHECK_INT(0, mkdir(room_path("data/collections/.kept.gone"), 0755));
    CHECK_INT(0, mkdir(room_path("data/collections/.kept.old"), 0755));
    r = opened();
    CHECK_INT(4, count_by_name(r, "lost"));
    CHECK_INT(3, count_by_name(r, "kept"));
    CHECK(!kd_is_dir(room_path("data/collections/.lost.new")));
    CHECK(!kd_is_dir(room_path("data/collections/.kept.gone")));
    CHECK(!kd_is_dir(room_path("data/collections/.kept.old")));
    registry_close(r);
}

/* A folder that something is mounted on can be neither removed nor renamed. */
static int leave_mounted(void **state)
{
    (void)umount(room_path("data/collections/.lost.old"));
    (void)umount(room_path("data/collections/.kept.gone"));
    return room_leave(state);
}

static void test_registry_open__goes_on_past_what_it_cannot_clear_up(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    const char *const old = room_path("data/collections/.lost.old");
    const char *const gone = room_path("data/collections/.kept.gone");
    registry *r = opened();
    create_with(r, "kept", 3);
    create_with(r, "lost", 4);
    registry_close(r);
    CHECK_INT(0, rename(room_path("data/collections/lost"), old));
    CHECK_INT(0, mkdir(gone, 0755));
    if (mount("tmpfs", gone, "tmpfs", 0, "size=16k") != 0) {
        print_message("mounting needs root: %s\n", strerror(errno));
        skip();
    }
    CHECK_INT(0, mount("tmpfs", old, "tmpfs", 0, "size=16k"));
    r = opened();
    CHECK_INT(3, count_by_name(r, "kept"));
    CHECK(kd_is_dir(room_path("data/collections/.kept.gone")));
    registry_entry *entries = NULL;
    size_t n = 0;
    CHECK_OK(registry_list(r, "kept", 100, &entries, &n, &err), err);
    CHECK_INT(1, n);
    CHECK_STR("lost", entries[0].info.name);
    CHECK_HAS("cannot rename", entries[0].damage.message);
    registry_entries_free(entries, n);
    CHECK_INT(0, umount(room_path("data/collections/.lost.old")));
    CHECK_INT(4, count_by_name(r, "lost")); /* as soon as it can be */
    registry_close(r);
}

static void test_registry_find__waits_for_no_change(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    registry *r = opened();
    create_with(r, "shoes", 3);
    place *const p = registry_place(r, "shoes");
    collection_release(p->c);
    p->c = NULL;
    (void)kd_error_set(&p->damage, KD_RESOURCE_EXHAUSTED, "no memory then");
    pthread_mutex_lock(&r->changes); /* as a restore does that reads its file */
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, registry_find(r, "shoes", &c, &err), err);
    CHECK_STR("no memory then", err.message);
    pthread_mutex_unlock(&r->changes);
    CHECK_INT(3, count_by_name(r, "shoes"));
    registry_close(r);
}

static void test_registry_open__puts_damaged_aliases_aside(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    create_with(r, "shoes", 3);
    registry_close(r);
    CHECK_OK(
        kd_file_write(room_path("data/collections/.aliases.json"), "{\"a\": 1}", 8, &err), err);
    r = opened();
    CHECK_INT(3, count_by_name(r, "shoes"));
    CHECK(kd_is_file(room_path("data/collections/.aliases.json.damaged")));
    registry_close(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_registry__opens_what_it_created_and_lists_it_by_name),
        ROOM_TEST(test_registry_create__refuses_taken_and_bad_names),
        ROOM_TEST(test_registry_alias__swaps_in_one_step_and_lasts),
        ROOM_TEST(test_registry_alias__goes_back_to_where_it_led),
        ROOM_TEST(test_registry_alias__a_file_without_rollbacks_is_read),
        ROOM_TEST(test_registry_create__limits_their_number),
        ROOM_TEST(test_registry_delete__leaves_a_holder_a_collection_without_changes),
        ROOM_TEST(test_registry_restore__brings_back_a_snapshot),
        ROOM_TEST(test_registry_restore__refuses_what_is_no_snapshot),
        ROOM_TEST(test_registry__names_a_damaged_collection_and_serves_the_others),
        ROOM_TEST(test_registry_open__clears_up_what_a_crash_left),
        cmocka_unit_test_setup_teardown(
            test_registry_open__goes_on_past_what_it_cannot_clear_up, room_enter, leave_mounted),
        ROOM_TEST(test_registry_find__waits_for_no_change),
        ROOM_TEST(test_registry_open__puts_damaged_aliases_aside),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
