#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "lib/base/hash.h"
#include "tests/indexer/room.h"

static const char *db_file(void)
{
    return room_path("hats/collection.db");
}

static void make_hats(size_t n)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_OK(collection_create(&c, room_path("hats"), "hats", MODEL, DIM, NULL, &err), err);
    CHECK_OK(put_images(c, 0, n, 1, &err), err);
    collection_release(c);
}

static void check_damaged(const char *sentence)
{
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    CHECK_FAILS(KD_DATA_LOSS, collection_open(&c, room_path("hats"), "hats", NULL, &err), err);
    CHECK_HAS("collection 'hats' is damaged", err.message);
    CHECK_HAS(sentence, err.message);
    assert_null(c);
}

/* Turns one bit where the bytes are in the file. */
static void flip(const void *bytes, size_t len)
{
    kd_error err = KD_ERROR_INIT;
    kd_buf file = KD_BUF_INIT;
    CHECK_OK(kd_file_read(db_file(), 1u << 30, &file, &err), err);
    const uint8_t *const at = memmem(file.data, file.len, bytes, len);
    assert_non_null(at);
    const uint8_t turned = (uint8_t)(*at ^ 0x10);
    const int fd = open(db_file(), O_WRONLY);
    CHECK_INT(1, pwrite(fd, &turned, 1, at - file.data));
    close(fd);
    kd_buf_free(&file);
}

static void execute(const char *sql)
{
    sqlite3 *sqlite = NULL;
    CHECK_INT(SQLITE_OK, sqlite3_open(db_file(), &sqlite));
    CHECK_INT(SQLITE_OK, sqlite3_exec(sqlite, sql, NULL, NULL, NULL));
    sqlite3_close(sqlite);
}

static void test_damage__of_a_vector_names_its_image(void **state)
{
    (void)state;
    image one;
    make_hats(50);
    image_make(&one, 23, 1);
    flip(one.values, sizeof one.values);
    check_damaged("the row of image 23 fails its checksum");
}

static void test_damage__of_an_attribute_names_its_image(void **state)
{
    (void)state;
    make_hats(50);
    flip("/photographs/1/17.jpg", 21);
    check_damaged("the row of image 17 fails its checksum");
}

static void test_damage__of_a_row_s_number_or_size_is_found(void **state)
{
    (void)state;
    make_hats(50);
    execute("UPDATE items SET class_id = class_id + 1 WHERE image_id = 9");
    check_damaged("the row of image 9 fails its checksum");
    execute("UPDATE items SET class_id = class_id - 1 WHERE image_id = 9;"
            "UPDATE vectors SET vector = x'00' WHERE image_id = 9");
    check_damaged("the row of image 9 fails its checksum");
}

static void test_damage__of_vanished_rows_is_found(void **state)
{
    (void)state;
    make_hats(50);
    execute("DELETE FROM items WHERE image_id = 40");
    check_damaged("it has 49 rows and should have 50");
}

static void test_damage__of_the_description_is_found(void **state)
{
    (void)state;
    make_hats(3);
    execute("UPDATE meta SET model_id = 'another'");
    check_damaged("its description is not valid");
    execute("DELETE FROM meta");
    check_damaged("its description is missing");
    execute("DROP TABLE meta");
    check_damaged("cannot read it");
}

static void test_damage__of_the_whole_file_is_found(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    make_hats(200);
    CHECK_INT(0, truncate(db_file(), 16384 * 2 + 100));
    check_damaged("cannot");
    CHECK_OK(kd_file_write(db_file(), "not a database at all, but text", 31, &err), err);
    check_damaged("cannot");
    CHECK_INT(0, unlink(db_file()));
    CHECK_FAILS(KD_NOT_FOUND, collection_open(&c, room_path("hats"), "hats", NULL, &err), err);
    CHECK_HAS("collection.db is missing", err.message);
}

static void test_damage__a_later_version_s_file_is_refused(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    make_hats(3);
    execute("UPDATE meta SET schema_version = 4");
    CHECK_FAILS(
        KD_FAILED_PRECONDITION, collection_open(&c, room_path("hats"), "hats", NULL, &err), err);
    CHECK_HAS("schema 4, known is 3", err.message);
}

static void test_damage__of_the_attributes_names_their_image(void **state)
{
    (void)state;
    make_hats(50);
    flip("b3\",\"price\":8.5", 14);
    check_damaged("image 7 ");
}

static void put_number(kd_buf *to, uint64_t number)
{
    kd_buf_append(to, &number, sizeof number);
}

static void put_text(kd_buf *to, const char *text)
{
    put_number(to, strlen(text));
    kd_buf_puts(to, text);
}

/* The checksum that the first versions had: over the vector itself. */
static uint64_t early_checksum(const collection_row *row)
{
    kd_buf bytes = KD_BUF_INIT;
    put_number(&bytes, row->item.image_id);
    put_number(&bytes, row->item.class_id);
    put_number(&bytes, row->item.super_class_id);
    put_text(&bytes, row->item.class_name);
    put_text(&bytes, row->item.super_class_name);
    put_text(&bytes, row->item.uri);
    kd_buf_append(&bytes, row->values, row->n_values * sizeof *row->values);
    const uint64_t checksum = kd_xxh3(bytes.data, bytes.len);
    kd_buf_free(&bytes);
    return checksum;
}

static void store_early(sqlite3 *sqlite, const collection_row *row, uint64_t checksum)
{
    sqlite3_stmt *s = NULL;
    CHECK_INT(SQLITE_OK, sqlite3_prepare_v2(sqlite,
                             "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", -1, &s, NULL));
    (void)sqlite3_bind_int64(s, 1, (int64_t)row->item.image_id);
    (void)sqlite3_bind_int64(s, 2, row->item.class_id);
    (void)sqlite3_bind_int64(s, 3, row->item.super_class_id);
    (void)sqlite3_bind_text(s, 4, row->item.class_name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 5, row->item.super_class_name, -1, SQLITE_STATIC);
    (void)sqlite3_bind_text(s, 6, row->item.uri, -1, SQLITE_STATIC);
    (void)sqlite3_bind_int64(s, 7, (int64_t)checksum);
    (void)sqlite3_bind_blob(s, 8, row->values, DIM * sizeof(float), SQLITE_STATIC);
    CHECK_INT(SQLITE_DONE, sqlite3_step(s));
    CHECK_INT(SQLITE_OK, sqlite3_finalize(s));
}

/* A file of the first version with images 0, 3 and 6, which have no attributes. */
static void make_early(void)
{
    sqlite3 *sqlite = NULL;
    uint64_t digest = 0;
    kd_buf meta = KD_BUF_INIT;
    char sql[400];
    CHECK_INT(0, mkdir(room_path("hats"), 0755));
    CHECK_INT(SQLITE_OK, sqlite3_open(db_file(), &sqlite));
    CHECK_INT(SQLITE_OK,
        sqlite3_exec(sqlite,
            "CREATE TABLE items (image_id INTEGER PRIMARY KEY, class_id INTEGER NOT NULL,"
            "  super_class_id INTEGER NOT NULL, class_name TEXT NOT NULL,"
            "  super_class_name TEXT NOT NULL, uri TEXT NOT NULL, checksum INTEGER NOT NULL,"
            "  vector BLOB NOT NULL);"
            "CREATE TABLE meta (one INTEGER PRIMARY KEY CHECK (one = 1), schema_version INTEGER,"
            "  model_id TEXT, dim INTEGER, created_ms INTEGER, n_items INTEGER, digest INTEGER,"
            "  checksum INTEGER);",
            NULL, NULL, NULL));
    for (uint64_t id = 0; id < 9; id += 3) {
        image one;
        image_make(&one, id, 1);
        digest ^= early_checksum(&one.row);
        store_early(sqlite, &one.row, early_checksum(&one.row));
    }
    put_text(&meta, MODEL);
    put_number(&meta, DIM);
    put_number(&meta, 12345);
    put_number(&meta, 3);
    put_number(&meta, digest);
    (void)snprintf(sql, sizeof sql,
        "INSERT INTO meta VALUES (1, 1, '%s', %d, 12345, 3, %lld, %lld)", MODEL, DIM,
        (long long)digest, (long long)kd_xxh3(meta.data, meta.len));
    CHECK_INT(SQLITE_OK, sqlite3_exec(sqlite, sql, NULL, NULL, NULL));
    kd_buf_free(&meta);
    sqlite3_close(sqlite);
}

static void test_damage__an_earlier_version_s_file_is_brought_up_to_date(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    make_early();
    for (int round = 0; round < 2; round++) {
        CHECK_OK(collection_open(&c, room_path("hats"), "hats", NULL, &err), err);
        CHECK_INT(3 + round, count_of(c));
        for (uint64_t id = 0; id < 9; id += 3)
            check_image(c, id, 1);
        if (round == 0)
            CHECK_OK(put_images(c, 10, 1, 1, &err), err);
        check_image(c, 10, 1);
        collection_release(c);
    }
}

static void test_damage__in_an_earlier_version_s_file_is_not_brought_along(void **state)
{
    (void)state;
    make_early();
    execute("UPDATE items SET vector = zeroblob(64) WHERE image_id = 3");
    check_damaged("the row of image 3 fails its checksum");
    check_damaged("the row of image 3 fails its checksum");
}

/* A file system of one megabyte in the room. Skips where this user may not mount. */
static bool mounted;

static void mount_small(void)
{
    CHECK_INT(0, mkdir(room_path("small"), 0755));
    if (mount("tmpfs", room_path("small"), "tmpfs", 0, "size=1m") != 0) {
        print_message("mounting needs root: %s\n", strerror(errno));
        skip();
    }
    mounted = true;
}

static int leave_mounted(void **state)
{
    if (mounted && umount(room_path("small")) != 0)
        return 1;
    mounted = false;
    return room_leave(state);
}

static void test_full_disk__refuses_the_change_and_keeps_the_rest(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    mount_small();
    CHECK_OK(collection_create(&c, room_path("small/hats"), "hats", MODEL, DIM, NULL, &err), err);
    kd_status status = KD_OK;
    uint64_t stored = 0;
    while (status == KD_OK && stored < 100000) {
        status = put_images(c, stored, 100, 1, &err);
        stored += status == KD_OK ? 100 : 0;
    }
    CHECK_INT(KD_RESOURCE_EXHAUSTED, status);
    CHECK_HAS("collection 'hats'", err.message);
    CHECK(stored > 0);
    CHECK_INT(stored, count_of(c));
    check_image(c, stored - 1, 1);
    collection_release(c);
    CHECK_OK(collection_open(&c, room_path("small/hats"), "hats", NULL, &err), err);
    CHECK_INT(stored, count_of(c));
    collection_release(c);
}

static void remount(unsigned long flags)
{
    CHECK_INT(0, mount("tmpfs", room_path("small"), "tmpfs", MS_REMOUNT | flags, "size=1m"));
}

static void test_read_only_disk__is_searched_and_takes_changes_when_it_can(void **state)
{
    (void)state;
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL, *caps = NULL;
    size_t removed;
    const uint64_t id = 3;
    mount_small();
    CHECK_OK(collection_create(&c, room_path("small/hats"), "hats", MODEL, DIM, NULL, &err), err);
    CHECK_OK(put_images(c, 0, 10, 1, &err), err);
    collection_release(c);
    remount(MS_RDONLY);
    CHECK_OK(collection_open(&c, room_path("small/hats"), "hats", NULL, &err), err);
    CHECK_INT(10, count_of(c));
    check_image(c, 7, 1);
    CHECK_OK(collection_snapshot(c, room_path("hats.snapshot"), NULL, &err), err);
    CHECK_FAILS(KD_FAILED_PRECONDITION, put_images(c, 10, 1, 1, &err), err);
    CHECK_HAS("collection 'hats': the file or disk is read-only, cannot write to it", err.message);
    CHECK_FAILS(KD_FAILED_PRECONDITION, collection_remove(c, &id, 1, &removed, &err), err);
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        collection_create(&caps, room_path("small/caps"), "caps", MODEL, DIM, NULL, &err), err);
    CHECK_HAS("caps", err.message);
    CHECK_INT(10, count_of(c));
    remount(0);
    CHECK_OK(put_images(c, 10, 1, 1, &err), err);
    CHECK_OK(collection_remove(c, &id, 1, &removed, &err), err);
    CHECK_INT(10, count_of(c));
    collection_release(c);
    CHECK_OK(collection_open(&c, room_path("small/hats"), "hats", NULL, &err), err);
    CHECK_INT(10, count_of(c));
    check_image(c, 10, 1);
    collection_release(c);
}

/* As a crash leaves it: what was acknowledged is in the log. */
static void test_read_only_disk__a_log_is_read(void **state)
{
    (void)state;
    static const char *const files[] = {"collection.db", "collection.db-wal", "collection.db-shm"};
    kd_error err = KD_ERROR_INIT;
    collection *c = NULL;
    mount_small();
    CHECK_OK(collection_create(&c, room_path("hats"), "hats", MODEL, DIM, NULL, &err), err);
    CHECK_OK(put_images(c, 0, 10, 1, &err), err);
    CHECK_OK(kd_make_dirs(room_path("small/hats"), &err), err);
    for (size_t i = 0; i < 3; i++) {
        char from[64], to[64];
        (void)snprintf(from, sizeof from, "hats/%s", files[i]);
        (void)snprintf(to, sizeof to, "small/hats/%s", files[i]);
        CHECK_OK(kd_copy_file(room_path(from), room_path(to), &err), err);
    }
    collection_release(c);
    remount(MS_RDONLY);
    CHECK_OK(collection_open(&c, room_path("small/hats"), "hats", NULL, &err), err);
    CHECK_INT(10, count_of(c));
    CHECK_FAILS(KD_FAILED_PRECONDITION, put_images(c, 10, 1, 1, &err), err);
    collection_release(c);
    remount(0);
    CHECK_INT(0, unlink(room_path("small/hats/collection.db-shm")));
    remount(MS_RDONLY);
    CHECK_FAILS(KD_FAILED_PRECONDITION,
        collection_open(&c, room_path("small/hats"), "hats", NULL, &err), err);
    CHECK_HAS("it must be opened once where it can be written", err.message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ROOM_TEST(test_damage__of_a_vector_names_its_image),
        ROOM_TEST(test_damage__of_an_attribute_names_its_image),
        ROOM_TEST(test_damage__of_a_row_s_number_or_size_is_found),
        ROOM_TEST(test_damage__of_vanished_rows_is_found),
        ROOM_TEST(test_damage__of_the_description_is_found),
        ROOM_TEST(test_damage__of_the_whole_file_is_found),
        ROOM_TEST(test_damage__of_the_attributes_names_their_image),
        ROOM_TEST(test_damage__an_earlier_version_s_file_is_brought_up_to_date),
        ROOM_TEST(test_damage__in_an_earlier_version_s_file_is_not_brought_along),
        ROOM_TEST(test_damage__a_later_version_s_file_is_refused),
        cmocka_unit_test_setup_teardown(
            test_full_disk__refuses_the_change_and_keeps_the_rest, room_enter, leave_mounted),
        cmocka_unit_test_setup_teardown(
            test_read_only_disk__is_searched_and_takes_changes_when_it_can, room_enter,
            leave_mounted),
        cmocka_unit_test_setup_teardown(
            test_read_only_disk__a_log_is_read, room_enter, leave_mounted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
