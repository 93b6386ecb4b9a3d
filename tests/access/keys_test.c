#include "tests/access/room.h"

static void test_access_keys__a_key_is_kept_hashed_by_its_owner_alone(void **state)
{
    char first[KD_KEY_TEXT], second[KD_KEY_TEXT], path[640], text[KD_KEY_TEXT];
    kd_buf file = KD_BUF_INIT;
    kd_keys keys;
    struct stat info;
    (void)state;
    const kd_key reader = make_key("reader", KD_SCOPE_READ, 7, first);
    const kd_key chief = make_key("chief", KD_SCOPE_ADMIN, 0, second);
    CHECK_INT(KD_KEY_TEXT - 1, strlen(first));
    CHECK(strncmp(first, "kd_", 3) == 0 && strcmp(first, second) != 0);

    CHECK_OK(kd_keys_read(&keys, g_path, &g_err), g_err);
    CHECK_INT(2, keys.n);
    CHECK(memcmp(&keys.items[0], &reader, sizeof reader.id) == 0);
    CHECK_STR("reader", keys.items[0].name);
    CHECK_INT(KD_SCOPE_READ, keys.items[0].scope);
    CHECK_INT(7, keys.items[0].rate);
    CHECK_INT(0, keys.items[0].expires_ms);
    CHECK(llabs(kd_wall_ms() - keys.items[0].created_ms) < 60000);
    CHECK_STR(chief.id, keys.items[1].id);
    kd_keys_free(&keys);

    CHECK(stat(g_path, &info) == 0);
    CHECK_INT(0600, info.st_mode & 0777);
    CHECK_OK(kd_file_read(g_path, 65536, &file, &g_err), g_err);
    CHECK(!strstr((const char *)file.data, first + 3));
    kd_buf_free(&file);

    (void)snprintf(path, sizeof path, "%s/own.key", g_dir);
    CHECK_OK(kd_key_write(path, second, &g_err), g_err);
    CHECK(stat(path, &info) == 0);
    CHECK_INT(0600, info.st_mode & 0777);
    CHECK_OK(kd_key_read(text, path, &g_err), g_err);
    CHECK_STR(second, text);
}

static void test_access_keys__a_name_is_one_valid_keys(void **state)
{
    char text[KD_KEY_TEXT];
    kd_key revoked, made;
    kd_keys keys;
    (void)state;
    const kd_key key = make_key("shop", KD_SCOPE_WRITE, 0, text);
    CHECK_FAILS(KD_ALREADY_EXISTS, kd_keys_create(g_path, &key, &made, text, &g_err), g_err);
    CHECK_HAS(key.id, g_err.message);
    CHECK_OK(kd_keys_revoke(g_path, "shop", &revoked, &g_err), g_err);
    CHECK_STR(key.id, revoked.id);
    CHECK(revoked.revoked_ms != 0);
    CHECK_FAILS(KD_NOT_FOUND, kd_keys_revoke(g_path, "shop", &revoked, &g_err), g_err);
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_keys_revoke(g_path, key.id, &revoked, &g_err), g_err);
    const kd_key again = make_key("shop", KD_SCOPE_READ, 0, text);
    CHECK_OK(kd_keys_revoke(g_path, again.id, &revoked, &g_err), g_err);
    CHECK_OK(kd_keys_read(&keys, g_path, &g_err), g_err);
    CHECK_INT(2, keys.n);
    kd_keys_free(&keys);
    /* One that has expired gives its name free as well. */
    kd_key old = {.scope = KD_SCOPE_READ, .name = "old", .expires_ms = 1};
    CHECK_OK(kd_keys_create(g_path, &old, &made, text, &g_err), g_err);
    CHECK_OK(kd_keys_create(g_path, &old, &made, text, &g_err), g_err);
}

static void test_access_keys__a_full_file_lets_the_useless_go(void **state)
{
    char text[KD_KEY_TEXT];
    kd_key made, wanted = {.scope = KD_SCOPE_READ};
    kd_keys keys;
    (void)state;
    /* Made by hand, as a thousand that are synced take their time. */
    kd_buf file = KD_BUF_INIT;
    kd_buf_puts(&file, "{\"keys\": [");
    for (int i = 0; i < (int)KD_KEYS_MAX; i++)
        kd_buf_printf(&file,
            "%s{\"id\": \"%012d\", \"name\": \"k%d\", \"scope\": \"read\", \"sha256\": \"%064d\","
            " \"rate\": 0, \"created_unix_ms\": 1, \"expires_unix_ms\": 0,"
            " \"revoked_unix_ms\": %d}",
            i > 0 ? ", " : "", i, i, i, i == 7);
    kd_buf_puts(&file, "]}");
    CHECK_OK(kd_file_write(g_path, file.data, file.len, &g_err), g_err);
    kd_buf_free(&file);
    (void)kd_copy(wanted.name, sizeof wanted.name, "new");
    CHECK_OK(kd_keys_create(g_path, &wanted, &made, text, &g_err), g_err);
    CHECK_OK(kd_keys_read(&keys, g_path, &g_err), g_err);
    CHECK_INT(KD_KEYS_MAX, keys.n);
    CHECK_STR("k8", keys.items[7].name);
    CHECK_STR("new", keys.items[KD_KEYS_MAX - 1].name);
    kd_keys_free(&keys);
    (void)kd_copy(wanted.name, sizeof wanted.name, "more");
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, kd_keys_create(g_path, &wanted, &made, text, &g_err), g_err);
    CHECK_OK(kd_keys_revoke(g_path, "k3", &made, &g_err), g_err);
    CHECK_OK(kd_keys_create(g_path, &wanted, &made, text, &g_err), g_err);
}

static void test_access_keys__what_is_wrong_is_said_and_changes_nothing(void **state)
{
    char text[KD_KEY_TEXT];
    kd_key wanted = {.scope = KD_SCOPE_READ, .name = "../up"}, made;
    kd_keys keys;
    (void)state;
    CHECK_FAILS(KD_NOT_FOUND, kd_keys_read(&keys, g_path, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_keys_create(g_path, &wanted, &made, text, &g_err), g_err);
    CHECK(!kd_is_file(g_path));
    CHECK_OK(kd_keys_make(g_path, &g_err), g_err);
    CHECK_OK(kd_keys_read(&keys, g_path, &g_err), g_err);
    CHECK_INT(0, keys.n);
    kd_keys_free(&keys);
    (void)make_key("kept", KD_SCOPE_READ, 0, text);
    CHECK_OK(kd_keys_make(g_path, &g_err), g_err);
    CHECK_OK(kd_keys_read(&keys, g_path, &g_err), g_err);
    CHECK_INT(1, keys.n);
    kd_keys_free(&keys);

    static const char *const damaged[] = {"", "{", "[]", "{\"keys\": 1}", "{\"keys\": [{}]}",
        "{\"keys\": [{\"id\": \"a\", \"name\": \"a\", \"scope\": \"open\", \"sha256\": \"00\","
        " \"rate\": 0, \"created_unix_ms\": 0, \"expires_unix_ms\": 0, \"revoked_unix_ms\": 0}]}"};
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        CHECK_OK(kd_file_write(g_path, damaged[i], strlen(damaged[i]), &g_err), g_err);
        CHECK_FAILS(KD_DATA_LOSS, kd_keys_read(&keys, g_path, &g_err), g_err);
        CHECK_HAS(g_path, g_err.message);
        (void)kd_copy(wanted.name, sizeof wanted.name, "late");
        CHECK_FAILS(KD_DATA_LOSS, kd_keys_create(g_path, &wanted, &made, text, &g_err), g_err);
    }

    static const char *const no_keys[] = {"", "hello", "kd_short\n",
        "xx_0123456789012345678901234567890123456789012",
        "kd_01234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof no_keys / sizeof no_keys[0]; i++) {
        CHECK_OK(kd_file_write(g_path, no_keys[i], strlen(no_keys[i]), &g_err), g_err);
        CHECK_FAILS(KD_INVALID_ARGUMENT, kd_key_read(text, g_path, &g_err), g_err);
    }
}

static void test_access_keys__only_this_machine_is_loopback(void **state)
{
    static const char *const yes[] = {
        "127.0.0.1:7700", "127.1.2.3:0", "[::1]:80", "localhost:7700"};
    static const char *const no[] = {"0.0.0.0:7700", "[::]:80", "10.0.0.1:1", "127.evil.example:1",
        "localhost.example:80", "::1:7700", "example.org:127", ""};
    (void)state;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
        CHECK(kd_is_loopback(yes[i]));
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
        CHECK(!kd_is_loopback(no[i]));
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_access_keys__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_key_is_kept_hashed_by_its_owner_alone),
        TEST(a_name_is_one_valid_keys),
        TEST(a_full_file_lets_the_useless_go),
        TEST(what_is_wrong_is_said_and_changes_nothing),
        TEST(only_this_machine_is_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
