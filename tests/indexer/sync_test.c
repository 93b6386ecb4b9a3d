/* A disk that can't say that a folder's change is on it: the change is not made, in memory or on
 * disk. The linker sends our own calls of fsync here (--wrap); SQLite keeps the real one. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "lib/base/clock.h"
#include "tests/indexer/model.h"

int __real_fsync(int fd);
int __wrap_fsync(int fd);

static bool g_folder_fails; /* the folder of the collections can't be synced */
static bool g_log_fails;    /* nor SQLite's log, when the collection is a grouped one */
static size_t g_log_syncs;  /* that were asked for */

static bool is_at(int fd, const char *path)
{
    struct stat asked, there;
    return fstat(fd, &asked) == 0 && stat(room_path(path), &there) == 0 &&
           asked.st_ino == there.st_ino && asked.st_dev == there.st_dev;
}

int __wrap_fsync(int fd)
{
    const bool log = is_at(fd, "boots/collection.db-wal");
    g_log_syncs += log;
    if ((g_log_fails && log) || (g_folder_fails && is_at(fd, "data/collections"))) {
        errno = EIO;
        return -1;
    }
    return __real_fsync(fd);
}

static size_t entries_on_disk(void)
{
    size_t n = 0;
    DIR *const dir = opendir(room_path("data/collections"));
    CHECK(dir != NULL);
    for (const struct dirent *entry; dir && (entry = readdir(dir)) != NULL;)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        (void)closedir(dir);
    return n;
}

static void test_sync__a_create_that_fails_leaves_no_collection(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    bool created = true;
    registry *r = opened();
    g_folder_fails = true;
    CHECK_FAILS(
        KD_INTERNAL, registry_create(r, "shoes", MODEL, DIM, NULL, true, &c, &created, &err), err);
    g_folder_fails = false;
    CHECK_HAS("cannot sync", err.message);
    CHECK(!created);
    CHECK_FAILS(KD_NOT_FOUND, registry_find(r, "shoes", &c, &err), err);
    CHECK_INT(0, entries_on_disk());
    registry_close(r);
    r = opened();
    CHECK_FAILS(KD_NOT_FOUND, registry_find(r, "shoes", &c, &err), err);
    collection_release(create(r, "shoes")); /* and the name is free */
    CHECK_INT(0, count_by_name(r, "shoes"));
    registry_close(r);
}

static void test_sync__a_restore_that_fails_leaves_the_collection_that_was(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    collection *c = create(r, "shoes"), *restored = NULL;
    CHECK_OK(put_images(c, 0, 5, 1, &err), err);
    CHECK_OK(collection_snapshot(c, room_path("snapshot"), NULL, &err), err);
    CHECK_OK(put_images(c, 5, 2, 1, &err), err);
    g_folder_fails = true;
    CHECK_FAILS(
        KD_INTERNAL, registry_restore(r, "shoes", room_path("snapshot"), &restored, &err), err);
    CHECK_FAILS(
        KD_INTERNAL, registry_restore(r, "copy", room_path("snapshot"), &restored, &err), err);
    g_folder_fails = false;
    CHECK_OK(put_images(c, 7, 3, 1, &err), err); /* acknowledged after the failure */
    CHECK_INT(10, count_by_name(r, "shoes"));
    collection_release(c);
    registry_close(r);

    r = opened();
    CHECK_INT(10, count_by_name(r, "shoes"));
    CHECK_INT(1, entries_on_disk());
    CHECK_FAILS(KD_NOT_FOUND, registry_find(r, "copy", &c, &err), err);
    CHECK_OK(registry_restore(r, "shoes", room_path("snapshot"), &restored, &err), err);
    collection_release(restored);
    CHECK_INT(5, count_by_name(r, "shoes"));
    registry_close(r);
}

static void test_sync__a_delete_that_fails_leaves_the_collection(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    registry *r = opened();
    collection *c = create(r, "shoes");
    CHECK_OK(put_images(c, 0, 5, 1, &err), err);
    g_folder_fails = true;
    CHECK_FAILS(KD_INTERNAL, registry_delete(r, "shoes", &err), err);
    g_folder_fails = false;
    CHECK_OK(put_images(c, 5, 1, 1, &err), err);
    collection_release(c);
    CHECK_INT(6, count_by_name(r, "shoes"));
    registry_close(r);
    r = opened();
    CHECK_INT(6, count_by_name(r, "shoes"));
    CHECK_OK(registry_delete(r, "shoes", &err), err);
    CHECK_INT(0, entries_on_disk());
    registry_close(r);
}

static void test_sync__an_alias_that_fails_leads_where_it_led(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    char previous[COLLECTION_NAME_SIZE];
    registry *r = opened();
    collection *c = create(r, "spring");
    CHECK_OK(put_images(c, 0, 5, 1, &err), err);
    collection_release(c);
    collection_release(create(r, "autumn"));
    CHECK_OK(registry_set_alias(r, "live", "spring", previous, &err), err);
    g_folder_fails = true;
    CHECK_FAILS(KD_INTERNAL, registry_set_alias(r, "live", "autumn", previous, &err), err);
    g_folder_fails = false;
    CHECK_INT(5, count_by_name(r, "live"));
    registry_close(r);
    r = opened();
    CHECK_INT(5, count_by_name(r, "live"));
    registry_close(r);
}

static void wait_and_sync(collection *c)
{
    int64_t next_ms = INT64_MAX;
    for (bool synced = false; !synced; kd_sleep_ms(1))
        synced = collection_sync(c, &next_ms);
}

static void test_sync__of_grouped_changes(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = make_boots(NULL);
    const int64_t begun = kd_mono_ms();
    int64_t next_ms = INT64_MAX;
    collection_settings settings = COLLECTION_SETTINGS_INIT;
    settings.durability_window_ms = 400;
    CHECK_OK(collection_configure(c, &settings, &err), err);
    CHECK(!collection_sync(c, &next_ms)); /* nothing to do */
    CHECK(next_ms <= kd_mono_ms() + 100);
    next_ms = INT64_MAX;
    CHECK_OK(put_images(c, 0, 10, 1, &err), err);
    CHECK_OK(put_images(c, 10, 10, 1, &err), err);
    (void)collection_sync(c, &next_ms);
    CHECK(next_ms <= kd_mono_ms() + 100);
    wait_and_sync(c);
    CHECK_INT(1, g_log_syncs);
    CHECK(kd_mono_ms() - begun >= 200);

    CHECK_OK(put_images(c, 20, 10, 1, &err), err);
    g_log_fails = true;
    wait_and_sync(c);
    g_log_fails = false;
    CHECK_FAILS(KD_INTERNAL, put_images(c, 30, 10, 1, &err), err);
    CHECK_HAS("cannot sync", err.message);
    CHECK_INT(30, count_of(c));
    collection_found found; /* what is there is read all the same */
    CHECK_OK(collection_list(c, 0, 100, &found, &err), err);
    CHECK_INT(30, found.counts[0]);
    collection_found_free(&found);
    wait_and_sync(c); /* through the file itself */
    CHECK_OK(put_images(c, 30, 10, 1, &err), err);
    collection_release(c);
    c = open_boots(NULL);
    CHECK_INT(40, count_of(c));
    collection_info info;
    collection_describe(c, &info);
    CHECK_INT(400, info.settings.durability_window_ms);
    collection_release(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_sync__a_create_that_fails_leaves_no_collection),
        ROOM_TEST(test_sync__a_restore_that_fails_leaves_the_collection_that_was),
        ROOM_TEST(test_sync__a_delete_that_fails_leaves_the_collection),
        ROOM_TEST(test_sync__an_alias_that_fails_leads_where_it_led),
        ROOM_TEST(test_sync__of_grouped_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
