/* Each allocation of lib/access failing in turn. */
#include "tests/access/room.h"
#include "tests/support/alloc.h"

static char g_key[KD_KEY_TEXT];

static kd_status run_check(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_access *access = NULL;
    char authorization[80];
    (void)arg;
    (void)snprintf(authorization, sizeof authorization, "Bearer %s", g_key);
    RUN_NEW(&first, &access, kd_access_new(&access, g_path, g_key, err), err);
    RUN(&first, kd_access_check(access, authorization, NULL, KD_SCOPE_READ, NULL, err), err);
    kd_access_free(access);
    return first;
}

static kd_status run_change(void *arg, kd_error *err)
{
    kd_status first = KD_OK;
    kd_key made, revoked;
    kd_key wanted = {.scope = KD_SCOPE_READ, .name = "new"};
    char text[KD_KEY_TEXT], path[640];
    (void)arg;
    (void)snprintf(path, sizeof path, "%s/own.key", g_dir);
    (void)unlink(g_path);
    RUN(&first, kd_keys_create(g_path, &wanted, &made, text, err), err);
    RUN(&first, kd_keys_revoke(g_path, made.id, &revoked, err), err);
    RUN(&first, kd_keys_make(g_path, err), err);
    RUN(&first, kd_key_write(path, text, err), err);
    RUN(&first, kd_key_read(text, path, err), err);
    return first;
}

static void test_access_alloc__checking(void **state)
{
    (void)state;
    (void)make_key("kept", KD_SCOPE_ADMIN, 0, g_key);
    alloc_replay(&(alloc_scenario){.name = "checking", .run = run_check});
}

static void test_access_alloc__changing(void **state)
{
    (void)state;
    alloc_replay(&(alloc_scenario){.name = "changing", .run = run_change});
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_access_alloc__##name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(checking), TEST(changing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
