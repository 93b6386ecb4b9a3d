#include <fcntl.h>

#include "tests/access/room.h"

#define BEARER_TEXT 80

static kd_access_time g_now;

static const char *bearer(const char *key)
{
    static char text[BEARER_TEXT];
    (void)snprintf(text, sizeof text, "Bearer %.60s", key);
    return text;
}

static kd_status check(kd_access *access, const char *key, kd_scope needed)
{
    kd_caller caller;
    const kd_status status =
        kd_access_check_at(access, g_now, key ? bearer(key) : NULL, NULL, needed, &caller, &g_err);
    if (status != KD_OK && key)
        CHECK(!strstr(g_err.message, key));
    return status;
}

static kd_access *open_access(const char *own)
{
    kd_access *access = NULL;
    g_now = (kd_access_time){kd_wall_ms(), kd_mono_ms(), false};
    CHECK_OK(kd_access_new(&access, g_path, own, &g_err), g_err);
    return access;
}

static void test_access_check__without_keys_all_is_allowed(void **state)
{
    char text[KD_KEY_TEXT];
    kd_access *access = NULL;
    (void)state;
    CHECK_INT(KD_OK, check(NULL, NULL, KD_SCOPE_ADMIN));
    CHECK_FAILS(KD_NOT_FOUND, kd_access_new(&access, g_path, NULL, &g_err), g_err);
    CHECK_OK(kd_keys_make(g_path, &g_err), g_err);
    access = open_access(NULL);
    CHECK_INT(KD_OK, check(access, NULL, KD_SCOPE_ADMIN));
    CHECK(!kd_access_is_on(access));

    /* The first key closes the door, for good. */
    const kd_key key = make_key("first", KD_SCOPE_READ, 0, text);
    g_now.mono_ms += 1000;
    CHECK_INT(KD_UNAUTHENTICATED, check(access, NULL, KD_SCOPE_READ));
    CHECK_INT(KD_OK, check(access, NULL, KD_SCOPE_OPEN));
    CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    CHECK(kd_access_is_on(access));
    CHECK(unlink(g_path) == 0);
    g_now.mono_ms += 1000;
    CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    CHECK_OK(kd_file_write(g_path, "{", 1, &g_err), g_err);
    g_now.mono_ms += 1000;
    CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    CHECK_INT(KD_UNAUTHENTICATED, check(access, NULL, KD_SCOPE_READ));
    CHECK_OK(kd_file_write(g_path, "{\"keys\": []}", 12, &g_err), g_err);
    g_now.mono_ms += 1000;
    CHECK_INT(KD_UNAUTHENTICATED, check(access, text, KD_SCOPE_READ));
    (void)key;
    kd_access_free(access);
}

static void test_access_check__a_scope_has_those_below_it(void **state)
{
    static const kd_scope scopes[] = {KD_SCOPE_READ, KD_SCOPE_WRITE, KD_SCOPE_ADMIN};
    char keys[3][KD_KEY_TEXT];
    (void)state;
    for (size_t i = 0; i < 3; i++)
        (void)make_key(kd_scope_name(scopes[i]), scopes[i], 0, keys[i]);
    kd_access *const access = open_access(NULL);
    for (size_t i = 0; i < 3; i++)
        for (size_t needed = 0; needed < 3; needed++)
            CHECK_INT(
                needed <= i ? KD_OK : KD_PERMISSION_DENIED, check(access, keys[i], scopes[needed]));
    CHECK_INT(KD_PERMISSION_DENIED, check(access, keys[0], KD_SCOPE_ADMIN));
    CHECK_STR("API key 'read' has scope read, this needs admin", g_err.message);
    kd_access_free(access);
}

static void test_access_check__wrong_revoked_and_expired_keys_are_refused(void **state)
{
    static const char *const wrong[] = {"", "Bearer ", "Bearer kd_", "Basic abc",
        "Bearer kd_0123456789012345678901234567890123456789012"};
    char text[KD_KEY_TEXT], short_lived[KD_KEY_TEXT];
    kd_key made, revoked;
    (void)state;
    kd_key wanted = {
        .scope = KD_SCOPE_ADMIN, .name = "short", .expires_ms = kd_wall_ms() + 86400000};
    CHECK_OK(kd_keys_create(g_path, &wanted, &made, short_lived, &g_err), g_err);
    (void)make_key("long", KD_SCOPE_ADMIN, 0, text);
    kd_access *const access = open_access(NULL);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        CHECK_FAILS(KD_UNAUTHENTICATED,
            kd_access_check_at(access, g_now, wrong[i], NULL, KD_SCOPE_READ, NULL, &g_err), g_err);
    CHECK_INT(
        KD_OK, kd_access_check_at(access, g_now, bearer(text), NULL, KD_SCOPE_READ, NULL, &g_err));

    CHECK_INT(KD_OK, check(access, short_lived, KD_SCOPE_ADMIN));
    g_now.wall_ms = wanted.expires_ms - 1;
    CHECK_INT(KD_OK, check(access, short_lived, KD_SCOPE_ADMIN));
    g_now.wall_ms = wanted.expires_ms;
    CHECK_INT(KD_UNAUTHENTICATED, check(access, short_lived, KD_SCOPE_READ));
    CHECK_STR("API key 'short' has expired", g_err.message);

    CHECK_OK(kd_keys_revoke(g_path, "long", &revoked, &g_err), g_err);
    g_now.mono_ms += 1000;
    CHECK_INT(KD_UNAUTHENTICATED, check(access, text, KD_SCOPE_READ));
    CHECK_STR("API key 'long' is revoked", g_err.message);
    kd_access_free(access);
}

/* Also one that looks as before but for who may read it, or when it was changed. */
static void test_access_check__every_change_of_the_file_is_read(void **state)
{
    char text[KD_KEY_TEXT];
    kd_key revoked;
    struct stat before;
    (void)state;
    (void)make_key("kept", KD_SCOPE_READ, 0, text);
    kd_buf keys = KD_BUF_INIT;
    CHECK_OK(kd_file_read(g_path, 1 << 16, &keys, &g_err), g_err);
    kd_access *const access = open_access(NULL);
    CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    CHECK_OK(kd_keys_revoke(g_path, "kept", &revoked, &g_err), g_err);
    g_now.mono_ms += 1000;
    CHECK_INT(KD_UNAUTHENTICATED, check(access, text, KD_SCOPE_READ));

    /* The same bytes long, in the same file, with its time put back. */
    CHECK_INT(0, stat(g_path, &before));
    FILE *const file = fopen(g_path, "r+");
    CHECK(file && keys.len < (size_t)before.st_size);
    CHECK_INT(keys.len, fwrite(keys.data, 1, keys.len, file));
    for (size_t i = keys.len; i < (size_t)before.st_size; i++)
        CHECK_INT(' ', fputc(' ', file));
    CHECK_INT(0, fclose(file));
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    CHECK_INT(0, utimensat(AT_FDCWD, g_path, times, 0));
    g_now.mono_ms += 1000;
    CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    kd_buf_free(&keys);
    kd_access_free(access);
}

static void test_access_check__a_rate_is_kept_to(void **state)
{
    char text[KD_KEY_TEXT], other[KD_KEY_TEXT];
    (void)state;
    (void)make_key("slow", KD_SCOPE_READ, 3, text);
    kd_access *const access = open_access(NULL);
    for (int i = 0; i < 3; i++)
        CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    CHECK_INT(KD_RESOURCE_EXHAUSTED, check(access, text, KD_SCOPE_READ));
    CHECK_HAS("'slow' may make 3 calls a second", g_err.message);
    CHECK_INT(KD_PERMISSION_DENIED, check(access, text, KD_SCOPE_WRITE));
    g_now.mono_ms += 334;
    CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    CHECK_INT(KD_RESOURCE_EXHAUSTED, check(access, text, KD_SCOPE_READ));
    /* Another key in the file gives nothing back; no pause is worth more than a second. */
    (void)make_key("other", KD_SCOPE_READ, 1, other);
    g_now.mono_ms += 201;
    CHECK_INT(KD_RESOURCE_EXHAUSTED, check(access, text, KD_SCOPE_READ));
    g_now.mono_ms += 3600000;
    for (int i = 0; i < 3; i++)
        CHECK_INT(KD_OK, check(access, text, KD_SCOPE_READ));
    CHECK_INT(KD_RESOURCE_EXHAUSTED, check(access, text, KD_SCOPE_READ));
    for (int i = 0; i < 5; i++) /* looking costs nothing */
        CHECK_OK(kd_access_look(access, bearer(other), KD_SCOPE_READ, NULL, &g_err), g_err);
    CHECK_FAILS(KD_PERMISSION_DENIED,
        kd_access_look(access, bearer(other), KD_SCOPE_WRITE, NULL, &g_err), g_err);
    CHECK_FAILS(
        KD_UNAUTHENTICATED, kd_access_look(access, NULL, KD_SCOPE_READ, NULL, &g_err), g_err);
    CHECK_INT(KD_OK, check(access, other, KD_SCOPE_READ));
    CHECK_INT(KD_RESOURCE_EXHAUSTED, check(access, other, KD_SCOPE_READ));
    kd_access_free(access);
}

static void test_access_check__a_service_does_no_more_than_its_caller_may(void **state)
{
    char own[KD_KEY_TEXT], writer[KD_KEY_TEXT];
    kd_caller caller;
    (void)state;
    CHECK_OK(kd_key_make(own, &g_err), g_err);
    (void)make_key("writer", KD_SCOPE_WRITE, 1, writer);
    kd_access *const access = open_access(own);
    char authorization[BEARER_TEXT];
    (void)snprintf(authorization, sizeof authorization, "bearer %s", own);
    static const struct {
        const char *on_behalf;
        kd_scope needed;
        kd_status status;
    } cases[] = {
        {NULL, KD_SCOPE_ADMIN, KD_OK},
        {"", KD_SCOPE_ADMIN, KD_OK},
        {"admin", KD_SCOPE_ADMIN, KD_OK},
        {"write", KD_SCOPE_WRITE, KD_OK},
        {"write", KD_SCOPE_ADMIN, KD_PERMISSION_DENIED},
        {"read", KD_SCOPE_READ, KD_OK},
        {"read", KD_SCOPE_WRITE, KD_PERMISSION_DENIED},
        {"open", KD_SCOPE_READ, KD_PERMISSION_DENIED},
        {"everything", KD_SCOPE_READ, KD_PERMISSION_DENIED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        CHECK_INT(cases[i].status, kd_access_check_at(access, g_now, authorization,
                                       cases[i].on_behalf, cases[i].needed, &caller, &g_err));
        CHECK_STR("service", caller.id);
    }
    /* Nobody else gains by the header. */
    CHECK_INT(KD_PERMISSION_DENIED, kd_access_check_at(access, g_now, bearer(writer), "admin",
                                        KD_SCOPE_ADMIN, &caller, &g_err));
    CHECK_INT(KD_PERMISSION_DENIED,
        kd_access_check_at(access, g_now, bearer(writer), "read", KD_SCOPE_WRITE, &caller, &g_err));
    CHECK_INT(KD_OK,
        kd_access_check_at(access, g_now, bearer(writer), "read", KD_SCOPE_READ, &caller, &g_err));
    CHECK_INT(KD_SCOPE_READ, caller.scope);
    CHECK_INT(12, strlen(caller.id));
    kd_access_free(access);
}

static void test_access_check__without_a_file_only_services_are_let_in(void **state)
{
    char own[KD_KEY_TEXT], other[KD_KEY_TEXT];
    kd_access *access = NULL;
    (void)state;
    g_now = (kd_access_time){kd_wall_ms(), kd_mono_ms(), false};
    CHECK_OK(kd_key_make(own, &g_err), g_err);
    CHECK_OK(kd_key_make(other, &g_err), g_err);
    CHECK_OK(kd_access_new(&access, NULL, own, &g_err), g_err);
    CHECK(kd_access_is_on(access));
    CHECK_INT(KD_UNAUTHENTICATED, check(access, NULL, KD_SCOPE_READ));
    CHECK_INT(KD_UNAUTHENTICATED, check(access, other, KD_SCOPE_READ));
    CHECK_INT(KD_OK, check(access, own, KD_SCOPE_ADMIN));
    kd_access_free(access);
}

/* By the clock: an expiry is told without a change of the file. */
static void access_waits_for_expiry(const char *own, const kd_caller *caller)
{
    kd_access *access = NULL;
    CHECK_OK(kd_access_new(&access, g_path, own, &g_err), g_err);
    const uint64_t version = kd_access_version(access);
    for (int i = 0; i < 1000 && kd_access_version(access) == version; i++)
        kd_sleep_ms(10);
    CHECK(kd_access_version(access) != version);
    CHECK(!kd_access_holds(access, caller));
    kd_access_free(access);
}

/* Who was let in with the key. */
static kd_caller let_in(kd_access *access, const char *key)
{
    kd_caller caller;
    CHECK_OK(kd_access_check_at(
                 access, g_now, key ? bearer(key) : NULL, NULL, KD_SCOPE_READ, &caller, &g_err),
        g_err);
    return caller;
}

static void test_access_check__what_a_key_began_goes_on_while_it_is_valid(void **state)
{
    char own[KD_KEY_TEXT], text[KD_KEY_TEXT], short_lived[KD_KEY_TEXT];
    kd_key made, revoked;
    (void)state;
    CHECK_OK(kd_key_make(own, &g_err), g_err);
    CHECK_OK(kd_keys_make(g_path, &g_err), g_err);
    kd_access *const access = open_access(own);
    const kd_caller early = let_in(access, NULL);
    CHECK(kd_access_holds(access, &early));
    const kd_caller early_service = let_in(access, own);
    (void)make_key("long", KD_SCOPE_READ, 0, text);
    kd_key wanted = {.scope = KD_SCOPE_READ, .name = "short", .expires_ms = kd_wall_ms() + 2000};
    CHECK_OK(kd_keys_create(g_path, &wanted, &made, short_lived, &g_err), g_err);
    g_now.mono_ms += 1000;
    const kd_caller keyed = let_in(access, text), service = let_in(access, own),
                    hasty = let_in(access, short_lived);
    CHECK(kd_access_holds(access, &keyed) && kd_access_holds(access, &service));
    CHECK(kd_access_holds(access, &hasty));
    CHECK(!kd_access_holds(access, &early)); /* keys are asked for now */
    CHECK(kd_access_holds(access, &early_service));

    uint64_t version = kd_access_version(access);
    CHECK_INT(version, kd_access_version(access));
    CHECK_OK(kd_keys_revoke(g_path, "long", &revoked, &g_err), g_err);
    g_now.mono_ms += 1000;
    (void)let_in(access, own);
    CHECK(kd_access_version(access) != version);
    CHECK(!kd_access_holds(access, &keyed) && kd_access_holds(access, &service));
    kd_access_free(access);

    access_waits_for_expiry(own, &hasty);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_access_check__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_keys_all_is_allowed),
        TEST(a_scope_has_those_below_it),
        TEST(wrong_revoked_and_expired_keys_are_refused),
        TEST(every_change_of_the_file_is_read),
        TEST(a_rate_is_kept_to),
        TEST(a_service_does_no_more_than_its_caller_may),
        TEST(without_a_file_only_services_are_let_in),
        TEST(what_a_key_began_goes_on_while_it_is_valid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
