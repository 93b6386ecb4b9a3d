/* Segments that were damaged or lost, or that the disk has no room for: nothing wrong is answered,
 * and they are made again. */
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/base/clock.h"
#include "tests/indexer/boots.h"

/* ---- Damage ---- */

/* DIR/boots/segments/ the only file with that ending. */
static const char *only_file(const char *ending)
{
    static char path[300];
    DIR *const dir = opendir(room_path("boots/segments"));
    path[0] = '\0';
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        const char *const dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ending) == 0)
            (void)snprintf(
                path, sizeof path, "%s/%.40s", room_path("boots/segments"), entry->d_name);
    }
    if (dir)
        closedir(dir);
    return path;
}

static void flip(const char *file, long at)
{
    struct stat info;
    CHECK_INT(0, stat(file, &info));
    uint8_t byte;
    const int fd = open(file, O_RDWR);
    at = at < 0 ? info.st_size + at : at;
    CHECK_INT(1, pread(fd, &byte, 1, at));
    byte ^= 0x10;
    CHECK_INT(1, pwrite(fd, &byte, 1, at));
    close(fd);
}

static void test_damage__of_a_segment_is_found_and_mended(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 1200};
    /* magic, head, a vector, the last hash; below: an id */
    static const long places[] = {1, 9, 4096 + 77, -3, 4096 + 1200 * DIM * 4 + 801};
    collection *c = make_boots(&options);
    set_index(c, COLLECTION_HNSW, KD_ANN_INT8, 0.95f);
    put(c, 0, 1200, 1);
    put(c, 2000, 100, 1);
    for (size_t i = 0; i < 8; i++) {
        settle(c);
        CHECK_INT(1, describe(c).approximate_segments);
        CHECK_INT(1, count_files(".vec"));
        put(c, 5, 10, (unsigned)i + 2); /* dead rows in it */
        collection_release(c);
        if (i < 5)
            flip(only_file(".vec"), places[i]);
        else if (i == 5)
            CHECK_INT(0, truncate(only_file(".vec"), 5000));
        else if (i == 6)
            CHECK_INT(0, unlink(only_file(".vec")));
        else
            CHECK_OK(kd_remove_tree(room_path("boots/segments"), &(kd_error){0}), (kd_error){0});
        c = open_boots(&options);
        CHECK_STR("", describe(c).problem);
        model_check_all(&boots, c);
    }
    settle(c);
    for (size_t i = 0; i < 6; i++) { /* of the index: head, arrays, end */
        static const long at[] = {3, 30, 200, 5000, 60000, -9};
        collection_release(c);
        flip(only_file(".ann"), at[i]);
        c = open_boots(&options);
        settle(c);
        CHECK_INT(1, describe(c).approximate_segments);
        CHECK(recall(c, (collection_filter){0}) >= 0.93);
    }
    model_check_all(&boots, c);
    collection_release(c);
}

/* While it is mapped: who merges it finds out, and takes the rows from the truth. */
static void test_damage__of_a_mapped_segment_is_not_copied(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 300};
    collection *c = make_boots(&options);
    put(c, 0, 300, 1);
    settle(c);
    flip(only_file(".vec"), 4096 + 640);
    for (uint64_t from = 300; from < 1200; from += 300) {
        put(c, from, 300, 1);
        settle(c);
    }
    CHECK_HAS("was damaged", describe(c).problem);
    const int64_t end = kd_mono_ms() + 20000; /* it waits before it tries again */
    while (describe(c).building && kd_mono_ms() < end) {
        settle(c);
        kd_sleep_ms(20);
    }
    CHECK_STR("", describe(c).problem);
    model_check_all(&boots, c);
    collection_release(c);
    c = open_boots(&options);
    model_check_all(&boots, c);
    collection_release(c);
}

static void damage_truth(uint64_t id)
{
    sqlite3 *sqlite = NULL;
    char sql[100];
    (void)snprintf(sql, sizeof sql, "UPDATE vectors SET vector = zeroblob(64) WHERE image_id = %u",
        (unsigned)id);
    CHECK_INT(SQLITE_OK, sqlite3_open(room_path("boots/collection.db"), &sqlite));
    CHECK_INT(SQLITE_OK, sqlite3_exec(sqlite, sql, NULL, NULL, NULL));
    sqlite3_close(sqlite);
}

static void test_damage__of_the_truth_of_a_sealed_row_is_mended_or_told(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    const collection_options options = {.seal_rows = 600};
    collection *c = make_boots(&options);
    put(c, 0, 600, 1);
    settle(c);
    collection_release(c);
    damage_truth(44);
    damage_truth(599);
    c = open_boots(&options); /* the segment has what the rows' checksums ask for */
    model_check_all(&boots, c);
    while (collection_verify(c))
        continue;
    CHECK_STR("", describe(c).problem);
    collection_release(c);
    CHECK_INT(0, unlink(only_file(".vec")));
    c = open_boots(&options);
    model_check_all(&boots, c);
    settle(c);
    collection_release(c);
    damage_truth(44);
    CHECK_INT(0, unlink(only_file(".vec"))); /* both at once */
    CHECK_FAILS(
        KD_DATA_LOSS, collection_open(&c, room_path("boots"), "boots", &options, &err), err);
    CHECK_HAS("the row of image 44 fails its checksum", err.message);
}

static bool is_zero_in_truth(uint64_t id)
{
    sqlite3 *sqlite = NULL;
    sqlite3_stmt *s = NULL;
    CHECK_INT(SQLITE_OK, sqlite3_open(room_path("boots/collection.db"), &sqlite));
    CHECK_INT(SQLITE_OK,
        sqlite3_prepare_v2(
            sqlite, "SELECT vector = zeroblob(64) FROM vectors WHERE image_id = ?", -1, &s, NULL));
    CHECK_INT(SQLITE_OK, sqlite3_bind_int64(s, 1, (int64_t)id));
    CHECK_INT(SQLITE_ROW, sqlite3_step(s));
    const bool zero = sqlite3_column_int(s, 0) != 0;
    CHECK_INT(SQLITE_OK, sqlite3_finalize(s));
    sqlite3_close(sqlite);
    return zero;
}

static void test_verify__goes_on_behind_what_it_cannot_mend(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 600};
    collection *c = make_boots(&options);
    put(c, 0, 600, 1);
    settle(c);
    collection_release(c);
    damage_truth(44);
    damage_truth(45);
    damage_truth(599);
    c = open_boots(&options);
    flip(only_file(".vec"), 4096 + 44 * DIM * (long)sizeof(float)); /* while it is mapped */
    while (collection_verify(c))
        continue;
    CHECK_HAS("the vector of image 44 fails its checksum", describe(c).problem);
    CHECK(is_zero_in_truth(44));
    CHECK(!is_zero_in_truth(45));
    CHECK(!is_zero_in_truth(599));
    collection_release(c);
}

static void test_verify__ends_with_the_last_id_that_there_is(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 256};
    kd_error err = KD_ERROR_INIT;
    collection *c = make_boots(&options);
    put(c, 0, 255, 1);
    CHECK_OK(put_images(c, COLLECTION_MAX_ID, 1, 1, &err), err); /* as many as a step takes */
    settle(c);
    CHECK(!collection_verify(c));
    collection_release(c);
}

/* ---- Disks ---- */

static bool mounted;

static int leave_mounted(void **state)
{
    if (mounted && umount(room_path("boots/segments")) != 0)
        return 1;
    mounted = false;
    return room_leave(state);
}

/* The disk of the segments alone: what is stored is safe, and what is searched is exact. */
static void test_full_disk__leaves_the_exact_part_and_says_why(void **state)
{
    (void)state;
    const collection_options options = {.seal_rows = 300};
    collection *c = make_boots(&options);
    CHECK_INT(0, mkdir(room_path("boots/segments"), 0755));
    if (mount("tmpfs", room_path("boots/segments"), "tmpfs", 0, "size=16k") != 0) {
        print_message("mounting needs root: %s\n", strerror(errno));
        collection_release(c);
        skip();
    }
    mounted = true;
    put(c, 0, 400, 1);
    settle(c);
    CHECK_HAS("No space left on device", describe(c).problem);
    CHECK_HAS(".vec", describe(c).problem);
    CHECK_INT(0, count_files(".vec") + count_files(".new"));
    put(c, 390, 500, 2);
    model_check_all(&boots, c);
    CHECK_INT(0, mount("tmpfs", room_path("boots/segments"), "tmpfs", MS_REMOUNT, "size=1m"));
    const int64_t end = kd_mono_ms() + 20000;
    while (describe(c).building && kd_mono_ms() < end) {
        settle(c);
        kd_sleep_ms(20);
    }
    CHECK_STR("", describe(c).problem);
    CHECK(describe(c).mapped_bytes > 0);
    model_check_all(&boots, c);
    collection_release(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            test_damage__of_a_segment_is_found_and_mended, enter, room_leave),
        cmocka_unit_test_setup_teardown(
            test_damage__of_a_mapped_segment_is_not_copied, enter, room_leave),
        cmocka_unit_test_setup_teardown(
            test_damage__of_the_truth_of_a_sealed_row_is_mended_or_told, enter, room_leave),
        cmocka_unit_test_setup_teardown(
            test_verify__goes_on_behind_what_it_cannot_mend, enter, room_leave),
        cmocka_unit_test_setup_teardown(
            test_verify__ends_with_the_last_id_that_there_is, enter, room_leave),
        cmocka_unit_test_setup_teardown(
            test_full_disk__leaves_the_exact_part_and_says_why, enter, leave_mounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
