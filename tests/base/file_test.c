#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/file.h"
#include "tests/support/check.h"

static char g_dir[512];
static kd_error g_err;

static const char *in_dir(const char *name)
{
    static char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", g_dir, name);
    return path;
}

static int setup(void **state)
{
    (void)state;
    (void)strcpy(g_dir, KD_BINARY_DIR "/file-XXXXXX");
    return mkdtemp(g_dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    return kd_remove_tree(g_dir, &g_err) == KD_OK ? 0 : -1;
}

static void test_base_file__a_written_file_is_read_back(void **state)
{
    kd_buf text = KD_BUF_INIT;
    (void)state;
    CHECK_OK(kd_file_write(in_dir("a"), "old", 3, &g_err), g_err);
    CHECK_OK(kd_file_write(in_dir("a"), "new\0er", 6, &g_err), g_err);
    CHECK_OK(kd_file_read(in_dir("a"), 6, &text, &g_err), g_err);
    CHECK_INT(6, text.len);
    CHECK(memcmp(text.data, "new\0er", 6) == 0);
    kd_buf_free(&text);
}

static void test_base_file__a_secret_stays_its_owners(void **state)
{
    struct stat now;
    (void)state;
    if (geteuid() != 0)
        skip();
    CHECK_OK(kd_file_write_private(in_dir("keys"), "old", 3, &g_err), g_err);
    CHECK_INT(0, chown(in_dir("keys"), 1234, 5678));
    CHECK_OK(kd_file_write_private(in_dir("keys"), "new", 3, &g_err), g_err);
    CHECK_INT(0, stat(in_dir("keys"), &now));
    CHECK_INT(1234, now.st_uid);
    CHECK_INT(5678, now.st_gid);
    CHECK_INT(0600, now.st_mode & 07777);
}

static void test_new_file__is_there_whole_or_not_at_all(void **state)
{
    kd_new_file file;
    kd_buf bytes = KD_BUF_INIT;
    char path[600];
    struct stat info;
    (void)state;
    CHECK_OK(kd_make_dirs(in_dir("whole"), &g_err), g_err);
    (void)kd_copy(path, sizeof path, in_dir("whole/f"));
    CHECK_OK(kd_file_write(path, "old", 3, &g_err), g_err);
    CHECK_OK(kd_new_file_begin(&file, path, &g_err), g_err);
    (void)fputs("new", file.stream);
    const size_t len = strlen(file.beside), end = strlen(KD_NEW_FILE_ENDING);
    CHECK_STR(KD_NEW_FILE_ENDING, file.beside + len - end);
    kd_new_file_drop(&file);
    CHECK_OK(kd_file_read(path, 10, &bytes, &g_err), g_err);
    CHECK_STR("old", (char *)bytes.data);
    CHECK_INT(0, unlink(path));
    CHECK_INT(0, rmdir(in_dir("whole"))); /* it was the only file */

    CHECK_OK(kd_make_dirs(in_dir("whole"), &g_err), g_err);
    CHECK_OK(kd_file_write(path, "old", 3, &g_err), g_err);
    CHECK_OK(kd_new_file_begin(&file, path, &g_err), g_err);
    (void)fputs("new", file.stream);
    CHECK_OK(kd_new_file_commit(&file, &g_err), g_err);
    bytes.len = 0;
    CHECK_OK(kd_file_read(path, 10, &bytes, &g_err), g_err);
    CHECK_STR("new", (char *)bytes.data);
    CHECK(stat(path, &info) == 0 && (info.st_mode & 0777) == 0644);
    CHECK_INT(0, unlink(path));
    CHECK_INT(0, rmdir(in_dir("whole")));
    kd_buf_free(&bytes);

    CHECK_FAILS(KD_NOT_FOUND, kd_new_file_begin(&file, path, &g_err), g_err);
    CHECK_HAS(path, g_err.message);
}

static void test_base_file__limits_and_absence_are_told(void **state)
{
    kd_buf text = KD_BUF_INIT;
    (void)state;
    CHECK_OK(kd_file_write(in_dir("b"), "12345", 5, &g_err), g_err);
    CHECK_FAILS(KD_RESOURCE_EXHAUSTED, kd_file_read(in_dir("b"), 4, &text, &g_err), g_err);
    CHECK_HAS("has 5 bytes, allowed 4", g_err.message);
    CHECK_FAILS(KD_NOT_FOUND, kd_file_read(in_dir("none"), 4, &text, &g_err), g_err);
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_file_read(g_dir, 4, &text, &g_err), g_err);
    CHECK_FAILS(KD_NOT_FOUND, kd_file_write(in_dir("no/such"), "x", 1, &g_err), g_err);
    kd_buf_free(&text);
}

static void test_base_file__paths_stay_under_their_roots(void **state)
{
    char root[600], *real = NULL;
    (void)state;
    (void)snprintf(root, sizeof root, "%s/base", g_dir);
    const char *const roots[] = {root};
    CHECK_OK(kd_make_dirs(in_dir("base/deep/er"), &g_err), g_err);
    CHECK_OK(kd_make_dirs(in_dir("rootless"), &g_err), g_err);
    CHECK_OK(kd_path_under(in_dir("base/deep/../deep/er"), roots, 1, &real, &g_err), g_err);
    CHECK_HAS("/base/deep/er", real);
    free(real);
    CHECK_FAILS(KD_PERMISSION_DENIED,
        kd_path_under(in_dir("base/../rootless"), roots, 1, &real, &g_err), g_err);
    CHECK_FAILS(
        KD_PERMISSION_DENIED, kd_path_under(in_dir("rootless"), roots, 1, &real, &g_err), g_err);
    CHECK_INT(0, symlink("/etc", in_dir("base/link")));
    CHECK_FAILS(
        KD_PERMISSION_DENIED, kd_path_under(in_dir("base/link"), roots, 1, &real, &g_err), g_err);
    CHECK_FAILS(KD_NOT_FOUND, kd_path_under(in_dir("base/none"), roots, 1, &real, &g_err), g_err);
    CHECK_FAILS(KD_PERMISSION_DENIED, kd_path_under("/etc", NULL, 0, &real, &g_err), g_err);
    assert_null(real);
}

/* Swaps a folder on the way for a link, again and again. */
static void *swap_links(void *arg)
{
    const atomic_bool *const stop = arg;
    char inner[700], aside[700], link[700];
    (void)snprintf(inner, sizeof inner, "%s/swap/inner", g_dir);
    (void)snprintf(aside, sizeof aside, "%s/swap/aside", g_dir);
    (void)snprintf(link, sizeof link, "%s/swap/link", g_dir);
    while (!atomic_load(stop)) {
        (void)rename(inner, aside);
        (void)rename(link, inner);
        (void)rename(inner, link);
        (void)rename(aside, inner);
    }
    return NULL;
}

static void test_base_file__no_link_leads_out_even_when_it_comes_later(void **state)
{
    char root[600], target[600];
    const char *const roots[] = {root};
    atomic_bool stop = false;
    pthread_t swapper;
    size_t seen = 0;
    (void)state;
    (void)snprintf(root, sizeof root, "%s/swap", g_dir);
    (void)snprintf(target, sizeof target, "%s/secret", g_dir);
    CHECK_OK(kd_make_dirs(in_dir("swap/inner"), &g_err), g_err);
    CHECK_OK(kd_make_dirs(target, &g_err), g_err);
    CHECK_OK(kd_file_write(in_dir("swap/inner/a"), "open", 4, &g_err), g_err);
    CHECK_OK(kd_file_write(in_dir("secret/a"), "hidden", 6, &g_err), g_err);
    CHECK_INT(0, symlink(target, in_dir("swap/link")));
    kd_buf text = KD_BUF_INIT;
    CHECK_FAILS(KD_PERMISSION_DENIED,
        kd_file_read_under(in_dir("swap/link/a"), roots, 1, 100, &text, &g_err), g_err);
    CHECK_INT(0, text.len);
    assert_int_equal(pthread_create(&swapper, NULL, swap_links, &stop), 0);
    const char *const path = in_dir("swap/inner/a");
    for (int i = 0; i < 5000; i++) {
        const kd_status status = kd_file_read_under(path, roots, 1, 100, &text, &g_err);
        seen += status == KD_OK;
        if (text.len > 0)
            CHECK_STR("open", (const char *)text.data);
        kd_buf_free(&text);
    }
    atomic_store(&stop, true);
    pthread_join(swapper, NULL);
    CHECK(seen > 0);
}

static void test_base_file__a_pipe_holds_nobody_up(void **state)
{
    kd_buf bytes = KD_BUF_INIT;
    (void)state;
    CHECK_INT(0, mkfifo(in_dir("pipe"), 0600));
    CHECK(kd_file_read(in_dir("pipe"), 100, &bytes, &g_err) != KD_OK);
    CHECK_HAS("pipe", g_err.message);
    kd_buf_free(&bytes);
}

static void test_base_file__a_lock_names_its_holder_and_ends_with_it(void **state)
{
    char path[600];
    int ready[2], go[2];
    char byte;
    (void)state;
    (void)snprintf(path, sizeof path, "%s/lock", g_dir);
    CHECK_INT(0, pipe(ready));
    CHECK_INT(0, pipe(go));
    const pid_t child = fork();
    if (child == 0) {
        kd_lock *mine;
        const bool got = kd_lock_acquire(&mine, path, NULL) == KD_OK;
        _exit(got && write(ready[1], "x", 1) == 1 && read(go[0], &byte, 1) == 1 ? 0 : 1);
    }
    CHECK_INT(1, read(ready[0], &byte, 1));
    kd_lock *lock;
    CHECK_INT(child, kd_lock_holder(path));
    CHECK_FAILS(KD_FAILED_PRECONDITION, kd_lock_acquire(&lock, path, &g_err), g_err);
    char pid[16];
    (void)snprintf(pid, sizeof pid, "process %d", (int)child);
    CHECK_HAS(pid, g_err.message);
    CHECK_INT(1, write(go[1], "x", 1));
    int ended;
    CHECK_INT(child, waitpid(child, &ended, 0));
    CHECK_INT(0, ended);
    CHECK_INT(0, kd_lock_holder(path));
    CHECK_OK(kd_lock_acquire(&lock, path, &g_err), g_err);
    kd_lock_release(lock);
}

static void test_base_file__names_that_may_be_files(void **state)
{
    static const char *const good[] = {"a", "A-1_b.c", "0"};
    static const char *const bad[] = {"", ".", "..", ".a", "a/b", "a b", "-a", "é"};
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CHECK_OK(kd_check_name("model", good[i], &g_err), g_err);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_FAILS(KD_INVALID_ARGUMENT, kd_check_name("model", bad[i], &g_err), g_err);
    char name[66];
    memset(name, 'a', 65);
    name[65] = '\0';
    CHECK_FAILS(KD_INVALID_ARGUMENT, kd_check_name("model", name, &g_err), g_err);
    name[64] = '\0';
    CHECK_OK(kd_check_name("model", name, &g_err), g_err);
}

static void check_content(const char *name, const char *content)
{
    kd_buf bytes = KD_BUF_INIT;
    CHECK_OK(kd_file_read(in_dir(name), 100, &bytes, &g_err), g_err);
    CHECK_STR(content, (const char *)bytes.data);
    kd_buf_free(&bytes);
}

static void test_base_file__moves_within_and_across_file_systems(void **state)
{
    char from[600], other[600];
    struct stat info;
    (void)state;
    (void)kd_copy(from, sizeof from, in_dir("from"));
    CHECK_OK(kd_file_write(from, "weights", 7, &g_err), g_err);
    CHECK_OK(kd_move_file(from, in_dir("to"), &g_err), g_err);
    check_content("to", "weights");
    CHECK(stat(from, &info) != 0);
    CHECK_FAILS(KD_NOT_FOUND, kd_move_file(from, in_dir("to"), &g_err), g_err);
    CHECK_HAS(from, g_err.message);

    (void)kd_copy(other, sizeof other, in_dir("other"));
    CHECK_INT(0, mkdir(other, 0755));
    if (mount("tmpfs", other, "tmpfs", 0, "size=64k") != 0) {
        print_message("mounting needs root: %s\n", strerror(errno));
        skip();
    }
    kd_buf large = KD_BUF_INIT;
    while (large.len < 200000)
        kd_buf_puts(&large, "more than the small file system holds ");
    const kd_status written = kd_file_write(from, large.data, large.len, &g_err);
    const kd_status full = kd_move_file(from, in_dir("other/large"), &g_err);
    const bool kept = stat(from, &info) == 0 && (size_t)info.st_size == large.len;
    const bool clean = stat(in_dir("other/large"), &info) != 0;
    kd_error err = KD_ERROR_INIT;
    (void)kd_copy(from, sizeof from, in_dir("to"));
    const kd_status moved = kd_move_file(from, in_dir("other/to"), &err);
    const bool gone = stat(from, &info) != 0;
    if (moved == KD_OK)
        check_content("other/to", "weights");
    CHECK_INT(0, umount(other));
    kd_buf_free(&large);
    CHECK_INT(KD_OK, written);
    CHECK_INT(KD_RESOURCE_EXHAUSTED, full);
    CHECK(kept && clean);
    CHECK_OK(moved, err);
    CHECK(gone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_file__a_written_file_is_read_back),
        cmocka_unit_test(test_base_file__a_secret_stays_its_owners),
        cmocka_unit_test(test_new_file__is_there_whole_or_not_at_all),
        cmocka_unit_test(test_base_file__moves_within_and_across_file_systems),
        cmocka_unit_test(test_base_file__limits_and_absence_are_told),
        cmocka_unit_test(test_base_file__a_pipe_holds_nobody_up),
        cmocka_unit_test(test_base_file__paths_stay_under_their_roots),
        cmocka_unit_test(test_base_file__no_link_leads_out_even_when_it_comes_later),
        cmocka_unit_test(test_base_file__a_lock_names_its_holder_and_ends_with_it),
        cmocka_unit_test(test_base_file__names_that_may_be_files),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
